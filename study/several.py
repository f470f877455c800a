"""Every task in one go: `python -m study.tune --task all`. One run directory a task, one Ray, one scoreboard.

A directory of several runs holds `all.json`, the studies that were asked for, and a run directory for each task. To
resume it is to finish the runs that are not complete and to begin those that never began.
"""

import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from study.config import StudyConfig
from study.errors import InputError
from study.run import RunDirectory, write_json

ALL_FILE = "all.json"
VERSION = 1


def begin(folder: Path, configs: Sequence[StudyConfig], command: str) -> None:
    """Write down what was asked for."""
    folder.mkdir(parents=True, exist_ok=True)
    studies = [config.to_dict() for config in configs]
    write_json(folder / ALL_FILE, {"version": VERSION, "command": command, "studies": studies})


def asked(folder: Path) -> tuple[list[StudyConfig], str]:
    """Return what was asked for, and by which command.

    Raises:
        InputError: the record cannot be read.
    """
    path = folder / ALL_FILE
    try:
        values = json.loads(path.read_text())
        return [StudyConfig.from_dict(study) for study in values["studies"]], values["command"]
    except (ValueError, KeyError, TypeError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path} cannot be read ({type(error).__name__}: {error}); restore it from a copy") from error


def run_directories(path: Path) -> list[RunDirectory]:
    """Return the run at a path, or the runs in it that have begun.

    Raises:
        InputError: no run there.
    """
    if not is_several(path):
        return [RunDirectory(path)]
    runs = [RunDirectory(path / config.task) for config in asked(path)[0]]
    begun = [run for run in runs if run.study_file.is_file()]
    if not begun:
        raise InputError(f"{path}: none of its tasks has begun")
    return begun


def is_several(path: Path) -> bool:
    """Say whether a directory holds several runs."""
    return (path / ALL_FILE).is_file()


def default_folder() -> Path:
    """Return results/all-TIME."""
    return Path("results") / f"all-{time.strftime('%Y%m%d-%H%M%S')}"


def work(folder: Path, configs: Sequence[StudyConfig], one: Callable[[StudyConfig, Path], int]) -> int:
    """Do one task after the other and return the worst exit code; an interruption ends it.

    Args:
        folder: of the runs.
        configs: the studies.
        one: does the study of one task in its directory and returns an exit code.
    """
    worst = 0
    for index, config in enumerate(configs):
        print(f"\n[{index + 1}/{len(configs)}] {config.task}", flush=True)
        code = one(config, folder / config.task)
        worst = max(worst, code)
        if code > 1:
            return code
    return worst
