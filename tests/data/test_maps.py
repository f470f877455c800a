"""Cutting images with label maps: whole images, disjoint, and every class in training."""

import numpy as np
import pytest

from study.data.convert import fit_source
from study.data.maps import _set_aside, cut_maps
from study.data.npz import load_npz
from study.data.types import IGNORED, Images, Source
from study.errors import InputError
from tests.data.helpers import toy_source


def mapped(count=20, classes=3, rare=1, test=None):
    """Images whose first pixel is their number; class 2 is in `rare` of them alone."""
    images = np.zeros((count, 8, 8, 1), np.uint8)
    images[:, 0, 0, 0] = np.arange(count)
    labels = np.zeros((count, 8, 8), np.int64)
    labels[:, 4:] = 1
    labels[:rare, 0, 0] = 2
    labels[:, 7, 7] = IGNORED
    return Source("maps", Images(images, labels), test, tuple("abc"[:classes]), "none")


def numbers(images):
    return images.images[:, 0, 0, 0].tolist()


def test_parts_are_disjoint_and_whole():
    cut = cut_maps(mapped(), split_seed=0)
    assert (len(cut.train), len(cut.validation), len(cut.test), cut.n_pool) == (14, 2, 4, 16)
    assert sorted(numbers(cut.train) + numbers(cut.validation) + numbers(cut.test)) == list(range(20))
    # 20·... pixels of a, b and c in 14 training images: 14·32 − 1, 14·31 and 1 of 14·63
    assert cut.class_counts == pytest.approx((14 * 447 / 882, 14 * 434 / 882, 14 * 1 / 882))
    assert cut.class_order == (0, 1, 2)


@pytest.mark.parametrize("seed", range(10))
def test_the_only_image_of_a_class_is_for_training(seed):
    assert 0 in numbers(cut_maps(mapped(), split_seed=seed).train)


def test_the_image_that_shows_a_rare_class_stands_for_the_common_ones_on_it():
    shows = np.zeros((10, 3), dtype=bool)
    shows[:, 0], shows[7, 1:] = True, True
    for seed in range(5):
        assert _set_aside(shows, np.random.default_rng(seed)).tolist() == [7]


def test_seeds_decide_and_an_official_test_set_stays():
    first, same, other = (cut_maps(mapped(rare=9), split_seed=seed) for seed in (1, 1, 2))
    assert numbers(first.test) == numbers(same.test) != numbers(other.test)
    official = mapped(5, rare=5).train
    cut = cut_maps(mapped(test=official), split_seed=0)
    assert cut.test is official
    assert (len(cut.train), len(cut.validation), cut.n_pool) == (17, 3, 20)


def test_what_cannot_be_cut():
    with pytest.raises(InputError, match="a label for every pixel, got one an image"):
        cut_maps(toy_source([5, 5]), split_seed=0)
    with pytest.raises(InputError, match="2 images: expected at least 2 for test and validation beside the 1"):
        cut_maps(mapped(2), split_seed=0)
    with pytest.raises(InputError, match="split_seed"):
        cut_maps(mapped(), split_seed=-1)


def written(path, **change):
    generator = np.random.default_rng(0)
    arrays = {
        "x_train": generator.integers(0, 256, (4, 8, 12, 3), dtype=np.uint8),
        "y_train": generator.integers(0, 2, (4, 8, 12)).astype(np.uint8),
        "classes": np.array(["ground", "crack"]),
        "ignore_index": np.array(255),
    }
    arrays["y_train"][:, 0] = 255
    np.savez(path, **{key: value for key, value in {**arrays, **change}.items() if value is not None})
    return arrays


def test_maps_in_an_archive(tmp_path):
    path = tmp_path / "own.npz"
    arrays = written(path, x_test=np.zeros((1, 8, 12, 3), np.uint8), y_test=np.zeros((1, 8, 12), np.int16))
    source = load_npz(path)
    assert (source.is_map, source.classes, source.shape) == (True, ("ground", "crack"), (8, 12, 3))
    assert (source.train.labels[:, 0] == IGNORED).all()
    assert np.array_equal(source.train.labels[:, 1:], arrays["y_train"][:, 1:])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"y_train": np.zeros((4, 8, 8), np.uint8)},
            r"a label for each pixel of x_train, \(4, 8, 12\), got \(4, 8, 8\)",
        ),
        ({"y_train": np.zeros((4, 8, 12))}, r"label maps of whole numbers, got float64"),
        ({"ignore_index": None}, "name for each of the labels 0 to 255, got 2"),
        ({"ignore_index": np.array([1, 2])}, "ignore_index: expected one whole number"),
        ({"y_train": np.full((4, 8, 12), -1)}, "got -1 to -1; give the value of pixels without a label"),
        ({"y_train": np.full((4, 8, 12), 255)}, "expected a labelled pixel in every map, got none in number 0"),
        ({"x_test": np.zeros((1, 8, 12, 3), np.uint8), "y_test": np.array([1])}, "labels of the kind of y_train"),
    ],
)
def test_bad_maps_in_an_archive(tmp_path, change, message):
    written(tmp_path / "own.npz", **change)
    with pytest.raises(InputError, match=message):
        load_npz(tmp_path / "own.npz")


def test_resizing_a_source():
    source = mapped()
    assert fit_source(source, 0) is source
    assert fit_source(source, 8) is source
    double = fit_source(source, 16)
    assert double.shape == (16, 16, 1)
    assert np.array_equal(double.train.labels, source.train.labels.repeat(2, 1).repeat(2, 2))
    wide = Source("wide", Images(np.zeros((2, 8, 16, 1), np.uint8), np.tile(np.arange(16) // 4, (2, 8, 1))), None,
                  tuple("abcd"), "none")  # fmt: skip
    with pytest.raises(InputError, match="none of: a, d\nin the middle squares of 8x16 pixels, resized to 8x8"):
        fit_source(wide, 8)  # the middle shows b and c alone
