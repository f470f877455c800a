"""Segmentation: intersection over union, from one confusion matrix an image."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from study.data.types import IGNORED
from study.errors import InputError
from study.probes.rows import NOT_AVAILABLE, ArrayLike, FloatArray, IntArray, Row, as_array, row

REPETITIONS = 1000
MIN_IMAGES = 30
"""Fewer images than this give no bootstrap interval."""


def confusions(predictions: ArrayLike, labels: ArrayLike, num_classes: int, ignore_index: int = IGNORED) -> IntArray:
    """Return int64 (N, C, C): for each image, pixels by true class (row) and predicted class (column).

    Args:
        predictions: (N, H, W) classes in [0, C).
        labels: (N, H, W) classes in [0, C), or `ignore_index` for pixels that do not count.
        num_classes: C.
        ignore_index: label of such pixels.

    Raises:
        InputError: shapes that differ, or a class out of its range.
    """
    predicted, true = as_array(predictions), as_array(labels)
    if predicted.shape != true.shape or true.ndim != 3:
        raise InputError(f"maps: expected two arrays (N, H, W), got {predicted.shape} and {true.shape}")
    found = np.zeros((len(true), num_classes, num_classes), dtype=np.int64)
    for matrix, of_image, labelled in zip(found, predicted, true, strict=True):  # all at once take 29 bytes a pixel
        counted = labelled != ignore_index
        rows, columns = labelled[counted].astype(np.int64), of_image[counted].astype(np.int64)
        for name, values in (("predictions", columns), ("labels", rows)):
            if values.size and not (values.min() >= 0 and values.max() < num_classes):
                raise InputError(
                    f"{name}: expected classes 0 to {num_classes - 1}, got {values.min()} to {values.max()}"
                )
        matrix += np.bincount(rows * num_classes + columns, minlength=num_classes**2).reshape(matrix.shape)
    return found


def iou(matrix: npt.ArrayLike) -> FloatArray:
    """Return IoU_c = TP / (TP + FP + FN) (…, C) of confusion matrices (…, C, C).

    A class in neither truth nor prediction is nan; one that is predicted and not there has 0.
    """
    counts = np.asarray(matrix, dtype=np.float64)
    true_positive = np.diagonal(counts, axis1=-2, axis2=-1)
    union = counts.sum(-1) + counts.sum(-2) - true_positive
    return np.divide(true_positive, union, out=np.full(union.shape, NOT_AVAILABLE), where=union > 0)


def miou(matrix: npt.ArrayLike) -> float:
    """Return the mean IoU over the classes that have one; nan if none has."""
    values = iou(matrix)
    return float(np.nanmean(values)) if np.isfinite(values).any() else NOT_AVAILABLE


def pixel_accuracy(matrix: npt.ArrayLike) -> float:
    """Return the share of counted pixels that are right; nan if there are none."""
    counts = np.asarray(matrix, dtype=np.float64)
    return float(np.trace(counts) / counts.sum()) if counts.sum() else NOT_AVAILABLE


def bootstrap_miou(matrices: IntArray, seed: int, repetitions: int = REPETITIONS) -> tuple[float, float]:
    """Return the 95 % percentile interval of one model's mIoU over test images (Efron 1979): images are drawn anew.

    Pixels never are. Such an interval is for many images: of fewer than 30 it covers less, so it is (nan, nan).

    Args:
        matrices: (N, C, C), one an image.
        seed: of the draws.
        repetitions: how many.
    """
    generator = np.random.default_rng(seed)
    count = len(matrices)
    if count < MIN_IMAGES:
        return NOT_AVAILABLE, NOT_AVAILABLE
    weights = generator.multinomial(count, np.full(count, 1 / count), size=repetitions)
    drawn = np.tensordot(weights.astype(np.float64), matrices.astype(np.float64), axes=1)
    values = np.nanmean(iou(drawn), axis=1)
    low, high = np.nanpercentile(values, (2.5, 97.5))
    return float(low), float(high)


def rows(matrices: IntArray, classes: Sequence[str], dataset: str = "test") -> list[Row]:
    """Return the rows of probe "segmentation"; n counts images.

    Slice "all": miou, miou_low and miou_high (`bootstrap_miou`), pixel_accuracy, and foreground_iou: the mean without
    the first class, which is the ground; of two classes it comes first. Slice "class:<name>": iou.

    Args:
        matrices: (N, C, C), one an image.
        classes: names of the C classes, the ground first.
        dataset: the name of the set in the table.
    """
    n, whole = len(matrices), matrices.sum(0)
    low, high = bootstrap_miou(matrices, seed=0)
    each = iou(whole)
    foreground = float(np.nanmean(each[1:])) if np.isfinite(each[1:]).any() else NOT_AVAILABLE
    values = {
        "miou": miou(whole),
        "miou_low": low,
        "miou_high": high,
        "pixel_accuracy": pixel_accuracy(whole),
        "foreground_iou": foreground,
    }
    if len(classes) == 2:
        values = {"foreground_iou": foreground, **values}
    return [
        *(row("segmentation", dataset, "all", metric, value, n) for metric, value in values.items()),
        *(
            row("segmentation", dataset, f"class:{name}", "iou", value, n)
            for name, value in zip(classes, each, strict=True)
        ),
    ]
