"""A lock between processes on one file system: one of them works, the others wait and find it done."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from study.errors import InputError, without_locks


@contextmanager
def held(path: Path) -> Iterator[None]:
    """Hold the lock of a path, in the file PATH.lock; wait while another process has it.

    The operating system releases it when the process ends, however it ends.

    Raises:
        InputError: the folder cannot be written to, or its file system has no locks.
    """
    lock = path.with_name(f"{path.name}.lock")
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(lock, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise InputError(
            f"{lock.parent}: expected a folder that can be written to: {error.strerror}\nchoose another --data-dir"
        ) from error
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
        except OSError as error:
            raise without_locks(lock.parent, error) from error
        yield
    finally:
        os.close(handle)
