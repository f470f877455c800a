import numpy as np
import pytest
from scipy.stats import binomtest

from study.errors import InputError
from study.probes.attack_verdicts import check_verdicts, figure_name, robust, rows_from_verdicts, slice_name


def verdicts(stands, clean=None, attacks=None, **changes):
    stands = np.array(stands, dtype=np.int8)
    clean = (stands != -1).any(0) if clean is None else np.array(clean)
    arrays = {
        "clean": clean,
        "attacks": np.array(attacks or [f"attack{k}" for k in range(len(stands))]),
        "stands": stands,
        "norm": np.array("Linf"),
        "mode": np.array("standard"),
        "eps": np.array(0.1),
        "seed": np.array(0),
        "num_classes": np.array(10),
    }
    return arrays | changes


def test_rows_by_hand():
    arrays = verdicts([[1, 1, 0, 1, -1], [1, 0, -1, 1, -1], [1, -1, -1, 0, -1]], attacks=["apgd-ce", "apgd-t", "fab-t"])
    table = {r["metric"]: r for r in rows_from_verdicts(arrays)}
    assert {(r["probe"], r["dataset"], r["slice"], r["n"]) for r in table.values()} == {
        ("attack", "test", "Linf-0.1", 5)
    }
    assert table["clean_accuracy"]["value"] == 0.8
    assert table["robust_accuracy.apgd-ce"]["value"] == pytest.approx(0.6)
    assert table["robust_accuracy.apgd-t"]["value"] == pytest.approx(0.4)
    assert table["robust_accuracy.fab-t"]["value"] == pytest.approx(0.2)
    assert table["robust_accuracy"]["value"] == pytest.approx(0.2)
    interval = binomtest(1, 5).proportion_ci(0.95, method="wilson")
    assert (table["robust_accuracy_low"]["value"], table["robust_accuracy_high"]["value"]) == pytest.approx(
        (interval.low, interval.high)
    )


def test_attacks_on_all_points_are_counted_one_after_the_other():
    arrays = verdicts([[1, 0, 1], [0, 1, 1]], mode=np.array("quick"))
    table = {r["metric"]: r["value"] for r in rows_from_verdicts(arrays)}
    assert table["robust_accuracy.attack0"] == pytest.approx(2 / 3)
    assert table["robust_accuracy.attack1"] == pytest.approx(1 / 3)
    np.testing.assert_array_equal(robust(arrays), [False, False, True])


def test_what_fell_in_a_smaller_ball_is_not_robust():
    arrays = verdicts([[1, -1, -1]], clean=[True, True, False], carried=np.array([False, True, False]))
    np.testing.assert_array_equal(robust(arrays), [True, False, False])
    table = {r["metric"]: r["value"] for r in rows_from_verdicts(arrays)}
    assert table["clean_accuracy"] == pytest.approx(2 / 3)
    assert table["robust_accuracy"] == table["robust_accuracy.attack0"] == pytest.approx(1 / 3)


def test_names():
    assert slice_name("Linf", 0.1) == "Linf-0.1"
    assert slice_name("Linf", 1 / 255) == "Linf-0.00392157"
    assert slice_name("L2", 0.5) == "L2-0.5"
    assert figure_name("quick") == "upper bound"
    assert figure_name("plus") == "worst case over all attacks"


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"clean": np.array([True])}, "none named attacks, stands"),
        (verdicts([[1, 2]]), "values −1, 0 or 1"),
        (verdicts([[1, 0]], attacks=["a", "b"]), "shape"),
        (verdicts([[1, 0]], clean=[True, False]), "misclassified"),
    ],
)
def test_errors(arrays, message):
    with pytest.raises(InputError, match=message):
        check_verdicts(arrays)
