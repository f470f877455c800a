"""Calibration: does a confidence of 80 % mean right in 80 % of the cases? Raw, and after temperature scaling."""

import math

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax

from study.errors import InputError
from study.probes.rows import (
    NOT_AVAILABLE,
    ArrayLike,
    BoolArray,
    FloatArray,
    IntArray,
    Row,
    as_labels,
    as_logits,
    as_scores,
    as_verdicts,
    mean,
    row,
)

BINS = 15
TEMPERATURES = (0.01, 100.0)
"""Range of T in units of the logits' spread, for losses whose logits are far larger or smaller than cross-entropy's.

On separable validation data the likelihood has no finite optimum, and T ends at the lower bound."""


def bin_index(confidence: ArrayLike, bins: int = BINS) -> IntArray:
    """Return the bin (0 to bins − 1) of each confidence in [0, 1]; bin b is (b/bins, (b+1)/bins], 0 falls in bin 0."""
    values = as_scores(confidence, "confidence")
    if len(values) and not (values.min() >= 0 and values.max() <= 1 + 1e-9):
        raise InputError(f"confidence: expected values in [0, 1], got {values.min()} to {values.max()}")
    edges = np.arange(bins + 1) / bins
    return np.clip(np.searchsorted(edges, values, side="left") - 1, 0, bins - 1).astype(np.int64)


def reliability_bins(
    confidence: ArrayLike, correct: ArrayLike, bins: int = BINS
) -> tuple[FloatArray, FloatArray, IntArray]:
    """Return mean confidence, accuracy (nan where empty) and number of samples of each bin, each (bins,).

    Args:
        confidence: in [0, 1], (N,).
        correct: (N,), true where the sample is classified correctly.
        bins: number of equal bins (lo, hi].
    """
    index = bin_index(confidence, bins)
    counts = np.bincount(index, minlength=bins)
    weights = as_scores(confidence, "confidence"), as_verdicts(correct, len(index)).astype(np.float64)
    means = [np.bincount(index, weights=w, minlength=bins).astype(np.float64) for w in weights]  # integers if empty
    for sums in means:
        np.divide(sums, counts, out=sums, where=counts > 0)
        sums[counts == 0] = NOT_AVAILABLE
    return means[0], means[1], counts.astype(np.int64)


def ece(confidence: ArrayLike, correct: ArrayLike, bins: int = BINS) -> float:
    """Return the expected calibration error Σ_b (n_b / N) |accuracy_b − mean confidence_b| (Guo et al. 2017, eq. 3).

    Args:
        confidence: in [0, 1], (N,).
        correct: (N,), true where the sample is classified correctly.
        bins: number of equal bins (lo, hi].
    """
    means, accuracies, counts = reliability_bins(confidence, correct, bins)
    if not counts.sum():
        return NOT_AVAILABLE
    filled = counts > 0
    return float((counts[filled] * np.abs(accuracies[filled] - means[filled])).sum() / counts.sum())


def nll(logits: ArrayLike, labels: ArrayLike) -> float:
    """Return the mean of −log softmax(z)_y in nats, for logits z (N, C) and labels y (N,)."""
    z = as_logits(logits)
    y = as_labels(labels, len(z), z.shape[1])
    return mean(-log_softmax(z, axis=1)[np.arange(len(z)), y])


def brier(logits: ArrayLike, labels: ArrayLike) -> float:
    """Return the mean over samples of Σ_j (softmax(z)_j − 1[j = y])², in [0, 2], for logits (N, C) and labels (N,)."""
    z = as_logits(logits)
    y = as_labels(labels, len(z), z.shape[1])
    error = softmax(z, axis=1)
    error[np.arange(len(z)), y] -= 1
    return mean((error**2).sum(1))


def confidences(logits: ArrayLike, labels: ArrayLike) -> tuple[FloatArray, BoolArray]:
    """Return max softmax (N,) and whether the prediction is right (N,), for logits (N, C) and labels (N,)."""
    z = as_logits(logits)
    y = as_labels(labels, len(z), z.shape[1])
    return softmax(z, axis=1).max(1), z.argmax(1) == y


def temperature_range(logits: ArrayLike) -> tuple[float, float]:
    """Return the least and the largest T looked at for logits z (N, C): 0.01 and 100 · median(max z − min z)."""
    spread = float(np.median(np.ptp(as_logits(logits), axis=1)))
    return spread * TEMPERATURES[0], spread * TEMPERATURES[1]


def fit_temperature(logits: ArrayLike, labels: ArrayLike) -> float:
    """Return the T in `temperature_range` that minimises the NLL of z / T (Guo et al. 2017, section 4.2).

    The NLL is convex in 1/T, so it has one minimum over log T, which a bounded search finds. Logits that are multiplied
    by a number have a T that is multiplied by it. Where every T is as good (constant logits), T = 1.

    Args:
        logits: validation logits z (N, C), N at least 1.
        labels: validation labels (N,).

    Raises:
        InputError: no validation samples.
    """
    z = as_logits(logits, "validation logits")
    y = as_labels(labels, len(z), z.shape[1], "validation labels")
    if not len(z):
        raise InputError("validation logits: expected at least one sample to fit the temperature on, got none")
    spread = float(np.median(np.ptp(z, axis=1)))
    if spread == 0:
        return 1.0
    unit = z / spread

    def loss(t: float) -> float:
        return nll(unit / t, y)

    found = minimize_scalar(
        lambda log_t: loss(math.exp(log_t)),
        bounds=(math.log(TEMPERATURES[0]), math.log(TEMPERATURES[1])),
        method="bounded",
        options={"xatol": 1e-8},
    )
    return spread * min((*TEMPERATURES, math.exp(found.x)), key=loss)  # the first of equals


def rows(
    logits: ArrayLike,
    labels: ArrayLike,
    validation_logits: ArrayLike,
    validation_labels: ArrayLike,
    dataset: str = "test",
) -> list[Row]:
    """Return the rows of probe "calibration": slices raw and scaled, metrics ece, nll, brier and temperature.

    Slice "scaled" divides the logits by the temperature fitted on validation; without validation samples it is n/a. Its
    metric temperature_at_end is 1 where the temperature is an end of `temperature_range`, else 0.

    Args:
        logits: test logits (N, C).
        labels: test labels (N,).
        validation_logits: (M, C).
        validation_labels: (M,).
        dataset: the name of the set in the table.
    """
    temperature = at_end = NOT_AVAILABLE
    validation = as_logits(validation_logits, "validation logits")
    if len(validation):
        temperature = fit_temperature(validation, validation_labels)
        at_end = float(temperature in temperature_range(validation))
    z = as_logits(logits)
    result = []
    for part, t in (("raw", 1.0), ("scaled", temperature)):
        values = dict.fromkeys(("ece", "nll", "brier"), NOT_AVAILABLE)
        if not math.isnan(t):
            values = {
                "ece": ece(*confidences(z / t, labels)),
                "nll": nll(z / t, labels),
                "brier": brier(z / t, labels),
            }
        result += [row("calibration", dataset, part, metric, value, len(z)) for metric, value in values.items()]
        result.append(row("calibration", dataset, part, "temperature", t, len(z)))
    result.append(row("calibration", dataset, "scaled", "temperature_at_end", at_end, len(z)))
    return result
