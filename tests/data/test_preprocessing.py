"""Channel statistics against numpy and by hand."""

import numpy as np
import pytest

from study.data import types
from study.data.preprocessing import SMALLEST_STD, channel_statistics
from study.data.types import Images
from study.errors import InputError


def test_by_hand():
    pixels = np.zeros((2, 8, 8, 1), dtype=np.uint8)
    pixels[1] = 255
    assert channel_statistics(Images(pixels, np.array([0, 1]))) == ((0.5,), (0.5,))


def test_against_numpy():
    pixels = np.random.default_rng(0).integers(0, 200, size=(50, 9, 8, 3)).astype(np.uint8)
    mean, std = channel_statistics(Images(pixels, np.zeros(50, dtype=np.int64)))
    scaled = pixels.astype(np.float64) / 255
    assert mean == pytest.approx(scaled.mean((0, 1, 2)), abs=1e-14)
    assert std == pytest.approx(scaled.std((0, 1, 2)), abs=1e-14)


def test_counted_in_parts_and_once(monkeypatch):
    pixels = np.random.default_rng(0).integers(0, 256, size=(50, 9, 8, 3)).astype(np.uint8)
    data = Images(pixels, np.zeros(50, dtype=np.int64))
    whole = channel_statistics(Images(pixels, data.labels))
    sizes, count = [], np.bincount
    monkeypatch.setattr(types, "PART_NUMBERS", 20 * 9 * 8 * 3)
    monkeypatch.setattr(np, "bincount", lambda values, **named: [sizes.append(len(values)), count(values, **named)][1])
    assert channel_statistics(data) == whole
    assert sizes == [20 * 72] * 6 + [10 * 72] * 3
    assert channel_statistics(data) == whole
    assert len(sizes) == 9


def test_a_constant_channel_can_still_be_divided_by():
    pixels = np.full((3, 8, 8, 1), 7, dtype=np.uint8)
    assert channel_statistics(Images(pixels, np.zeros(3, dtype=np.int64))) == ((7 / 255,), (SMALLEST_STD,))


def test_no_images():
    with pytest.raises(InputError, match="at least one image"):
        channel_statistics(Images(np.zeros((0, 8, 8, 1), np.uint8), np.zeros(0, np.int64)))
