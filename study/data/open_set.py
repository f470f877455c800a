"""Open sets: some classes of a source are known, the others are held out and never trained on.

The source is cut whole, as for plain classification; then the images of the held-out classes leave training and
validation, and those in the test part become the set to reject. So no image changes its part with the known classes.
"""

from dataclasses import replace

import numpy as np

from study.data.registry import cut_defaults
from study.data.tail import cut_imbalanced
from study.data.types import Images, OutsideSet, Source, Splits
from study.errors import InputError, some

KNOWN_SHARE = 0.6
UNKNOWN = "held-out classes"
_STREAM = 11


def known_classes(num_classes: int, order_seed: int, held_out: int | None = None) -> tuple[int, ...]:
    """Return the class indices that are known, in rising order, drawn by the seed.

    Args:
        num_classes: of the source.
        order_seed: which classes are known.
        held_out: how many are not; None: four tenths of them.

    Raises:
        InputError: fewer than two known classes; or fewer than three classes where nothing is said.
    """
    if held_out is not None and not 0 <= held_out <= num_classes - 2:
        raise InputError(
            f"--held-out: expected 0 to {num_classes - 2} of {num_classes} classes (two stay known), got {held_out}"
        )
    if held_out is None and num_classes < 3:
        raise InputError(f"open set: expected at least 3 classes (2 known, 1 unknown), got {num_classes}")
    usual = min(num_classes - 1, max(2, round(KNOWN_SHARE * num_classes)))
    count = usual if held_out is None else num_classes - held_out
    drawn = np.random.default_rng([_STREAM, order_seed]).permutation(num_classes)[:count]
    return tuple(sorted(int(index) for index in drawn))


def cut_open(source: Source, *, split_seed: int, order_seed: int, held_out: int | None = None) -> Splits:
    """Cut a source into known classes for training, validation and test, and unknown ones for test.

    Args:
        source: the data.
        split_seed: which images go where.
        order_seed: which classes are known.
        held_out: how many are not; None: four tenths of them. 0: all are known, and no set is made of unknown ones.

    Raises:
        InputError: too few classes, or a class with too few images.
    """
    known = known_classes(source.num_classes, order_seed, held_out)
    unknown = tuple(c for c in range(source.num_classes) if c not in known)
    defaults = cut_defaults(source)
    whole = cut_imbalanced(
        source,
        split_seed=split_seed,
        order_seed=None,
        ratio=None,
        test_per_class=defaults.test_per_class,
        validation_per_class=defaults.validation_per_class,
    )
    train = only(whole.train, known)
    counts = train.counts(len(known))
    outside = only(whole.test, unknown) if unknown else None
    test = only(whole.test, known)
    for which, found, classes in (("known", test, known), ("held-out", outside, unknown)):
        if found is not None and not len(found):
            names = some([source.classes[c] for c in classes])
            raise InputError(
                f"{source.name}: expected test images of a {which} class, got none of: {names}\n"
                "with --resplit every class has some"
            )
    return Splits(
        train=train,
        validation=only(whole.validation, known),
        test=test,
        classes=tuple(source.classes[c] for c in known),
        class_counts=counts,
        class_order=tuple(sorted(range(len(known)), key=lambda c: (-counts[c], c))),
        n_pool=int(np.isin(source.train.labels, known).sum()) - (0 if source.test else len(test)),
        unknown=None
        if outside is None
        else OutsideSet(UNKNOWN, "near", outside.images, tuple(source.classes[c] for c in unknown), outside.labels),
    )


def only(images: Images, classes: tuple[int, ...]) -> Images:
    """Return the images of these classes, in their order, with the position in `classes` as label."""
    chosen = np.flatnonzero(np.isin(images.labels, classes))
    position = np.zeros(max(images.labels.max(initial=0), *classes) + 1, dtype=np.int64)
    position[list(classes)] = np.arange(len(classes))
    return Images(images.images[chosen], position[images.labels[chosen]])


def known_source(source: Source, classes: tuple[str, ...]) -> Source:
    """Return a source that has these classes alone: what a model of them takes for the known world."""
    if classes == source.classes:
        return source
    indices = tuple(source.classes.index(name) for name in classes)
    test = None if source.test is None else only(source.test, indices)
    groups = None if source.groups is None else source.groups[np.isin(source.train.labels, indices)]
    return replace(source, train=only(source.train, indices), test=test, classes=classes, groups=groups)
