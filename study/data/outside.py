"""Images from outside of what a model learnt: made on the spot, nothing is downloaded.

    name               group           what
    letters            near | far      capitals from fonts; near if the known classes are characters, else (and for
                                       data of one's own, of which only names are known) far
    photographs        far             patches of one photograph (`photographs.outlier_pool`, role "test")
    uniform_noise      unrecognisable  independent values
    gaussian_blobs     unrecognisable  a few round spots
    permuted_pixels    unrecognisable  test images, their pixels shuffled
    randomised_phases  unrecognisable  test images with random Fourier phases
    digits | mnist5k   shifted-known   digits from another source, for data of digits: to recognise, not to reject
    npz:NAME           user            a user's file (near, far if it says so) without the classes that the model knows
    a data set's name  near, far, user a set of the catalogue, the same way; the group that the source's entry says

Every set has its own random stream, of (its name, seed): it does not depend on which other sets are made.
"""

import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from study.data import embedded, unrecognisable
from study.data.companions import overlapping, users_file
from study.data.convert import to_channels, to_shape, to_size
from study.data.letters import LETTERS, render_letters
from study.data.photographs import outlier_pool
from study.data.types import Int64Array, OutsideSet, Source, Splits, UInt8Array
from study.errors import InputError

__all__ = ["digit_of", "outlier_pool", "outside_sets", "same_class"]

DIGIT_WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
_STREAM = 4


def outside_sets(
    source: Source, splits: Splits, *, seed: int, n: int = 500, extra: Sequence[str] = ()
) -> tuple[OutsideSet, ...]:
    """Return the sets that a model trained on a source is to reject, and known classes from another source.

    Args:
        source: the known classes, and the shape that all images get.
        splits: how it was cut; two sets are made of test images, at most one image of each.
        seed: whole number of at least 0; the same images in any process.
        n: images in each set, at least 1; fewer where there are not so many.
        extra: sets of the catalogue by name and a user's own sets, "npz:PATH"; all have to be among the source's
            companions (`companions.with_companions`). A user's file has the keys x_test, [y_test], [classes] or
            x_train, [y_train], [classes]; x_test is taken if there are both. Images of another shape are converted
            (`convert.to_shape`). Classes with the name of a known class are left out and listed in
            `OutsideSet.dropped`. Without the key classes nothing can be said about an overlap and all images are taken
            as one class named after the file.

    Raises:
        InputError: if an argument is outside of its range, or a set did not come with the source, has only known
            classes, or has known classes but no labels to tell which images to leave out.
    """
    if n < 1 or seed < 0:
        raise InputError(f"outside sets: expected n >= 1 and seed >= 0, got {n=}, {seed=}")
    sets = [
        *_letters(source, seed, n),
        OutsideSet(
            "photographs", "far", outlier_pool("test", source.shape, n, seed), ("photograph of a temple",), None
        ),
        *_unrecognisable(source, splits, seed, n),
        *_shifted_known(source, seed, n),
        *(_companion(name, source, seed, n) for name in extra),
    ]
    names = [made.name for made in sets]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise InputError(f"outside sets: expected different file names, got more than once: {', '.join(repeated)}")
    return tuple(sets)


def digit_of(name: str) -> int | None:
    """Return the digit that a class name means: "7", "seven", "Seven" and "7 - seven" are 7; None for other names."""
    key = name.strip().casefold()
    for digit, word in enumerate(DIGIT_WORDS):
        if key in (str(digit), word, f"{digit} - {word}"):
            return digit
    return None


def same_class(name: str) -> str:
    """Return a form that is equal for two names of one class: lower case, digits as a numeral."""
    digit = digit_of(name)
    return name.strip().casefold().replace("_", " ") if digit is None else str(digit)


def _generator(name: str, seed: int) -> np.random.Generator:
    return np.random.default_rng([_STREAM, zlib.crc32(name.encode()), seed])


def _is_known(source: Source) -> bool:
    """Say whether what a source shows is known: folders of one's own may be called 0, 1, 2 and hold photographs."""
    return ":" not in source.name


def _letters(source: Source, seed: int, n: int) -> list[OutsideSet]:
    """Return letters without those that are known classes; no set if that leaves none."""
    known = {same_class(name) for name in source.classes}
    letters = tuple(letter for letter in LETTERS if same_class(letter) not in known)
    if not letters:
        return []
    characters = _is_known(source) and all(
        digit_of(name) is not None or len(name.strip()) == 1 for name in source.classes
    )
    images, labels = render_letters(source.shape, n, _generator("letters", seed), letters)
    dropped = tuple(letter for letter in LETTERS if letter not in letters)
    return [OutsideSet("letters", "near" if characters else "far", images, letters, labels, dropped)]


def _unrecognisable(source: Source, splits: Splits, seed: int, n: int) -> list[OutsideSet]:
    test = splits.test.images

    def some_test_images(name: str) -> UInt8Array:
        return test[_generator(f"images of {name}", seed).permutation(len(test))[:n]]

    made = {
        "uniform_noise": unrecognisable.uniform_noise(source.shape, n, _generator("uniform_noise", seed)),
        "gaussian_blobs": unrecognisable.gaussian_blobs(source.shape, n, _generator("gaussian_blobs", seed)),
        "permuted_pixels": unrecognisable.permuted_pixels(
            some_test_images("permuted_pixels"), _generator("permuted_pixels", seed)
        ),
        "randomised_phases": unrecognisable.randomised_phases(
            some_test_images("randomised_phases"), _generator("randomised_phases", seed)
        ),
    }
    return [
        OutsideSet(name, "unrecognisable", images, (name.replace("_", " "),), None) for name, images in made.items()
    ]


def _shifted_known(source: Source, seed: int, n: int) -> list[OutsideSet]:
    """Return digits of the other embedded source, in this source's shape and with its labels; none for other data."""
    known = [digit for name in source.classes if (digit := digit_of(name)) is not None]
    if len(known) < len(source.classes) or not _is_known(source):
        return []
    small = min(source.shape[:2]) < 16 and not source.name.startswith("mnist")  # mnist5k is a part of MNIST
    other = embedded.mnist5k() if small else embedded.digits()
    usable = np.flatnonzero(np.isin(other.train.labels, known))
    chosen = other.train.take(_generator(other.name, seed).permutation(usable)[:n])
    height, width, channels = source.shape
    placed = _filled(chosen.images, height, width) if small else _framed(chosen.images, height, width)
    labels = np.array([known.index(int(digit)) for digit in chosen.labels], dtype=np.int64)
    return [OutsideSet(other.name, "shifted-known", to_channels(placed, channels), source.classes, labels)]


def _filled(images: UInt8Array, height: int, width: int) -> UInt8Array:
    """Return grey images with their ink at full height and at most 3/4 of the width: how scikit-learn's digits lie."""
    filled = np.zeros((len(images), height, width, 1), dtype=np.uint8)
    for image, target in zip(images, filled, strict=True):
        rows, columns = np.flatnonzero(image.any((1, 2))), np.flatnonzero(image.any((0, 2)))
        ink = image[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        ink_width = max(1, min(round(ink.shape[1] * height / ink.shape[0]), width * 3 // 4))
        left = (width - ink_width) // 2
        target[:, left : left + ink_width] = to_size(ink[None], height, ink_width)[0]
    return filled


def _framed(images: UInt8Array, height: int, width: int) -> UInt8Array:
    """Return grey images resized to 20/28 of the shorter side, in a black frame: how MNIST's digits lie."""
    side = round(min(height, width) * 20 / 28)
    framed = np.zeros((len(images), height, width, 1), dtype=np.uint8)
    top, left = (height - side) // 2, (width - side) // 2
    framed[:, top : top + side, left : left + side] = to_size(images, side, side)
    return framed


def _companion(name: str, source: Source, seed: int, n: int) -> OutsideSet:
    """Return n images of a set that came with the source, in its shape and without classes that it has."""
    file = users_file(name)[1] if ":" in name else None
    key = name if file is None else f"npz:{file.stem}"
    pool = next((pool for pool in source.companions if pool.name == key), None)
    if pool is None:
        known = ", ".join(pool.name for pool in source.companions)
        raise InputError(f"outside set: expected one that came with the source, {known or 'none'}; got {name!r}")
    shows_known = overlapping(source.name, key)
    usable, labels, kept, dropped = _without_known(
        file or name, len(pool), pool.labels, pool.class_names, (*source.classes, *shows_known)
    )
    chosen = _generator(key, seed).permutation(usable)[:n]
    images = to_shape(pool.images[chosen], source.shape)
    return OutsideSet(key, pool.group, images, kept, None if labels is None else labels[chosen], dropped)


def _without_known(
    path: Path | str, count: int, labels: Int64Array | None, names: tuple[str, ...], known: tuple[str, ...]
) -> tuple[Int64Array, Int64Array | None, tuple[str, ...], tuple[str, ...]]:
    """Leave out classes that are known.

    Returns:
        positions of the usable images, labels (of all images) in terms of the kept names, kept names, dropped names.
    """
    known_keys = {same_class(name) for name in known}
    is_known = np.array([same_class(name) in known_keys for name in names])
    kept = tuple(name for name, drop in zip(names, is_known, strict=True) if not drop)
    dropped = tuple(name for name, drop in zip(names, is_known, strict=True) if drop)
    if labels is None:
        if dropped:
            raise InputError(
                f"{path}: expected labels (y_test or y_train) to leave out the known classes, got none; known: "
                f"{', '.join(dropped)}"
            )
        return np.arange(count), None, kept, dropped
    usable = np.flatnonzero(~is_known[labels])
    if not len(usable):
        raise InputError(
            f"{path}: expected images of classes that are not known, got only known ones: {', '.join(dropped)}"
        )
    return usable, np.cumsum(~is_known)[labels] - 1, kept, dropped
