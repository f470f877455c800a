"""Probe "corruption": means over severities and kinds by hand, and what is not available."""

import math

import pytest

from study.data.corruption import KINDS
from study.errors import InputError
from study.probes.corruption import rows

LABELS = [0, 0, 0, 1]
ALL_RIGHT, ALL_WRONG = [0, 0, 0, 1], [1, 1, 1, 0]
ONLY_ZERO = [0, 0, 0, 0]  # accuracy 3/4, balanced 1/2
HALF = [0, 1, 1, 1]  # accuracy 1/2, balanced 2/3


def table(*arguments, **named):
    result = rows(*arguments, **named)
    assert {r["probe"] for r in result} == {"corruption"}
    keys = [(r["slice"], r["metric"]) for r in result]
    assert len(set(keys)) == len(keys)
    return {key: (r["value"], r["n"]) for key, r in zip(keys, result, strict=True)}


def test_means_by_hand():
    predictions = {
        ("fog", 1): ALL_RIGHT,
        ("fog", 3): ONLY_ZERO,
        ("snow", 3): ALL_WRONG,
        ("snow", 1): HALF,
    }
    got = table(predictions, LABELS, ONLY_ZERO, 2)
    assert got["fog-1", "accuracy"] == (1.0, 4)
    assert got["fog-3", "accuracy"] == (0.75, 4)
    assert got["fog-3", "error"] == (0.25, 4)
    assert got["snow-3", "accuracy"] == (0.0, 4)
    assert got["fog", "accuracy"] == (0.875, 4)
    assert got["fog", "error"] == (0.125, 4)
    assert got["fog", "accuracy_drop"] == (-0.125, 4)  # clean: 0.75
    assert got["snow", "accuracy"] == (0.25, 4)
    assert got["snow", "accuracy_drop"] == (0.5, 4)
    assert got["all", "accuracy"] == (0.5625, 4)
    assert got["all", "error"] == (0.4375, 4)
    assert got["all", "accuracy_drop"] == (0.1875, 4)
    fog, snow = (1 + 1 / 2) / 2, (2 / 3 + 0) / 2
    assert got["all", "balanced_accuracy"] == (pytest.approx((fog + snow) / 2), 4)
    assert got["all", "kinds"] == (2.0, 4)
    assert {part for part, _ in got} == {"fog", "fog-1", "fog-3", "snow", "snow-1", "snow-3", "all"}


def test_kinds_that_are_not_available_are_nan_and_in_no_mean():
    got = table({("fog", 2): HALF}, LABELS, ALL_RIGHT, 2, not_available=["frost", "saturate", "frost"])
    for key in (("frost-2", "accuracy"), ("frost-2", "error"), ("frost", "accuracy"), ("frost", "accuracy_drop")):
        value, n = got[key]
        assert math.isnan(value)
        assert n == 0
    assert got["all", "accuracy"] == (0.5, 4)
    assert got["all", "kinds"] == (1.0, 4)


def test_nothing_is_available():
    got = table({}, LABELS, ALL_RIGHT, 2, not_available=KINDS)
    assert len(got) == 19 * (5 * 2 + 3) + 5
    assert got.pop(("all", "kinds")) == (0.0, 0)
    assert all(math.isnan(value) and n == 0 for value, n in got.values())


def test_dataset_is_named_and_validation_kinds_stand_alone():
    result = rows({("spatter", 1): HALF}, LABELS, HALF, 2, dataset="validation")
    assert {r["dataset"] for r in result} == {"validation"}


@pytest.mark.parametrize(
    ("predictions", "missing", "message"),
    [
        ({("fogg", 1): HALF}, (), "did you mean 'fog'"),
        ({("fog", 1): HALF}, ("fogg",), "unknown corruption"),
        ({("fog", 1): HALF}, ("fog",), "got both"),
        ({("fog", 1): HALF, ("spatter", 1): HALF}, (), "validation only"),
        ({("fog", 6): HALF}, (), r"severities 1 to 5, got \[6\]"),
        ({("fog", 1): HALF, ("snow", 1): HALF, ("snow", 2): HALF}, (), r"fog: expected severities \[1, 2\]"),
        ({("fog", 1): [0, 1]}, (), "predictions of fog-1: expected 4 whole numbers"),
        ({("fog", 1): [0, 1, 2, 0]}, (), "predictions of fog-1: expected 0 to 1, got 0 to 2"),
    ],
)
def test_errors(predictions, missing, message):
    with pytest.raises(InputError, match=message):
        rows(predictions, LABELS, HALF, 2, not_available=missing)
