"""Cutting a source into training, validation and test images, with a long tail or as the data are.

The order is: test images first, then validation images, then the tail from what is left. Each class is shuffled once,
by a generator of (split seed, class), and the parts are consecutive pieces of that order. So
  * the test set depends on the split seed (and its own size) only: not on the ratio, the class order, or validation;
  * the validation set does not depend on the ratio or the class order;
  * a class's training images under a larger ratio are some of those under a smaller one.
Where images come in groups (`Source.groups`), groups are shuffled and not single images, and a part that is held out
ends where a group does, as near to its size as that can be: no group has images in two parts, and a balanced part is
balanced but for that.
An official test set is used whole, in its own order, and never looked at: its labels decide nothing about the rest.
Its order may be by class, so whoever uses only some test images has to draw them.
"""

from collections.abc import Sequence

import numpy as np

from study.data.types import Int64Array, Source, Splits
from study.errors import InputError

MINIMUM_TAIL = 5
"""Fewest training images of a class in a tail that is made."""
TEST_SHARE = 0.20
VALIDATION_SHARE = 0.15
_CLASS_STREAM, _PART_STREAM, _ORDER_STREAM = 0, 1, 2


def tail_counts(n_max: int, ratio: float, num_classes: int, minimum: int = MINIMUM_TAIL) -> tuple[int, ...]:
    """Return exponentially falling class sizes, n_i = max(minimum, floor(n_max · ratio^(−i/(C−1)))), i = 0 … C−1.

    A value within a relative 1e-9 of a whole number counts as that number: 350 · 50^(−1) is 7, whatever the rounding
    of the power. Known sums: (5000, 100, 10) has 12,406 images and (500, 100, 100) has 10,847, the field's CIFAR-10-LT
    and CIFAR-100-LT (Cui et al. 2019; Cao et al. 2019).

    Args:
        n_max: images of the first class, at least `minimum`.
        ratio: n_max over the last class's size, finite and at least 1; 1 is no imbalance.
        num_classes: C, at least 2.
        minimum: smallest class size, at least 1.

    Raises:
        InputError: if an argument is outside of its range.
    """
    if num_classes < 2:
        raise InputError(f"num_classes: expected at least 2, got {num_classes}")
    if minimum < 1:
        raise InputError(f"minimum: expected at least 1 image a class, got {minimum}")
    if n_max < minimum:
        raise InputError(f"n_max: expected at least the smallest class size, {minimum}, got {n_max}")
    if not (np.isfinite(ratio) and ratio >= 1):
        raise InputError(f"imbalance ratio: expected a finite number of at least 1, got {ratio}")
    return tuple(max(minimum, _floor(n_max * ratio ** (-i / (num_classes - 1)))) for i in range(num_classes))


def is_imbalanced(source: Source) -> bool:
    """Say whether a source is imbalanced by nature: its largest class has at least twice its smallest one's images."""
    counts = source.train.counts(source.num_classes)
    return max(counts) >= 2 * min(counts)


def cut_imbalanced(
    source: Source,
    *,
    split_seed: int,
    order_seed: int | None,
    ratio: float | None,
    test_per_class: int | None,
    validation_per_class: int | None,
    n_max: int | None = None,
) -> Splits:
    """Cut a source: test, then validation, then training images with a long tail, or all that are left.

    Args:
        source: the data. Its official test set, if it has one, is the test part, whole and in its own order.
        split_seed: decides which images are test, validation and training images, and their order; at least 0.
        order_seed: decides which classes are head and which are tail; None: the order of the labels. Not used if
            ratio is None.
        ratio: imbalance ratio, see `tail_counts`. None: keep the class sizes as they are; the class order is then
            by falling size.
        test_per_class: test images of each class; None: about 20 % of each class. Not used if there is an official
            test set.
        validation_per_class: validation images of each class; 0: no validation part. None: about 15 % of what test
            left of each class, or, if a ratio is given, of the smallest class for every class (balanced).
        n_max: training images of the head class; None: as many as every class has left. Only with a ratio.

    Shares are rounded and at least 1; where a class has room they are at least 5, but no more than a quarter of it.

    Raises:
        InputError: if an argument is outside of its range, or a class has too few images; it is named, with how many
            it has and how many are needed.
    """
    _check_arguments(split_seed, order_seed, ratio, test_per_class, validation_per_class, n_max)
    if source.is_map:
        raise InputError(f"{source.name}: expected one label an image, got label maps\nallowed: --task segmentation")
    sizes = source.train.counts(source.num_classes)
    orders = _orders(source, split_seed)
    n_test = [0] * len(sizes) if source.test is not None else _part_sizes(sizes, test_per_class, TEST_SHARE)
    n_test = _whole_groups(source, orders, [0] * len(sizes), n_test)
    left = [size - test for size, test in zip(sizes, n_test, strict=True)]
    n_validation = _validation_sizes(left, validation_per_class, balanced=ratio is not None)
    n_validation = _whole_groups(source, orders, n_test, n_validation)
    left = [size - validation for size, validation in zip(left, n_validation, strict=True)]
    held_out = [test + validation for test, validation in zip(n_test, n_validation, strict=True)]
    if ratio is None:
        order = tuple(sorted(range(len(sizes)), key=lambda c: (-left[c], c)))
        n_train = left
    else:
        order = _class_order(len(sizes), order_seed)
        n_train = _tail_sizes(source, left, held_out, order, ratio, n_max)
    _check_sizes(source, sizes, held_out, [max(n, 1) for n in n_train])
    test, validation, train = _draw(orders, split_seed, [n_test, n_validation, n_train])
    return Splits(
        train=source.train.take(train),
        validation=source.train.take(validation),
        test=source.test if source.test is not None else source.train.take(test),
        classes=source.classes,
        class_counts=tuple(n_train),
        class_order=order,
        n_pool=len(source.train) - sum(n_test),
    )


def _check_arguments(
    split_seed: int,
    order_seed: int | None,
    ratio: float | None,
    test_per_class: int | None,
    validation_per_class: int | None,
    n_max: int | None,
) -> None:
    for name, seed in (("split_seed", split_seed), ("order_seed", order_seed)):
        if seed is not None and seed < 0:
            raise InputError(f"{name}: expected a whole number of at least 0, got {seed}")
    if test_per_class is not None and test_per_class < 1:
        raise InputError(f"test_per_class: expected at least 1, or None for a share, got {test_per_class}")
    if validation_per_class is not None and validation_per_class < 0:
        raise InputError(f"validation_per_class: expected at least 0, or None for a share, got {validation_per_class}")
    if ratio is None and n_max is not None:
        raise InputError(f"n_max: expected None where the class sizes stay as they are (ratio None), got {n_max}")


def _floor(value: float) -> int:
    nearest = round(value)
    return nearest if abs(value - nearest) <= 1e-9 * max(1.0, value) else int(value)


def _share(size: int, share: float) -> int:
    """Return a rounded share of a class: at least 1, and at least 5 where that is no more than a quarter."""
    return max(1, round(share * size), min(5, size // 4))


def _part_sizes(sizes: Sequence[int], per_class: int | None, share: float) -> list[int]:
    return [_share(size, share) if per_class is None else per_class for size in sizes]


def _validation_sizes(left: Sequence[int], per_class: int | None, *, balanced: bool) -> list[int]:
    if per_class is None and balanced:
        per_class = _share(min(left), VALIDATION_SHARE)
    return _part_sizes(left, per_class, VALIDATION_SHARE)


def _class_order(num_classes: int, order_seed: int | None) -> tuple[int, ...]:
    if order_seed is None:
        return tuple(range(num_classes))
    generator = np.random.default_rng([_ORDER_STREAM, order_seed])
    return tuple(int(c) for c in generator.permutation(num_classes))


def _tail_sizes(
    source: Source,
    left: Sequence[int],
    held_out: Sequence[int],
    order: Sequence[int],
    ratio: float,
    n_max: int | None,
) -> list[int]:
    """Return the training images of each class, by its original index."""
    if n_max is None:
        n_max = min(left)
        if n_max < MINIMUM_TAIL:
            needed = [MINIMUM_TAIL] * len(left)
            _check_sizes(source, [a + b for a, b in zip(left, held_out, strict=True)], held_out, needed)
    sizes = [0] * len(left)
    for c, size in zip(order, tail_counts(n_max, ratio, len(left)), strict=True):
        sizes[c] = size
    return sizes


def _check_sizes(source: Source, sizes: Sequence[int], held_out: Sequence[int], training: Sequence[int]) -> None:
    """Raise InputError for the class that is short of most images."""
    needed = [held + train for held, train in zip(held_out, training, strict=True)]
    worst = max(range(len(sizes)), key=lambda c: needed[c] - sizes[c])
    if needed[worst] > sizes[worst]:
        raise InputError(
            f"{source.name}: class {source.classes[worst]!r} has {sizes[worst]} images and needs {needed[worst]}: "
            f"{held_out[worst]} for test and validation, {training[worst]} for training"
        )


def _orders(source: Source, split_seed: int) -> list[Int64Array]:
    """Return each class's positions, shuffled, by a stream of its own; the images of a group follow each other."""
    orders = []
    for c in range(source.num_classes):
        generator = np.random.default_rng([_CLASS_STREAM, split_seed, c])
        positions = np.flatnonzero(source.train.labels == c)
        if source.groups is None:
            orders.append(generator.permutation(positions))
            continue
        numbers, group = np.unique(source.groups[positions], return_inverse=True)
        orders.append(positions[np.argsort(generator.permutation(len(numbers))[group], kind="stable")])
    return orders


def _whole_groups(
    source: Source, orders: Sequence[Int64Array], starts: Sequence[int], sizes: Sequence[int]
) -> list[int]:
    """Return the sizes of a part that begins at `starts` of the orders, each moved to the nearest end of a group."""
    if source.groups is None:
        return list(sizes)
    moved = []
    for order, start, size in zip(orders, starts, sizes, strict=True):
        groups = source.groups[order[start:]]
        ends = np.flatnonzero(np.append(groups[1:] != groups[:-1], True)) + 1  # of the last group, too
        moved.append(int(ends[np.abs(ends - size).argmin()]) if size and len(groups) else size)
    return moved


def _draw(orders: Sequence[Int64Array], split_seed: int, parts: Sequence[Sequence[int]]) -> list[Int64Array]:
    """Return the positions of each part: consecutive pieces of each class's order, the parts shuffled.

    Args:
        orders: positions of each class, see `_orders`.
        split_seed: seed of the shuffles; every part has a stream of its own.
        parts: for each part the number of images of each class.
    """
    pieces: list[list[Int64Array]] = [[] for _ in parts]
    for c, shuffled in enumerate(orders):
        ends = np.cumsum([part[c] for part in parts])
        for piece, end, size in zip(pieces, ends, (part[c] for part in parts), strict=True):
            piece.append(shuffled[end - size : end])
    return [
        np.random.default_rng([_PART_STREAM, split_seed, index]).permutation(np.concatenate(piece))
        for index, piece in enumerate(pieces)
    ]
