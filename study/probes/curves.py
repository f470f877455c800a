"""Rows of curves.parquet: kind, dataset, slice, x, y, n. At most 100 points a curve; the two ends are always kept."""

from collections.abc import Mapping, Sequence
from typing import TypedDict

import numpy as np

from study.probes import calibration, rejection
from study.probes.attack_verdicts import Verdicts, check_verdicts, robust
from study.probes.rows import ArrayLike, FloatArray, IntArray, as_labels, as_logits, mean

MAX_POINTS = 100
ROC_SCORES = ("mls", "msp")


class CurveRow(TypedDict):
    """One point of one curve."""

    kind: str
    dataset: str
    slice: str
    x: float
    y: float
    n: int


def thin(x: FloatArray, y: FloatArray, points: int = MAX_POINTS) -> IntArray:
    """Return which points of a curve to keep: at most `points`, evenly along its length, both ends among them.

    The length of a step is |Δx| + |Δy|, so that steep parts keep their share. Points in the middle of a straight line
    that runs along an axis are dropped first: they show nothing.

    Args:
        x: (K,), in drawing order.
        y: (K,).
        points: at least 2.
    """
    keep = np.arange(len(x))
    if len(x) > 2:
        flat = [(np.diff(v)[:-1] == 0) & (np.diff(v)[1:] == 0) for v in (x, y)]
        keep = np.flatnonzero(np.concatenate([[True], ~(flat[0] | flat[1]), [True]]))
    if len(keep) <= points:
        return keep
    walked = np.append(0.0, np.cumsum(np.abs(np.diff(x[keep])) + np.abs(np.diff(y[keep]))))
    chosen = np.searchsorted(walked, np.linspace(0, walked[-1], points))
    chosen[[0, -1]] = 0, len(keep) - 1
    return keep[np.unique(chosen)]


def _curve(kind: str, dataset: str, part: str, x: FloatArray, y: FloatArray, n: int) -> list[CurveRow]:
    """Return the rows of one thinned curve."""
    return [CurveRow(kind=kind, dataset=dataset, slice=part, x=float(x[i]), y=float(y[i]), n=n) for i in thin(x, y)]


def roc(logits: ArrayLike, outside: Mapping[str, ArrayLike], scores: Sequence[str] = ROC_SCORES) -> list[CurveRow]:
    """Return ROC curves: x share of outside accepted, y share of inside accepted, from (0, 0) to (1, 1).

    Dataset is the outside set, slice the score, n the number of outside samples. No rows where a side is empty.

    Args:
        logits: of the known samples (N, C).
        outside: name of the set → logits (M, C).
        scores: which scores.
    """
    known = rejection.scores(logits)
    result = []
    for name, out_logits in outside.items():
        out = rejection.scores(out_logits)
        for score in scores:
            if not len(known[score]) or not len(out[score]):
                continue
            accepted = rejection.accepted_counts(out[score], known[score])
            x, y = (np.append(0.0, a / a[-1]) for a in accepted)
            result += _curve("roc", name, score, x, y, len(out[score]))
    return result


def risk_coverage(
    logits: ArrayLike, labels: ArrayLike, dataset: str = "test", scores: Sequence[str] = ROC_SCORES
) -> list[CurveRow]:
    """Return risk-coverage curves: x share accepted, y share of errors among the accepted; slice = score.

    Args:
        logits: (N, C).
        labels: (N,).
        dataset: the name of the set in the table.
        scores: which scores.
    """
    z = as_logits(logits)
    correct = z.argmax(1) == as_labels(labels, len(z), z.shape[1])
    known = rejection.scores(z)
    result = []
    for score in scores:
        accepted, errors = rejection.risk_steps(known[score], correct)
        if len(accepted):
            result += _curve("risk_coverage", dataset, score, accepted / len(z), errors / accepted, len(z))
    return result


def reliability(
    logits: ArrayLike, labels: ArrayLike, temperature: float | None = None, dataset: str = "test"
) -> list[CurveRow]:
    """Return reliability curves: x mean confidence of a bin, y its accuracy, n its samples; empty bins have no row.

    Args:
        logits: (N, C).
        labels: (N,).
        temperature: if given, slice "scaled" (logits / temperature) is added to slice "raw".
        dataset: the name of the set in the table.
    """
    z = as_logits(logits)
    result = []
    for part, t in (("raw", 1.0), ("scaled", temperature)):
        if t is None:
            continue
        means, accuracies, counts = calibration.reliability_bins(*calibration.confidences(z / t, labels))
        result += [
            CurveRow(kind="reliability", dataset=dataset, slice=part, x=float(x), y=float(y), n=int(n))
            for x, y, n in zip(means, accuracies, counts, strict=True)
            if n
        ]
    return result


def attack(verdicts: Sequence[Verdicts], dataset: str = "test") -> list[CurveRow]:
    """Return attack curves: x ε, y worst-case robust accuracy, slice = norm; x = 0 is the clean accuracy.

    Args:
        verdicts: one a (norm, ε), as `verdicts_to_arrays` gives them.
        dataset: the name of the set in the table.
    """
    points: dict[tuple[str, float], CurveRow] = {}
    for arrays in verdicts:
        norm, eps = check_verdicts(arrays)
        for at, standing in ((0.0, arrays["clean"]), (eps, robust(arrays))):
            points[norm, at] = CurveRow(
                kind="attack", dataset=dataset, slice=norm, x=at, y=mean(standing), n=len(standing)
            )
    return [points[key] for key in sorted(points)]
