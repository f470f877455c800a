import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, balanced_accuracy_score

from study.errors import InputError
from study.probes.accuracy import (
    TAUS,
    accuracy,
    adjust_logits,
    balanced_accuracy,
    choose_tau,
    class_accuracies,
    posthoc_rows,
    rows,
    shifted_rows,
    shot_groups,
)


def values(table, probe, part, metric):
    found = [r for r in table if (r["probe"], r["slice"], r["metric"]) == (probe, part, metric)]
    assert len(found) == 1
    return found[0]["value"], found[0]["n"]


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 40), st.integers(0, 2**32 - 1))
def test_against_scikit_learn(n, seed):
    rng = np.random.default_rng(seed)
    predictions, labels = rng.integers(0, 4, n), rng.integers(0, 4, n)
    assert accuracy(predictions, labels) == pytest.approx(accuracy_score(labels, predictions))
    shares = [(predictions[labels == c] == c).mean() for c in np.unique(labels)]
    assert balanced_accuracy(predictions, labels, 4) == pytest.approx(np.mean(shares))
    if set(predictions) <= set(labels) and len(set(labels)) > 1:  # scikit-learn warns about the others
        assert balanced_accuracy(predictions, labels, 4) == pytest.approx(balanced_accuracy_score(labels, predictions))


def test_a_class_without_samples_is_not_available_and_does_not_count():
    shares, counts = class_accuracies([0, 0, 1], [0, 1, 1], 3)
    assert shares[:2].tolist() == [1.0, 0.5]
    assert math.isnan(shares[2])
    assert counts.tolist() == [1, 2, 0]
    assert balanced_accuracy([0, 0, 1], [0, 1, 1], 3) == 0.75


def test_no_samples_are_not_available():
    empty = np.zeros(0, dtype=np.int64)
    assert math.isnan(accuracy(empty, empty))
    assert math.isnan(balanced_accuracy(empty, empty, 3))


@pytest.mark.parametrize(
    ("counts", "many", "medium", "few"),
    [
        ([500, 101, 100, 20, 19, 5], (0, 1), (2, 3), (4, 5)),  # each of the three is filled
        ([19, 101, 50], (1,), (2,), (0,)),  # by count, not by index
        ([350, 226, 146, 94, 61, 39, 25, 22, 21, 20], (0, 1, 2), (3, 4, 5, 6), (7, 8, 9)),  # nothing below 20
        ([9, 8, 7, 6, 5, 4], (0, 1), (2, 3), (4, 5)),
        ([30, 40], (1,), (), (0,)),  # two classes: a head and a tail
        ([50, 50, 50, 50], (), (0, 1, 2, 3), ()),  # no head, no tail
        ([90, 80, 50, 50, 50, 30], (0, 1), (2, 3, 4), (5,)),  # equal counts are never parted
        ([90, 50, 50, 40, 30, 20], (0,), (1, 2, 3), (4, 5)),  # a tie whose middle is exactly C/3
        ([50, 40, 40], (0,), (1, 2), ()),  # a tie whose middle is exactly 2C/3
        ([50, 50, 40], (), (0, 1), (2,)),
        ([7], (), (0,), ()),
    ],
)
def test_shot_groups(counts, many, medium, few):
    assert shot_groups(counts) == {"many": many, "medium": medium, "few": few}


def test_rows_by_hand():
    logits = np.array([[2.0, 1, 0], [0, 1, 2], [0, 3, 1], [0, 1, 2.0]])
    table = rows(logits, [0, 0, 1, 1], [200, 50, 10], ["a", "b", "c"])
    assert values(table, "accuracy", "all", "accuracy") == (0.5, 4)
    assert values(table, "accuracy", "all", "balanced_accuracy") == (0.5, 4)
    assert values(table, "accuracy", "class:a", "accuracy") == (0.5, 2)
    assert values(table, "accuracy", "many", "accuracy") == (0.5, 2)
    value, n = values(table, "accuracy", "few", "accuracy")
    assert math.isnan(value)
    assert n == 0
    assert {r["dataset"] for r in table} == {"test"}


def test_a_group_is_the_mean_over_its_classes():
    logits = np.eye(6)[[0, 1, 0, 0]]
    table = rows(logits, [0, 1, 1, 1], [300, 200, 50, 40, 10, 5], list("abcdef"))
    assert values(table, "accuracy", "many", "accuracy") == (pytest.approx((1 + 1 / 3) / 2), 4)
    table = rows(logits, [0, 2, 2, 2], [300, 200, 50, 40, 10, 5], list("abcdef"))
    assert values(table, "accuracy", "many", "accuracy") == (1, 1), "a class without test images has no part in it"


def test_tensors_are_taken_too():
    logits = torch.eye(3, requires_grad=True)
    assert values(rows(logits, torch.arange(3), [3, 2, 1], "abc"), "accuracy", "all", "accuracy") == (1.0, 3)


def test_adjusted_logits_by_hand():
    adjusted = adjust_logits([[1.0, 0.5]], [30, 10], tau=2.0)
    np.testing.assert_allclose(adjusted, [[1 - 2 * math.log(0.75), 0.5 - 2 * math.log(0.25)]], rtol=1e-14)


def test_tau_is_the_smallest_of_the_best():
    counts = [90, 10]
    # log π differs by log 9 = 2.197: a tail sample that loses by 1 is right from τ = 0.456 on, the head sample that
    # wins by 3 until τ = 1.365. So τ = 0.5 to 1.3 are equally good.
    logits, labels = np.array([[1.0, 0.0], [3.0, 0.0]]), [1, 0]
    assert choose_tau(logits, labels, counts) == (0.5, 1.0)
    assert choose_tau(np.array([[3.0, 0.0], [0.0, 3.0]]), [0, 1], counts)[0] == 0.0
    assert TAUS[0] == 0.0
    assert TAUS[5] == 0.5
    assert TAUS[-1] == 2.0
    assert len(TAUS) == 21


def test_tau_is_chosen_by_balanced_accuracy_where_validation_is_not_balanced():
    """τ = 0.5 moves a lead of up to 1.1: the one rare image gets right, three of nine common ones wrong."""
    lead = np.array([10.0] * 6 + [0.5] * 3 + [1.0])
    logits, labels = np.stack((lead, np.zeros(10)), 1), [0] * 9 + [1]
    assert choose_tau(logits, labels, [9, 1]) == (0.5, pytest.approx((6 / 9 + 1) / 2))


def test_posthoc_rows_choose_on_validation_only():
    validation, validation_labels = np.array([[1.0, 0.0], [3.0, 0.0], [3.0, 0]]), [1, 0, 0]
    test, test_labels = np.array([[0.5, 0.0], [1.0, 0.0]]), [1, 0]
    table = posthoc_rows(test, test_labels, validation, validation_labels, [90, 10], ["head", "tail"])
    assert {r["probe"] for r in table} == {"posthoc"}
    # The NLL's slope by 1/T, σ(1/T) − 6 σ(−3/T), is 0 at T = 1.44: the tail sample is right from τ T log 9 = 1 on,
    # τ = 0.316.
    temperature, n = values(table, "posthoc", "all", "temperature")
    assert 1 / (1 + math.exp(-1 / temperature)) == pytest.approx(6 / (1 + math.exp(3 / temperature)), rel=1e-6)
    assert n == 3
    assert values(table, "posthoc", "all", "tau") == (0.4, 3)
    assert values(table, "posthoc", "all", "tau_at_end") == (0.0, 3)
    assert values(table, "posthoc", "class:tail", "accuracy") == (1.0, 1)
    assert values(table, "posthoc", "class:head", "accuracy") == (0.0, 1)  # τ T log 9 = 1.27 turns it over


def long_tailed(n, seed):
    """Logits and labels of four classes of which the model has learnt the first too well."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 4, n)
    return 2 * np.eye(4)[labels] + rng.normal(size=(n, 4)) + np.log(LONG_TAIL), labels


LONG_TAIL = [1000, 300, 90, 27]


@pytest.mark.parametrize("factor", [2.0**-10, 0.001, 1000.0, 2.0**10])
def test_the_scale_of_the_logits_changes_nothing(factor):
    (z, y), (held, held_labels) = long_tailed(600, 0), long_tailed(400, 1)
    names = list("abcd")
    table = posthoc_rows(z, y, held, held_labels, LONG_TAIL, names)
    other = posthoc_rows(factor * z, y, factor * held, held_labels, LONG_TAIL, names)
    plain = values(rows(z, y, LONG_TAIL, names), "accuracy", "all", "balanced_accuracy")[0]
    assert values(table, "posthoc", "all", "balanced_accuracy")[0] > plain + 0.1
    assert 0 < values(table, "posthoc", "all", "tau")[0] < 2
    temperature = values(table, "posthoc", "all", "temperature")[0]
    assert values(other, "posthoc", "all", "temperature")[0] == pytest.approx(factor * temperature, rel=1e-6)
    assert [r for r in other if r["metric"] != "temperature"] == [r for r in table if r["metric"] != "temperature"]
    # z − τ T log π, as it is written, predicts the same.
    tau = values(table, "posthoc", "all", "tau")[0]
    written = factor * z - tau * factor * temperature * np.log(np.array(LONG_TAIL) / sum(LONG_TAIL))
    assert values(other, "posthoc", "all", "accuracy")[0] == (written.argmax(1) == y).mean()


def test_posthoc_of_validation_images_that_tell_nothing():
    z, y = long_tailed(50, 0)
    for held, held_labels in (
        (5 * np.eye(4)[[0, 0, 0]], [0, 0, 0]),
        (np.eye(4), [0, 1, 2, 3]),
        (np.ones((4, 4)), [0, 0, 0, 0]),
    ):
        table = posthoc_rows(z, y, held, held_labels, LONG_TAIL, list("abcd"))
        assert values(table, "posthoc", "all", "tau")[0] == 0.0
        assert values(table, "posthoc", "all", "tau_at_end")[0] == 1.0
        assert values(table, "posthoc", "all", "accuracy")[0] == (z.argmax(1) == y).mean()


def test_shifted_rows():
    table = shifted_rows("digits", [[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]], [0, 1, 1])
    assert values(table, "shifted", "all", "accuracy") == (pytest.approx(2 / 3), 3)
    assert values(table, "shifted", "all", "balanced_accuracy") == (0.75, 3)
    assert {r["dataset"] for r in table} == {"digits"}


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: rows([[1.0, math.nan]], [0], [1, 1], "ab"), "finite"),
        (lambda: rows([[1.0, 0.0]], [2], [1, 1], "ab"), "expected 0 to 1, got 2"),
        (lambda: rows([[1.0, 0.0]], [0.5], [1, 1], "ab"), "whole numbers"),
        (lambda: rows([1.0, 0.0], [0], [1, 1], "ab"), r"\(N, C\)"),
        (lambda: rows([[1.0, 0.0]], [0], [1], "ab"), "class_counts"),
        (lambda: adjust_logits([[1.0, 0.0]], [5, 0], 1.0), "at least 1 training image"),
        (lambda: choose_tau(np.zeros((0, 2)), [], [5, 5]), "got none"),
        (lambda: shot_groups([]), "class_counts"),
        (lambda: accuracy([1, 2], [1]), "two arrays"),
    ],
)
def test_errors(call, message):
    with pytest.raises(InputError, match=message):
        call()
