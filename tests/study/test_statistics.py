"""Every number here is scipy's, worked by hand, or simulated from a model in which the answer is known."""

import math

import numpy as np
import pytest
from scipy import integrate, stats

from study import statistics as st

A = [0.71, 0.74, 0.69, 0.75, 0.72]
B = [0.70, 0.71, 0.70, 0.71, 0.70]


def test_mean_interval_is_scipys_without_overlap():
    got = st.mean_interval(A)
    low, high = stats.t.interval(0.95, 4, loc=np.mean(A), scale=stats.sem(A))
    assert (got.mean, got.sd, got.n) == pytest.approx((np.mean(A), np.std(A, ddof=1), 5))
    assert (got.low, got.high) == pytest.approx((low, high))


def test_mean_interval_by_hand():
    # 1, 2, 3: mean 2, sd 1; ratio 1/4: se = sqrt(1/3 + 1/4) = sqrt(7/12); t(0.975, 2) = 4.302653
    got = st.mean_interval([1, 2, 3], ratio=0.25)
    assert got.high - 2 == pytest.approx(4.302653 * math.sqrt(7 / 12), rel=1e-6)
    assert 2 - got.low == pytest.approx(got.high - 2)


def test_paired_t_is_scipys_without_overlap():
    got = st.paired_t(A, B)
    want = stats.ttest_rel(A, B)
    assert got.p == pytest.approx(want.pvalue)
    interval = want.confidence_interval(0.95)
    assert (got.low, got.high) == pytest.approx((interval.low, interval.high))
    assert got.n == 5


def test_paired_t_with_overlap_by_hand():
    # differences 1, 2, 3 hundredths: t = 0.02 / (0.01 sqrt(1/3 + 1/4)) = 2.618615, df 2,
    # and for 2 degrees of freedom the two-sided p is 1 - t / sqrt(2 + t²)
    got = st.paired_t([0.51, 0.62, 0.73], [0.50, 0.60, 0.70], ratio=0.25)
    t = 2 / math.sqrt(7 / 12)
    assert (got.difference, got.sd, got.se) == pytest.approx((0.02, 0.01, 0.01 * math.sqrt(7 / 12)))
    assert got.p == pytest.approx(1 - t / math.sqrt(2 + t * t))
    assert got.p == pytest.approx(0.12012, abs=1e-5)


def test_paired_t_changes_sign_with_its_arguments():
    there, back = st.paired_t(A, B, ratio=0.2), st.paired_t(B, A, ratio=0.2)
    assert there.p == back.p
    assert (there.low, there.high) == pytest.approx((-back.high, -back.low))


def test_interval_excludes_zero_exactly_when_p_is_below_one_minus_confidence():
    rng = np.random.default_rng(0)
    for _ in range(200):
        x, y = rng.normal(0.8, 1, 4), rng.normal(0, 1, 4)
        got = st.paired_t(x, y, ratio=0.1)
        assert (got.low > 0 or got.high < 0) == (got.p < 0.05)


@pytest.mark.parametrize("n", [0, 1, 2])
def test_fewer_than_three_values_give_no_interval_and_no_p(n):
    test = st.paired_t(A[:n], B[:n])
    assert all(math.isnan(x) for x in (test.se, test.low, test.high, test.p))
    estimate = st.mean_interval(A[:n])
    assert math.isnan(estimate.low)
    assert math.isnan(estimate.high)
    equivalence = st.tost(A[:n], B[:n], delta=0.005)
    assert all(math.isnan(x) for x in (equivalence.p, equivalence.p_low, equivalence.p_high, equivalence.p_beyond))
    assert math.isnan(st.smallest_detectable(0.01, n))
    assert math.isnan(st.smallest_margin(0.01, n))


def test_two_values_still_have_a_mean_and_a_standard_deviation():
    got = st.mean_interval([1.0, 3.0])
    assert (got.mean, got.sd, got.n) == pytest.approx((2.0, math.sqrt(2), 2))
    assert math.isnan(st.mean_interval([1.0]).sd)
    assert math.isnan(st.mean_interval([]).mean)


@pytest.mark.parametrize(
    ("x", "y"),
    [
        (A, A),
        ([0.8, 0.9, 0.6], [0.7, 0.8, 0.5]),  # 0.8 - 0.7 and 0.9 - 0.8 differ in the last bit
        (np.float32([0.8, 0.9, 0.6]), np.float32([0.7, 0.8, 0.5])),
        ([0, 0, 0], [0, 0, 0]),
    ],
)
def test_differences_that_do_not_vary_give_no_p_and_no_interval(x, y):
    got = st.paired_t(x, y)
    assert all(math.isnan(value) for value in (got.se, got.low, got.high, got.p))
    assert got.difference == pytest.approx(x[0] - y[0], abs=1e-6)
    assert math.isnan(st.tost(x, y, delta=0.5).p)
    assert math.isnan(st.tost(x, y, delta=0.5).p_beyond)


def test_one_image_of_a_large_test_set_is_variation_enough():
    assert 0 < st.paired_t([0.9, 0.9, 0.9001], [0.9, 0.9, 0.9]).p < 1


def test_p_never_underflows_to_zero():
    x = 1e4 + np.tile([0.1, -0.1], 200)
    assert st.paired_t(x, np.zeros(400)).p > 0


@pytest.mark.parametrize("bad", [[0.1, np.nan, 0.2], [0.1, np.inf, 0.2], [[0.1, 0.2, 0.3]]])
def test_values_that_are_not_finite_or_not_flat_are_refused(bad):
    with pytest.raises(ValueError, match="finite values of shape"):
        st.mean_interval(bad)


def test_wrong_arguments_are_refused_with_their_value():
    with pytest.raises(ValueError, match="3 values and 2"):
        st.paired_t([1, 2, 3], [1, 2])
    with pytest.raises(ValueError, match=r"ratio >= 0, got ratio=-0\.1"):
        st.paired_t(A, B, ratio=-0.1)
    with pytest.raises(ValueError, match=r"confidence=1\.0"):
        st.mean_interval(A, confidence=1.0)
    with pytest.raises(ValueError, match="delta=0"):
        st.tost(A, B, delta=0)
    with pytest.raises(ValueError, match=r"p-values in \[0, 1\]"):
        st.holm([0.1, 1.2])
    with pytest.raises(ValueError, match="successes=6, n=5"):
        st.wilson(6, 5)
    with pytest.raises(ValueError, match=r"sd=-1\.0"):
        st.smallest_detectable(-1.0, 5)
    with pytest.raises(ValueError, match=r"power=0\.05"):
        st.smallest_detectable(1.0, 5, power=0.05)
    with pytest.raises(ValueError, match=r"alpha=0\.5"):
        st.smallest_margin(1.0, 5, alpha=0.5)


# False alarms. Replicates of equal correlation rho are what the correction assumes: ratio = rho / (1 - rho).


def _correlated(rng: np.random.Generator, rho: float, n: int) -> np.ndarray:
    return math.sqrt(rho) * rng.normal() + math.sqrt(1 - rho) * rng.normal(size=n)


def _rejections(rho: float, ratio: float, *, n: int, repeats: int, seed: int) -> float:
    rng = np.random.default_rng(seed)
    reference = np.zeros(n)
    return float(
        np.mean([st.paired_t(_correlated(rng, rho, n), reference, ratio=ratio).p < 0.05 for _ in range(repeats)])
    )


@pytest.mark.parametrize(("rho", "n"), [(0.0, 3), (0.2, 3), (0.2, 10)])
def test_false_alarm_rate_is_five_percent(rho, n):
    # 4,000 draws: the rate's own standard deviation is 0.0034, so the band is 3.5 of them
    assert _rejections(rho, rho / (1 - rho), n=n, repeats=4000, seed=1) == pytest.approx(0.05, abs=0.012)


def test_without_the_correction_overlap_raises_false_alarms():
    assert _rejections(0.2, 0.0, n=10, repeats=1000, seed=2) > 0.2


def test_smallest_detectable_difference_is_found_four_times_in_five():
    # noise as the test assumes it (rho 0.2, so ratio 0.25 and E[s²] = 0.8), shifted by what should be detectable
    rng = np.random.default_rng(3)
    n, ratio = 5, 0.25
    shift = st.smallest_detectable(math.sqrt(0.8), n, ratio=ratio)
    found = [st.paired_t(shift + _correlated(rng, 0.2, n), np.zeros(n), ratio=ratio).p < 0.05 for _ in range(4000)]
    assert np.mean(found) == pytest.approx(0.8, abs=0.022)


@pytest.mark.parametrize("delta", [0.005, 0.03])
def test_tost_is_two_one_sided_tests_of_scipy(delta):
    got = st.tost(A, B, delta=delta)
    difference = np.subtract(A, B)
    low = stats.ttest_1samp(difference, -delta, alternative="greater").pvalue
    high = stats.ttest_1samp(difference, delta, alternative="less").pvalue
    assert (got.p_low, got.p_high, got.p) == pytest.approx((low, high, max(low, high)))


def test_tost_with_overlap_by_hand():
    # differences -1, 0, 1 hundredths, δ = 0.05: t = 5 / sqrt(7/12) = 6.546537, df 2, p = (1 - t / sqrt(2 + t²)) / 2
    got = st.tost([0.69, 0.70, 0.71], [0.70, 0.70, 0.70], delta=0.05, ratio=0.25)
    t = 5 / math.sqrt(7 / 12)
    assert got.p == pytest.approx((1 - t / math.sqrt(2 + t * t)) / 2)
    assert got.p_low == pytest.approx(got.p_high)
    assert got.p_beyond == 1.0


def test_tost_is_the_ninety_percent_interval_within_delta():
    interval = st.paired_t(A, B, ratio=0.1, confidence=0.9)
    edge = max(abs(interval.low), abs(interval.high))
    assert st.tost(A, B, delta=edge, ratio=0.1).p == pytest.approx(0.05)


def test_a_difference_beyond_delta_is_the_ninety_five_percent_interval_beyond_it():
    x = [0.60, 0.61, 0.59, 0.60, 0.62]
    for a, b in ((x, A), (A, x)):
        interval = st.paired_t(a, b)
        edge = min(abs(interval.low), abs(interval.high))
        got = st.tost(a, b, delta=edge)
        assert got.p_beyond == pytest.approx(0.05)
        assert got.p > 0.9


def test_tost_false_alarms_at_the_margin_are_at_most_five_percent():
    rng = np.random.default_rng(4)
    zeros = np.zeros(4)
    rate = np.mean([st.tost(1 + 0.3 * rng.normal(size=4), zeros, delta=1).p < 0.05 for _ in range(4000)])
    assert rate == pytest.approx(0.05, abs=0.012)


def test_smallest_margin_is_where_a_difference_of_zero_just_shows_equality():
    x, y = [0.69, 0.70, 0.71], [0.70, 0.70, 0.70]
    margin = st.smallest_margin(st.paired_t(x, y).sd, 3, ratio=0.25)
    assert st.tost(x, y, delta=margin, ratio=0.25).p == pytest.approx(0.05)


def test_holm_by_hand():
    # sorted 0.01, 0.02, 0.03, 0.04 times 4, 3, 2, 1 = 0.04, 0.06, 0.06, 0.04; running maximum 0.04, 0.06, 0.06, 0.06
    assert st.holm([0.04, 0.01, 0.03, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert st.holm([0.3]) == [0.3]
    assert st.holm([]) == []
    assert st.holm([0.9, 0.8]) == [1.0, 1.0]


def test_holm_counts_a_test_that_could_not_be_made():
    got = st.holm([0.02, math.nan, 0.01])
    assert got[2] == pytest.approx(0.03)
    assert got[0] == pytest.approx(0.04)
    assert math.isnan(got[1])


@pytest.mark.parametrize(("k", "n"), [(0, 10), (1, 10), (5, 10), (97, 100), (10, 10)])
def test_wilson_is_scipys(k, n):
    want = stats.binomtest(k, n).proportion_ci(0.95, method="wilson")
    assert st.wilson(k, n) == pytest.approx((want.low, want.high), abs=1e-12)


def test_wilson_of_nothing_is_unknown():
    assert all(math.isnan(x) for x in st.wilson(0, 0))


@pytest.mark.parametrize("n", [3, 5, 10, 40])
def test_smallest_detectable_has_the_power_it_says(n):
    # power written out: T = (Z + λ) / sqrt(V / df), so P(T > c) is the mean of Φ(λ - c sqrt(V / df)) over chi-square V
    df, sd, ratio = n - 1, 0.02, 0.25
    shift = st.smallest_detectable(sd, n, ratio=ratio) / (sd * math.sqrt(1 / n + ratio))
    critical = stats.t.ppf(0.975, df)
    power, _ = integrate.quad(
        lambda v: stats.norm.cdf(shift - critical * math.sqrt(v / df)) * stats.chi2.pdf(v, df), 0, np.inf
    )
    assert power == pytest.approx(0.8, abs=1e-5)


def test_smallest_detectable_for_many_replicates_is_the_normal_formula():
    want = (stats.norm.ppf(0.975) + stats.norm.ppf(0.8)) * 2 / math.sqrt(10_000)
    assert st.smallest_detectable(2.0, 10_000) == pytest.approx(want, rel=1e-3)


def test_smallest_detectable_without_a_standard_deviation_is_unknown():
    assert math.isnan(st.smallest_detectable(0.0, 5))
    assert math.isnan(st.smallest_detectable(math.nan, 5))
