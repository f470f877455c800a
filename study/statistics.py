"""Intervals and tests on a handful of replicates, and what such a handful could have shown.

The unit is the replicate: one independent search with its own split, its retrainings averaged. Replicates that are cut
from one pool of images share training images, so their figures are correlated; Nadeau and Bengio's correction
("Inference for the generalization error", Machine Learning 52, 2003, eq. 9) widens the squared standard error of a mean

    se² = (1/n + ratio) · s²,    ratio = test images / images that are not test images  (0: no overlap)

which is exact for normal values of equal correlation ρ = ratio / (1 + ratio): the corrected statistic then follows
Student's t with n − 1 degrees of freedom.

What cannot be known is nan, never a p-value of 0: fewer than three values, or values that do not vary. Values count as
not varying when their standard deviation is below 1e-6 of their size, which is the rounding of single precision.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from math import inf, nan, sqrt

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

MIN_REPLICATES = 3
"""Fewer values than this give no interval and no p-value."""

_ROUNDING = 1e-6


@dataclass(frozen=True)
class Estimate:
    """A mean with its interval, in the unit of the values; nan where it cannot be known."""

    mean: float
    sd: float
    """Standard deviation of the values, ddof 1; nan below two values."""
    n: int
    low: float
    high: float


@dataclass(frozen=True)
class Paired:
    """A mean difference with its interval and two-sided p-value; nan where it cannot be known."""

    difference: float
    sd: float
    """Standard deviation of the differences, ddof 1; nan below two pairs."""
    n: int
    """Number of pairs."""
    se: float
    """Corrected standard error; nan below three pairs or if the differences do not vary."""
    low: float
    high: float
    p: float


@dataclass(frozen=True)
class Equivalence:
    """Two one-sided tests of a mean difference d at the margin δ; nan where they cannot be made."""

    p: float
    """The larger of the two: small means that −δ < d < δ is shown."""
    p_low: float
    """One-sided p against d ≤ −δ."""
    p_high: float
    """One-sided p against d ≥ δ."""
    p_beyond: float
    """Two-sided p against |d| ≤ δ: small means that a difference larger than δ is shown."""


def mean_interval(values: ArrayLike, *, ratio: float = 0.0, confidence: float = 0.95) -> Estimate:
    """Return mean ± t_{n−1} · se, se = s √(1/n + ratio).

    Args:
        values: shape (n,), one finite value a replicate, any unit; n may be 0.
        ratio: overlap of the replicates, test images / other images, ≥ 0.
        confidence: coverage in (0, 1).

    Raises:
        ValueError: values that are not finite or not one-dimensional; ratio or confidence out of range.
    """
    x = _finite(values)
    _check_confidence(confidence)
    mean, sd = _mean_sd(x)
    se = _standard_error(sd, x.size, ratio, _size(x))
    half = _t_quantile((1 + confidence) / 2, x.size - 1) * se
    return Estimate(mean, sd, x.size, mean - half, mean + half)


def paired_t(values: ArrayLike, reference: ArrayLike, *, ratio: float = 0.0, confidence: float = 0.95) -> Paired:
    """Return the corrected paired t test of values − reference: t = d̄ / (s √(1/n + ratio)), n − 1 degrees of freedom.

    Args:
        values: shape (n,), one finite value a replicate.
        reference: shape (n,), the same replicates in the same order.
        ratio: overlap of the replicates, test images / other images, ≥ 0; 0 gives the plain paired t test.
        confidence: coverage of the interval in (0, 1).

    Raises:
        ValueError: values that are not finite, shapes that differ, ratio or confidence out of range.
    """
    difference, size = _differences(values, reference)
    _check_confidence(confidence)
    mean, sd = _mean_sd(difference)
    n = difference.size
    se = _standard_error(sd, n, ratio, size)
    half = _t_quantile((1 + confidence) / 2, n - 1) * se
    return Paired(mean, sd, n, se, mean - half, mean + half, _two_sided(mean / se, n - 1))


def tost(values: ArrayLike, reference: ArrayLike, *, delta: float, ratio: float = 0.0) -> Equivalence:
    """Return two one-sided paired t tests at ±δ (Schuirmann 1987); "equal within δ" at level α needs p ≤ α.

    The same as asking whether the 1 − 2α interval lies within (−δ, δ). `p_beyond` tests the opposite: it doubles the
    smaller of the one-sided p-values for d > δ and d < −δ.

    Args:
        values: shape (n,), one finite value a replicate.
        reference: shape (n,), the same replicates in the same order.
        delta: margin δ > 0, in the unit of the values.
        ratio: overlap of the replicates, test images / other images, ≥ 0.

    Raises:
        ValueError: values that are not finite, shapes that differ, δ or ratio out of range.
    """
    if not 0 < delta < inf:
        raise ValueError(f"expected a margin delta > 0, got {delta=}")
    test = paired_t(values, reference, ratio=ratio)
    df = test.n - 1
    above, below = (test.difference + delta) / test.se, (test.difference - delta) / test.se
    p_low, p_high = _upper_tail(above, df), _upper_tail(-below, df)
    beyond = 2 * min(_upper_tail(below, df), _upper_tail(-above, df))
    return Equivalence(max(p_low, p_high), p_low, p_high, float(np.minimum(1.0, beyond)))


def holm(p_values: Sequence[float]) -> list[float]:
    """Return Holm's adjusted p-values: p̃_(i) = max_{j ≤ i} min(1, (m − j + 1) p_(j)) for p_(1) ≤ … ≤ p_(m).

    The family is what was declared, so a test that could not be made (nan) stays nan and still counts in m.

    Args:
        p_values: m p-values in [0, 1] or nan, in any order; the answer has the same order.

    Raises:
        ValueError: a p-value outside [0, 1].
    """
    if any(p < 0 or p > 1 for p in p_values):
        raise ValueError(f"expected p-values in [0, 1] or nan, got {list(p_values)}")
    adjusted = [nan] * len(p_values)
    largest = 0.0
    known = sorted((p, index) for index, p in enumerate(p_values) if p == p)
    for rank, (p, index) in enumerate(known):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p))
        adjusted[index] = largest
    return adjusted


def wilson(successes: int, n: int, *, confidence: float = 0.95) -> tuple[float, float]:
    """Return Wilson's score interval of a share (Wilson 1927): (p̂ + z²/2n ± z √(p̂(1−p̂)/n + z²/4n²)) / (1 + z²/n).

    Args:
        successes: number of successes, 0 … n.
        n: number of independent points; 0 gives (nan, nan).
        confidence: coverage in (0, 1).

    Raises:
        ValueError: successes outside 0 … n, or confidence out of range.
    """
    _check_confidence(confidence)
    if not 0 <= successes <= n:
        raise ValueError(f"expected 0 <= successes <= n, got {successes=}, {n=}")
    if n == 0:
        return nan, nan
    z = float(special.ndtri((1 + confidence) / 2))
    share, z2 = successes / n, z * z
    centre = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = z * sqrt(share * (1 - share) / n + z2 / (4 * n * n)) / (1 + z2 / n)
    low = 0.0 if successes == 0 else centre - half
    high = 1.0 if successes == n else centre + half
    return low, high


def smallest_detectable(sd: float, n: int, *, ratio: float = 0.0, alpha: float = 0.05, power: float = 0.8) -> float:
    """Return the true difference that the corrected paired t test would find with the given power.

    λ · sd · √(1/n + ratio), where λ solves P(T_{n−1}(λ) > t_{1−α/2, n−1}) = power for the noncentral t distribution
    (the other tail adds less than 1e-6 at 80 %). n = 3: λ = 5.65; n = 10: 3.15; n → ∞: 1.96 + 0.84. The sd is itself
    an estimate: at n = 3 its own 95 % interval reaches from half to six times its value.

    Args:
        sd: standard deviation of the differences, ddof 1, in the unit of the answer.
        n: number of pairs; below 3 the answer is nan, as it is for an sd of 0 or nan.
        ratio: overlap of the replicates, test images / other images, ≥ 0.
        alpha: two-sided level in (0, 1).
        power: chance of finding the difference, in (alpha, 1).

    Raises:
        ValueError: sd < 0; alpha, power or ratio out of range.
    """
    if not 0 < alpha < power < 1:
        raise ValueError(f"expected 0 < alpha < power < 1, got {alpha=}, {power=}")
    se = _standard_error(sd, n, ratio, 0.0)
    if se != se:
        return nan
    return float(special.nctdtrinc(n - 1, 1 - power, _t_quantile(1 - alpha / 2, n - 1))) * se


def smallest_margin(sd: float, n: int, *, ratio: float = 0.0, alpha: float = 0.05) -> float:
    """Return the smallest δ at which `tost` could have shown equality, had the mean difference been exactly 0.

    t_{1−α, n−1} · sd · √(1/n + ratio): where δ is below it, equality within δ cannot be shown from these data.

    Args:
        sd: standard deviation of the differences, ddof 1, in the unit of the answer.
        n: number of pairs; below 3 the answer is nan, as it is for an sd of 0 or nan.
        ratio: overlap of the replicates, test images / other images, ≥ 0.
        alpha: level of each one-sided test, in (0, 0.5).

    Raises:
        ValueError: sd < 0; alpha or ratio out of range.
    """
    if not 0 < alpha < 0.5:
        raise ValueError(f"expected 0 < alpha < 0.5, got {alpha=}")
    return _t_quantile(1 - alpha, n - 1) * _standard_error(sd, n, ratio, 0.0)


def _finite(values: ArrayLike) -> NDArray[np.float64]:
    x = np.asarray(values, dtype=np.float64)
    if x.ndim != 1 or not np.isfinite(x).all():
        raise ValueError(f"expected finite values of shape (n,), got {values!r}")
    return x


def _differences(values: ArrayLike, reference: ArrayLike) -> tuple[NDArray[np.float64], float]:
    """Return values − reference, and the size of what was subtracted."""
    x, y = _finite(values), _finite(reference)
    if x.shape != y.shape:
        raise ValueError(f"expected pairs, got {x.size} values and {y.size} of the reference")
    return x - y, max(_size(x), _size(y))


def _size(x: NDArray[np.float64]) -> float:
    return float(np.abs(x).max(initial=0.0))


def _mean_sd(x: NDArray[np.float64]) -> tuple[float, float]:
    return float(x.mean()) if x.size else nan, float(x.std(ddof=1)) if x.size > 1 else nan


def _standard_error(sd: float, n: int, ratio: float, size: float) -> float:
    """Return sd √(1/n + ratio), nan where n is too small or values of that size do not vary."""
    if not 0 <= ratio < inf:
        raise ValueError(f"expected an overlap ratio >= 0, got {ratio=}")
    if sd < 0:
        raise ValueError(f"expected a standard deviation >= 0, got {sd=}")
    return sd * sqrt(1 / n + ratio) if n >= MIN_REPLICATES and sd > _ROUNDING * size else nan


def _check_confidence(confidence: float) -> None:
    if not 0 < confidence < 1:
        raise ValueError(f"expected a confidence in (0, 1), got {confidence=}")


def _t_quantile(probability: float, df: int) -> float:
    return float(special.stdtrit(df, probability)) if df >= 1 else nan


def _upper_tail(t: float, df: int) -> float:
    """Return P(T_df > t), kept above 0 where the number underflows; nan for t = nan."""
    return max(float(special.stdtr(df, -t)), sys.float_info.min) if t == t else nan


def _two_sided(t: float, df: int) -> float:
    return 2 * _upper_tail(abs(t), df)
