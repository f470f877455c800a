"""Rejection by features, against scikit-learn and by hand."""

import numpy as np
import pytest
from sklearn.covariance import EmpiricalCovariance
from sklearn.neighbors import NearestNeighbors

from study.errors import InputError
from study.probes.feature_scores import CHUNK, knn, mahalanobis

DRAW = np.random.default_rng(0)
TRAIN, LABELS = DRAW.normal(size=(60, 5)), np.arange(60) % 3
ASKED = DRAW.normal(size=(7, 5))


def test_knn_by_hand():
    train = [[2.0, 0.0], [0.0, 3.0], [-1.0, 0.0]]
    assert knn(train, [[5.0, 0.0], [0.0, 0.1]], k=1) == pytest.approx([0.0, 0.0])
    assert knn(train, [[5.0, 0.0]], k=2) == pytest.approx([-np.sqrt(2)])
    assert knn(train, [[5.0, 0.0]], k=50) == pytest.approx([-2.0])


@pytest.mark.parametrize("k", [1, 4, 60])
def test_knn_against_scikit_learn(k):
    unit = [values / np.linalg.norm(values, axis=1, keepdims=True) for values in (TRAIN, ASKED)]
    distances = NearestNeighbors(n_neighbors=k, algorithm="brute").fit(unit[0]).kneighbors(unit[1])[0][:, -1]
    assert knn(TRAIN, ASKED, k) == pytest.approx(-distances)


def test_knn_of_samples_that_lie_close_together():
    draw = np.random.default_rng(1)
    ray = draw.normal(size=32)
    train, asked = (ray + 1e-5 * draw.normal(size=(count, 32)) for count in (400, 20))
    unit = [values / np.linalg.norm(values, axis=1, keepdims=True) for values in (train, asked)]
    exact = np.sort(np.linalg.norm(unit[1][:, None] - unit[0][None], axis=2), axis=1)[:, 49]
    assert knn(train, asked) == pytest.approx(-exact, rel=1e-4)


def test_knn_of_classes_that_have_collapsed_to_points():
    """Far from each other and from their mean, as at the end of a long training."""
    draw = np.random.default_rng(2)
    centres = draw.normal(size=(10, 32))
    train, asked = (np.repeat(centres, count, 0) + 1e-4 * draw.normal(size=(10 * count, 32)) for count in (100, 5))
    unit = [values / np.linalg.norm(values, axis=1, keepdims=True) for values in (train, asked)]
    exact = np.sort(np.linalg.norm(unit[1][:, None] - unit[0][None], axis=2), axis=1)[:, 49]
    assert knn(train, asked) == pytest.approx(-exact, rel=1e-6)


def test_knn_of_features_that_are_all_zero():
    assert knn([[0.0, 0.0], [0.3, 0.954]], [[1.0, 0.0]], k=1) == pytest.approx([-1.0])
    assert knn([[2.0, 0.0], [0.0, 3.0]], [[0.0, 0.0]], k=2) == pytest.approx([-1.0])


def test_mahalanobis_against_scikit_learn():
    centred = TRAIN - np.stack([TRAIN[LABELS == c].mean(0) for c in range(3)])[LABELS]
    model = EmpiricalCovariance(assume_centered=True).fit(centred)
    by_class = [model.mahalanobis(ASKED - TRAIN[LABELS == c].mean(0)) for c in range(3)]
    assert mahalanobis(TRAIN, LABELS, ASKED) == pytest.approx(-np.min(by_class, axis=0))


def test_mahalanobis_ignores_directions_without_spread():
    flat = np.column_stack([TRAIN, np.full(60, 4.0)])
    moved = np.column_stack([ASKED, np.linspace(-9, 9, 7)])
    assert mahalanobis(flat, LABELS, moved) == pytest.approx(mahalanobis(TRAIN, LABELS, ASKED))


def test_chunks_change_nothing():
    many = DRAW.normal(size=(CHUNK + 3, 5))
    for score in (lambda part: knn(TRAIN, part), lambda part: mahalanobis(TRAIN, LABELS, part)):
        assert score(many)[-3:] == pytest.approx(score(many[-3:]))
        assert score(many[:0]).shape == (0,)


@pytest.mark.parametrize("train", [np.empty((0, 5)), np.ones((3, 4)), np.full((3, 5), np.nan), np.ones(5)])
def test_unusable_features(train):
    with pytest.raises(InputError, match="expected"):
        knn(train, ASKED)
    with pytest.raises(InputError, match="expected"):
        mahalanobis(train, np.zeros(len(train)), ASKED)
