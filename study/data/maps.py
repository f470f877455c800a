"""Cutting images that have a label for every pixel: whole images, at random, for training, validation and test."""

import numpy as np

from study.data.tail import TEST_SHARE, VALIDATION_SHARE
from study.data.types import IGNORED, Images, Int64Array, Source, Splits
from study.errors import InputError

_STREAM = 14


def cut_maps(source: Source, *, split_seed: int) -> Splits:
    """Cut a source with label maps, an image as a whole.

    A fifth of the images are for test, unless there is an official test set; of the others 15 % are for validation. Of
    every class one image that shows it is set aside for training before anything is drawn, the rarest class first, so
    that no class is without.

    Args:
        source: images with label maps.
        split_seed: which images go where, whole number of at least 0; the test set depends on nothing else.

    Raises:
        InputError: labels that are no maps, or too few images.
    """
    if not source.is_map:
        raise InputError(f"{source.name}: expected a label for every pixel, got one an image")
    if split_seed < 0:
        raise InputError(f"split_seed: expected a whole number of at least 0, got {split_seed}")
    generator, count = np.random.default_rng([_STREAM, split_seed]), len(source.train)
    shows = _shows(source.train, source.num_classes)
    aside = _set_aside(shows, generator)
    free = generator.permutation(np.setdiff1d(np.arange(count), aside))
    n_test = 0 if source.test is not None else max(1, round(TEST_SHARE * count))
    n_validation = max(1, round(VALIDATION_SHARE * (count - n_test)))
    if len(free) < n_test + n_validation:
        raise InputError(
            f"{source.name}: {count} images: expected at least {n_test + n_validation} for test and validation beside "
            f"the {len(aside)} that training needs to see every class, got {len(free)}"
        )
    train = source.train.take(np.concatenate((aside, free[n_test + n_validation :])))
    counts = train.class_counts(source.num_classes)
    return Splits(
        train=train,
        validation=source.train.take(free[n_test : n_test + n_validation]),
        test=source.test if source.test is not None else source.train.take(free[:n_test]),
        classes=source.classes,
        class_counts=counts,
        class_order=tuple(sorted(range(source.num_classes), key=lambda c: (-counts[c], c))),
        n_pool=count - n_test,
    )


def _shows(images: Images, num_classes: int) -> np.ndarray:
    """Return bool (N, C): whether an image has a pixel of a class."""
    shows = np.zeros((len(images), num_classes), dtype=bool)
    for row, labels in zip(shows, images.labels, strict=True):
        row[np.unique(labels[labels != IGNORED])] = True
    return shows


def _set_aside(shows: np.ndarray, generator: np.random.Generator) -> Int64Array:
    """Return the positions of images that together show every class."""
    chosen: list[int] = []
    for c in np.argsort(shows.sum(0), kind="stable"):
        if not shows[chosen, c].any():
            chosen.append(int(generator.choice(np.flatnonzero(shows[:, c]))))
    return np.array(chosen, dtype=np.int64)
