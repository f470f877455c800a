"""The four data types: what they accept, and that nobody can write into them."""

from dataclasses import replace

import numpy as np
import pytest

from study.data.types import IGNORED, Images, OutsideSet, Source, Splits
from study.errors import InputError
from tests.data.helpers import number_of, numbered, toy_source


def images(n=4, shape=(8, 8, 1)):
    return np.zeros((n, *shape), dtype=np.uint8)


def labels(*values):
    return np.array(values, dtype=np.int64)


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (np.zeros((4, 8, 8, 1)), labels(0, 0, 1, 1), r"uint8 array \(N, H, W, C\), got float64 \(4, 8, 8, 1\)"),
        (np.zeros((4, 8, 8), np.uint8), labels(0, 0, 1, 1), r"got uint8 \(4, 8, 8\)"),
        ([[1]], labels(0), "got list"),
        (images(shape=(8, 8, 4)), labels(0, 0, 1, 1), "1 .grey. or 3 .RGB. channels"),
        (images(shape=(8, 0, 1)), labels(0, 0, 1, 1), "at least 1x1"),
        (images(), np.array([0, 0, 1, 1], np.int32), "int64 array"),
        (images(), labels(0, 0, 1), "3 labels for 4 images"),
        (images(), labels(0, 0, 1, -1), "at least 0, got -1"),
    ],
)
def test_images_refuse_other_arrays(x, y, message):
    with pytest.raises(InputError, match=message):
        Images(x, y)


def test_images_are_read_only_and_taken_in_order():
    data = numbered([0, 0, 1, 1, 2])
    assert len(data) == 5
    assert number_of(data.take([4, 0, 4])) == [4, 0, 4]
    assert list(data.take(np.array([4, 0])).labels) == [2, 0]
    assert len(data.take([])) == 0
    assert data.counts(4) == (2, 2, 1, 0)
    for part in (data, data.take([1])):
        assert not part.images.flags.writeable
        assert not part.labels.flags.writeable


def test_label_maps_may_be_short_and_are_the_same_data(monkeypatch):
    maps = np.random.default_rng(0).integers(0, 3, (7, 8, 8))
    maps[:, 0] = IGNORED
    long, short = (Images(images(7), maps.astype(kind)) for kind in (np.int64, np.int16))
    counts = tuple(int((maps == label).sum()) for label in range(4))
    assert long.counts(4) == short.counts(4) == counts
    found = [Source("maps", part, None, ("a", "b", "c"), "none").fingerprint() for part in (long, short)]
    monkeypatch.setattr("study.data.types.PART_NUMBERS", 2 * 8 * 8)
    assert short.counts(4) == counts
    found += [Source("maps", part, None, ("a", "b", "c"), "none").fingerprint() for part in (long, short)]
    assert len(set(found)) == 1
    unlabelled = maps.copy()
    unlabelled[5] = IGNORED
    with pytest.raises(InputError, match="got none in image 5"):
        Images(images(7), unlabelled)
    with pytest.raises(InputError, match="int64 or int16 array"):
        Images(images(7), maps.astype(np.int32))


@pytest.mark.parametrize("indices", [[5], [-1], [0.0], [True, False, True, False, True], [[0]]])
def test_take_refuses_other_positions(indices):
    with pytest.raises(InputError, match="indices"):
        numbered([0, 0, 1, 1, 2]).take(indices)


def test_a_source_knows_its_shape():
    source = toy_source([3, 2], names=["cat", "dog"], side=9, channels=3)
    assert (source.shape, source.num_classes) == ((9, 9, 3), 2)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"classes": ("cat",)}, "at least 2 names, got 1"),
        ({"classes": ("cat", "cat")}, "more than once: cat"),
        ({"classes": ("cat", " ")}, "non-empty names"),
        ({"classes": ["cat", "dog"]}, "tuple"),
        ({"classes": ("cat", "dog", "eel")}, "got none of: eel"),
        ({"classes": ("cat", "dog", *map(str, range(30_000)))}, "got none of: 0, 1, 2, 3, 4 and 29995 more$"),
        ({"train": numbered([0, 1, 2])}, "train: expected labels 0 to 1, got 2"),
        ({"train": numbered([])}, "expected training images, got none"),
        ({"train": numbered([0, 1], side=7)}, "at least 8x8"),
        ({"test": numbered([0, 1], side=9)}, r"test images of shape \(8, 8, 1\)"),
        ({"test": numbered([0, 2])}, "test: expected labels 0 to 1, got 2"),
        ({"test": numbered([])}, "got an empty one"),
    ],
)
def test_a_source_refuses_what_does_not_fit(change, message):
    good = {"name": "toy", "train": numbered([0, 0, 1]), "test": None, "classes": ("cat", "dog"), "licence": ""}
    with pytest.raises(InputError, match=message):
        Source(**{**good, **change})


def test_fingerprint_is_stable_and_sees_every_part_of_the_content():
    def fingerprint(counts=(3, 2), test_counts=(1, 1), names=("cat", "dog"), **shape):
        return toy_source(counts, test_counts, names, **shape).fingerprint()

    # The number pins the definition: runs made at different times must be comparable.
    assert fingerprint() == "ccfda28614777637f570f5daa9a4dfb62a73434fa2471d1386e069d6d2b0350b"
    different = [
        fingerprint(),
        fingerprint(counts=(2, 3)),
        fingerprint(test_counts=None),
        fingerprint(test_counts=(2, 1)),
        fingerprint(names=("cat", "cow")),
        fingerprint(names=("cow", "dog")),
        fingerprint(side=9),
        fingerprint(channels=3),
    ]
    assert len(set(different)) == len(different)


def test_fingerprint_sees_groups():
    source = toy_source([3, 2])
    grouped = [replace(source, groups=np.array(groups)) for groups in ([0, 0, 1, 2, 3], [0, 1, 1, 2, 3])]
    assert len({one.fingerprint() for one in (source, *grouped)}) == 3


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ([0, 0, 1, 1, 2], "groups of toy: expected one label in a group, got images of several in one"),
        ([0, 0, 1, 2], "got 4 labels for 5 images"),
        ([0, 0, 1, 2, -1], "groups of toy: expected labels of at least 0"),
    ],
)
def test_groups_are_checked(groups, message):
    with pytest.raises(InputError, match=message):
        replace(toy_source([3, 2]), groups=np.array(groups))


def test_fingerprint_sees_one_grey_level_and_not_the_name():
    source = toy_source([3, 2])
    changed = source.train.images.copy()
    changed[4, 7, 7, 0] += 1
    other = Source("toy", Images(changed, source.train.labels), None, source.classes, source.licence)
    renamed = Source("another", source.train, None, source.classes, "another")
    assert other.fingerprint() != source.fingerprint() == renamed.fingerprint()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"class_counts": (2, 2)}, r"class_counts: expected .*\(2, 1\), got \(2, 2\)"),
        ({"class_order": (0, 0)}, "class_order"),
        ({"n_pool": 4}, "n_pool: expected at least .* 5, got 4"),
        ({"train": numbered([])}, "got 0 training and 2 test"),
        ({"test": numbered([])}, "got 3 training and 0 test"),
        ({"test": numbered([0, 1], channels=3)}, "test images of shape"),
        ({"validation": numbered([0, 3])}, "validation: expected labels 0 to 1, got 3"),
    ],
)
def test_splits_refuse_what_does_not_fit(change, message):
    good = {
        "train": numbered([0, 0, 1]),
        "validation": numbered([0, 1]),
        "test": numbered([0, 1]),
        "classes": ("cat", "dog"),
        "class_counts": (2, 1),
        "class_order": (0, 1),
        "n_pool": 8,
    }
    assert Splits(**good).test_train_ratio == 0.25
    with pytest.raises(InputError, match=message):
        Splits(**{**good, **change})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"group": "nearby"}, "expected one of near, far, unrecognisable, user, shifted-known, got 'nearby'"),
        ({"group": "shifted-known", "labels": None}, "expected labels for a set of known classes"),
        ({"images": images(0), "labels": labels()}, "expected images, got none"),
        ({"labels": labels(0, 1)}, "expected labels 0 to 0, got 1"),
        ({"labels": labels(0)}, "1 labels for 2 images"),
    ],
)
def test_outside_sets_refuse_what_does_not_fit(change, message):
    good = {"name": "out", "group": "near", "images": images(2), "class_names": ("a",), "labels": labels(0, 0)}
    made = OutsideSet(**good)
    assert len(made) == 2
    assert not made.images.flags.writeable
    with pytest.raises(InputError, match=message):
        OutsideSet(**{**good, **change})


def test_joined_images_keep_their_labels_and_have_no_test_part():
    train, test = numbered([0, 1, 1]), Images(np.full((2, *numbered([0]).images.shape[1:]), 77, np.uint8), labels(1, 0))
    source = Source("toy", train, test, ("a", "b"), "none")
    whole = source.joined()
    assert whole.test is None
    assert whole.train.labels.tolist() == [0, 1, 1, 1, 0]
    assert np.array_equal(whole.train.images[:3], train.images)
    assert (whole.train.images[3:] == 77).all()
    assert whole.fingerprint() != source.fingerprint()
    with pytest.raises(InputError, match="leave out --resplit"):
        whole.joined()
