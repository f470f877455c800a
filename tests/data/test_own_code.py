"""A function of the user's own as a data set."""

import sys
import types

import numpy as np
import pytest
import torch

from study.data.registry import cut_defaults, load_source
from study.errors import InputError
from tests.data.helpers import toy_source

IMAGES, LABELS = np.zeros((6, 8, 8, 3), np.uint8), np.array([0, 0, 0, 1, 1, 1])


@pytest.fixture(autouse=True)
def module(monkeypatch):
    made = types.ModuleType("my_data")
    made.arrays = lambda: {"x_train": IMAGES, "y_train": LABELS, "classes": ["cat", "dog"], "x_test": None}
    made.source = lambda: toy_source([3, 3])
    made.text = lambda: "no data"
    made.broken = lambda: 1 // 0
    made.short = lambda: {"x_train": IMAGES}
    made.number = 3
    monkeypatch.setitem(sys.modules, "my_data", made)


def test_a_dict_and_a_source():
    source = load_source("my_data:arrays")
    assert (source.name, source.classes, len(source.train)) == ("my_data:arrays", ("cat", "dog"), 6)
    assert load_source("my_data:source").name == "my_data:source"
    assert load_source("my_data:arrays", image_size=16).shape == (16, 16, 3)
    assert cut_defaults(source).ratio == 10.0


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("no_such_module:arrays", "cannot import 'no_such_module'"),
        ("fodler:photographs", "did you mean folder:photographs?"),
        ("my_data:missing", "expected a function missing in my_data; it has: arrays, source"),
        ("my_data:number", "expected a function number"),
        ("my_data:text", "to return a Source or a dict with x_train, .*got str"),
        ("my_data:broken", r"broken\(\) raised ZeroDivisionError"),
        ("my_data:short", "my_data:short: expected keys .*missing y_train"),
    ],
)
def test_what_cannot_be_used(name, message):
    with pytest.raises(InputError, match=message):
        load_source(name)


def test_the_example_is_data():
    source = load_source("examples.own_data:stripes")
    assert (source.shape, source.train.counts(3)) == ((16, 16, 1), (200, 200, 100))
    assert cut_defaults(source).ratio is None  # imbalanced as it is


@pytest.mark.parametrize("images", [[IMAGES[0], IMAGES[1, :5]], torch.zeros(6, 8, 8, 3, requires_grad=True)])
def test_what_is_no_array_is_named(monkeypatch, images):
    monkeypatch.setattr("my_data.arrays", lambda: {"x_train": images, "y_train": LABELS})
    with pytest.raises(InputError, match="my_data:arrays: x_train: expected an array"):
        load_source("my_data:arrays")


def test_a_test_set_under_a_misspelt_key_is_not_left_out_in_silence(monkeypatch):
    made = {"x_train": IMAGES, "y_train": LABELS, "X_test": IMAGES, "Y_test": LABELS}
    monkeypatch.setattr("my_data.arrays", lambda: made)
    with pytest.raises(InputError, match=r"my_data:arrays: unknown key 'X_test'; .*did you mean 'x_test'"):
        load_source("my_data:arrays")
