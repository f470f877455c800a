"""Cutting: the numbers of the tail, and that no part depends on what it must not depend on."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from study.data.registry import cut_defaults, load_source
from study.data.tail import cut_imbalanced, is_imbalanced, tail_counts
from study.data.types import Images, Source
from study.errors import InputError
from tests.data.helpers import number_of, toy_source


def cut(source, **change):
    arguments = {
        "split_seed": 0,
        "order_seed": 0,
        "ratio": 10.0,
        "test_per_class": 10,
        "validation_per_class": 5,
    }
    return cut_imbalanced(source, **{**arguments, **change})


def parts(splits):
    return {name: number_of(getattr(splits, name)) for name in ("train", "validation", "test")}


def test_tail_of_mnist5k_by_hand():
    counts = tail_counts(350, 50, 10)
    assert counts == (350, 226, 146, 95, 61, 39, 25, 16, 10, 7)
    assert sum(counts) == 975


def test_tails_of_the_field_have_their_known_sizes():
    assert sum(tail_counts(5000, 100, 10)) == 12_406
    assert sum(tail_counts(500, 100, 100)) == 10_847


@pytest.mark.parametrize(
    ("n_max", "ratio", "num_classes", "expected"),
    [
        (100, 1, 3, (100, 100, 100)),
        (100, 100, 3, (100, 10, 5)),
        (8, 1.6, 2, (8, 5)),
        (64, 8, 4, (64, 32, 16, 8)),
    ],
)
def test_tails_by_hand(n_max, ratio, num_classes, expected):
    assert tail_counts(n_max, ratio, num_classes) == expected


@settings(deadline=None)
@given(last=st.integers(5, 300), ratio=st.integers(1, 500), num_classes=st.integers(2, 40))
def test_the_last_class_is_exact_whatever_the_rounding(last, ratio, num_classes):
    counts = tail_counts(last * ratio, ratio, num_classes)
    assert (counts[0], counts[-1]) == (last * ratio, last)
    assert list(counts) == sorted(counts, reverse=True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((100, 0.5, 10), "imbalance ratio: expected a finite number of at least 1, got 0.5"),
        ((100, float("nan"), 10), "got nan"),
        ((100, float("inf"), 10), "got inf"),
        ((4, 10, 10), "n_max: expected at least the smallest class size, 5, got 4"),
        ((100, 10, 1), "num_classes: expected at least 2, got 1"),
        ((100, 10, 10, 0), "minimum: expected at least 1"),
    ],
)
def test_tail_counts_refuse_what_makes_no_tail(arguments, message):
    with pytest.raises(InputError, match=message):
        tail_counts(*arguments)


def test_parts_are_disjoint_and_have_the_sizes_asked_for():
    source = toy_source([60, 70, 80, 90])
    splits = cut(source)
    found = parts(splits)
    everything = [*found["train"], *found["validation"], *found["test"]]
    assert len(everything) == len(set(everything))
    assert splits.test.counts(4) == (10,) * 4
    assert splits.validation.counts(4) == (5,) * 4
    assert [splits.class_counts[c] for c in splits.class_order] == list(tail_counts(45, 10, 4))
    assert splits.train.counts(4) == splits.class_counts
    assert splits.n_pool == 300 - 40
    assert splits.test_train_ratio == 40 / 260


def test_each_class_is_shuffled_in_its_own_way():
    """Else frames that were taken together, number by number in every class, would go to one part together."""
    splits = cut(toy_source([60] * 4))
    test = number_of(splits.test)
    of_class = [sorted(n % 60 for n in test if n // 60 == c) for c in range(4)]
    assert [len(numbers) for numbers in of_class] == [10] * 4
    assert len({tuple(numbers) for numbers in of_class}) == 4


def in_groups(tracks, frames, **change):
    """A source with so many tracks of each class, of `frames` images each."""
    source = toy_source([n * frames for n in tracks], **change)
    return replace(source, groups=np.repeat(np.arange(sum(tracks)), frames))


@pytest.mark.parametrize("ratio", [None, 2.0])
@pytest.mark.parametrize("seed", range(5))
def test_a_group_lies_in_one_part_as_a_whole(ratio, seed):
    source = in_groups([10, 12, 7], frames=6)
    splits = cut(source, split_seed=seed, ratio=ratio, test_per_class=13, validation_per_class=8)
    lies_in = {name: {source.groups[n] for n in numbers} for name, numbers in parts(splits).items()}
    assert not lies_in["test"] & lies_in["validation"]
    assert not lies_in["train"] & (lies_in["test"] | lies_in["validation"])
    assert splits.test.counts(3) == (12,) * 3  # 13 and 8 are nearest to two tracks of 6 and to one
    assert splits.validation.counts(3) == (6,) * 3
    left = (60 - 18, 72 - 18, 42 - 18)
    assert splits.train.counts(3) == (left if ratio is None else splits.class_counts)
    assert splits.n_pool == 29 * 6 - 36


@pytest.mark.parametrize("seed", range(5))
def test_a_group_of_any_size_lies_in_one_part_as_a_whole(seed):
    sizes = [[1, 2, 3, 4, 5, 7, 11, 13], [2, 3, 5, 7, 9, 10, 12]]
    groups = np.repeat(np.arange(15), [size for of_class in sizes for size in of_class])
    source = replace(toy_source([sum(of_class) for of_class in sizes]), groups=groups)
    splits = cut(source, split_seed=seed, ratio=None, test_per_class=10, validation_per_class=10)
    lies_in = [{source.groups[n] for n in numbers} for numbers in parts(splits).values()]
    assert sum(map(len, lies_in)) == 15


def test_shares_of_groups_and_an_official_test_set():
    source = in_groups([7, 75], frames=30, test_counts=[4, 4])  # as the rarest and the largest sign of GTSRB
    splits = cut(source, ratio=None, test_per_class=None, validation_per_class=None)
    # 15 % of 210 and 2,250 are 31.5 and 337.5
    assert (splits.validation.counts(2), splits.train.counts(2)) == ((30, 330), (180, 1920))
    assert splits.test is source.test
    joined = source.joined()
    assert list(joined.groups[-9:]) == [81, *range(82, 90)]


def test_a_class_of_one_group_cannot_be_cut():
    with pytest.raises(InputError, match="class 'kind 1' has 30 images and needs 31: 30 for test and validation"):
        cut(in_groups([3, 1], frames=30, test_counts=[1, 1]), ratio=None)


def test_images_keep_their_labels_and_are_shuffled():
    source = toy_source([60, 70, 80, 90])
    splits = cut(source)
    for part in (splits.train, splits.validation, splits.test):
        assert [source.train.labels[n] for n in number_of(part)] == list(part.labels)
        assert list(part.labels) != sorted(part.labels)


def test_mnist5k_and_digits_as_they_are_cut_by_default():
    mnist, digits = load_source("mnist5k"), load_source("digits")
    for source, test, validation, tail in [
        (mnist, 100, 50, (350, 226, 146, 95, 61, 39, 25, 16, 10, 7)),
        (digits, 40, 20, tail_counts(114, 10, 10)),
    ]:
        defaults = cut_defaults(source)
        splits = cut(
            source,
            ratio=defaults.ratio,
            test_per_class=defaults.test_per_class,
            validation_per_class=defaults.validation_per_class,
        )
        assert splits.test.counts(10) == (test,) * 10
        assert splits.validation.counts(10) == (validation,) * 10
        assert tuple(splits.class_counts[c] for c in splits.class_order) == tail


def test_order_seed_permutes_the_classes_and_nothing_else():
    source = toy_source([60] * 6)
    first, second = cut(source, order_seed=1), cut(source, order_seed=2)
    assert first.class_order != second.class_order
    assert parts(first)["test"] == parts(second)["test"]
    assert parts(first)["validation"] == parts(second)["validation"]
    assert cut(source, order_seed=1, split_seed=9).class_order == first.class_order
    assert cut(source, order_seed=None).class_order == (0, 1, 2, 3, 4, 5)
    # A class with more images under one order has those of the other order, and more.
    for c in range(6):
        a, b = ({n for n in parts(s)["train"] if source.train.labels[n] == c} for s in (first, second))
        assert a <= b or b <= a


def test_the_test_set_depends_on_the_split_seed_only():
    source = toy_source([80] * 4)
    expected = parts(cut(source))["test"]
    for change in ({"ratio": 2.0}, {"ratio": None}, {"order_seed": 5}, {"validation_per_class": 20}, {"n_max": 30}):
        assert parts(cut(source, **change))["test"] == expected
    assert parts(cut(source)) == parts(cut(source))
    assert set(parts(cut(source, split_seed=1))["test"]) != set(expected)


def test_an_official_test_set_is_used_whole_and_decides_nothing():
    source = toy_source([80] * 4, test_counts=[3, 9, 4, 4])
    splits = cut(source)
    assert splits.test is source.test
    assert splits.n_pool == 320
    permuted = Images(source.test.images, np.random.default_rng(0).permutation(source.test.labels))
    leaked = cut(Source(source.name, source.train, permuted, source.classes, source.licence))
    for part in ("train", "validation"):
        assert number_of(getattr(leaked, part)) == number_of(getattr(splits, part))
        assert list(getattr(leaked, part).labels) == list(getattr(splits, part).labels)
    assert (leaked.class_order, leaked.class_counts) == (splits.class_order, splits.class_counts)


def test_without_a_ratio_the_classes_stay_as_they_are():
    source = toy_source([100, 400, 20, 8])
    assert is_imbalanced(source)
    splits = cut(source, ratio=None, test_per_class=None, validation_per_class=None)
    # test: 20 %, at least 5 but at most a quarter; validation: 15 % of what is left, likewise
    assert splits.test.counts(4) == (20, 80, 5, 2)
    assert splits.validation.counts(4) == (12, 48, 3, 1)
    assert splits.class_counts == (68, 272, 12, 5)
    assert splits.class_order == (1, 0, 2, 3)
    assert splits.n_pool == 528 - 107
    found = parts(splits)
    assert sorted([*found["train"], *found["validation"], *found["test"]]) == list(range(528))


def test_without_a_ratio_numbers_a_class_are_possible_too():
    splits = cut(toy_source([100, 90, 95]), ratio=None)
    assert splits.test.counts(3) == (10, 10, 10)
    assert splits.validation.counts(3) == (5, 5, 5)
    assert splits.class_counts == (85, 75, 80)


def test_shares_with_a_ratio_keep_validation_balanced():
    splits = cut(toy_source([100, 120, 200]), test_per_class=None, validation_per_class=None)
    assert splits.test.counts(3) == (20, 24, 40)
    assert splits.validation.counts(3) == (12, 12, 12)
    assert max(splits.class_counts) == 100 - 20 - 12


def test_validation_may_be_left_out_as_in_the_field():
    splits = cut(toy_source([500] * 10, [10] * 10), order_seed=None, ratio=100.0, validation_per_class=0)
    assert len(splits.validation) == 0
    assert splits.class_counts == tail_counts(500, 100.0, 10)


@pytest.mark.parametrize(
    ("counts", "change", "message"),
    [
        ([60, 14, 60], {}, "class 'kind 1' has 14 images and needs 20: 15 for test and validation, 5 for training"),
        ([60, 60, 19], {}, "class 'kind 2' has 19 images and needs 20"),
        (
            [60, 60, 30],
            {"n_max": 40, "ratio": 1.0},
            "'kind 2' has 30 images and needs 55: 15 .*, 40 for training",
        ),
        ([60, 60, 15], {"ratio": None}, "class 'kind 2' has 15 images and needs 16: 15 .*, 1 for training"),
        (
            [60, 60, 2],
            {"ratio": None, "test_per_class": None, "validation_per_class": None},
            "class 'kind 2' has 2 images and needs 3",
        ),
    ],
)
def test_a_class_with_too_few_images_is_named(counts, change, message):
    with pytest.raises(InputError, match=message):
        cut(toy_source(counts), **change)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"ratio": 0.1}, "imbalance ratio"),
        ({"split_seed": -1}, "split_seed: expected a whole number of at least 0, got -1"),
        ({"order_seed": -1}, "order_seed"),
        ({"test_per_class": 0}, "test_per_class: expected at least 1"),
        ({"validation_per_class": -1}, "validation_per_class: expected at least 0"),
        ({"ratio": None, "n_max": 10}, "n_max: expected None"),
        ({"n_max": 3}, "n_max: expected at least the smallest class size, 5, got 3"),
    ],
)
def test_cut_refuses_other_arguments(change, message):
    with pytest.raises(InputError, match=message):
        cut(toy_source([60, 60, 60]), **change)


def test_imbalance_by_nature_begins_at_two_to_one():
    assert is_imbalanced(toy_source([10, 20]))
    assert not is_imbalanced(toy_source([10, 19]))
