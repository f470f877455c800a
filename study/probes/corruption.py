"""Corruption: how accurate is the model on images that weather, optics, sensors and storage have spoilt?"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np

from study.data.corruption import KINDS, SEVERITIES
from study.errors import InputError, unknown
from study.probes.accuracy import accuracy, balanced_accuracy
from study.probes.rows import NOT_AVAILABLE, ArrayLike, Row, as_array, as_labels, mean, row


class _Scores(NamedTuple):
    """Of one kind, each the mean over its severities; all nan if the kind is not available."""

    accuracy: float
    balanced_accuracy: float


def rows(
    predictions: Mapping[tuple[str, int], ArrayLike],
    labels: ArrayLike,
    clean_predictions: ArrayLike,
    num_classes: int,
    dataset: str = "test",
    not_available: Iterable[str] = (),
) -> list[Row]:
    """Return the rows of probe "corruption".

    Slice "<kind>-<severity>": accuracy and error = 1 − accuracy. Slice "<kind>": both as the mean over severities, and
    accuracy_drop = clean accuracy − that mean. Slice "all": accuracy (mean corruption accuracy: the mean over the
    available kinds of a kind's mean), error, accuracy_drop, balanced_accuracy (the same means), and `kinds`, how many
    kinds these are the mean of: two figures compare only if it agrees. n counts the images, each of which is seen under
    every corruption; a kind that is not available is nan in all its rows, with n = 0.

    Args:
        predictions: (kind, severity) → predicted classes (N,), the same severities for every kind. Either test kinds or
            the four for validation only, never both.
        labels: true classes (N,), in [0, num_classes).
        clean_predictions: predicted classes (N,) on the clean images.
        num_classes: C.
        dataset: the name of the set in the table.
        not_available: kinds that cannot be used on these images.

    Raises:
        InputError: an unknown kind or severity, kinds of both groups, a severity that some kinds lack, a kind both
            predicted and not available, or predictions that are not N whole numbers.
    """
    true = as_labels(labels, len(as_array(labels)), num_classes)
    missing = tuple(dict.fromkeys(not_available))
    severities = _check(predictions, missing)
    clean = accuracy(as_labels(clean_predictions, len(true), num_classes, "clean predictions"), true)
    present = {kind for kind, _ in predictions}
    result: list[Row] = []
    scores = []
    for kind in KINDS:
        if kind in present:
            shares = [_scores(predictions[kind, s], true, num_classes, f"{kind}-{s}") for s in severities]
            result += _severity_rows(dataset, kind, severities, [share.accuracy for share in shares], len(true))
            scores.append(_mean(shares))
            result += _mean_rows(dataset, kind, scores[-1].accuracy, clean, len(true))
        elif kind in missing:
            result += _severity_rows(dataset, kind, severities, [NOT_AVAILABLE] * len(severities), 0)
            result += _mean_rows(dataset, kind, NOT_AVAILABLE, clean, 0)
    overall, n = _mean(scores), len(true) if scores else 0
    result += _mean_rows(dataset, "all", overall.accuracy, clean, n)
    result.append(row("corruption", dataset, "all", "balanced_accuracy", overall.balanced_accuracy, n))
    result.append(row("corruption", dataset, "all", "kinds", len(scores), n))
    return result


def _check(predictions: Mapping[tuple[str, int], ArrayLike], missing: tuple[str, ...]) -> tuple[int, ...]:
    """Return the severities that every kind has (all five if nothing was predicted), or raise InputError."""
    per_kind: dict[str, set[int]] = {}
    for kind, severity in predictions:
        per_kind.setdefault(kind, set()).add(severity)
    for kind in (*per_kind, *missing):
        if kind not in KINDS:
            raise unknown("corruption", kind, KINDS)
        if kind in per_kind and kind in missing:
            raise InputError(f"{kind}: expected predictions or to be not available, got both")
    if len({KINDS[kind].validation_only for kind in per_kind}) > 1:
        raise InputError(
            f"predictions: expected test kinds or kinds for validation only, got both: {', '.join(per_kind)}"
        )
    found = set().union(*per_kind.values()) if per_kind else set(SEVERITIES)
    if not found <= set(SEVERITIES):
        raise InputError(f"predictions: expected severities 1 to 5, got {sorted(found - set(SEVERITIES))}")
    for kind, severities in per_kind.items():
        if severities != found:
            raise InputError(f"{kind}: expected severities {sorted(found)} as other kinds, got {sorted(severities)}")
    return tuple(sorted(found))


def _scores(predictions: ArrayLike, labels: ArrayLike, num_classes: int, name: str) -> _Scores:
    predicted = as_labels(predictions, len(as_array(labels)), num_classes, f"predictions of {name}")
    return _Scores(accuracy(predicted, labels), balanced_accuracy(predicted, labels, num_classes))


def _mean(scores: list[_Scores]) -> _Scores:
    """Return the mean of each score; nan if there is none."""
    return _Scores(
        mean(np.array([one.accuracy for one in scores])), mean(np.array([one.balanced_accuracy for one in scores]))
    )


def _severity_rows(dataset: str, kind: str, severities: Iterable[int], shares: list[float], n: int) -> list[Row]:
    return [
        row("corruption", dataset, f"{kind}-{severity}", metric, value, n)
        for severity, share in zip(severities, shares, strict=True)
        for metric, value in (("accuracy", share), ("error", 1 - share))
    ]


def _mean_rows(dataset: str, part: str, share: float, clean: float, n: int) -> list[Row]:
    values = {"accuracy": share, "error": 1 - share, "accuracy_drop": clean - share}
    return [row("corruption", dataset, part, metric, value, n) for metric, value in values.items()]
