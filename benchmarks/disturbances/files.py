"""Disks that are full or cannot be written, and files that were damaged."""

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from benchmarks.disturbances.runs import (
    ALONE,
    SMALL,
    Process,
    cells,
    expect,
    nothing_twice,
    resume,
    run,
    same_tables,
    whole,
)

NOT_ROOT = "not done: only root can mount a small file system"


@contextmanager
def mounted(folder: Path, size: str) -> Iterator[Path]:
    """Give a file system in memory of this size."""
    place = folder / "disk"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", place], check=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", place], check=True)


def remount(place: Path, options: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{options}", place], check=True)


def full(folder: Path) -> str:
    """A disk that is full again and again: after one, two and three megabytes."""
    if os.geteuid():
        return NOT_ROOT
    with mounted(folder, "1m") as disk:
        path, stops = disk / "run", 0
        ended = run(*SMALL, *ALONE, "--output", path)
        for size in ("2m", "3m", "100m"):
            expect(ended.code in (1, 2), f"exit code {ended.code} on a full disk:\n{ended.text[-2000:]}")
            by_database = any(text in ended.text for text in ("cannot be used now", "optuna.db cannot be written"))
            ended.says("full" if by_database else "No space left on device")
            stops, before = stops + 1, cells(path)
            remount(disk, f"size={size}")
            ended = resume(path) if (path / "study.json").is_file() else run(*SMALL, *ALONE, "--output", path)
            nothing_twice(before, path)
            if ended.code == 0:
                break
        ended.ended(0)
        whole(path)
    return f"{stops} stops with 'No space left on device' and the command to go on with; complete once there was room"


def read_only(folder: Path) -> str:
    """An output that cannot be written from the start, and one that no longer can."""
    if os.geteuid():
        return NOT_ROOT
    with mounted(folder, "100m") as disk:
        remount(disk, "ro")
        run(*SMALL, "--output", disk / "run").says("Read-only file system")
        remount(disk, "rw")
        path = disk / "run"
        process = Process(folder / "log", *SMALL, *ALONE, "--output", path)
        process.wait_for(path, "search", 3)
        busy = _busy(disk)
        ended = process.end()
        told = "before anything began"
        if busy:
            told += " (in the middle the kernel refused: a file was open)"
        else:
            ended.ended(1).says("Read-only file system", "--resume")
            told += ", and in the middle of the search"
        before = cells(path)
        remount(disk, "rw")
        resume(path).ended(0)
        nothing_twice(before, path)
        whole(path)
    return f"'Read-only file system' {told}; complete once it could be written"


def _busy(disk: Path) -> bool:
    """Make it read-only; say whether the kernel refuses, because a file is open for writing."""
    return subprocess.run(["mount", "-o", "remount,ro", disk], capture_output=True, check=False).returncode != 0


def damaged(folder: Path) -> str:
    """Every kind of file of an interrupted run, cut in half or overwritten."""
    calm, path = folder / "calm", folder / "run"
    run(*SMALL, *ALONE, "--output", calm).ended(0)
    told = []
    for name, damage in DAMAGES.items():
        shutil.copytree(calm, path)
        for stage in ("sweep", "evaluate", "block", "attack"):
            shutil.rmtree(path / "cells" / stage)
        damage(path)
        resume(path).ended(0).says()
        whole(path)
        same_tables(path, calm)
        shutil.rmtree(path)
        told.append(name)
    return f"{', '.join(told)}: resumed without a traceback, complete, tables equal to the undamaged run's"


def _halve(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def _first(path: Path, pattern: str) -> Path:
    return sorted(path.glob(pattern))[0]


def _checkpoint(path: Path) -> None:
    """A training's state that was cut off, and the training not done."""
    cell = _first(path, "cells/confirm/*.json")
    state = path / "tune" / "checkpoints" / f"confirm~{cell.stem}.pt"
    state.parent.mkdir(parents=True, exist_ok=True)
    state.write_bytes(_first(path, "models/**/*.pt").read_bytes()[:2000])
    cell.unlink()


DAMAGES: Mapping[str, Callable[[Path], None]] = {
    "half a cell of the search": lambda path: _halve(_first(path, "cells/search/*.json")),
    "half a cell of a retraining": lambda path: _halve(_first(path, "cells/confirm/*.json")),
    "half a table": lambda path: _halve(path / "trials.parquet"),
    "half of optuna.db": lambda path: _halve(path / "optuna.db"),
    "optuna.db overwritten": lambda path: (path / "optuna.db").write_bytes(b"no database" * 1000) and None,
    "optuna.db gone": lambda path: (path / "optuna.db").unlink(),
    "half a checkpoint": _checkpoint,
    "tune/ gone": lambda path: shutil.rmtree(path / "tune"),
}

DISTURBANCES: Mapping[str, Callable[[Path], str]] = {
    "full disk": full,
    "read-only disk": read_only,
    "damaged files": damaged,
}
