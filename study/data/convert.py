"""Bringing images of one shape to another: grey and RGB, and bilinear resizing."""

import numpy as np
from PIL import Image

from study.data.types import UInt8Array

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
