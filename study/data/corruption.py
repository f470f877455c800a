"""Common corruptions (Hendrycks & Dietterich 2019): made here with seeds, or read from the official CIFAR-10-C files.

    corrupted = corrupt(images, "fog", severity=3, seed=0)

Formulas and strengths are the published ones (`study.data.corruptions`); results are rounded to whole grey levels,
where the official files cut them off. `Kind.differs` names what else is unlike them.
"""

import hashlib
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from study.data.corruptions.kinds import KINDS, SEVERITIES, TEST_KINDS, VALIDATION_KINDS, Kind, applicable
from study.data.npz import UNREADABLE
from study.data.types import Images, Int64Array, Source, UInt8Array, check_image_array, describe, read_only
from study.errors import InputError, unknown
from study.seeds import derive

__all__ = [
    "CIFAR_C_ROWS",
    "KINDS",
    "SEVERITIES",
    "TEST_KINDS",
    "VALIDATION_KINDS",
    "VERSION",
    "Kind",
    "applicable",
    "corrupt",
    "corrupted",
    "official",
    "read_cifar_c",
]

VERSION = 1
"""Raised when a corruption's result changes, so that older files in a cache are not taken for the new ones."""
CHUNK_VALUES = 2**21
"""Values worked on at once. It changes memory and time, never the result."""
CIFAR_C_ROWS = 50_000
CIFAR_C_SHAPE = (32, 32, 3)


def corrupt(
    images: UInt8Array, kind: str, severity: int, seed: int, *, indices: Sequence[int] | None = None
) -> UInt8Array:
    """Return the images under one corruption.

    All that is random about an image follows from (seed, kind, severity, its index), so it has the same bits alone, in
    any batch and in any process. (Streams of numpy's generators, and Pillow's JPEG coder, may change with their
    versions.)

    Args:
        images: uint8 (N, H, W, C), C = 1 or 3; not written to.
        kind: a name in `KINDS`.
        severity: 1 (weakest) to 5.
        seed: whole number of at least 0.
        indices: the images' indices (N,), at least 0; 0 to N − 1 if None. Image 7 of a set, alone, has index 7.

    Returns:
        uint8 (N, H, W, C), read-only.

    Raises:
        InputError: unknown kind or severity, a kind that cannot be used on images of this shape (see `applicable`), or
            an argument outside of its range.
    """
    check_image_array(images)
    _check(images, kind, severity, seed)
    places = range(len(images)) if indices is None else indices
    if len(places) != len(images) or any(place < 0 for place in places):
        raise InputError(f"indices: expected {len(images)} whole numbers of at least 0, got {list(places)[:10]}")
    chunk = max(1, CHUNK_VALUES // (images[0].size if len(images) else 1))
    strength = KINDS[kind].strength(images.shape[1:], severity)
    stream = derive(seed, "corruption", kind, severity)
    result = np.empty(images.shape, dtype=np.uint8)
    for start in range(0, len(images), chunk):
        part = slice(start, start + chunk)
        generators = [np.random.default_rng((stream, int(place))) for place in places[part]]
        values = KINDS[kind].apply(images[part].astype(np.float32) / np.float32(255), strength, generators)
        result[part] = np.rint(values.clip(0, 1) * np.float32(255))
    return read_only(result)


def _check(images: UInt8Array, kind: str, severity: int, seed: int) -> None:
    """Raise InputError unless this corruption exists and can be used on images of this shape."""
    if kind not in KINDS:
        raise unknown("corruption", kind, KINDS)
    if severity not in SEVERITIES or isinstance(severity, bool | float):
        raise InputError(f"{kind}: severity: expected one of {', '.join(map(str, SEVERITIES))}, got {severity!r}")
    if seed < 0:
        raise InputError(f"{kind}: seed: expected a whole number of at least 0, got {seed!r}")
    reason = applicable(images.shape[1:])[kind]
    if reason:
        raise InputError(f"{kind} cannot be used: {reason}")


def corrupted(images: UInt8Array, kind: str, severity: int, seed: int, folder: Path | None) -> UInt8Array:
    """Return `corrupt(images, kind, severity, seed)`, computed once for every content and kept in a folder.

    The file's name carries the SHA-256 of the images, their shape, kind, severity, seed and `VERSION`. A file appears
    whole or not at all, so many processes may share a folder; one that cannot be read is made again.

    Args:
        images: uint8 (N, H, W, C).
        kind: a name in `KINDS`.
        severity: 1 to 5.
        seed: whole number of at least 0.
        folder: where files are kept, made if it is missing; None keeps nothing.

    Raises:
        InputError: as `corrupt`, or a folder that cannot be written to.
    """
    check_image_array(images)
    _check(images, kind, severity, seed)
    if folder is None:
        return corrupt(images, kind, severity, seed)
    path = folder / f"{kind}-{severity}-{_digest(images, kind, severity, seed)}.npz"
    kept = _read_kept(path, images.shape)
    if kept is not None:
        return kept
    result = corrupt(images, kind, severity, seed)
    try:
        _write(path, result)
    except OSError as error:
        raise InputError(f"{folder}: expected a folder that can be written to: {error.strerror}") from error
    return result


def _digest(images: UInt8Array, kind: str, severity: int, seed: int) -> str:
    digest = hashlib.sha256(f"{VERSION}/{kind}/{severity}/{seed}/{images.shape}/".encode())
    digest.update(np.ascontiguousarray(images).data)
    return digest.hexdigest()


def _read_kept(path: Path, shape: tuple[int, ...]) -> UInt8Array | None:
    """Return the images in a file of the cache, None if it is missing, damaged (zip's own CRC-32) or something else."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            images = archive["images"]
    except (*UNREADABLE, KeyError, AttributeError, TypeError):
        return None
    return read_only(images) if images.dtype == np.uint8 and images.shape == shape else None


def _write(path: Path, images: UInt8Array) -> None:
    """Write a file of the cache so that it appears whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".corruption.", suffix=".npz")
    try:
        with os.fdopen(handle, "wb") as file:
            np.savez(file, images=images)
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def read_cifar_c(folder: Path, kind: str, rows: int = CIFAR_C_ROWS) -> dict[int, tuple[UInt8Array, Int64Array]]:
    """Return the official CIFAR-10-C (or CIFAR-100-C) images and labels of one kind, by severity.

    The folder holds `<kind>.npy`, uint8 (rows, 32, 32, 3), the test set once for each severity 1 to 5, and
    `labels.npy` (rows,), the test set's labels five times.

    Args:
        folder: where the files are.
        kind: a name in `KINDS`.
        rows: images in a file, a multiple of 5.

    Returns:
        severity → images uint8 (rows / 5, 32, 32, 3), labels int64 (rows / 5,), read-only.

    Raises:
        InputError: an unknown kind; a file that is missing, cannot be read, or is not as described here.
    """
    if kind not in KINDS:
        raise unknown("corruption", kind, KINDS)
    if rows < len(SEVERITIES) or rows % len(SEVERITIES):
        raise InputError(f"rows: expected a multiple of {len(SEVERITIES)}, got {rows}")
    images = _read_array(folder / f"{kind}.npy", (rows, *CIFAR_C_SHAPE))
    if images.dtype != np.uint8:
        raise InputError(f"{folder / f'{kind}.npy'}: expected uint8 images, got {describe(images)}")
    labels = _read_array(folder / "labels.npy", (rows,))
    if labels.dtype.kind not in "iu" or labels.min() < 0:
        raise InputError(f"{folder / 'labels.npy'}: expected whole numbers of at least 0, got {describe(labels)}")
    stacked = labels.reshape(len(SEVERITIES), -1).astype(np.int64)
    if (stacked != stacked[0]).any():
        raise InputError(f"{folder / 'labels.npy'}: expected the same labels for every severity, got different ones")
    size = rows // len(SEVERITIES)
    return {
        severity: (read_only(images[i * size : (i + 1) * size]), read_only(stacked[i]))
        for i, severity in enumerate(SEVERITIES)
    }


def official(source: Source, test: Images, points: Int64Array, kind: str, severity: int) -> UInt8Array | None:
    """Return some test images under one corruption as published; None where the user does not have these files.

    Also None for test images that are not the whole official test set in its order, as in an open-set split.

    Args:
        source: the data set; `official_corruptions` names the folder.
        test: the test images of the split.
        points: which of them.
        kind: a name in `KINDS`.
        severity: 1 to 5.

    Raises:
        InputError: the folder's files are not as published, or belong to another test set.
    """
    folder = source.official_corruptions
    if folder is None or source.test is None or not np.array_equal(test.labels, source.test.labels):
        return None
    images, labels = read_cifar_c(folder, kind, rows=len(SEVERITIES) * len(test))[severity]
    if not np.array_equal(labels, test.labels):
        raise InputError(f"{folder / 'labels.npy'}: expected the labels of {source.name}'s test set, got others")
    return images[points]


def _read_array(path: Path, shape: tuple[int, ...]) -> npt.NDArray[Any]:
    """Return the array in a .npy file, or raise InputError unless it is one of this shape."""
    if not path.is_file():
        raise InputError(f"{path}: expected a file of CIFAR-10-C as published (.npy), got no such file")
    try:
        array = np.lib.format.open_memmap(path, mode="r")
    except UNREADABLE as error:
        raise InputError(f"{path}: expected a NumPy array, got a file that cannot be read as one: {error}") from error
    if not isinstance(array, np.ndarray) or array.shape != shape:
        raise InputError(f"{path}: expected an array of shape {shape}, got {describe(array)}")
    return array
