"""Rejection by features: how far a sample lies from what the network was trained on. Higher = accept."""

import numpy as np
from scipy.linalg import pinvh

from study.errors import InputError
from study.probes.rows import ArrayLike, FloatArray, as_array

NEIGHBOURS = 50
"""k of the k-th neighbour (Sun et al. 2022, for CIFAR-10); all there are, where there are fewer."""
CHUNK = 1024
"""Samples compared with the training set at a time; it changes memory, never the result."""
FEATURE_SCORES = ("knn", "mahalanobis")


def knn(train: ArrayLike, features: ArrayLike, k: int = NEIGHBOURS) -> FloatArray:
    """Return −r_k (N,): minus the distance to the k-th nearest training sample, features scaled to length 1.

    Sun et al., "Out-of-distribution detection with deep nearest neighbors", arXiv 2204.06507, equation 2. Range
    [−2, 0]. Features that are all 0 stay so, and lie at distance 1 from all others.

    Args:
        train: features of the training images (S, D), S ≥ 1.
        features: of the samples in question (N, D).
        k: at least 1; min(k, S) is taken.
    """
    kept, asked = _unit(_matrix("train", train)), _unit(_matrix("features", features))
    _check(kept, asked)
    middle = kept.mean(0)
    kept, asked, place = kept - middle, asked - middle, min(k, len(kept)) - 1
    squares = (kept**2).sum(1)
    found = [_distance_at(place, part, kept, squares) for part in _chunks(asked)]
    return -np.concatenate(found) if found else np.empty(0)


def mahalanobis(train: ArrayLike, labels: ArrayLike, features: ArrayLike) -> FloatArray:
    """Return −min_c (f − μ_c)ᵀ Σ⁻¹ (f − μ_c) (N,), class means and one covariance from the training features.

    Lee et al., "A simple unified framework for detecting out-of-distribution samples", arXiv 1807.03888, equations 1
    and 2, on the features alone. Where Σ has no inverse, its pseudo-inverse: directions in which no training sample
    leaves its class mean do not count. Range (−∞, 0].

    Args:
        train: features of the training images (S, D), S ≥ 1.
        labels: their classes (S,); classes without images have no mean.
        features: of the samples in question (N, D).
    """
    kept, asked = _matrix("train", train), _matrix("features", features)
    _check(kept, asked)
    classes, index = np.unique(as_array(labels), return_inverse=True)
    if len(index) != len(kept):
        raise InputError(f"labels: expected {len(kept)}, one for each training sample, got {len(index)}")
    means = np.stack([kept[index == c].mean(0) for c in range(len(classes))])
    centred = kept - means[index]
    precision = pinvh(centred.T @ centred / len(kept))
    found = [_squared_distances(part, means, precision).min(1) for part in _chunks(asked)]
    return -np.concatenate(found) if found else np.empty(0)


def _distance_at(place: int, asked: FloatArray, kept: FloatArray, squares: FloatArray) -> FloatArray:
    """Return the distance (N,) to the training sample at a place in the order of distance.

    Which one that is, ½ ‖b‖² − ab tells, both counted from the training set's mean. In float32 that would take half the
    time, and take one sample of a class that has collapsed to a point for another.
    """
    order = squares / 2 - asked @ kept.T
    nearest = kept[np.argpartition(order, place, axis=1)[:, place]]
    distance: FloatArray = np.linalg.norm(asked - nearest, axis=1)
    return distance


def _squared_distances(features: FloatArray, means: FloatArray, precision: FloatArray) -> FloatArray:
    away = features[:, None, :] - means[None]
    distances: FloatArray = np.einsum("ncd,de,nce->nc", away, precision, away, optimize=True)
    return distances


def _chunks(features: FloatArray) -> list[FloatArray]:
    return [features[start : start + CHUNK] for start in range(0, len(features), CHUNK)]


def _unit(features: FloatArray) -> FloatArray:
    lengths = np.linalg.norm(features, axis=1, keepdims=True)
    return features / np.where(lengths > 0, lengths, 1.0)


def _matrix(name: str, values: ArrayLike) -> FloatArray:
    array = as_array(values).astype(np.float64)
    if array.ndim != 2 or not np.isfinite(array).all():
        raise InputError(f"{name}: expected finite features (N, D), got shape {array.shape}")
    return array


def _check(train: FloatArray, features: FloatArray) -> None:
    if not len(train) or train.shape[1] != features.shape[1]:
        raise InputError(
            f"features: expected those of at least 1 training sample, of one width D; got {train.shape} for training "
            f"and {features.shape}"
        )
