"""The four things this room hands out: images, sources, splits and sets from outside.

All of them are frozen, checked when they are made, and hold read-only arrays.
"""

import hashlib
import math
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, SupportsIndex, TypeVar

import numpy as np
import numpy.typing as npt

from study.errors import InputError, some

if TYPE_CHECKING:
    from study.data.kept import Kept

UInt8Array = npt.NDArray[np.uint8]
Int64Array = npt.NDArray[np.int64]

MIN_SIDE = 8
"""Smallest height and width in pixels of the images of a source."""


Scalar = TypeVar("Scalar", bound=np.generic)


def read_only(array: npt.NDArray[Scalar]) -> npt.NDArray[Scalar]:
    """Return a contiguous view (or copy, if it was not contiguous) of an array that cannot be written to."""
    view = np.ascontiguousarray(array).view()
    view.setflags(write=False)
    return view


def describe(value: object) -> str:
    """Return "uint8 (60000, 28, 28)" for an array and the name of its type for anything else."""
    if isinstance(value, np.ndarray):
        return f"{value.dtype} {value.shape}"
    return type(value).__name__


def check_image_array(images: object, what: str = "images") -> None:
    """Raise InputError unless `images` is a uint8 array (N, H, W, C) with 1 or 3 channels."""
    if not isinstance(images, np.ndarray) or images.dtype != np.uint8 or images.ndim != 4:
        raise InputError(f"{what}: expected a uint8 array (N, H, W, C), got {describe(images)}")
    if images.shape[3] not in (1, 3):
        raise InputError(f"{what}: expected 1 (grey) or 3 (RGB) channels in the last axis, got {images.shape}")
    if 0 in images.shape[1:3]:
        raise InputError(f"{what}: expected images of at least 1x1 pixels, got {images.shape}")


IGNORED = -100
"""Label of a pixel that counts neither in the loss nor in the metrics."""
MAP_TYPES = (np.int64, np.int16)
"""Of label maps: those that are decoded from files are int16, a quarter of the memory."""
PART_NUMBERS = 2**24


def check_label_array(labels: object, count: int, what: str = "labels") -> None:
    """Raise InputError unless `labels` is an int64 array (count,) without negative values."""
    if not isinstance(labels, np.ndarray) or labels.dtype != np.int64 or labels.ndim != 1:
        raise InputError(f"{what}: expected an int64 array (N,), got {describe(labels)}")
    if len(labels) != count:
        raise InputError(f"{what}: expected one label an image, got {len(labels)} labels for {count} images")
    if count and labels.min() < 0:
        raise InputError(f"{what}: expected labels of at least 0, got {labels.min()}")


def check_label_maps(labels: object, shape: tuple[int, ...], what: str = "labels") -> None:
    """Raise InputError unless `labels` is an int64 or int16 array of this shape (N, H, W), at least 0 or `IGNORED`."""
    if not isinstance(labels, np.ndarray) or labels.dtype not in MAP_TYPES or labels.shape != shape:
        raise InputError(f"{what}: expected an int64 or int16 array {shape}, one label a pixel, got {describe(labels)}")
    for start, part in in_parts(labels):
        unlabelled = np.flatnonzero((part == IGNORED).all((1, 2)))
        if len(unlabelled):
            raise InputError(
                f"{what}: expected a labelled pixel in every image, got none in image {start + unlabelled[0]}"
            )
        if part[part != IGNORED].min() < 0:
            raise InputError(f"{what}: expected labels of at least 0, or {IGNORED} for none, got {part.min()}")


def in_parts(array: npt.NDArray[Any]) -> Iterator[tuple[int, npt.NDArray[Any]]]:
    """Give (start, rows from there on) of an array, so few at a time that copies of them do not matter."""
    rows = max(1, PART_NUMBERS // max(1, math.prod(array.shape[1:])))
    for start in range(0, len(array), rows):
        yield start, array[start : start + rows]


def check_class_names(classes: object, what: str = "classes", minimum: int = 1) -> None:
    """Raise InputError unless `classes` is a tuple of at least `minimum` different, non-empty strings."""
    if not isinstance(classes, tuple) or not all(isinstance(name, str) and name.strip() for name in classes):
        raise InputError(f"{what}: expected a tuple of non-empty names, got {classes!r}")
    if len(classes) < minimum:
        raise InputError(f"{what}: expected at least {minimum} names, got {len(classes)}: {', '.join(classes)}")
    torn = [name for name in classes if any(unicodedata.category(character) == "Cs" for character in name)]
    if torn:
        raise InputError(f"{what}: expected names that are text, got {', '.join(map(repr, torn))}")
    repeated = sorted(name for name, n in Counter(classes).items() if n > 1)
    if repeated:
        raise InputError(f"{what}: expected different names, got more than once: {', '.join(repeated)}")


@dataclass(frozen=True, eq=False)
class Images:
    """Images with one label each, or one a pixel.

    Attributes:
        images: uint8 (N, H, W, C), 0 to 255, with C = 1 (grey) or 3 (RGB); read-only.
        labels: int64 (N,), at least 0, or int64 or int16 (N, H, W), at least 0 or `IGNORED`; read-only.

    Raises:
        InputError: if an array has another type or shape, or if there are not as many labels as images.
    """

    images: UInt8Array
    labels: Int64Array

    def __post_init__(self) -> None:
        check_image_array(self.images)
        if isinstance(self.labels, np.ndarray) and self.labels.ndim == 3:
            check_label_maps(self.labels, self.images.shape[:3])
        else:
            check_label_array(self.labels, len(self.images))
        object.__setattr__(self, "images", read_only(self.images))
        object.__setattr__(self, "labels", read_only(self.labels))

    def __len__(self) -> int:
        return len(self.images)

    def take(self, indices: Sequence[int] | Int64Array) -> "Images":
        """Return the images at these positions, in this order.

        Args:
            indices: whole numbers in [0, N); the same one may come more than once.

        Raises:
            InputError: if a position is not a whole number or outside of [0, N).
        """
        chosen = np.asarray(indices)
        if chosen.ndim != 1 or (chosen.size and chosen.dtype.kind not in "iu"):
            raise InputError(f"indices: expected a list of whole numbers, got {describe(chosen)}")
        chosen = chosen.astype(np.int64)
        if chosen.size and not (0 <= chosen.min() and chosen.max() < len(self)):
            raise InputError(f"indices: expected 0 to {len(self) - 1}, got {chosen.min()} to {chosen.max()}")
        return Images(self.images[chosen], self.labels[chosen])

    def counts(self, num_classes: int) -> tuple[int, ...]:
        """Return the number of images (of pixels, where each has a label) of the classes 0 to num_classes − 1."""
        parts = (part[part != IGNORED] for _, part in in_parts(self.labels))
        counts = [np.bincount(labelled, minlength=num_classes) for labelled in parts]
        longest = max(map(len, counts), default=num_classes)
        return tuple(sum(int(part[c]) for part in counts if c < len(part)) for c in range(longest))

    @cached_property
    def value_counts(self) -> Int64Array:
        """How often each channel has each of the values 0 to 255, (C, 256), over all images; counted once."""
        counts = np.zeros((self.images.shape[3], 256), dtype=np.int64)
        for _, part in in_parts(self.images):  # numpy counts in a copy of eight bytes a value
            for channel, found in enumerate(counts):
                found += np.bincount(part[..., channel].ravel(), minlength=256)
        return read_only(counts)

    def class_counts(self, num_classes: int) -> tuple[float, ...]:
        """Return n_i of the classes: images; where pixels are labelled, the number of images × class i's share of them.

        The shares are this project's reading of "training samples" for dense targets.
        """
        counts = self.counts(num_classes)
        if self.labels.ndim == 1:
            return counts
        return tuple(len(self) * count / sum(counts) for count in counts)


@dataclass(frozen=True, eq=False)
class Source:
    """A labelled data set as its owner publishes it.

    Attributes:
        name: the name it was loaded by.
        train: all images that are not the official test set; every class has at least one.
        test: the official test set, or None if the data come without one.
        classes: the name of each class; label i means classes[i].
        licence: terms as stated by the owner.
        official_corruptions: the folder with the published corrupted versions of `test`, or None.
        companions: sets from other sources that came with it, to be rejected.
        groups: int64 (N,), at least 0, for each image of `train` the number of its group, or None. The images of a
            group show one thing (frames of a track) and have one label; they go into one part together. Read-only.
        kept: where its arrays lie, if they are memory-mapped: then this is what is sent to another process, and not
            the images. Set by `study.data.kept`; a copy with other images does not have it.

    Raises:
        InputError: if a label has no class, a class has no training image, there are fewer than two classes,
            images are smaller than 8x8 pixels, training and test images differ in shape, or groups are not as above.
    """

    name: str
    train: Images
    test: Images | None
    classes: tuple[str, ...]
    licence: str
    official_corruptions: Path | None = None
    companions: "tuple[OutsideSet, ...]" = ()
    groups: Int64Array | None = None
    kept: "Kept | None" = field(default=None, init=False)

    def __post_init__(self) -> None:
        check_class_names(self.classes, f"classes of {self.name}", minimum=2)
        if len(self.train) == 0:
            raise InputError(f"{self.name}: expected training images, got none")
        if min(self.shape[:2]) < MIN_SIDE:
            raise InputError(f"{self.name}: expected images of at least {MIN_SIDE}x{MIN_SIDE} pixels, got {self.shape}")
        _check_part(self.name, "train", self.train, self.shape, self.num_classes)
        if self.test is not None:
            _check_part(self.name, "test", self.test, self.shape, self.num_classes)
            if len(self.test) == 0:
                raise InputError(f"{self.name}: expected test images or no test set at all (None), got an empty one")
        empty = [c for c, n in zip(self.classes, self.train.counts(self.num_classes), strict=True) if n == 0]
        if empty:
            raise InputError(f"{self.name}: expected training images of every class, got none of: {some(empty)}")
        if self.groups is not None:
            _check_groups(self.name, self.groups, self.train.labels)
            object.__setattr__(self, "groups", read_only(self.groups))

    def __reduce_ex__(self, protocol: SupportsIndex) -> str | tuple[Any, ...]:
        if self.kept is None:
            return super().__reduce_ex__(protocol)
        changed = {"official_corruptions": self.official_corruptions, "companions": self.companions}
        return self.kept.reopen, (changed,)

    @property
    def is_map(self) -> bool:
        """Whether every pixel has a label."""
        return self.train.labels.ndim == 3

    @property
    def shape(self) -> tuple[int, int, int]:
        """Height, width and channels of one image."""
        _, height, width, channels = self.train.images.shape
        return height, width, channels

    def joined(self) -> "Source":
        """Return the source without an official test set: its images come after the others.

        Raises:
            InputError: there is none to join.
        """
        if self.test is None:
            raise InputError(f"{self.name}: has no official test images that could be cut anew\nleave out --resplit")
        images, labels = (
            np.concatenate([getattr(part, name) for part in (self.train, self.test)]) for name in ("images", "labels")
        )
        groups = self.groups
        if groups is not None:  # each test image is a group of its own
            groups = np.concatenate((groups, groups.max() + 1 + np.arange(len(self.test))))
        return Source(self.name, Images(images, labels), None, self.classes, self.licence, groups=groups)

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return len(self.classes)

    def fingerprint(self) -> str:
        """Return the SHA-256 (hex) of the content: images, labels, class names, groups, and which images are test.

        Neither the name nor the licence enters it: the same data in another file have the same fingerprint.
        """
        return self._digest

    @cached_property
    def _digest(self) -> str:
        """Computed once; a copy that is sent to another process takes it along."""
        digest = hashlib.sha256()
        for name in self.classes:
            digest.update(f"class {len(name.encode())} ".encode() + name.encode())
        for part, data in (("train", self.train), ("test", self.test)):
            if data is not None:
                digest.update(f"{part} {data.images.shape}".encode())
                digest.update(data.images.data)
                for _, part in in_parts(data.labels):
                    digest.update(part.astype("<i8").data)
        if self.groups is not None:
            digest.update(b"groups" + self.groups.astype("<i8").tobytes())
        return digest.hexdigest()


@dataclass(frozen=True, eq=False)
class Splits:
    """One way of cutting a source.

    Attributes:
        train, validation, test: disjoint images; the validation part may be empty.
        classes: class names, as in the source.
        class_counts: n_i, training images of each class, by the class's index (`Images.class_counts`).
        class_order: class indices from the class with most training images (head) to the one with fewest (tail).
        n_pool: images of the source that are not test images, cut away ones included.
        experiences: class indices of each experience of a continual learner, in their order; empty elsewhere.
        unknown: test images of classes that are held out, for a model that knows only some classes; None elsewhere.
    """

    train: Images
    validation: Images
    test: Images
    classes: tuple[str, ...]
    class_counts: tuple[float, ...]
    class_order: tuple[int, ...]
    n_pool: int
    experiences: tuple[tuple[int, ...], ...] = ()
    unknown: "OutsideSet | None" = None

    def __post_init__(self) -> None:
        check_class_names(self.classes, minimum=2)
        if len(self.train) == 0 or len(self.test) == 0:
            raise InputError(
                f"splits: expected training and test images, got {len(self.train)} training and {len(self.test)} test"
            )
        shape = self.train.images.shape[1:]
        for part in ("train", "validation", "test"):
            _check_part("splits", part, getattr(self, part), shape, len(self.classes))
        expected = self.train.class_counts(len(self.classes))
        if self.class_counts != expected:
            raise InputError(
                f"class_counts: expected those of the training labels, {expected}, got {self.class_counts}"
            )
        if sorted(self.class_order) != list(range(len(self.classes))):
            raise InputError(
                f"class_order: expected every class index 0 to {len(self.classes) - 1} once, got {self.class_order}"
            )
        if self.n_pool < len(self.train) + len(self.validation):
            raise InputError(
                f"n_pool: expected at least training plus validation images, "
                f"{len(self.train) + len(self.validation)}, got {self.n_pool}"
            )

    @property
    def test_train_ratio(self) -> float:
        """Test images for each image that is not test; the n_test / n_train of Nadeau and Bengio's correction."""
        return len(self.test) / self.n_pool


@dataclass(frozen=True, eq=False)
class OutsideSet:
    """Images that a model did not learn from: classes to reject, or known classes from another source.

    Attributes:
        name: the name of the set in every table.
        group: "near", "far" or "unrecognisable" (to reject), "user" (a user's own file, to reject) or
            "shifted-known" (known classes, other source: to recognise, in no out group).
        images: uint8 (N, H, W, C); read-only.
        class_names: what the images show.
        labels: int64 (N,), index into class_names, or None. For "shifted-known" also the index of the known class.
        dropped: class names that were left out because the model knows them.
    """

    name: str
    group: str
    images: UInt8Array
    class_names: tuple[str, ...]
    labels: Int64Array | None
    dropped: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        groups = ("near", "far", "unrecognisable", "user", "shifted-known")
        if self.group not in groups:
            raise InputError(f"group of {self.name}: expected one of {', '.join(groups)}, got {self.group!r}")
        check_image_array(self.images, f"images of {self.name}")
        if len(self.images) == 0:
            raise InputError(f"{self.name}: expected images, got none")
        check_class_names(self.class_names, f"class_names of {self.name}")
        object.__setattr__(self, "images", read_only(self.images))
        if self.labels is None:
            if self.group == "shifted-known":
                raise InputError(f"{self.name}: expected labels for a set of known classes, got None")
            return
        check_label_array(self.labels, len(self.images), f"labels of {self.name}")
        _check_label_range(self.name, self.labels, len(self.class_names))
        object.__setattr__(self, "labels", read_only(self.labels))

    def __len__(self) -> int:
        return len(self.images)


def _check_part(name: str, part: str, data: Images, shape: tuple[int, ...], num_classes: int) -> None:
    """Raise InputError if a part's images have another shape or its labels no class."""
    if data.images.shape[1:] != tuple(shape):
        raise InputError(f"{name}: expected {part} images of shape {tuple(shape)}, got {data.images.shape[1:]}")
    _check_label_range(f"{name}: {part}", data.labels, num_classes)


def _check_groups(name: str, groups: object, labels: Int64Array) -> None:
    """Raise InputError unless `groups` is an int64 array (N,) of at least 0 whose groups have one label each."""
    if labels.ndim != 1:
        raise InputError(f"{name}: expected groups of images with one label each, got label maps")
    check_label_array(groups, len(labels), f"groups of {name}")
    pairs = np.unique(np.stack((groups, labels)), axis=1)
    if len(np.unique(pairs[0])) < pairs.shape[1]:
        raise InputError(f"groups of {name}: expected one label in a group, got images of several in one")


def _check_label_range(name: str, labels: Int64Array, num_classes: int) -> None:
    if len(labels) and labels.max() >= num_classes:
        raise InputError(f"{name}: expected labels 0 to {num_classes - 1}, got {labels.max()}")
