"""Experiences of a continual learner: which classes come together, and which images stay in its memory."""

import numpy as np

from study.data.types import Images, Int64Array
from study.errors import InputError

_STREAM = 12


def experiences(num_classes: int, count: int, order_seed: int) -> tuple[tuple[int, ...], ...]:
    """Return the class indices of each experience: a random order of the classes in equal parts.

    Args:
        num_classes: C.
        count: number of experiences T, at least 2; C must be a multiple of it.
        order_seed: of the order.

    Raises:
        InputError: fewer than two experiences, or classes that cannot be dealt out equally.
    """
    if count < 2:
        raise InputError(f"experiences: expected at least 2, got {count}")
    if num_classes % count or num_classes < count:
        raise InputError(
            f"experiences: {num_classes} classes cannot be dealt out equally to {count}\n"
            f"allowed: data with a multiple of {count} classes"
        )
    order = np.random.default_rng([_STREAM, order_seed]).permutation(num_classes).reshape(count, -1)
    return tuple(tuple(int(c) for c in part) for part in order)


def positions_of(images: Images, classes: tuple[int, ...]) -> Int64Array:
    """Return the positions of the images of these classes, in rising order."""
    return np.flatnonzero(np.isin(images.labels, classes)).astype(np.int64)


def reservoir(kept: list[int], seen: int, more: Int64Array, size: int, generator: np.random.Generator) -> list[int]:
    """Return a memory after more images have passed: each image seen so far is in it with the same probability.

    Algorithm R (Vitter 1985): the n-th image takes a place with probability size / n, a random one once all are taken.
    What is kept are positions in the training set, which lies in memory as uint8 anyway.

    Args:
        kept: positions in the memory so far; at most `size`.
        seen: how many images have passed before.
        more: positions of the images that pass now, in their order.
        size: places in the memory, at least 1.
        generator: what is drawn from.

    Raises:
        InputError: a memory without places.
    """
    if size < 1:
        raise InputError(f"memory: expected at least 1 image, got {size}")
    memory = list(kept)
    for number, position in enumerate(more, start=seen + 1):
        if len(memory) < size:
            memory.append(int(position))
            continue
        place = int(generator.integers(number))
        if place < size:
            memory[place] = int(position)
    return memory
