import numpy as np
import pytest

from study.errors import InputError
from study.probes.continual import (
    CLASS,
    TASK,
    acc,
    accuracy_matrix,
    backward_transfer,
    forgetting,
    forward_transfer,
    rows,
)

# R by hand: after experience i (row) on j (column)
R = np.array([[0.9, np.nan, np.nan], [0.6, 0.8, np.nan], [0.7, 0.5, 1.0]])


def test_figures_by_hand():
    assert acc(R) == pytest.approx((0.7 + 0.5 + 1.0) / 3)
    assert forgetting(R) == pytest.approx(((0.9 - 0.7) + (0.8 - 0.5)) / 2)
    assert backward_transfer(R) == pytest.approx(((0.7 - 0.9) + (0.5 - 0.8)) / 2)


def test_forgetting_takes_the_best_that_ever_was():
    later = np.array([[0.5, np.nan, np.nan], [0.9, 0.8, np.nan], [0.7, 0.5, 1.0]])
    assert forgetting(later) == pytest.approx(((0.9 - 0.7) + (0.8 - 0.5)) / 2)


def test_forward_transfer_by_hand():
    full = np.array([[0.9, 0.6, 0.4], [0.6, 0.8, 0.7], [0.7, 0.5, 1.0]])
    before = np.array([0.3, 0.5, 0.4])  # the first is learnt at once: nothing can be transferred to it
    assert forward_transfer(full, before) == pytest.approx(((0.6 - 0.5) + (0.7 - 0.4)) / 2)


def test_matrix_by_hand():
    labels = np.array([0, 1, 2, 3])
    experiences = ((0, 1), (2, 3))
    first = np.array([[2, 1, 9, 9], [3, 1, 9, 9], [0, 0, 1, 2], [0, 0, 1, 2.0]])
    last = np.array([[2, 1, 0, 0], [0, 1, 5, 0], [0, 0, 3, 2], [0, 0, 3, 1.0]])
    # after the first, classes 0 and 1 compete: 0 right, 1 wrong; after both, 0 and 2 are right
    expected = np.array([[0.5, np.nan], [0.5, 0.5]])
    np.testing.assert_array_equal(accuracy_matrix([first, last], labels, experiences, CLASS), expected)
    np.testing.assert_array_equal(accuracy_matrix([first, last], labels, experiences, TASK), [[0.5, 0.5], [1.0, 0.5]])


def test_training_on_all_at_once_forgets_nothing_that_is_known():
    found = {(r["slice"], r["metric"]): r["value"] for r in rows([np.eye(4)], np.arange(4), ((0, 1), (2, 3)))}
    assert found["class-incremental", "acc"] == 1.0
    assert np.isnan(found["class-incremental", "forgetting"])
    assert found["class-incremental after 2 on 1", "accuracy"] == 1.0


def test_errors():
    with pytest.raises(InputError, match="expected 1 or 2 arrays"):
        accuracy_matrix([np.eye(4)] * 3, np.arange(4), ((0, 1), (2, 3)), CLASS)
    with pytest.raises(InputError, match="experience 2: expected test images"):
        accuracy_matrix([np.eye(4)[:2]], np.arange(2), ((0, 1), (2, 3)), CLASS)
