"""Small sources whose images say which image they are."""

from collections.abc import Sequence

import numpy as np

from study.data.types import Images, Source


def numbered(labels: Sequence[int], first: int = 0, side: int = 8, channels: int = 1) -> Images:
    """Return images that carry their own number (see `number_of`), ordered by class like the embedded sources."""
    labels = np.asarray(labels, dtype=np.int64)
    numbers = np.arange(first, first + len(labels), dtype=np.uint32)
    images = np.zeros((len(labels), side, side, channels), dtype=np.uint8)
    images[:, 0, :4, 0] = numbers.view(np.uint8).reshape(-1, 4)
    return Images(images, labels)


def number_of(images: Images) -> list[int]:
    """Return the number that each image carries."""
    return [int(n) for n in np.ascontiguousarray(images.images[:, 0, :4, 0]).view(np.uint32)[:, 0]]


def toy_source(
    counts: Sequence[int], test_counts: Sequence[int] | None = None, names: Sequence[str] | None = None, **shape: int
) -> Source:
    """Return a source with so many images of each class."""
    names = [f"kind {c}" for c in range(len(counts))] if names is None else names
    test = None
    if test_counts is not None:
        test = numbered(np.repeat(np.arange(len(counts)), test_counts), first=1_000_000, **shape)
    return Source("toy", numbered(np.repeat(np.arange(len(counts)), counts), **shape), test, tuple(names), "none")
