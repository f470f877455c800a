"""What a model needs to know about its training images before it sees them."""

import numpy as np

from study.data.types import Images
from study.errors import InputError

SMALLEST_STD = 1 / 255
"""Least standard deviation that is returned, one grey level: a constant channel must not be divided by zero."""


def channel_statistics(images: Images) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and standard deviation (ddof 0) of every channel over all pixels, in units of [0, 1].

    They are computed from the counts of the 256 values: exact up to one rounding, whatever the number of images.

    Args:
        images: images (N, H, W, C), N at least 1; the training part, never others.

    Returns:
        C means and C standard deviations; a deviation below `SMALLEST_STD` is returned as that.

    Raises:
        InputError: if there are no images.
    """
    if len(images) == 0:
        raise InputError("channel statistics: expected at least one image, got none")
    values = np.arange(256)
    means, deviations = [], []
    for counts in images.value_counts:
        mean = float(counts @ values) / counts.sum()
        variance = float(counts @ (values - mean) ** 2) / counts.sum()
        means.append(float(mean) / 255)
        deviations.append(max(float(np.sqrt(variance)) / 255, SMALLEST_STD))
    return tuple(means), tuple(deviations)
