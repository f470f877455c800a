"""Does a study survive? Kills it, its processes and its nodes, fills its disk, damages its files; then resumes it.

    python -m benchmarks.chaos [--kills 60] [--only NAME ...] [--out FILE]

Every disturbance happens to a small study of its own, run as a user runs it (the command in a process), and is followed
by what a user would do: look at what it says, and resume. What must hold afterwards is checked: exit codes, words
without a traceback, no finished cell lost or made twice, equal budgets, the tables of an undisturbed run.

Prints markdown. Exit code 1 if something did not hold. A full and a read-only disk are small file systems in memory,
which only root can mount: otherwise they are left out, and the page says so.
"""

import argparse
import os
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from benchmarks.disturbances import cluster, faults, files
from benchmarks.disturbances.kills import killed_drivers
from benchmarks.disturbances.runs import Broken
from benchmarks.page import command, machine, markdown

Disturbance = Callable[[Path], str]


def disturbances(kills: int) -> Mapping[str, Disturbance]:
    """Return every disturbance by name: (empty folder) → what was seen."""
    return {
        "driver killed": partial(killed_drivers, kills=kills),
        **faults.DISTURBANCES,
        **files.DISTURBANCES,
        **cluster.DISTURBANCES,
    }


def seen(name: str, disturbance: Disturbance, folder: Path) -> tuple[bool, str]:
    """Return whether what had to hold did, and what was seen."""
    print(f"{name} …", file=sys.stderr, flush=True)
    folder.mkdir()
    try:
        return True, disturbance(folder)
    except Broken as error:
        return False, str(error)
    except Exception:  # of the disturbance itself: it showed nothing
        return False, traceback.format_exc()


def main() -> int:
    """Run the disturbances that were asked for; print what was seen."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=60)
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME", help=f"of: {', '.join(disturbances(1))}")
    parser.add_argument("--out", type=Path)
    values = parser.parse_args()
    known = disturbances(values.kills)
    wrong = set(values.only) - set(known)
    if wrong:
        parser.error(f"unknown: {', '.join(sorted(wrong))}; known: {', '.join(known)}")
    started, rows, broken = time.monotonic(), [], 0
    with tempfile.TemporaryDirectory() as folder:
        for number, name in enumerate(values.only or known):
            began = time.monotonic()
            held, words = seen(name, known[name], Path(folder) / str(number))
            broken += not held
            took = f"{time.monotonic() - began:.0f} s"
            rows.append([name, "held" if held else "BROKEN", " ".join(words.split()).replace("|", "\\|"), took])
            print(f"{name}: {rows[-1][1]} ({took}) {words if not held else ''}", file=sys.stderr, flush=True)
    lines = [
        "# What a study survives",
        "",
        f"`{command()}`",
        "",
        f"{machine(f'{os.cpu_count()} used')}. {len(rows)} disturbances, {len(rows) - broken} held, {broken} broken; "
        f"{(time.monotonic() - started) / 60:.0f} minutes.",
        "",
        markdown(["disturbance", "", "what was done and seen", "took"], rows),
        "",
    ]
    print("\n".join(lines))
    if values.out:
        values.out.write_text("\n".join(lines))
    return int(broken > 0)


if __name__ == "__main__":
    sys.exit(main())
