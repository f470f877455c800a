"""Mosaics: every picture in its place."""

import io

import numpy as np
from PIL import Image

from study import examples
from study.run import Key, RunDirectory

KEY = Key("evaluate", "plain", "my.pkg:<Loss>", "tuned", 0, 0)


def read(run, example):
    picture = np.array(Image.open(io.BytesIO((run.path / example["file"]).read_bytes())))
    assert picture.shape[:2] == (example["height"], example["width"])
    return picture


def test_a_mosaic_has_every_picture_in_its_place():
    rows = [np.full((3, 4, 5, 1), 10, np.uint8), np.full((2, 4, 5, 1), 20, np.uint8)]
    rows[0][2] = 99
    whole = examples.mosaic(rows)
    assert whole.shape == (2 * 6 - 2, 3 * 7 - 2, 1)
    assert (whole[:4, :5] == 10).all()
    assert (whole[:4, 14:] == 99).all()
    assert (whole[6:, 7:12] == 20).all()
    assert (whole[6:, 14:] == examples.GAP_GREY).all(), "a shorter row ends early"


def test_attacked_images_show_clean_attacked_and_ten_times_the_difference(tmp_path):
    run = RunDirectory(tmp_path)
    images = np.full((1, 4, 4, 1), 102, np.uint8)  # 0.4
    change = np.full((1, 1, 4, 4), 0.02)
    change[0, 0, 0, 0] = -0.02
    (example,) = examples.attacked(run, KEY, images, change, "Linf", 0.02)
    picture = read(run, example)
    assert "<" not in example["file"]
    assert (picture[:4] == 102).all()
    assert picture[7, 1] == 107  # 0.42
    assert picture[6, 0] == 97
    assert picture[13, 1] == round(0.7 * 255)  # 0.5 + 10 · 0.02
    assert picture[12, 0] == round(0.3 * 255)
    assert examples.attacked(run, KEY, images[:0], change[:0], "Linf", 0.02) == []


def test_photographs_are_small_enough_for_a_page(tmp_path):
    draw = np.random.default_rng(0)
    smooth = np.linspace(60, 180, 240)[None, None, :, None] + draw.normal(0, 8, size=(5, 160, 240, 3))
    images, labels = smooth.clip(0, 255).astype(np.uint8), np.zeros((5, 160, 240), np.int64)
    (example,) = examples.maps(RunDirectory(tmp_path), KEY, images, labels, labels, ["road"])
    assert example["file"].endswith(".webp")
    assert (tmp_path / example["file"]).stat().st_size < 150_000
    picture = read(RunDirectory(tmp_path), example).astype(float)
    assert np.abs(picture[:160, :240] - images[0]).mean() < 8


class Out:
    def __init__(self, images):
        self.images = images


def test_both_sides_of_the_threshold_surest_first_and_sets_in_turn(tmp_path):
    run = RunDirectory(tmp_path)
    first, second = (np.arange(4, dtype=np.uint8)[:, None, None, None] + start for start in (0, 100))
    sets = [Out(np.tile(first, (1, 2, 2, 1))), Out(np.tile(second, (1, 2, 2, 1)))]
    scores = [np.array([0.1, 0.9, 0.3, 0.8]), np.array([0.95, 0.2, 0.7, 0.6])]
    (example,) = examples.rejected(run, KEY, sets, scores, 0.5)
    picture = read(run, example)[::4, ::4]
    assert example["rows"] == ["rejected, as it should be", "wrongly accepted"]
    assert picture[0, :3].tolist() == [0, 101, 2]  # 0.1, 0.2, 0.3
    assert picture[1, :5].tolist() == [1, 100, 3, 102, 103]  # 0.9, 0.95, 0.8, 0.7, 0.6
    (all_accepted,) = examples.rejected(run, KEY, sets, scores, 0.0)
    assert all_accepted["rows"] == ["wrongly accepted"]


def test_maps_have_a_colour_for_every_class_and_white_where_there_is_none():
    labels = np.array([[[0, 1], [11, -100]]])
    mixed = examples.overlay(np.zeros((1, 2, 2, 3), np.uint8), labels)[0]
    expected = np.rint(np.array(examples.MAP_COLOURS) * 2 / 3)
    assert mixed[0, 0].tolist() == expected[0].tolist()
    assert mixed[0, 1].tolist() == expected[1].tolist()
    assert mixed[1, 0].tolist() == expected[0].tolist(), "colours begin again"
    assert mixed[1, 1].tolist() == [170, 170, 170]
