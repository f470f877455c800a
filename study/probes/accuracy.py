"""Accuracy: overall, balanced, per class, over many-, medium- and few-shot classes, and after logit adjustment."""

from collections.abc import Sequence

import numpy as np

from study.errors import InputError
from study.probes.calibration import fit_temperature
from study.probes.rows import (
    NOT_AVAILABLE,
    ArrayLike,
    FloatArray,
    IntArray,
    Row,
    as_array,
    as_labels,
    as_logits,
    mean,
    row,
)

GROUPS = ("many", "medium", "few")
MANY_ABOVE = 100
FEW_BELOW = 20
TAUS = tuple(step / 10 for step in range(21))
"""The grid of τ for post-hoc logit adjustment: 0, 0.1, ..., 2, in units of the temperature of the logits."""


def accuracy(predictions: ArrayLike, labels: ArrayLike) -> float:
    """Return the share of predictions (N,) that equal the labels (N,); nan if N = 0."""
    predicted, true = as_array(predictions), as_array(labels)
    if predicted.shape != true.shape or true.ndim != 1:
        raise InputError(f"predictions and labels: expected two arrays (N,), got {predicted.shape} and {true.shape}")
    return mean(predicted == true)


def class_accuracies(predictions: ArrayLike, labels: ArrayLike, num_classes: int) -> tuple[FloatArray, IntArray]:
    """Return each class's accuracy (C,), nan where it has no sample, and its number of samples (C,).

    Args:
        predictions: predicted classes (N,).
        labels: true classes (N,), in [0, num_classes).
        num_classes: C.
    """
    predicted = as_array(predictions)
    true = as_labels(labels, len(predicted), num_classes)
    counts = np.bincount(true, minlength=num_classes)
    hits = np.bincount(true[predicted == true], minlength=num_classes)
    shares = np.full(num_classes, NOT_AVAILABLE)
    np.divide(hits, counts, out=shares, where=counts > 0)
    return shares, counts.astype(np.int64)


def balanced_accuracy(predictions: ArrayLike, labels: ArrayLike, num_classes: int) -> float:
    """Return the mean of the accuracies of those classes that have a sample; nan if N = 0."""
    shares, counts = class_accuracies(predictions, labels, num_classes)
    return mean(shares[counts > 0])


def shot_groups(class_counts: Sequence[int]) -> dict[str, tuple[int, ...]]:
    """Return which classes are many, medium and few.

    By > 100, 20 to 100 and < 20 training images if each of the three has a class. Otherwise terciles of the classes by
    n_i: with r the mean rank (from 0, largest n_i first) of the classes that share a count, they are many if
    (r + 1/2) / C < 1/3, few if > 2/3, and medium in between. Equal counts are always in one group, so a group can be
    empty: with all counts equal there is no head and no tail, and every class is medium.

    Args:
        class_counts: training images n_i of each class (C,).

    Raises:
        InputError: no classes, or a negative count.
    """
    counts = [int(n) for n in class_counts]
    if not counts or min(counts) < 0:
        raise InputError(f"class_counts: expected a count of at least 0 for each class, got {counts}")
    named = ["many" if n > MANY_ABOVE else "few" if n < FEW_BELOW else "medium" for n in counts]
    if set(named) != set(GROUPS):
        named = [_tercile(n, counts) for n in counts]
    return {group: tuple(c for c, name in enumerate(named) if name == group) for group in GROUPS}


def _tercile(n: int, counts: list[int]) -> str:
    """Return the group of a class with n images; in whole numbers, since (r + 1/2) can be exactly C/3."""
    twice_middle = 2 * sum(other > n for other in counts) + counts.count(n)  # 2 (r + 1/2)
    if 3 * twice_middle < 2 * len(counts):
        return "many"
    return "few" if 3 * twice_middle > 4 * len(counts) else "medium"


def rows(
    logits: ArrayLike, labels: ArrayLike, class_counts: Sequence[int], classes: Sequence[str], dataset: str = "test"
) -> list[Row]:
    """Return the rows of probe "accuracy".

    Slice "all": accuracy and balanced_accuracy; slice "class:<name>": accuracy; slices many, medium and few: accuracy,
    the mean over the group's classes (nan if it has none, or none of them a sample).

    Args:
        logits: (N, C).
        labels: (N,), in [0, C).
        class_counts: training images of each class (C,).
        classes: class names (C,).
        dataset: the name of the set in the table.
    """
    z = as_logits(logits)
    y = as_labels(labels, len(z), z.shape[1])
    return _rows("accuracy", z.argmax(1), y, class_counts, classes, dataset)


def _rows(
    probe: str, predictions: IntArray, labels: IntArray, class_counts: Sequence[int], classes: Sequence[str], data: str
) -> list[Row]:
    """Return the rows of predicted classes."""
    if len(class_counts) != len(classes):
        raise InputError(f"class_counts: expected one for each of {len(classes)} classes, got {len(class_counts)}")
    shares, counts = class_accuracies(predictions, labels, len(classes))
    result = [
        row(probe, data, "all", "accuracy", accuracy(predictions, labels), len(labels)),
        row(probe, data, "all", "balanced_accuracy", mean(shares[counts > 0]), len(labels)),
    ]
    for name, share, count in zip(classes, shares, counts, strict=True):
        result.append(row(probe, data, f"class:{name}", "accuracy", share, count))
    for group, members in shot_groups(class_counts).items():
        filled = [c for c in members if counts[c]]
        result.append(row(probe, data, group, "accuracy", mean(shares[filled]), counts[filled].sum()))
    return result


def adjust_logits(logits: ArrayLike, class_counts: Sequence[int], tau: float) -> FloatArray:
    """Return z − τ log π with π_i = n_i / S (Menon et al. 2021, "Long-tail learning via logit adjustment", eq. 9).

    Args:
        logits: z (N, C).
        class_counts: training images n_i of each class (C,), at least 1 each.
        tau: τ; 0 leaves the logits as they are.

    Raises:
        InputError: a class without training images: it has no prior.
    """
    z = as_logits(logits)
    counts = np.asarray(class_counts, dtype=np.float64)
    if counts.shape != (z.shape[1],) or counts.min() < 1:
        raise InputError(
            f"class_counts: expected at least 1 training image for each of {z.shape[1]} classes, got {class_counts}"
        )
    return z - tau * np.log(counts / counts.sum())


def choose_tau(
    logits: ArrayLike, labels: ArrayLike, class_counts: Sequence[int], taus: Sequence[float] = TAUS
) -> tuple[float, float]:
    """Return the τ of the grid with the best balanced accuracy, and that accuracy; the smallest τ wins a tie.

    Args:
        logits: validation logits (N, C), N at least 1.
        labels: validation labels (N,).
        class_counts: training images of each class (C,).
        taus: the grid.

    Raises:
        InputError: no validation samples, or a class without training images.
    """
    z = as_logits(logits, "validation logits")
    if not len(z):
        raise InputError("validation logits: expected at least one sample to choose τ on, got none")
    scored = []
    for tau in sorted(taus):
        adjusted = adjust_logits(z, class_counts, tau)
        scored.append((balanced_accuracy(adjusted.argmax(1), labels, adjusted.shape[1]), tau))
    best, tau = max(scored, key=lambda pair: (pair[0], -pair[1]))
    return tau, best


def posthoc_rows(
    logits: ArrayLike,
    labels: ArrayLike,
    validation_logits: ArrayLike,
    validation_labels: ArrayLike,
    class_counts: Sequence[int],
    classes: Sequence[str],
    dataset: str = "test",
) -> list[Row]:
    """Return the rows of probe "posthoc": those of `rows` for z − τ T log π, and slice "all" metrics tau, temperature.

    On the validation logits alone T is fitted (`calibration.fit_temperature`), then τ chosen for z / T (`choose_tau`),
    so that the adjustment is the same for logits of any scale; the test labels only score the result. Metric tau_at_end
    is 1 where τ is an end of `TAUS`, else 0. These rows count the validation samples. Arguments as in `rows`.
    """
    held = as_logits(validation_logits, "validation logits")
    temperature = fit_temperature(held, validation_labels)
    tau, _ = choose_tau(held / temperature, validation_labels, class_counts)
    adjusted = adjust_logits(as_logits(logits) / temperature, class_counts, tau)
    true = as_labels(labels, len(adjusted), adjusted.shape[1])
    result = _rows("posthoc", adjusted.argmax(1), true, class_counts, classes, dataset)
    for metric, value in (("tau", tau), ("tau_at_end", tau in (TAUS[0], TAUS[-1])), ("temperature", temperature)):
        result.append(row("posthoc", dataset, "all", metric, value, len(held)))
    return result


def shifted_rows(name: str, logits: ArrayLike, labels: ArrayLike) -> list[Row]:
    """Return the rows of probe "shifted": accuracy on known classes from another source, dataset `name`, slice "all".

    Such a set is never in an out group: its classes are known, so accepting them is right.

    Args:
        name: the name of the set.
        logits: (N, C).
        labels: the index of the known class (N,), in [0, C).
    """
    z = as_logits(logits)
    y = as_labels(labels, len(z), z.shape[1])
    values = {
        "accuracy": accuracy(z.argmax(1), y),
        "balanced_accuracy": balanced_accuracy(z.argmax(1), y, z.shape[1]),
    }
    return [row("shifted", name, "all", metric, value, len(y)) for metric, value in values.items()]
