import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hem import class_balanced_weights, class_margins, hem_margin, ldam_margins, log_prior

COUNTS = (5000, 1000, 200, 50)
BY_COUNTS = [class_margins, class_balanced_weights, ldam_margins, log_prior]
counts = st.lists(st.integers(1, 10**6), min_size=1, max_size=12)


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        (class_margins, [0.31622776601683794, 0.7071067811865476, 1.5811388300841898, 3.1622776601683795]),
        (ldam_margins, [0.15811388300841897, 0.23643540225079396, 0.3535533905932738, 0.5]),
        (class_balanced_weights, [0.03850034200807008, 0.15918617850006112, 0.7650264197191047, 3.037287059772764]),
        (log_prior, [math.log(n / 6250) for n in COUNTS]),
    ],
)
def test_known_numbers(rule, expected):
    values = rule(COUNTS)
    assert values.dtype is torch.float32
    assert values.tolist() == pytest.approx(expected, rel=1e-6)


def test_counts_below_one():
    """2 % of the pixels of 25 images: n = 0.5."""
    shares = (24.5, 0.5)
    assert class_margins(shares, M=1).tolist() == pytest.approx([1 / 7, 1.0])
    assert ldam_margins((8.0, 0.5)).tolist() == pytest.approx([0.25, 0.5])
    assert log_prior(shares).tolist() == pytest.approx([math.log(0.98), math.log(0.02)])
    # 1 − 0.25^0.5 = ½ and 1 − 0.25² = 15/16: weights as 16/15 to 2, with the sum 2
    assert class_balanced_weights((2.0, 0.5), beta=0.25).tolist() == pytest.approx([16 / 23, 30 / 23])
    assert hem_margin(0.5, M=2) == 2.0


def test_margins_of_known_data_sets():
    assert hem_margin(50_000) == pytest.approx(0.2)
    assert hem_margin(1_281_167) == pytest.approx(0.0395, abs=5e-5)
    assert hem_margin(344) == pytest.approx(2.41, abs=5e-3)
    assert hem_margin(500, M=5) == pytest.approx(0.1)


@settings(max_examples=30, deadline=None)
@given(number=st.integers(1, 10**6), classes=st.integers(1, 50))
def test_equal_counts_give_one_margin(number, classes):
    margins = class_margins([number] * classes)
    assert margins.tolist() == pytest.approx([hem_margin(number * classes)] * classes, rel=1e-6)


@settings(max_examples=30, deadline=None)
@given(counts)
def test_rare_classes_weigh_more(numbers):
    order = torch.tensor(numbers).argsort(stable=True)
    for rule in (class_margins, class_balanced_weights, ldam_margins):
        assert (rule(numbers)[order].diff() <= 1e-6 * rule(numbers).max()).all()
    assert class_balanced_weights(numbers).sum().item() == pytest.approx(len(numbers), rel=1e-5)
    assert log_prior(numbers).exp().sum().item() == pytest.approx(1.0, rel=1e-5)
    assert ldam_margins(numbers, 0.4).max().item() == pytest.approx(0.4, rel=1e-6)


def test_limits_of_class_balanced_weights():
    assert class_balanced_weights(COUNTS, beta=0.0).tolist() == [1.0] * 4
    inverse = 1 / torch.tensor(COUNTS, dtype=torch.float64)
    expected = (inverse * 4 / inverse.sum()).tolist()
    assert class_balanced_weights(COUNTS, beta=1 - 1e-12).tolist() == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("rule", BY_COUNTS)
def test_every_class_needs_a_count_above_zero(rule):
    cases = (
        ((5, 0, 3), "class 1 has 0"),
        ((5, 3, -2), "class 2 has -2"),
        ((float("nan"), 1), "class 0"),
        ((1, math.inf), "class 1 has inf"),
    )
    for bad, named in cases:
        with pytest.raises(ValueError, match=f"class_counts: expected a finite number > 0 for each class, but {named}"):
            rule(bad)
    with pytest.raises(ValueError, match="class_counts: expected one number a class"):
        rule(())


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: hem_margin(0), "num_samples: expected a finite number > 0, got 0"),
        (lambda: hem_margin(math.inf), "num_samples: expected a finite number > 0, got inf"),
        (lambda: hem_margin(10, M=-1), "M: expected a finite number >= 0, got -1"),
        (lambda: class_margins([1], M=math.inf), "M: expected a finite number >= 0, got inf"),
        (lambda: class_balanced_weights([1], beta=1.0), r"beta: expected a number in \[0, 1\), got 1.0"),
        (lambda: ldam_margins([1], max_margin=-0.5), "max_margin: expected a finite number >= 0, got -0.5"),
    ],
)
def test_numbers_out_of_range(call, message):
    with pytest.raises(ValueError, match=message):
        call()
