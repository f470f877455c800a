"""One image or label map from its file: upright, grey or RGB, made to cover a size and cropped in the middle.

    16-bit grey    its values divided by 257
    transparency   laid over white
    CMYK, palette  converted to RGB
    EXIF rotation  applied
    several frames the first

A JPEG much larger than what is wanted is decoded at a half, a quarter or an eighth of its size, never at less than
twice the wanted one.
"""

import struct
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageOps

from study.data.types import IGNORED, Int64Array, UInt8Array

EXTENSIONS = frozenset(".png .jpg .jpeg .bmp .gif .tif .tiff .webp .ppm .pgm .pbm".split())
"""Files that are taken for images, by the end of their names, in capitals or not."""
GREY_MODES = ("1", "L", "LA", "La")
WIDE_MODES = ("I", "I;16", "I;16B", "I;16L", "I;16N")
"""Pillow's modes of grey images with 16 bits."""
MAP_MODES = ("1", "L", "P", *WIDE_MODES)
WIDE = 65_535
ORIENTATION = 0x0112
"""EXIF tag; values from 5 on swap height and width."""
STORED_SIZE = (0x0100, 0x0101)
"""Tags of a TIFF: width and height before it is turned."""
MAP_IGNORED = 255
"""Value of a label map that means "no label" where nothing else is said."""


class UnreadableError(ValueError):
    """A file cannot be used; the message says why, without the file's name."""


class Header(NamedTuple):
    """What is known of an image before it is decoded: upright height and width, and whether it has no colour."""

    height: int
    width: int
    grey: bool


def read_header(path: str | Path) -> Header:
    """Return size and kind of an image.

    Raises:
        UnreadableError: no image, or one of a kind that has no 8- or 16-bit values.
    """
    with _opened(path) as image:
        _check_mode(image)
        turned = _turned(image)
        height, width = (image.width, image.height) if turned else (image.height, image.width)
        return Header(height, width, image.mode in (*GREY_MODES, *WIDE_MODES))


def read_image(path: str | Path, size: tuple[int, int], channels: int) -> UInt8Array:
    """Return an image, uint8 (H, W, channels): the largest middle part with the side ratio of `size`, resized.

    Bilinear, averaging over the covered area when shrinking.

    Args:
        path: the file.
        size: height and width.
        channels: 1 (grey) or 3 (RGB).

    Raises:
        UnreadableError: the file is damaged or none of an image.
    """
    height, width = size
    with _opened(path) as image:
        _check_mode(image)
        image.draft(None, (2 * max(size), 2 * max(size)))
        upright = _plain(ImageOps.exif_transpose(image), channels)
        box = cover_box(upright.height, upright.width, size)
        resized = upright.resize((width, height), Image.Resampling.BILINEAR, box=box)
        return np.asarray(resized, dtype=np.uint8).reshape(height, width, channels)


def read_map(
    path: str | Path, size: tuple[int, int], full: tuple[int, int], meaning: Mapping[int, int] | None = None
) -> Int64Array:
    """Return a label map, int64 (H, W), cut and resized as its image, to the nearest pixel; `IGNORED` for none.

    Args:
        path: the file: one channel or a palette; NAME.mat as in the Semantic Boundaries Dataset.
        size: height and width.
        full: height and width of the image that it belongs to, upright.
        meaning: value in the file → class or `IGNORED`, for every value that may come; None: values are classes, and
            `MAP_IGNORED` is none.

    Raises:
        UnreadableError: the file is damaged, not of the image's size, has colours, no labelled pixel, or a value that
            `meaning` does not have.
    """
    height, width = size
    with _opened(path) as image:
        if image.mode not in MAP_MODES:
            raise UnreadableError(f"expected a label map with one channel or a palette, got mode {image.mode}")
        if (image.height, image.width) != full:
            raise UnreadableError(
                f"expected a label map of its image's size, {full[0]}x{full[1]}, got {image.height}x{image.width}"
            )
        resized = image.resize((width, height), Image.Resampling.NEAREST, box=cover_box(*full, size))
        labels = np.array(resized, dtype=np.int64)
    named = _named(labels, {MAP_IGNORED: IGNORED} if meaning is None else meaning, strict=meaning is not None)
    if (named == IGNORED).all():
        raise UnreadableError("expected a labelled pixel, got none in the part that is used")
    return named


def cover_box(height: int, width: int, size: tuple[int, int]) -> tuple[float, float, float, float]:
    """Return left, top, right and bottom of the largest middle part with the side ratio of `size` (height, width)."""
    scale = min(height / size[0], width / size[1])
    rows, columns = size[0] * scale, size[1] * scale
    left, top = (width - columns) / 2, (height - rows) / 2
    return left, top, left + columns, top + rows


_BROKEN = (
    OSError,
    ValueError,
    SyntaxError,
    EOFError,
    ArithmeticError,
    LookupError,
    TypeError,
    MemoryError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)
"""What Pillow raises for damaged files."""


@contextmanager
def _opened(path: str | Path) -> Iterator[Image.Image]:
    """Give the image in a file; whatever goes wrong with it is an UnreadableError."""
    try:
        if str(path).endswith(".mat"):
            yield _of_sbd(path)
            return
        # By its name Pillow maps a plain TIFF into memory, and one that is turned comes out scrambled.
        with open(path, "rb") as file, Image.open(file) as image:
            yield image
    except UnreadableError:
        raise
    except _BROKEN as error:
        raise UnreadableError(_reason(error)) from error


def _of_sbd(path: str | Path) -> Image.Image:
    """Return a label map of the Semantic Boundaries Dataset, which is a field of a structure in a MATLAB file."""
    from scipy.io import loadmat
    from scipy.io.matlab import MatReadError

    try:
        return Image.fromarray(np.asarray(loadmat(path)["GTcls"]["Segmentation"][0, 0], dtype=np.uint8))
    except (MatReadError, NotImplementedError) as error:
        raise UnreadableError(_reason(error)) from error


def _reason(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    text = " ".join(str(error).split())
    return "no image that can be read" if "cannot identify" in text else text or type(error).__name__


def _turned(image: Image.Image) -> bool:
    """Say whether an image is turned by a quarter and its size does not tell it yet, as Pillow's sizes of TIFFs do.

    A PNG is not decoded to look for that behind its pixels.
    """
    if image.format == "PNG" and "exif" not in image.info:
        return False
    try:
        tags = image.getexif()
        stored = image.format != "TIFF" or image.size == tuple(tags.get(tag) for tag in STORED_SIZE)
        return int(tags.get(ORIENTATION, 1)) >= 5 and stored
    except _BROKEN:
        return False


def _check_mode(image: Image.Image) -> None:
    if image.mode == "F":
        raise UnreadableError("expected whole grey levels of 8 or 16 bits, got floating-point numbers")


def _plain(image: Image.Image, channels: int) -> Image.Image:
    """Return an image without transparency, of 8 bits, grey or RGB."""
    if image.mode in WIDE_MODES:
        values = np.array(image, dtype=np.int64)
        if values.min() < 0 or values.max() > WIDE:
            raise UnreadableError(f"expected grey levels of 8 or 16 bits, got {values.min()} to {values.max()}")
        grey = np.rint(values / 257).astype(np.uint8)
        clear = image.info.get("transparency")
        if isinstance(clear, int):  # the one level that a PNG may call transparent
            grey[values == clear] = 255
        image = Image.fromarray(grey)
    if image.has_transparency_data:
        ground = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(ground, image.convert("RGBA"))
    return image.convert("L" if channels == 1 else "RGB")


def _named(labels: Int64Array, meaning: Mapping[int, int], *, strict: bool) -> Int64Array:
    """Return labels by their meaning; a value without one stays, or is refused."""
    named = labels.copy()
    known = np.zeros(labels.shape, dtype=bool)
    for value, label in meaning.items():
        at = labels == value
        named[at] = label
        known |= at
    if strict and not known.all():
        raise UnreadableError(f"expected values {', '.join(map(str, sorted(meaning)))}, got {labels[~known][0]}")
    return named
