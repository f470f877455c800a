"""One row of evaluation.parquet, and the checks that all probes share."""

from typing import Any, TypedDict

import numpy as np
import numpy.typing as npt

from study.errors import InputError

ArrayLike = npt.ArrayLike
"""An array, a sequence of numbers, or a tensor (which has `__array__`)."""
FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

NOT_AVAILABLE = float("nan")
"""The value of a metric that does not exist here (an empty group, no test image of a class). Never 0."""


class Row(TypedDict):
    """One number: which probe, on which data, over which part of them, which metric, from how many images."""

    probe: str
    dataset: str
    slice: str
    metric: str
    value: float
    n: int


def row(probe: str, dataset: str, part: str, metric: str, value: float, n: int) -> Row:
    """Return a row; `part` is its slice, `value` a fraction (or nan) and `n` the number of images behind it."""
    return Row(probe=probe, dataset=dataset, slice=part, metric=metric, value=float(value), n=int(n))


def as_array(values: ArrayLike) -> npt.NDArray[Any]:
    """Return a numpy array of an array, a sequence or a tensor (detached, on the CPU)."""
    detach = getattr(values, "detach", None)
    return np.asarray(values if detach is None else detach().cpu())


def as_logits(logits: ArrayLike, what: str = "logits") -> FloatArray:
    """Return logits (N, C) as float64.

    Raises:
        InputError: not two axes, fewer than two classes, or a value that is not finite.
    """
    array = as_array(logits).astype(np.float64)
    if array.ndim != 2 or array.shape[1] < 2:
        raise InputError(f"{what}: expected an array (N, C) with at least 2 classes, got shape {array.shape}")
    check_finite(array, what)
    return array


def as_scores(scores: ArrayLike, what: str = "scores") -> FloatArray:
    """Return scores (N,) as float64.

    Raises:
        InputError: not one axis, or a value that is not finite.
    """
    array = as_array(scores).astype(np.float64)
    if array.ndim != 1:
        raise InputError(f"{what}: expected an array (N,), got shape {array.shape}")
    check_finite(array, what)
    return array


def as_labels(labels: ArrayLike, count: int, num_classes: int, what: str = "labels") -> IntArray:
    """Return labels (count,) as int64.

    Raises:
        InputError: not one whole number in [0, num_classes) for each of the `count` samples.
    """
    array = as_array(labels)
    if array.size == 0:
        array = array.astype(np.int64)
    if array.ndim != 1 or len(array) != count or array.dtype.kind not in "iu":
        raise InputError(f"{what}: expected {count} whole numbers, got {array.dtype} of shape {array.shape}")
    if count and not (array.min() >= 0 and array.max() < num_classes):
        raise InputError(f"{what}: expected 0 to {num_classes - 1}, got {array.min()} to {array.max()}")
    return array.astype(np.int64)


def as_verdicts(correct: ArrayLike, count: int, what: str = "correct") -> BoolArray:
    """Return verdicts (count,) as bool.

    Raises:
        InputError: not `count` values that are 0, 1, false or true.
    """
    array = as_array(correct)
    if array.shape != (count,) or not np.isin(array, (0, 1)).all():
        raise InputError(f"{what}: expected {count} values 0 or 1, got {array.dtype} of shape {array.shape}")
    return array.astype(np.bool_)


def check_finite(array: npt.NDArray[Any], what: str) -> None:
    """Raise InputError if a value is infinite or nan."""
    bad = int((~np.isfinite(array)).sum())
    if bad:
        raise InputError(f"{what}: expected finite numbers, got {bad} of {array.size} that are nan or infinite")


def mean(values: npt.NDArray[Any]) -> float:
    """Return the mean, or nan (without a warning) if there are no values."""
    return float(np.mean(values)) if len(values) else NOT_AVAILABLE
