"""Bringing images of one shape to another: grey and RGB, and bilinear resizing."""

from dataclasses import replace

import numpy as np
from PIL import Image

from study.data.types import Images, Source, UInt8Array
from study.errors import InputError

LUMA = np.array([0.299, 0.587, 0.114])
"""Weights of red, green and blue in a grey value (ITU-R BT.601)."""


def to_channels(images: UInt8Array, channels: int) -> UInt8Array:
    """Return images (N, H, W, 1 or 3) with 1 or 3 channels: luma rounded to whole values, or the grey value thrice."""
    if images.shape[-1] == channels:
        return images
    if channels == 1:
        return np.rint(images @ LUMA).astype(np.uint8)[..., None]
    return np.repeat(images, channels, axis=-1)


def to_size(images: UInt8Array, height: int, width: int) -> UInt8Array:
    """Return images (N, H, W, C) at another size: bilinear, averaging over the covered area when shrinking."""
    if images.shape[1:3] == (height, width):
        return images
    resized = np.empty((len(images), height, width, images.shape[3]), dtype=np.uint8)
    for image, target in zip(images, resized, strict=True):
        for channel in range(images.shape[3]):
            plane = Image.fromarray(np.ascontiguousarray(image[..., channel]))
            target[..., channel] = np.asarray(plane.resize((width, height), Image.Resampling.BILINEAR))
    return resized


def to_shape(images: UInt8Array, shape: tuple[int, int, int]) -> UInt8Array:
    """Return images (N, H, W, C) in another shape (height, width, channels): `to_channels`, then `to_size`.

    The side ratio is not kept.
    """
    height, width, channels = shape
    return to_size(to_channels(images, channels), height, width)


def fit_source(source: Source, side: int) -> Source:
    """Return a source with images of `side` x `side` pixels: the middle square, resized (label maps: nearest pixel).

    Args:
        source: the data.
        side: pixels; 0 leaves the source as it is.

    Raises:
        InputError: label maps that have a class, or any label, outside of that square alone.
    """
    if side in (0, source.shape[0]) and side in (0, source.shape[1]):
        return source
    try:
        test = None if source.test is None else _fit(source.test, side)
        return replace(source, train=_fit(source.train, side), test=test, official_corruptions=None)
    except InputError as error:
        where = f"in the middle squares of {source.shape[0]}x{source.shape[1]} pixels, resized to {side}x{side}"
        raise InputError(f"{error}\n{where}") from error


def _fit(images: Images, side: int) -> Images:
    height, width = images.images.shape[1:3]
    shortest = min(height, width)
    top, left = (height - shortest) // 2, (width - shortest) // 2
    middle = np.s_[:, top : top + shortest, left : left + shortest]
    labels = images.labels
    if labels.ndim == 3:
        nearest = np.minimum(((np.arange(side) + 0.5) * shortest / side).astype(np.int64), shortest - 1)
        labels = np.ascontiguousarray(labels[middle][:, nearest][:, :, nearest])
    return Images(to_size(images.images[middle], side, side), labels)
