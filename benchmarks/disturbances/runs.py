"""Small studies to be killed, how to watch them, and what must be the same afterwards."""

import json
import random
import signal
import subprocess
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from study.run import STAGES
from tests.study import commands

COMMAND = ("-m", "study.tune", "--task", "imbalanced", "--preset", "smoke", "--no-dashboard")


def small(*losses: str) -> tuple[str, ...]:
    """Return a study smaller than smoke: two replicates, two trials a search, two epochs."""
    return (*COMMAND, "--trials", "4", "--epochs", "2", "--attack-points", "20", "--losses", *losses)


SMALL = small("ce", "hem")
ALONE = ("--max-concurrent", "1")
"""The order of the search is then always the same."""
TABLES = ("trials", "epochs", "evaluation", "curves", "comparison", "sensitivity", "health", "foreign")
TIMES = ("seconds",)
"""Columns that tell the time, and may differ. (timing.parquet holds nothing else.)"""
PATIENCE = 300.0


class Broken(AssertionError):
    """Something that had to hold did not."""


def expect(holds: bool, what: str) -> None:
    """Raise Broken unless it holds."""
    if not holds:
        raise Broken(what)


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    text: str

    def says(self, *words: str) -> "Ended":
        """Raise Broken unless it said all of these, and no traceback."""
        for one in words:
            expect(one in self.text, f"expected {one!r} in:\n{self.text[-2000:]}")
        expect("Traceback" not in self.text, f"a traceback:\n{self.text[-2000:]}")
        return self

    def ended(self, code: int) -> "Ended":
        """Raise Broken unless it ended with this code."""
        expect(self.code == code, f"expected exit code {code}, got {self.code}:\n{self.text[-2000:]}")
        return self


def run(*arguments: object) -> Ended:
    """Run a command to its end."""
    done = commands.run(*arguments)
    return Ended(done.returncode, done.stdout + done.stderr)


def resume(path: Path, *more: object) -> Ended:
    """Go on with a run to its end, one training at a time."""
    return run("-m", "study.tune", "--resume", path, "--no-dashboard", *ALONE, *more)


class Process:
    """A command that is running."""

    def __init__(self, log: Path, *arguments: object) -> None:
        self.log = log
        self.popen = commands.start(*arguments, log=log)

    def alive(self) -> bool:
        """Say whether it runs still."""
        return self.popen.poll() is None

    def wait_for(self, path: Path, stage: str, count: int, delay: float = 0.0) -> bool:
        """Wait for so many cells of a stage, and a while; False if it ended before."""
        until = time.monotonic() + PATIENCE
        while self.alive():
            if len(list((path / "cells" / stage).glob("*.json"))) >= count:
                return not self._ended_within(delay)
            expect(time.monotonic() < until, f"no {count} cells of {stage} within {PATIENCE:g} s")
            self._ended_within(0.02)
        return False

    def wait_for_words(self, words: str) -> None:
        """Wait until it has said something."""
        until = time.monotonic() + PATIENCE
        while words not in self.log.read_text():
            expect(self.alive(), f"ended without {words!r}:\n{self.log.read_text()[-2000:]}")
            expect(time.monotonic() < until, f"did not say {words!r} within {PATIENCE:g} s")
            self._ended_within(0.05)

    def _ended_within(self, seconds: float) -> bool:
        try:
            self.popen.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def signal(self, number: int) -> None:
        """Send a signal to the command's own process, and to no other."""
        self.popen.send_signal(number)

    def end(self) -> Ended:
        """Wait for the end."""
        code = self.popen.wait(PATIENCE)
        return Ended(code, self.log.read_text())

    def kill(self) -> None:
        """End the driver at once, as a machine does that goes down."""
        self.signal(signal.SIGKILL)
        self.popen.wait(PATIENCE)


def cells(path: Path, stages: Iterable[str] = STAGES) -> dict[str, bytes]:
    """Return the finished cells: name → content."""
    found = {}
    for stage in stages:
        for file in (path / "cells" / stage).glob("*.json"):
            found[f"{stage}/{file.name}"] = file.read_bytes()
    return found


def nothing_twice(before: Mapping[str, bytes], path: Path) -> None:
    """Raise Broken if a cell that was finished is another one now, or gone."""
    now = cells(path)
    changed = [name for name, content in before.items() if now.get(name) != content]
    expect(not changed, f"done again or lost: {', '.join(changed)}")


def whole(path: Path) -> None:
    """Raise Broken unless the run says of itself that everything is there, and budgets are equal."""
    record = json.loads((path / "study.json").read_text())
    expect(record["status"] == "complete", f"status {record['status']}")
    expect(not record["cells"]["failed"], f"failed cells: {record['cells']['failed']}")
    sizes = pd.read_parquet(path / "trials.parquet").groupby(["loss", "replicate"]).size()
    expect(sizes.nunique() == 1, f"unequal budgets: {sizes.to_dict()}")


def same_tables(one: Path, other: Path) -> None:
    """Raise Broken unless two runs' tables are equal, but for times."""
    for name in TABLES:
        mine, theirs = (
            pd.read_parquet(path / f"{name}.parquet").drop(columns=[*TIMES], errors="ignore") for path in (one, other)
        )
        try:
            pd.testing.assert_frame_equal(mine, theirs)
        except AssertionError as error:
            raise Broken(f"{name}.parquet differs from the undisturbed run's: {str(error)[:500]}") from error


Moment = tuple[str, int, float]
"""Stage, its cells by then, seconds after that."""


def moments(kills: int, calm: Path, seed: int) -> list[list[Moment]]:
    """Return random moments for several runs: in each run one for every stage, and one for the start and the tables.

    Args:
        kills: how many in all.
        calm: an undisturbed run, which says how many cells a stage has.
        seed: of the random numbers.
    """
    draw = random.Random(seed)
    counts = {stage: sum(name.startswith(f"{stage}/") for name in cells(calm)) for stage in STAGES}
    chain = ["start", *(stage for stage in STAGES if counts[stage]), "attack (all)"]
    chosen = [chain[number % len(chain)] for number in range(kills)]
    drawn = [_moment(stage, counts, draw) for stage in chosen]
    return [drawn[start : start + len(chain)] for start in range(0, kills, len(chain))]


def _moment(stage: str, counts: Mapping[str, int], draw: random.Random) -> Moment:
    if stage == "start":
        return stage, 0, draw.uniform(0.0, 8.0)
    if stage == "attack (all)":  # then tables are written
        return stage, counts["attack"], draw.uniform(0.0, 1.0)
    return stage, draw.randrange(counts[stage]), draw.uniform(0.0, 0.3)
