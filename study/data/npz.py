"""A user's own images as arrays: `npz:PATH`.

    x_train       uint8 (N, H, W, C) or (N, H, W), C = 1 or 3, at least 8x8 pixels
    y_train       whole numbers (N,): 0 to K−1, every one of them used; or label maps (N, H, W) of such numbers
    x_test        optional, with y_test: the official test set, of the same H, W, C
    y_test        as y_train: (M,) or (M, H, W), classes that y_train has, too
    classes       optional: K names; without it they are called "class 0", "class 1", ...
    ignore_index  optional, with maps: one whole number, the value of pixels without a label

Other keys are left alone. Pickled objects are never loaded.
"""

import lzma
import tokenize
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from study.data.types import IGNORED, MIN_SIDE, Images, Int64Array, Source, UInt8Array, describe
from study.errors import InputError

KEYS = ("x_train", "y_train", "x_test", "y_test", "classes", "ignore_index")
MAX_CLASSES = 100_000
UNREADABLE = (
    ValueError,
    OSError,
    EOFError,
    RuntimeError,
    NotImplementedError,
    OverflowError,
    tokenize.TokenError,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
)
"""What NumPy and zipfile raise for damaged or foreign files."""


def load_npz(path: Path) -> Source:
    """Return the data set in a NumPy archive; see the top of this module for its keys.

    Raises:
        InputError: if the file or anything in it is not as described there; the message says what and where.
    """
    arrays, found = read_archive(path)
    return source_of(arrays, found, path, f"npz:{path}")


def source_of(arrays: Mapping[str, np.ndarray[Any, Any]], found: Sequence[str], path: Path | str, name: str) -> Source:
    """Return the data set in arrays.

    Args:
        arrays: by the keys at the top of this module.
        found: all keys that were there.
        path: where they came from, for messages.
        name: of the source.

    Raises:
        InputError: anything in them is not as described there.
    """
    missing = [key for key in ("x_train", "y_train") if key not in arrays]
    if missing:
        raise InputError(
            f"{path}: expected keys x_train, y_train and optionally x_test, y_test, classes; "
            f"missing {', '.join(missing)}; the file has: {', '.join(found) or 'nothing'}"
        )
    train = _labelled(arrays, "train", path)
    classes = _class_names_of(train.labels, arrays, path)
    return Source(
        name=name,
        train=train,
        test=_official_test(arrays, train, classes, path),
        classes=classes,
        licence="the owner's",
    )


def _labelled(arrays: Mapping[str, np.ndarray[Any, Any]], part: str, path: Path | str) -> Images:
    images = image_array(arrays, f"x_{part}", path)
    maps = arrays[f"y_{part}"].ndim == 3
    labels = _map_array(arrays, part, images, path) if maps else label_array(arrays, f"y_{part}", f"x_{part}", path)
    return Images(images, labels)


def _map_array(
    arrays: Mapping[str, np.ndarray[Any, Any]], part: str, images: UInt8Array, path: Path | str
) -> Int64Array:
    """Return label maps as int64 (N, H, W), `IGNORED` where ignore_index stands, or raise InputError."""
    maps, where = arrays[f"y_{part}"], f"{path}: y_{part}"
    if maps.dtype.kind not in "iu":
        raise InputError(f"{where}: expected label maps of whole numbers, got {describe(maps)}; use .astype('uint8')")
    if maps.shape != images.shape[:3]:
        raise InputError(f"{where}: expected a label for each pixel of x_{part}, {images.shape[:3]}, got {maps.shape}")
    none = arrays.get("ignore_index")
    if none is not None and (none.shape not in ((), (1,)) or none.dtype.kind not in "iu"):
        raise InputError(f"{path}: ignore_index: expected one whole number, got {describe(none)}")
    labels = maps.astype(np.int64)
    if none is not None:
        labels[labels == int(none.item())] = IGNORED
    valid = labels[labels != IGNORED]
    if valid.size and (valid.min() < 0 or valid.max() >= MAX_CLASSES):
        raise InputError(
            f"{where}: expected labels 0 to K−1, with K at most {MAX_CLASSES}, got {valid.min()} to {valid.max()}; "
            f"give the value of pixels without a label as ignore_index"
        )
    bare = np.flatnonzero((labels == IGNORED).all((1, 2)))
    if len(bare):
        raise InputError(f"{where}: expected a labelled pixel in every map, got none in number {bare[0]}")
    return labels


def read_archive(path: Path) -> tuple[dict[str, np.ndarray[Any, Any]], tuple[str, ...]]:
    """Return those arrays of an archive that have one of `KEYS`, by key, and all keys that the archive has.

    Raises:
        InputError: if there is no such file, it is no archive, it is damaged, or it holds pickled objects; also if a
            key is one of ours but for its spelling, as in X_train.
    """
    if not path.is_file():
        kind = "a folder" if path.is_dir() else "no such file"
        raise InputError(f"{path}: expected a NumPy archive as written by numpy.savez, got {kind}")
    try:
        file = path.open("rb")
    except OSError as error:
        raise InputError(f"{path}: expected a file that can be read: {error.strerror}") from error
    with file, _open_archive(file, path) as archive:
        check_spelling(archive.files, path)
        arrays = {key: _read_member(archive, key, path) for key in archive.files if key in KEYS}
        return arrays, tuple(archive.files)


def image_array(arrays: Mapping[str, np.ndarray[Any, Any]], key: str, path: Path | str) -> UInt8Array:
    """Return arrays[key] as uint8 (N, H, W, C), or raise InputError and say what to do about it."""
    images = arrays[key]
    where = f"{path}: {key}"
    if images.dtype != np.uint8:
        raise InputError(f"{where}: expected uint8 images, 0 to 255, got {describe(images)}; {_dtype_advice(images)}")
    if images.ndim not in (3, 4):
        advice = "; flat rows must be reshaped to (N, H, W)" if images.ndim == 2 else ""
        raise InputError(f"{where}: expected uint8 (N, H, W, C) or (N, H, W), got {describe(images)}{advice}")
    if images.ndim == 3:
        images = images[..., None]
    _, height, width, channels = images.shape
    if channels not in (1, 3):
        advice = _channel_advice(images.shape)
        raise InputError(f"{where}: expected 1 (grey) or 3 (RGB) channels last, got shape {images.shape}; {advice}")
    if len(images) == 0:
        raise InputError(f"{where}: expected at least one image, got shape {images.shape}")
    if min(height, width) < MIN_SIDE:
        raise InputError(f"{where}: expected images of at least {MIN_SIDE}x{MIN_SIDE} pixels, got {height}x{width}")
    return np.ascontiguousarray(images)


def label_array(arrays: Mapping[str, np.ndarray[Any, Any]], key: str, images_key: str, path: Path | str) -> Int64Array:
    """Return arrays[key] as int64 (N,), one label for each of arrays[images_key], or raise InputError."""
    labels, count = arrays[key], len(arrays[images_key])
    where = f"{path}: {key}"
    if labels.ndim == 3:
        raise InputError(
            f"{where}: expected one label an image, whole numbers ({count},), got label maps {describe(labels)}; "
            f"maps are data for segmentation, not for classification"
        )
    if labels.ndim > 3:
        advice = "use .squeeze(-1)" if labels.shape[-1] == 1 else "one-hot maps become labels by .argmax over classes"
        raise InputError(f"{where}: expected labels (N,) or label maps (N, H, W), got {describe(labels)}; {advice}")
    if labels.ndim != 1:
        advice = "one-hot rows become labels by .argmax(1)" if labels.shape[-1:] > (1,) else "use .ravel()"
        raise InputError(f"{where}: expected whole numbers ({count},), got {describe(labels)}; {advice}")
    if labels.dtype.kind not in "iu":
        advice = "names go into classes, their positions here" if labels.dtype.kind in "US" else "use .astype(int)"
        raise InputError(f"{where}: expected whole numbers, got {describe(labels)}; {advice}")
    if len(labels) != count:
        raise InputError(f"{where}: expected one label an image, {count} as in {images_key}, got {len(labels)}")
    if count and labels.min() < 0:
        raise InputError(f"{where}: expected labels of at least 0, got {labels.min()}; leave unlabelled images out")
    if count and labels.max() >= MAX_CLASSES:
        raise InputError(f"{where}: expected labels 0 to K−1, with K at most {MAX_CLASSES}, got {labels.max()}")
    return labels.astype(np.int64)


def class_names(arrays: Mapping[str, np.ndarray[Any, Any]], path: Path | str) -> tuple[str, ...] | None:
    """Return the names in arrays["classes"] (text, or whole numbers made into text), or None without that key."""
    names = arrays.get("classes")
    if names is None:
        return None
    if names.ndim != 1 or names.dtype.kind not in "USiu":
        raise InputError(
            f"{path}: classes: expected a list of names, for example numpy.array(['cat', 'dog']), got {describe(names)}"
        )
    if names.dtype.kind == "S":
        names = np.char.decode(names, "utf-8", "replace")
    return tuple(str(name) for name in names)


def _class_names_of(labels: Int64Array, arrays: Mapping[str, Any], path: Path | str) -> tuple[str, ...]:
    """Return the class names; raise unless the training labels are 0 to K−1 with every one of them used."""
    present = _present(labels)
    if len(present) < 2:
        raise InputError(f"{path}: y_train: expected at least two classes, got only label {present[0]}")
    names = class_names(arrays, path)
    highest = int(present[-1])
    if names is not None and highest >= len(names):
        raise InputError(
            f"{path}: classes: expected a name for each of the labels 0 to {highest}, got {len(names)} names: "
            f"{', '.join(names)}"
        )
    expected = highest + 1 if names is None else len(names)
    if len(present) != expected:
        # One of any len(present) + 1 labels must be absent, however high the highest label is.
        absent = np.setdiff1d(np.arange(min(expected, len(present) + 1)), present)[:5]
        shown = ", ".join(str(label) if names is None else f"{label} ({names[label]})" for label in absent)
        raise InputError(
            f"{path}: y_train: expected every label 0 to {expected - 1} at least once, got no image of "
            f"{expected - len(present)} of them, the first: {shown}; number the classes without gaps"
        )
    return names if names is not None else tuple(f"class {label}" for label in range(expected))


def _present(labels: Int64Array) -> Int64Array:
    """Return the labels that there are, in rising order, but for `IGNORED`."""
    return np.flatnonzero(np.bincount(labels[labels != IGNORED]))


def _official_test(
    arrays: Mapping[str, Any], train: Images, classes: tuple[str, ...], path: Path | str
) -> Images | None:
    """Return x_test with y_test, None if the file has neither; raise if they do not go with the training images."""
    given = [key for key in ("x_test", "y_test") if key in arrays]
    if not given:
        return None
    if len(given) == 1:
        raise InputError(f"{path}: expected x_test and y_test, or neither of them, got only {given[0]}")
    test = _labelled(arrays, "test", path)
    if test.labels.ndim != train.labels.ndim:
        raise InputError(
            f"{path}: y_test: expected labels of the kind of y_train, {describe(arrays['y_train'])}, "
            f"got {describe(arrays['y_test'])}"
        )
    if test.images.shape[1:] != train.images.shape[1:]:
        raise InputError(
            f"{path}: x_test: expected images of shape {train.images.shape[1:]} as in x_train, "
            f"got {test.images.shape[1:]}"
        )
    foreign = np.setdiff1d(_present(test.labels), _present(train.labels))
    if len(foreign):
        shown = ", ".join(map(str, foreign[:5]))
        raise InputError(
            f"{path}: y_test: expected labels that y_train has, 0 to {len(classes) - 1}, got also: {shown}"
        )
    return test


def _open_archive(file: BinaryIO, path: Path) -> np.lib.npyio.NpzFile:
    try:
        archive = np.load(file, allow_pickle=False)
    except UNREADABLE as error:
        raise InputError(
            f"{path}: expected a NumPy archive as written by numpy.savez, got a file that cannot be read as one "
            f"(another format, or cut short)"
        ) from error
    if not isinstance(archive, np.lib.npyio.NpzFile):
        raise InputError(f"{path}: expected an archive (.npz) with several arrays, got a single array (.npy)")
    return archive


def _read_member(archive: np.lib.npyio.NpzFile, key: str, path: Path) -> np.ndarray[Any, Any]:
    try:
        array = archive[key]
    except MemoryError as error:
        raise InputError(f"{path}: {key}: expected an array that fits into memory: {error}") from error
    except UNREADABLE as error:
        if "allow_pickle" in str(error):
            advice = "numpy.array(names, dtype=str)" if key == "classes" else "numpy.stack(list_of_arrays)"
            raise InputError(
                f"{path}: {key}: expected a plain array, got pickled Python objects, which are never loaded; "
                f"save it as {advice}"
            ) from error
        raise InputError(f"{path}: {key}: the file is damaged or cut short: {error}") from error
    if not isinstance(array, np.ndarray):
        raise InputError(f"{path}: {key}: expected a NumPy array, got another kind of file in the archive")
    return array


def check_spelling(found: list[str], path: Path | str) -> None:
    """Raise for keys such as X_test: left alone, the official test set would silently not be used."""
    plain = {key.replace("_", ""): key for key in KEYS}
    for key in found:
        meant = plain.get(key.lower().replace("_", "").replace("-", ""))
        if meant is not None and meant != key:
            raise InputError(f"{path}: unknown key {key!r}; known: {', '.join(KEYS)}; did you mean {meant!r}?")


def _dtype_advice(images: np.ndarray[Any, Any]) -> str:
    if images.dtype.kind == "f":
        return "images in [0, 1] become (255 * x).round().astype('uint8')"
    if images.dtype.kind == "b":
        return "masks become 255 * x.astype('uint8')"
    return "scale to 0 to 255, then .astype('uint8')"


def _channel_advice(shape: tuple[int, ...]) -> str:
    if shape[1] in (1, 3):
        return "channels first become channels last by x.transpose(0, 2, 3, 1)"
    if shape[3] in (2, 4):
        return f"leave transparency out by x[..., :{shape[3] - 1}]"
    return "convert to grey or RGB"
