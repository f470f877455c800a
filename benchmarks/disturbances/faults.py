"""Processes that die, hang or eat memory, losses that fail, and a user who presses Ctrl-C."""

import json
import os
import signal
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import psutil

from benchmarks.disturbances.runs import (
    SMALL,
    Process,
    cells,
    expect,
    nothing_twice,
    resume,
    run,
    small,
    whole,
)
from study.run import STAGES

LOSSES = "benchmarks.disturbances.losses"
TRIAL_PROCESS = "ImplicitFunc"
"""Part of the name that Ray gives the processes of Tune's trials."""


def of(process: Process, name: str) -> list[psutil.Process]:
    """Return the descendants of a command whose title holds a name."""
    found = []
    for one in psutil.Process(process.popen.pid).children(recursive=True):
        try:
            title = " ".join(one.cmdline())
        except psutil.Error:
            continue
        if name in title:
            found.append(one)
    return found


def killed_trials(folder: Path) -> str:
    """Kill processes of trials, twice in one run: as often as the same training is forgiven."""
    path, killed = folder / "run", 0
    process = Process(folder / "log", *SMALL, "--epochs", 30, "--output", path)
    for count in (1, 6):
        process.wait_for(path, "search", count)
        for one in of(process, TRIAL_PROCESS)[:1]:
            one.kill()
            killed += 1
    process.end().ended(0).says("took")
    whole(path)
    expect(killed > 0, "no process was found to kill")
    return f"{killed} processes of trials killed during the search: their trainings were done again, exit code 0"


def failing(folder: Path, loss: str, reason: str, *more: object) -> str:
    """Study cross-entropy beside a loss that misbehaves; only that one's cells may fail."""
    path = folder / "run"
    run(*small("ce", f"{LOSSES}:{loss}"), *more, "--output", path).ended(1).says("cells failed", "--resume")
    states: dict[str, set[str]] = {"ce": set(), loss: set()}
    ends = reason in ("timeout", "process")  # the costs of all losses are measured in one process: it ends with any
    stages = [stage for stage in STAGES if not (ends and stage == "cost")]
    for content in cells(path, stages).values():
        cell = json.loads(content)
        states[cell["key"]["loss"].rpartition(":")[2]].add(cell.get("reason") or cell["state"])
    expect(states["ce"] <= {"complete", "diverged"}, f"cross-entropy: {states['ce']}")
    expect(reason in states[loss], f"{loss}: {states[loss]}, expected {reason}")
    failed = json.loads((path / "study.json").read_text())["cells"]["failed"]
    run("-m", "study.report", path).ended(0)
    page = (path / "dashboard.html").read_text()
    named = sum(entry["key"].partition("/")[2][:12] in page for entry in failed)
    expect(loss in page and named > 0, "the page does not name the cells that are missing")
    return (
        f"cells of {loss} failed with the reason '{reason}' ({len(failed)} missing, named by the page); "
        "cross-entropy's are complete; exit code 1"
    )


def hangs(folder: Path) -> str:
    """A loss that never comes back."""
    return failing(folder, "Hangs", "timeout", "--trial-timeout", 2)


def not_a_number(folder: Path) -> str:
    """A loss that becomes NaN."""
    return failing(folder, "NotANumber", "diverged")


def raises(folder: Path) -> str:
    """A loss that raises."""
    return failing(folder, "Raises", "error")


def memory(folder: Path) -> str:
    """A loss that eats memory, until Ray's monitor ends its process."""
    there = psutil.virtual_memory()
    limit = (there.used + 5e9) / there.total
    os.environ.update(RAY_memory_usage_threshold=f"{limit:.3f}", RAY_memory_monitor_refresh_ms="100")
    try:
        return failing(folder, "Devours", "process")
    finally:
        del os.environ["RAY_memory_usage_threshold"], os.environ["RAY_memory_monitor_refresh_ms"]


def interrupted_once(folder: Path, *more: object) -> str:
    """Ctrl-C once: a clean stop, and a run that goes on."""
    path = folder / "run"
    process = Process(folder / "log", *SMALL, *more, "--output", path)
    process.wait_for(path, "search", 3)
    process.signal(signal.SIGINT)
    began = time.monotonic()
    process.end().ended(130).says("stopping; once more stops at once", "--resume")
    took, before = time.monotonic() - began, cells(path)
    resume(path).ended(0)
    nothing_twice(before, path)
    whole(path)
    return f"stopped within {took:.1f} s with exit code 130 and the command to go on with, which did"


def interrupted_on_ranks(folder: Path) -> str:
    """Ctrl-C once, where a training has two ranks."""
    return interrupted_once(folder, "--workers-per-trial", 2)


def interrupted_twice(folder: Path) -> str:
    """Ctrl-C twice: an end at once."""
    path = folder / "run"
    process = Process(folder / "log", *SMALL, "--output", path)
    process.wait_for(path, "search", 3)
    process.signal(signal.SIGINT)
    process.wait_for_words("stopping")
    began = time.monotonic()
    process.signal(signal.SIGINT)
    process.end().ended(130)
    took, before = time.monotonic() - began, cells(path)
    expect(took < 5, f"it took {took:.1f} s")
    resume(path).ended(0)
    nothing_twice(before, path)
    whole(path)
    return f"ended {took:.1f} s after the second, exit code 130; resumed to the end"


def two_at_once(folder: Path) -> str:
    """A second process on a run that another one holds."""
    path = folder / "run"
    process = Process(folder / "log", *SMALL, "--output", path)
    process.wait_for(path, "search", 1)
    process.signal(signal.SIGSTOP)  # it may not come to its end before the others have begun
    try:
        for arguments in (
            ("-m", "study.tune", "--resume", path),
            ("-m", "study.evaluate", path),
            ("-m", "study.report", path),
        ):
            run(*arguments).ended(2).says("another process works on this run")
    finally:
        process.signal(signal.SIGCONT)
    process.end().ended(0)
    whole(path)
    return "tune, evaluate and report are refused with exit code 2 and the number of the first process, which finished"


def never_there(folder: Path) -> str:
    """Resources that no node has."""
    began = time.monotonic()
    for more in (("--gpus-per-trial", 2), ("--cpus-per-trial", 4096), ("--workers-per-trial", 4096)):
        run(*SMALL, "--output", folder / "run", *more).ended(2).says("nodes of the cluster have")
    return f"refused with exit code 2, three times in {time.monotonic() - began:.0f} s"


DISTURBANCES: Mapping[str, Callable[[Path], str]] = {
    "trial killed": killed_trials,
    "hang": hangs,
    "NaN": not_a_number,
    "exception": raises,
    "memory exhausted": memory,
    "Ctrl-C": interrupted_once,
    "Ctrl-C on two ranks": interrupted_on_ranks,
    "Ctrl-C twice": interrupted_twice,
    "two processes": two_at_once,
    "resources never met": never_there,
}
