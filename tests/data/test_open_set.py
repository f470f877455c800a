from dataclasses import replace

import numpy as np
import pytest

from study.data.embedded import digits
from study.data.open_set import UNKNOWN, cut_open, known_classes, known_source, only
from study.data.types import Images, Source
from study.errors import InputError
from tests.data.helpers import toy_source


def rows(images):
    return {image.tobytes() for image in images}


def test_six_of_ten_are_known_and_the_seed_says_which():
    drawn = {known_classes(10, seed) for seed in range(20)}
    assert {len(known) for known in drawn} == {6}
    assert len(drawn) > 10
    assert known_classes(10, 3) == known_classes(10, 3)


@pytest.mark.parametrize(("classes", "known"), [(3, 2), (4, 2), (5, 3), (100, 60)])
def test_at_least_two_are_known_and_one_is_not(classes, known):
    assert len(known_classes(classes, 0)) == known


def test_two_classes_are_too_few():
    with pytest.raises(InputError, match="at least 3 classes"):
        known_classes(2, 0)


@pytest.mark.parametrize(("held_out", "known"), [(0, 10), (1, 9), (8, 2)])
def test_so_many_are_held_out_as_asked_for(held_out, known):
    assert len(known_classes(10, 0, held_out)) == known


@pytest.mark.parametrize("held_out", [-1, 9, 10])
def test_two_classes_stay_known(held_out):
    with pytest.raises(InputError, match=f"--held-out: expected 0 to 8 of 10 classes .*, got {held_out}"):
        known_classes(10, 0, held_out)


def test_where_none_is_held_out_the_whole_source_is_cut():
    source = digits()
    splits = cut_open(source, split_seed=0, order_seed=1, held_out=0)
    assert splits.classes == source.classes
    assert splits.unknown is None
    assert splits.n_pool == len(splits.train) + len(splits.validation)


def test_no_image_of_a_held_out_class_is_seen_before_the_end():
    source = digits()
    splits = cut_open(source, split_seed=0, order_seed=1)
    known = {source.classes.index(name) for name in splits.classes}
    of_unknown = rows(source.train.images[~np.isin(source.train.labels, list(known))])
    for part in (splits.train, splits.validation, splits.test):
        assert not rows(part.images) & of_unknown
    assert splits.unknown.name == UNKNOWN
    assert splits.unknown.group == "near"
    assert rows(splits.unknown.images) <= of_unknown
    assert set(splits.unknown.class_names).isdisjoint(splits.classes)
    assert sorted((*splits.unknown.class_names, *splits.classes)) == sorted(source.classes)


def test_labels_are_positions_among_the_known_classes():
    source = digits()
    splits = cut_open(source, split_seed=0, order_seed=1)
    at = {image.tobytes(): label for image, label in zip(source.train.images, source.train.labels, strict=True)}
    for part in (splits.train, splits.validation, splits.test):
        names = [source.classes[at[image.tobytes()]] for image in part.images]
        assert names == [splits.classes[label] for label in part.labels]


def test_pool_counts_the_known_classes_alone():
    source = digits()
    splits = cut_open(source, split_seed=0, order_seed=1)
    assert splits.n_pool == len(splits.train) + len(splits.validation)


def test_only_by_hand():
    images = np.arange(4 * 64, dtype=np.uint8).reshape(4, 8, 8, 1)
    chosen = only(Images(images, np.array([2, 0, 1, 2])), (1, 2))
    assert chosen.labels.tolist() == [1, 0, 1]
    assert (chosen.images == images[[0, 2, 3]]).all()


def test_the_known_world_has_the_known_classes_alone():
    source = digits()
    part = known_source(source, ("3", "7"))
    assert part.classes == ("3", "7")
    assert len(part.train) == int(np.isin(source.train.labels, [3, 7]).sum())
    assert known_source(source, source.classes) is source
    grouped = replace(source, groups=np.arange(len(source.train)))
    kept = np.flatnonzero(np.isin(source.train.labels, (3, 7)))
    assert list(known_source(grouped, ("3", "7")).groups) == list(kept)
    assert isinstance(part, Source)


@pytest.mark.parametrize("which", ["known", "held-out"])
def test_an_official_test_set_without_a_class_of_one_kind_is_named(which):
    known = known_classes(5, 1)
    there = [c for c in range(5) if (c in known) != (which == "known")]
    source = toy_source([20] * 5, [4 if c in there else 0 for c in range(5)])
    with pytest.raises(InputError, match=f"toy: expected test images of a {which} class, got none of: kind"):
        cut_open(replace(source, name="npz:toy"), split_seed=0, order_seed=1)
    assert cut_open(replace(source, name="npz:toy").joined(), split_seed=0, order_seed=1).unknown is not None
