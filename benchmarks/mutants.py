"""Would the tests notice? Plants scientific faults, one at a time, in a copy of the project and runs tests on it.

    python -m benchmarks.mutants [--only NAME ...] [--quick] [--out FILE]

The faults are data (`benchmarks.faults`). A fault that its own tests miss is held against the whole suite before it is
called missed; `--quick` leaves that out. Before anything is planted, all named tests have to pass on an unchanged copy.

Prints a line for each fault while it runs, and markdown in the end. Exit code 1 if a fault was missed, 2 if the list of
faults does not fit the project any more.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.faults import FAULTS, Fault
from benchmarks.page import command, machine

ROOT = Path(__file__).parents[1]
LEFT_OUT = (".git", ".hypothesis", ".venv", "__pycache__", "results", "*.egg-info", ".*_cache")
PACKAGES = ("hem", "study", "search_spaces", "dashboards", "tests")
PASSED, FAILED = 0, 1
NAMED = re.compile(r"^(?:FAILED|ERROR) (tests/\S+?\.py)(?:::(\w+))?(?:::(\w+))?", re.MULTILINE)


class Stale(Exception):
    """The list of faults does not fit the project: a text is not there once, or tests cannot be run."""


@dataclass(frozen=True)
class Outcome:
    """What became of a fault.

    Attributes:
        fault: the fault.
        caught_by: file and name of the first test that failed; "" if none did.
        whole: whether the whole suite had to be run.
        seconds: what it took.
    """

    fault: Fault
    caught_by: str
    whole: bool
    seconds: float


def planted(text: str, fault: Fault) -> str:
    """Return a file's text with a fault in it.

    Raises:
        Stale: what is to be replaced does not stand exactly once in the text.
    """
    found = text.count(fault.old)
    if found != 1:
        raise Stale(f"{fault.name}: expected its text once in {fault.file}, found {found} times:\n{fault.old}")
    return text.replace(fault.old, fault.new)


def check(faults: Sequence[Fault]) -> None:
    """Raise Stale unless every fault can be planted, changes something, and names tests that are there."""
    names = [fault.name for fault in faults]
    if len(set(names)) != len(names):
        raise Stale(
            f"expected different names, got twice: {', '.join(sorted({n for n in names if names.count(n) > 1}))}"
        )
    for fault in faults:
        text = (ROOT / fault.file).read_text()
        changed = planted(text, fault)
        compile(changed, fault.file, "exec")
        missing = [test for test in fault.tests if not (ROOT / test.partition("::")[0]).is_file()]
        if changed == text or missing or not fault.tests:
            raise Stale(f"{fault.name}: changes nothing, or names tests that are not there: {', '.join(missing)}")


@contextmanager
def copied(fault: Fault | None) -> Iterator[Path]:
    """Give a copy of the project, with a fault or without, for a while."""
    with tempfile.TemporaryDirectory(prefix="mutant-") as folder:
        copy = Path(folder) / "project"
        shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(*LEFT_OUT))
        if fault is not None:
            path = copy / fault.file
            path.write_text(planted(path.read_text(), fault))
        yield copy


def run_tests(copy: Path, tests: Sequence[str]) -> str:
    """Run tests in a copy; return the first that failed as "file::name", or "" if all passed.

    Raises:
        Stale: no test was run, they could not be collected, or they were those of another copy.
    """
    environment = {**os.environ, "PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"}
    where = "import importlib, sys; print(*(importlib.import_module(name).__file__ for name in sys.argv[1:]))"
    found = _run(copy, ["-c", where, *PACKAGES], environment).stdout.split()
    if len(found) != len(PACKAGES) or not all(Path(path).is_relative_to(copy) for path in found):
        raise Stale(f"expected the packages of {copy}, Python found {found}")
    done = _run(copy, ["-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *tests], environment)
    if done.returncode == PASSED:
        return ""
    named = NAMED.search(done.stdout)
    if done.returncode != FAILED or named is None:
        raise Stale(f"pytest ended with code {done.returncode} and named no failed test:\n{done.stdout[-2000:]}")
    return "::".join(part for part in named.groups() if part)


def _run(copy: Path, arguments: Sequence[str], environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments], cwd=copy, env=environment, capture_output=True, text=True, check=False
    )


def hunted(fault: Fault, quick: bool) -> Outcome:
    """Return what becomes of a fault under its own tests and, where those miss it, under the whole suite."""
    started, whole = time.perf_counter(), False
    with copied(fault) as copy:
        caught_by = run_tests(copy, fault.tests)
        if not caught_by and not quick:
            caught_by, whole = run_tests(copy, ()), True
    return Outcome(fault, caught_by, whole, time.perf_counter() - started)


def report(outcomes: Sequence[Outcome], line: str) -> str:
    """Return the results as markdown."""
    caught = [outcome for outcome in outcomes if outcome.caught_by]
    rows = [_row(outcome) for outcome in outcomes]
    minutes = sum(outcome.seconds for outcome in outcomes) / 60
    late = sum(outcome.whole for outcome in caught)
    return "\n".join(
        [
            "# Planted faults, and the tests that notice them",
            "",
            f"{machine('all used')}; `{line}`, {minutes:.0f} minutes.",
            "",
            f"{len(outcomes)} faults, one at a time: {len(caught)} caught, {len(outcomes) - len(caught)} missed. "
            f"Of those caught, {late} needed the whole suite; the others were noticed by the tests named for them.",
            "",
            "| fault | what it would do | where | caught by |",
            "| --- | --- | --- | --- |",
            *rows,
            "",
        ]
    )


def _row(outcome: Outcome) -> str:
    fault = outcome.fault
    file, _, test = outcome.caught_by.partition("::")
    by = f"`{file}`, `{test}`" if test else f"`{file}`" if file else "MISSED"
    return f"| {fault.name} | {fault.harm} | `{fault.file}` | {by} |".replace("|H|", "\\|H\\|")


def chosen(names: Sequence[str]) -> tuple[Fault, ...]:
    """Return the faults of these names, or all if none is given.

    Raises:
        Stale: a name that no fault has.
    """
    unknown = set(names) - {fault.name for fault in FAULTS}
    if unknown:
        known = ", ".join(fault.name for fault in FAULTS)
        raise Stale(f"unknown faults: {', '.join(sorted(unknown))}\nknown: {known}")
    return tuple(fault for fault in FAULTS if not names or fault.name in names)


def hunt(faults: Sequence[Fault], quick: bool) -> list[Outcome]:
    """Return what becomes of each fault, after all of their tests have passed without one.

    Raises:
        Stale: a fault cannot be planted, or its tests fail on the project as it is.
    """
    check(faults)
    with copied(None) as copy:
        failed = run_tests(copy, tuple(dict.fromkeys(test for fault in faults for test in fault.tests)))
    if failed:
        raise Stale(f"{failed} fails without any fault: no fault can be told by it")
    outcomes = []
    for number, fault in enumerate(faults, start=1):
        outcomes.append(hunted(fault, quick))
        last = outcomes[-1]
        words = last.caught_by or "MISSED"
        print(f"{number}/{len(faults)} {fault.name}: {words} ({last.seconds:.0f} s)", file=sys.stderr, flush=True)
    return outcomes


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME", help="these faults and no others")
    parser.add_argument("--check", action="store_true", help="only say whether every fault can be planted")
    parser.add_argument("--quick", action="store_true", help="do not run the whole suite where a fault's tests miss it")
    parser.add_argument("--out", type=Path, help="also write the report to this file")
    arguments = parser.parse_args()
    try:
        if arguments.check:
            check(chosen(arguments.only))
            return 0
        outcomes = hunt(chosen(arguments.only), arguments.quick)
    except Stale as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    text = report(outcomes, command())
    print(text)
    if arguments.out:
        arguments.out.write_text(text)
    return int(any(not outcome.caught_by for outcome in outcomes))


if __name__ == "__main__":
    sys.exit(main())
