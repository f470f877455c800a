import tracemalloc

import numpy as np
import pytest
from sklearn.metrics import confusion_matrix, jaccard_score

from study.errors import InputError
from study.probes.segmentation import bootstrap_miou, confusions, iou, miou, pixel_accuracy, rows
from study.tasks import get_task


def maps(seed=0, n=5, classes=4):
    generator = np.random.default_rng(seed)
    return generator.integers(classes, size=(n, 6, 7)), generator.integers(classes, size=(n, 6, 7))


def test_iou_by_hand():
    truth = np.array([[[0, 0, 0, 1]]])
    predicted = np.array([[[0, 0, 1, 2]]])
    matrix = confusions(predicted, truth, 4).sum(0)
    # class 0: 2 of 3; class 1: none right, so 0; class 2: predicted, not there: 0; class 3 in neither: n/a
    np.testing.assert_array_equal(iou(matrix), [2 / 3, 0, 0, np.nan])
    assert miou(matrix) == pytest.approx(2 / 9)
    assert pixel_accuracy(matrix) == 0.5


def test_it_is_scikit_learns():
    predicted, truth = maps()
    found = confusions(predicted, truth, 4)
    for one, a, b in zip(found, truth, predicted, strict=True):
        np.testing.assert_array_equal(one, confusion_matrix(a.ravel(), b.ravel(), labels=range(4)))
    assert miou(found.sum(0)) == pytest.approx(jaccard_score(truth.ravel(), predicted.ravel(), average="macro"))


def test_maps_of_many_images_are_counted_without_copies_of_all_of_them():
    labels = np.random.default_rng(0).integers(4, size=(64, 64, 64), dtype=np.int16)
    tracemalloc.start()
    confusions(labels, labels, 4)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < labels.nbytes  # it was fifteen times that


def test_ignored_pixels_do_not_count_whatever_is_predicted():
    predicted, truth = maps()
    truth[:, :2] = -100
    elsewhere = predicted.copy()
    elsewhere[:, :2] = 99
    np.testing.assert_array_equal(confusions(elsewhere, truth, 4), confusions(predicted, truth, 4))
    assert confusions(predicted, truth, 4).sum() == 5 * 4 * 7


def test_bootstrap_draws_images():
    same = np.repeat(confusions(*maps(n=1), 4), 30, axis=0)
    low, high = bootstrap_miou(same, seed=0)
    assert low == pytest.approx(high) == pytest.approx(miou(same.sum(0)))
    low, high = bootstrap_miou(confusions(*maps(n=40), 4), seed=0)
    assert low < miou(confusions(*maps(n=40), 4).sum(0)) < high
    assert np.isnan(bootstrap_miou(confusions(*maps(n=29), 4), seed=0)).all()  # too few for a 95 % interval


def test_rows_name_the_classes_and_the_foreground():
    found = {(r["slice"], r["metric"]): r["value"] for r in rows(confusions(*maps(), 4), ("ground", "a", "b", "c"))}
    each = iou(confusions(*maps(), 4).sum(0))
    assert found["class:b", "iou"] == each[2]
    assert found["all", "foreground_iou"] == pytest.approx(each[1:].mean())


def test_figures_are_of_all_pixels_together_and_no_means_over_images():
    """Ground: 3 of 4, object: 4 of 5. The images by themselves have 3/8 and 1; the search is told the same figures."""
    truth, predicted = np.array([[[0, 0, 0, 1]], [[1, 1, 1, 1]]]), np.array([[[0, 0, 0, 0]], [[1, 1, 1, 1]]])
    expected = {"miou": pytest.approx((3 / 4 + 4 / 5) / 2), "pixel_accuracy": 7 / 8}
    found = {(r["slice"], r["metric"]): r["value"] for r in rows(confusions(predicted, truth, 2), ("ground", "object"))}
    assert {name: found["all", name] for name in expected} == expected
    assert get_task("segmentation").score(predicted, truth) == expected


def test_errors():
    predicted, truth = maps()
    with pytest.raises(InputError, match="two arrays"):
        confusions(predicted[:2], truth, 4)
    with pytest.raises(InputError, match="labels: expected classes 0 to 2"):
        confusions(np.zeros_like(truth), truth, 3)


def test_the_foreground_comes_first_where_there_are_two_classes():
    metrics = [row["metric"] for row in rows(confusions(*maps(classes=2), 2), ("ground", "crack"))]
    assert metrics[0] == "foreground_iou"
    assert rows(confusions(*maps(), 4), tuple("abcd"))[0]["metric"] == "miou"
