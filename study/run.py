"""The run directory: cells, paths, the record of the study, the lock, and atomic writes.

A cell is one small JSON file for one finished piece of work. Cells and `optuna.db` are the truth of what is done; every
table is rebuilt from them. A file appears whole or not at all, so a process may be killed at any moment.
"""

import errno
import fcntl
import hashlib
import io
import json
import os
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

from study.errors import CannotGoOn, InputError, without_locks
from study.shape import STUDY, cell_shape, mismatch

VERSION = 1
SEEN_SECONDS = 60.0
"""A shared file system shows another node's new file within this time."""
STAGES = ("search", "rescore", "confirm", "sweep", "cost", "evaluate", "block", "attack")
LONGEST_NAME = 240
"""Characters of a cell's name: file systems allow 255 bytes, and stage and ending are added to it."""
NO_FILE = (errno.EISDIR, errno.ELOOP)
"""What the system says of a folder, or of a link to itself, in a cell's place: no reading brings that back."""
BEST = "best"
"""Name of the weights that a trained defence keeps beside the last: of the epoch that was best on validation images
under attack."""


@dataclass(frozen=True, order=True)
class Key:
    """The name of a cell."""

    stage: str
    method: str
    loss: str
    arm: str
    """Empty in search, rescore and sweep: they belong to the `tuned` arm's search."""
    replicate: int
    number: int
    """Trial number in the search stages, index of the retraining from `confirm` on."""
    variant: str = ""
    """What else tells two cells of one model apart, for example "Linf-0.1"."""

    def at(self, stage: str, variant: str = "") -> "Key":
        """Return the cell of the same model at another stage."""
        return replace(self, stage=stage, variant=variant)

    @property
    def name(self) -> str:
        """Return a readable name that is also a safe file name, whatever the loss is called."""
        parts = [self.method, quote(self.loss, safe="+"), self.arm, f"r{self.replicate}", f"n{self.number:03d}"]
        name = "~".join(part for part in (*parts, quote(self.variant, safe="+")) if part)
        if len(name) <= LONGEST_NAME:
            return name
        return f"{name[: LONGEST_NAME - 17]}-{hashlib.sha256(name.encode()).hexdigest()[:16]}"

    def __str__(self) -> str:
        return f"{self.stage}/{self.name}"


def write_atomic(path: Path, data: bytes) -> None:
    """Write a file so that it is either the old one or the whole new one.

    Raises:
        CannotGoOn: the disk is full, read-only, or gone.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:40]}.")
    except OSError as error:
        raise CannotGoOn(f"{path} cannot be written: {error.strerror}") from error
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except OSError as error:
        Path(temporary).unlink(missing_ok=True)
        raise CannotGoOn(f"{path} cannot be written: {error.strerror}") from error
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def write_json(path: Path, value: Any) -> None:  # noqa: ANN401
    """Write JSON; NaN stands as null, so that any reader can read it."""
    write_atomic(path, json.dumps(_plain(value), indent=1, allow_nan=False).encode())


def _plain(value: Any) -> Any:  # noqa: ANN401
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return None
    return value


class RunDirectory:
    """Paths and cells of one run. Everything else about a run is a function of these."""

    def __init__(self, path: Path) -> None:
        self.path = path.resolve()

    @property
    def study_file(self) -> Path:
        """The record of the study."""
        return self.path / "study.json"

    @property
    def storage(self) -> Path:
        """Optuna's database."""
        return self.path / "optuna.db"

    def cell(self, key: Key) -> Path:
        """Return where a cell lies, written or not."""
        return self.path / "cells" / key.stage / f"{key.name}.json"

    def model(self, key: Key) -> Path:
        """Return where the weights of a confirmed model lie."""
        loss = quote(key.loss, safe="+")
        return self.path / "models" / key.method / loss / f"{key.arm}-{key.replicate}-{key.number}.pt"

    def scores(self, key: Key) -> Path:
        """Return where the raw outputs behind an evaluation's metrics lie."""
        return self.path / "scores" / key.stage / f"{key.name}.npz"

    def checkpoint(self, key: Key) -> Path:
        """Return where a training that is still running keeps its state."""
        return self.path / "tune" / "checkpoints" / f"{key.stage}~{key.name}.pt"

    def read_study(self) -> dict[str, Any]:
        """Return study.json.

        Raises:
            InputError: the directory is no run of this version.
        """
        if not self.study_file.is_file():
            inside = ", ".join(sorted(file.parent.name for file in self.path.glob("*/study.json")))
            raise InputError(
                f"not a run directory: {self.path}\n"
                f"expected: {f'one of the runs in it: {inside}' if inside else 'a directory with study.json in it'}"
            )
        study: dict[str, Any] = read_json(self.study_file)
        if not isinstance(study, dict) or study.get("version") != VERSION:
            found = study.get("version") if isinstance(study, dict) else study
            raise InputError(f"{self.study_file}: expected a record of version {VERSION}, got {found!r:.60}")
        wrong = mismatch(study, STUDY)
        if wrong:
            raise InputError(f"{self.study_file} is damaged: {wrong}\nrestore it from a copy")
        return study

    def refuse_copy(self, study: Mapping[str, Any]) -> None:
        """Refuse a copy of tables and page without the cells: made again from nothing, they would be lost.

        Raises:
            InputError: the record counts cells, and there is none.
        """
        done = study.get("cells", {}).get("complete", 0)
        if done and not any((self.path / "cells").glob("*/*.json")):
            raise InputError(
                f"{self.path}: no cells, though its record counts {done}: a copy of tables and page alone?\n"
                "they can be read as they are, and made again or gone on with where the whole run lies"
            )

    def write_study(self, study: Mapping[str, Any]) -> None:
        """Write study.json."""
        write_json(self.study_file, study)

    def write_cell(self, key: Key, value: Mapping[str, Any]) -> None:
        """Write a cell; from now on its work is done."""
        write_json(self.cell(key), {"key": asdict(key), **value})

    def read_cell(self, key: Key) -> dict[str, Any] | None:
        """Return a cell, or None if its work is not done."""
        return _read(self.cell(key))

    def awaited_cell(self, key: Key, seconds: float = SEEN_SECONDS) -> dict[str, Any] | None:
        """Return a cell that another node has written, once it is seen here; None: not within so many seconds."""
        until = time.monotonic() + seconds
        while (cell := self.read_cell(key)) is None and time.monotonic() < until:
            time.sleep(0.5)
        return cell

    def cells(self, stage: str) -> Iterator[tuple[Key, dict[str, Any]]]:
        """Yield the finished cells of a stage, in the order of their names."""
        for path in sorted((self.path / "cells" / stage).glob("*.json")):
            value = _read(path)
            if value is not None:
                yield Key(**value["key"]), value

    def tell_damage(self) -> None:
        """Set aside the cells that lack what every reader counts on, and say which: their work counts as not done."""
        for path in sorted((self.path / "cells").glob("*/*.json")):
            value = _read(path)
            wrong = (
                "it cannot be read" if value is None else mismatch(value, cell_shape(path.parent.name, value["state"]))
            )
            if value is not None and wrong:
                set_aside(path)
            if wrong:
                print(f"{path.relative_to(self.path)} is damaged ({wrong}): set aside, its work is not done")

    def new(self) -> bool:
        """Say whether nothing is there, but perhaps the lock of an attempt that never began."""
        return not self.path.exists() or (self.path.is_dir() and all(p.name == ".lock" for p in self.path.iterdir()))


def read_json(path: Path) -> Any:  # noqa: ANN401
    """Return what a JSON file holds.

    Raises:
        InputError: it cannot be read.
    """
    try:
        return json.loads(path.read_text())
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} cannot be read as JSON ({error}); restore it from a copy") from error


def _read(path: Path) -> dict[str, Any] | None:
    """Return a cell's content; one that was damaged from outside is set aside, and its work is done again.

    Raises:
        OSError: it cannot be read now (no file handle left, a server or a disk that fails) and may well be whole.
    """
    try:
        value: dict[str, Any] = json.loads(path.read_text())
        key = Key(**value["key"])
        if (key.stage, key.name) != (path.parent.name, path.stem) or value["state"] not in ("complete", "failed"):
            raise ValueError(f"the cell of {key}")
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError, RecursionError, OSError) as error:
        if isinstance(error, OSError) and error.errno not in NO_FILE:
            raise OSError(error.errno, error.strerror, str(path)) from error  # what fails in reading names no file
        set_aside(path)
        return None
    return value


def set_aside(path: Path) -> None:
    """Rename a file or folder that cannot be used to NAME.damaged; one that another process has renamed is gone."""
    aside = path.with_suffix(".damaged")
    number = 2
    while aside.is_symlink() or aside.exists():
        aside = path.with_suffix(f".damaged{number}")
        number += 1
    with suppress(FileNotFoundError):
        path.replace(aside)


@contextmanager
def locked(run: RunDirectory) -> Iterator[None]:
    """Hold a run for this process; the operating system releases it when the process ends, however it ends.

    Raises:
        InputError: another process holds it, or its file system has no locks.
    """
    run.path.mkdir(parents=True, exist_ok=True)
    with open(run.path / ".lock", "a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise InputError(
                f"another process works on this run: {run.path}\nit is process {file.read().strip() or 'unknown'}; "
                "wait for it, stop it, or choose another --output"
            ) from None
        except OSError as error:
            raise without_locks(run.path, error) from error
        file.seek(0)
        file.truncate()
        file.write(f"{os.getpid()} on {os.uname().nodename}")
        file.flush()
        yield


def npz_bytes(arrays: Mapping[str, Any]) -> bytes:
    """Return arrays as the bytes of a compressed npz file, ready for `write_atomic`."""
    import numpy as np

    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()
