"""Feed the commands nonsense and damaged runs; they must answer with a short block, never a traceback or a hang.

    python -m benchmarks.fuzz                        # 520 command lines, 150 damaged runs, 16 in processes of their own
    python -m benchmarks.fuzz --lines 100 --damaged 20 --processes 4

One tiny run is made first (digits, two losses). Command lines are drawn by Hypothesis from every option of study.tune,
study.evaluate and study.report, with plausible and odd values, and run in this process: study.tune with --dry-run, so
that nothing trains; study.evaluate up to the point where Ray would start. Then one file of a copy of the run is damaged
at a time, and the run is reported, computed from its scores, evaluated, and resumed, on one local Ray. A share of the
lines runs in processes of its own, without --dry-run if it cannot train.

A fault is: an exception that escapes, an exit code other than 0, 1, 2; a traceback; more than ten lines of error; an
exit code 2 that does not say "error:"; or no end within the limit. Faults are listed with what made them; exit code 1.
"""

import argparse
import collections
import contextlib
import io
import os
import platform
import re
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any
from unittest import mock

import numpy as np

from benchmarks import fuzz_cases as cases

ROOT = Path(__file__).parents[1]
LIMIT = 120.0
LONGEST = 10
TINY = (
    *("--task", "imbalanced", "--preset", "smoke", "--losses", "ce", "hem", "--replicates", "1", "--trials", "2"),
    *("--epochs", "2", "--attack-points", "10", "--eps", "0.1"),
)
PROCESSES: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("tune", (*TINY, "--address", "127.0.0.1:1")),
    ("tune", (*TINY, "--address", "auto")),
    ("tune", (*TINY, "--address", "nowhere")),
    ("tune", (*TINY, "--address", "ray://127.0.0.1:1")),
    ("tune", (*TINY, "--gpus-per-trial", "0.25")),
    ("tune", (*TINY, "--cpus-per-trial", "1e9")),
    ("tune", (*TINY, "--workers-per-trial", "500")),
    ("tune", (*TINY, "--output", "FILE/below")),
)
"""What only a real start can show; the rest of the share are drawn lines with --dry-run."""


class Hang(BaseException):
    """The limit of time is over."""


@dataclass(frozen=True)
class Outcome:
    """How a command ended."""

    code: int | None
    """None: by an exception."""
    out: str
    err: str
    trace: str
    seconds: float

    @property
    def fault(self) -> str:
        """What is wrong with that; empty if nothing."""
        if self.code is None:
            return self.trace.strip().splitlines()[-1][:200]
        if self.code not in (0, 1, 2):
            return f"exit code {self.code}"
        if "Traceback (most recent" in self.out + self.err:
            return "a traceback was printed"
        if self.code == 2 and not self.err.startswith("error: "):
            return "exit code 2 without a word"
        if self.code == 2 and len(self.err.splitlines()) > LONGEST:
            return f"{len(self.err.splitlines())} lines of error"
        return ""

    @property
    def place(self) -> str:
        """Where the exception came from: the last line of this project in its traceback."""
        own = re.findall(r'File "[^"]*/((?:study|hem|dashboards|search_spaces)/[^"]+)", line (\d+)', self.trace)
        return ":".join(own[-1]) if own else ""


def in_process(command: str, argv: Sequence[str], *, ray: bool = False) -> Outcome:
    """Run a command here; nothing starts Ray unless `ray`, and the limit of time ends it."""
    import importlib

    main = importlib.import_module(f"study.{command}").main
    out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8", errors=how) for how in ("strict", "backslashreplace"))
    started, code, trace = time.perf_counter(), None, ""
    stay = contextlib.nullcontext() if ray else mock.patch("study.tune.on_ray", return_value=0)
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), stay, _limited(LIMIT):
            code = main(list(argv))
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 0
    except (Exception, Hang):
        trace = traceback.format_exc()
    said = []
    for stream in (out, err):
        stream.flush()
        said.append(stream.buffer.getvalue().decode("utf-8", "replace"))
    return Outcome(code, *said, trace, time.perf_counter() - started)


@contextlib.contextmanager
def _limited(seconds: float) -> Iterator[None]:
    def over(*_: object) -> None:
        raise Hang(f"no end within {seconds:g} s")

    before = signal.signal(signal.SIGALRM, over)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def in_subprocess(command: str, argv: Sequence[str], folder: Path) -> Outcome:
    """Run a command in a process of its own."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    environment.pop("RAY_ADDRESS", None)
    started = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", f"study.{command}", *(text.encode("utf-8", "surrogateescape") for text in argv)],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        out, err = (text.decode("utf-8", "replace") for text in process.communicate(timeout=2 * LIMIT))
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        return Outcome(None, "", "", f"Hang: no end within {2 * LIMIT:g} s", time.perf_counter() - started)
    return Outcome(process.returncode, out, err, "", time.perf_counter() - started)


class Field:
    """A folder with a finished run, and files that are and are not what they are called."""

    def __init__(self, folder: Path, run: Path) -> None:
        self.folder, self.run = folder, folder / "run"
        self.again(run)
        generator = np.random.default_rng(0)
        images = generator.integers(0, 256, (200, 8, 8, 1), dtype=np.uint8)
        np.savez(folder / "good.npz", x_train=images, y_train=np.arange(200) % 5)
        np.savez(folder / "outputs.npz", logits=generator.normal(size=(50, 10)), labels=np.arange(50) % 10)
        (folder / "bad.npz").write_bytes(b"PK\x03\x04 and no more")
        (folder / "file").write_text("a file")
        weights = next((self.run / "models").rglob("tuned-*.pt"))
        self.names = {
            "OUTPUTS": "outputs.npz",
            "WEIGHTS": str(weights.relative_to(folder)),
            "GOOD": "good.npz",
            "BAD": "bad.npz",
            "FILE": "file",
            "RUN": "run",
        }

    def real(self, argv: Sequence[str]) -> list[str]:
        """Return arguments with the names of real files in them."""
        return [re.sub(r"\b(OUTPUTS|WEIGHTS|GOOD|BAD|FILE|RUN)\b", lambda m: self.names[m[0]], text) for text in argv]

    def again(self, run: Path) -> None:
        """Make the run whole again, but for one training that was interrupted: its state is there, its cell is not."""
        cases.copied(run, self.run)
        cell = next((self.run / "cells" / "confirm").glob("*tuned*.json"))
        state = self.run / "tune" / "checkpoints" / f"confirm~{cell.stem}.pt"
        state.parent.mkdir(parents=True, exist_ok=True)
        state.write_bytes(next((self.run / "models").rglob("tuned-*.pt")).read_bytes())
        cell.unlink()


def fuzz_line(field: Field, line: cases.Line) -> Outcome:
    """Run a drawn command line where it can do no more than look."""
    command, argv = line
    real = field.real(argv)
    return in_process(command, [*real, "--dry-run"] if command == "tune" else real)


def fuzz_damaged(field: Field, kind: str, how: str, after: str, seed: int, *, ray: bool) -> tuple[str, Outcome]:
    """Damage the field's run, try one command on it, and return what was damaged and how it ended."""
    what = cases.damage(field.run, kind, how, Random(seed))
    run = str(field.run)
    command, argv = {
        "report": ("report", [run]),
        "from-scores": ("evaluate", [run, "--from-scores"]),
        "evaluate": ("evaluate", [run, "--attacks", "quick"]),
        "resume": ("tune", ["--resume", run]),
        "resume --dry-run": ("tune", ["--resume", run, "--dry-run"]),
    }[after]
    return f"{what} {how}, {after}", in_process(command, argv, ray=ray)


def make_tiny(folder: Path) -> Path:
    """Train the tiny run."""
    run = folder / "tiny"
    outcome = in_process("tune", [*TINY, "--output", str(run)], ray=True)
    if outcome.code != 0:
        raise SystemExit(f"the tiny run failed: {outcome.out}{outcome.err}{outcome.trace}")
    return run


class Tally:
    """Counts of outcomes, and each fault with the shortest input that makes it."""

    def __init__(self) -> None:
        self.counts: dict[str, collections.Counter[str]] = {}
        self.faults: dict[tuple[str, str], tuple[str, Outcome]] = {}
        self.longest: tuple[float, str] = (0.0, "")

    def add(self, group: str, what: str, outcome: Outcome) -> None:
        """Count one."""
        fault = outcome.fault
        self.counts.setdefault(group, collections.Counter())["fault" if fault else f"exit {outcome.code}"] += 1
        self.longest = max(self.longest, (outcome.seconds, what))
        if fault:
            key = (outcome.place, fault.split(":")[0])
            if key not in self.faults or len(what) < len(self.faults[key][0]):
                self.faults[key] = (what, outcome)

    def text(self, command: str) -> str:
        """Return the page."""
        columns = ("exit 0", "exit 1", "exit 2", "fault")
        rows = [
            f"| {group} | {sum(count.values())} | " + " | ".join(str(count[name]) for name in columns) + " |"
            for group, count in self.counts.items()
        ]
        found = [f"- `{what!r}`: {outcome.fault} ({outcome.place})" for what, outcome in self.faults.values()]
        return "\n".join(
            [
                f"# Nonsense and damage, {time.strftime('%Y-%m-%d')}",
                "",
                f"`{command}` on {os.cpu_count()} cores, Python {platform.python_version()}. Exit 0: it was fine, "
                "1: some cells failed and were named, 2: refused in at most ten lines. A fault is an exception that "
                f"escapes, a traceback, a hang (over {LIMIT:g} s), more lines, or another exit code.",
                "",
                f"| what | inputs | {' | '.join(columns)} |",
                "|---|---|---|---|---|---|",
                *rows,
                "",
                f"The longest took {self.longest[0]:.0f} s.",
                "",
                *(["## Faults", "", *found, ""] if found else []),
            ]
        )


def drawn(strategy: Any, count: int, seed: int) -> list[Any]:  # noqa: ANN401
    """Return so many different draws of a Hypothesis strategy, the same for the same seed."""
    from hypothesis import HealthCheck, Phase, given, settings
    from hypothesis import seed as with_seed

    found: dict[Any, None] = {}

    @with_seed(seed)
    @settings(
        max_examples=3 * count,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(strategy)
    def collect(value: Any) -> None:  # noqa: ANN401
        found.setdefault(value)

    collect()
    return list(found)[:count]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lines", type=int, default=520, help="command lines in this process (default: 520)")
    parser.add_argument("--damaged", type=int, default=150, help="damaged runs (default: 150)")
    parser.add_argument(
        "--processes", type=int, default=16, help="command lines in processes of their own (default: 16)"
    )
    parser.add_argument("--seed", type=int, default=0, help="of everything (default: 0)")
    parser.add_argument("--run", type=Path, help="a finished tiny run, in the place of one that is made")
    parser.add_argument("--out", type=Path, help="where the table goes (default: benchmarks/results/DATE-fuzz.md)")
    values = parser.parse_args()
    from study.environment import prepare

    prepare(verbose=False)
    tally, random = Tally(), Random(values.seed)
    with tempfile.TemporaryDirectory() as name, _at(Path(name)):
        run = values.run or make_tiny(Path(name))
        field = Field(Path(name), run)
        every = drawn(cases.lines(), values.lines + values.processes, values.seed)
        for line in every[: values.lines]:
            _one(tally, f"study.{line[0]}, odd arguments", line, lambda line=line: fuzz_line(field, line))
        for command, argv in (
            *PROCESSES,
            *((c, (*a, "--dry-run") if c == "tune" else a) for c, a in every[values.lines :]),
        )[: values.processes]:
            real = field.real(argv)
            _one(
                tally,
                "in a process of its own",
                (command, argv),
                lambda c=command, r=real: in_subprocess(c, r, field.folder),
            )
        import ray

        with _ray(ray):
            for number in range(values.damaged):
                field.again(run)
                kind, how, after = (
                    random.choice(cases.KINDS),
                    random.choice(list(cases.DAMAGES)),
                    random.choice(cases.AFTER),
                )
                what, outcome = fuzz_damaged(field, kind, how, after, values.seed + number, ray=True)
                tally.add(f"damaged run, {after}", what, outcome)
                _show(what, outcome)
    text = tally.text("python -m benchmarks.fuzz " + " ".join(sys.argv[1:]))
    out = values.out or ROOT / "benchmarks" / "results" / f"{time.strftime('%Y-%m-%d')}-fuzz.md"
    out.write_text(text)
    print(text)
    for what, outcome in tally.faults.values():
        print(f"\n{what!r}\n{outcome.err[-1500:]}{outcome.trace[-1500:]}")
    return 1 if tally.faults else 0


def _one(tally: Tally, group: str, line: Any, run: Callable[[], Outcome]) -> None:  # noqa: ANN401
    outcome = run()
    tally.add(group, " ".join(line[1]), outcome)
    _show(f"{line[0]} {' '.join(line[1])}", outcome)


def _show(what: str, outcome: Outcome) -> None:
    print(f"{outcome.seconds:6.1f} s  {outcome.fault or outcome.code}  {what!r:.150}", flush=True)


@contextlib.contextmanager
def _at(folder: Path) -> Iterator[None]:
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


@contextlib.contextmanager
def _ray(ray: Any) -> Iterator[None]:  # noqa: ANN401
    ray.init(address="local", num_cpus=2, log_to_driver=False, logging_level="ERROR")
    try:
        yield
    finally:
        ray.shutdown()


if __name__ == "__main__":
    sys.exit(main())
