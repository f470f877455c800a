"""What the speed benchmarks share: turns on a noisy machine, the machine's name, tables, targets, the command line.

Only ratios inside one run are reported: the speed of a shared machine changes from minute to minute, and with it every
absolute time. Two things that are compared take turns in short blocks.
"""

import argparse
import os
import platform
import shlex
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Target:
    """A number that was asked for, and what came out."""

    what: str
    measured: float
    limit: float
    at_most: bool
    unit: str = ""

    @property
    def kept(self) -> bool:
        """Say whether the number is what was asked for."""
        return self.measured <= self.limit if self.at_most else self.measured >= self.limit

    def row(self) -> list[str]:
        """Return its row of the table."""
        asked = f"{'≤' if self.at_most else '≥'} {self.limit:g}{self.unit}"
        return [self.what, asked, f"{self.measured:.4g}{self.unit}", "PASS" if self.kept else "BELOW"]


def at_most(what: str, measured: float, limit: float, unit: str = "") -> Target:
    return Target(what, measured, limit, True, unit)


def at_least(what: str, measured: float, limit: float, unit: str = "") -> Target:
    return Target(what, measured, limit, False, unit)


def targets_table(targets: Sequence[Target]) -> str:
    return markdown(["target", "asked", "measured", ""], [target.row() for target in targets])


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] + ["---:"] * (len(header) - 1), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def machine(threads: str = "one thread used") -> str:
    """Return the machine, what ran on it, how busy it was with other things, and the date."""
    import torch

    name = platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").exists():
        models = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
        name = models[0].partition(":")[2].strip() if models else name
    load = f"load {os.getloadavg()[0]:.1f}"
    return f"{name}, {os.cpu_count()} cores, {threads}, {load}, torch {torch.__version__}, {time.strftime('%Y-%m-%d')}"


def taking_turns(
    runs: Sequence[Callable[[], object]],
    *,
    seconds: float,
    calls: int = 1,
    blocks: int = 5,
    clock: Callable[[], float] = time.process_time,
) -> list[list[float]]:
    """Return the seconds a call of each, block by block; all take a block in turn, and change places every round.

    Args:
        runs: what is compared.
        seconds: wall clock for all of it; the first two rounds come on top and are thrown away.
        calls: in a block.
        blocks: at least so many of each.
        clock: by default the processor time of this process, so that other work on the machine shows less.
    """
    times: list[list[float]] = [[] for _ in runs]
    order = list(range(len(runs)))
    started, warm = time.perf_counter(), 2
    while warm or len(times[0]) < blocks or time.perf_counter() - started < seconds:
        order = [*order[1:], order[0]]
        for number in order:
            begun = clock()
            for _ in range(calls):
                runs[number]()
            times[number].append((clock() - begun) / calls)
        if warm:
            warm -= 1
            times = [[] for _ in runs]
            started = time.perf_counter()
    return times


def paired_ratio(own: Sequence[float], other: Sequence[float]) -> float:
    """Return the median over rounds of own / other."""
    return statistics.median(a / b for a, b in zip(own, other, strict=True))


def arguments(text: str | None, parser: argparse.ArgumentParser | None = None) -> argparse.Namespace:
    """Parse the command line: `--quick` and `--out` besides what the parser has already."""
    parser = parser or argparse.ArgumentParser()
    parser.description, parser.formatter_class = text, argparse.RawDescriptionHelpFormatter
    parser.add_argument("--quick", action="store_true", help="a fraction of the time; numbers are rougher")
    parser.add_argument("--out", type=Path, help="also write the report to this file")
    return parser.parse_args()


def command() -> str:
    """Return the command that runs, without where it writes to."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--out")
    _, given = parser.parse_known_args()
    return shlex.join(["python", "-m", f"benchmarks.{Path(sys.argv[0]).stem}", *given])


def publish(parts: Sequence[str], out: Path | None) -> None:
    """Print a report with the command below its title, and write it to a file if one is named."""
    title, *rest = parts
    text = "\n\n".join([title, f"`{command()}`", *rest]) + "\n"
    print(text)
    if out:
        out.write_text(text)
