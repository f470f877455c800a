"""Common corruptions: which there are, equal bits everywhere, severity, cache, official files."""

import hashlib
import io
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from study.data import corruption
from study.data.corruption import (
    KINDS,
    SEVERITIES,
    TEST_KINDS,
    VALIDATION_KINDS,
    applicable,
    corrupt,
    corrupted,
    read_cifar_c,
)
from study.data.corruption import official as published_images
from study.data.types import Images, Source
from study.errors import InputError
from tests.data.pictures import pictures

MNIST_C = {"shot_noise", "impulse_noise", "glass_blur", "motion_blur", "fog", "brightness", "spatter"}


def usable(shape):
    return [kind for kind, reason in applicable(shape).items() if not reason]


def test_which_kinds_there_are_and_where():
    assert len(TEST_KINDS) == 15
    assert set(VALIDATION_KINDS) == {"speckle_noise", "gaussian_blur", "spatter", "saturate"}
    assert set(usable((28, 28, 1))) == MNIST_C
    assert set(usable((32, 32, 1))) == set(KINDS) - {"saturate"}
    assert usable((32, 32, 3)) == usable((224, 300, 3)) == list(KINDS)
    assert usable((8, 8, 1)) == usable((27, 200, 3)) == []
    reasons = applicable((28, 28, 1))
    assert reasons["saturate"] == "grey images have no saturation"
    assert "MNIST-C" in reasons["frost"]
    assert "8x8" in applicable((8, 8, 1))["fog"]


def test_strengths_follow_the_shorter_side():
    noise = KINDS["gaussian_noise"]
    assert noise.strength((28, 28, 3), 5) == noise.strength((63, 200, 3), 5) == (0.10,)
    assert noise.strength((64, 64, 3), 5) == (0.38,)
    assert KINDS["zoom_blur"].strength((32, 32, 3), 1) == (1.06, 0.01)


@pytest.mark.parametrize("shape", [(32, 32, 3), (28, 28, 1), (64, 70, 3), (40, 32, 1)])
@pytest.mark.parametrize("severity", [2, 5])
def test_an_image_has_the_same_bits_alone_and_in_any_batch(shape, severity, monkeypatch):
    images = pictures(7, *shape)
    before = images.copy()
    for kind in usable(shape):
        batch = corrupt(images, kind, severity, 3)
        assert batch.dtype == np.uint8
        assert batch.shape == images.shape
        assert not batch.flags.writeable
        assert np.array_equal(corrupt(images[5:6], kind, severity, 3, indices=[5])[0], batch[5]), kind
        backwards = corrupt(images[::-1], kind, severity, 3, indices=range(6, -1, -1))
        assert np.array_equal(backwards[::-1], batch), kind
        with monkeypatch.context() as patch:
            patch.setattr(corruption, "CHUNK_VALUES", 3 * images[0].size)
            assert np.array_equal(corrupt(images, kind, severity, 3), batch), kind
    assert np.array_equal(images, before)


def test_no_global_generator_is_used():
    np.random.seed(0)
    state = np.random.get_state()[1].copy()
    for kind in KINDS:
        corrupt(pictures(1), kind, 3, 0)
    assert np.array_equal(np.random.get_state()[1], state)


@pytest.mark.parametrize("kind", sorted(set(KINDS) - {"defocus_blur", "zoom_blur", "gaussian_blur", "saturate"}))
def test_index_seed_and_severity_change_what_is_drawn(kind):
    fixed = kind in {"brightness", "contrast", "pixelate", "jpeg_compression"}
    twice = np.repeat(pictures(1), 2, axis=0)
    first = corrupt(twice, kind, 3, 0)
    assert np.array_equal(first[0], first[1]) == fixed
    assert np.array_equal(first, corrupt(twice, kind, 3, 1)) == fixed
    assert not np.array_equal(first, corrupt(twice, kind, 5, 0))


DIGESTS = """
import hashlib, sys
from tests.data.test_corruption import digests
print(digests())
"""


def digests():
    images = pictures(3)
    return hashlib.sha256(b"".join(corrupt(images, kind, 4, 11).tobytes() for kind in KINDS)).hexdigest()


def test_two_processes_agree():
    root = Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONHASHSEED": "7", "OMP_NUM_THREADS": "2"}
    answer = subprocess.run(
        [sys.executable, "-c", DIGESTS], cwd=root, env=environment, capture_output=True, text=True, check=True
    )
    assert answer.stdout.strip() == digests()


STEADY = sorted(set(KINDS) - {"glass_blur", "frost", "elastic_transform", "spatter", "saturate"})
"""Frost darkens and whitens; elastic, glass, spatter and saturate have published strengths of several kinds."""


@pytest.mark.parametrize(("kind", "side"), [(kind, side) for kind in STEADY for side in (32, 64)])
def test_more_severe_changes_more(kind, side):
    images = pictures(10, side, side)
    changes = [np.abs(corrupt(images, kind, s, 0).astype(int) - images).mean() for s in SEVERITIES]
    assert changes[0] > 0
    # Strengths that hardly differ: σ = 2 at severities 3 and 4; fog of 2.5 twice; at 3 fewer flakes than at 2.
    if (kind, side) in {("motion_blur", 32), ("fog", 64), ("snow", 64)}:
        assert changes[4] == max(changes)
    else:
        assert changes == sorted(changes)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: corrupt(pictures(1), "fogg", 1, 0), "did you mean 'fog'"),
        (lambda: corrupt(pictures(1), "fog", 6, 0), r"fog: severity: expected one of 1, 2, 3, 4, 5, got 6"),
        (lambda: corrupt(pictures(1), "fog", True, 0), "severity"),
        (lambda: corrupt(pictures(1), "fog", 2.0, 0), "severity"),
        (lambda: corrupt(pictures(1), "fog", 1, -1), "seed"),
        (lambda: corrupt(pictures(1, 28, 28, 1), "frost", 1, 0), "frost cannot be used: grey images of 28x28"),
        (lambda: corrupt(pictures(1, channels=1), "saturate", 1, 0), "no saturation"),
        (lambda: corrupt(pictures(1, 8, 8), "fog", 1, 0), "images of 8x8: no published strengths"),
        (lambda: corrupt(pictures(1) / 255, "fog", 1, 0), "uint8"),
        (lambda: corrupt(pictures(2), "fog", 1, 0, indices=[1]), "expected 2 whole numbers"),
        (lambda: corrupt(pictures(1), "fog", 1, 0, indices=[-1]), "at least 0"),
        (lambda: corrupted(pictures(1), "fog", 6, 0, None), "severity"),
    ],
)
def test_errors(call, message):
    with pytest.raises(InputError, match=message):
        call()


def test_no_images():
    assert corrupt(pictures(0), "contrast", 1, 0).shape == (0, 32, 32, 3)


def test_the_cache_computes_once(tmp_path, monkeypatch):
    images, folder = pictures(2), tmp_path / "kept"
    expected = corrupt(images, "fog", 2, 0)
    assert np.array_equal(corrupted(images, "fog", 2, 0, None), expected)
    assert np.array_equal(corrupted(images, "fog", 2, 0, folder), expected)
    (file,) = folder.iterdir()
    assert file.name.startswith("fog-2-")
    with monkeypatch.context() as patch:
        patch.setattr(corruption, "corrupt", None)
        again = corrupted(images, "fog", 2, 0, folder)
        assert np.array_equal(again, expected)
        assert not again.flags.writeable
    changed = images.copy()
    changed[1, 0, 0, 0] ^= 1
    for other in ((changed, 0), (images, 1), (images.reshape(1, 64, 32, 3), 0)):
        corrupted(other[0], "fog", 2, other[1], folder)
    assert len(list(folder.iterdir())) == 4


def test_damaged_files_are_made_again(tmp_path):
    images = pictures(2)
    expected = corrupted(images, "snow", 2, 0, tmp_path)
    (file,) = tmp_path.iterdir()
    whole = file.read_bytes()
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 255
    foreign, lone = io.BytesIO(), io.BytesIO()
    np.savez(foreign, images=expected[:1])
    np.save(lone, expected)
    for damage in (b"", b"no archive", whole[:-100], bytes(flipped), foreign.getvalue(), lone.getvalue()):
        file.write_bytes(damage)
        assert np.array_equal(corrupted(images, "snow", 2, 0, tmp_path), expected)
        assert file.read_bytes() == whole
    assert list(tmp_path.iterdir()) == [file]


def test_a_cache_folder_that_is_a_file(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="folder that can be written to"):
        corrupted(pictures(1), "fog", 1, 0, tmp_path / "file")


@pytest.fixture
def official(tmp_path):
    images = np.arange(10, dtype=np.uint8)[:, None, None, None] * np.ones((1, 32, 32, 3), dtype=np.uint8)
    np.save(tmp_path / "fog.npy", images)
    np.save(tmp_path / "labels.npy", np.tile(np.array([3, 7], dtype=np.uint8), 5))
    return tmp_path


def test_official_files(official):
    parts = read_cifar_c(official, "fog", rows=10)
    assert list(parts) == [1, 2, 3, 4, 5]
    for severity, (images, labels) in parts.items():
        assert images[:, 0, 0, 0].tolist() == [2 * severity - 2, 2 * severity - 1]
        assert images.shape == (2, 32, 32, 3)
        assert labels.tolist() == [3, 7]
        assert labels.dtype == np.int64
        assert not images.flags.writeable


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda folder: (folder / "fog.npy").unlink(), r"fog\.npy: expected a file of CIFAR-10-C .* no such file"),
        (lambda folder: (folder / "labels.npy").unlink(), r"labels\.npy: .* no such file"),
        (lambda folder: (folder / "fog.npy").write_bytes(b"\x93NUMPY"), "cannot be read"),
        (lambda folder: (folder / "fog.npy").write_bytes(b"PK\x03\x04 cut short"), "cannot be read"),
        (lambda folder: np.save(folder / "fog.npy", np.zeros((9, 32, 32, 3), np.uint8)), r"shape \(10, 32, 32, 3\)"),
        (lambda folder: np.save(folder / "fog.npy", np.zeros((10, 32, 32, 3))), "expected uint8"),
        (lambda folder: np.save(folder / "labels.npy", np.zeros(9, np.uint8)), r"shape \(10,\)"),
        (lambda folder: np.save(folder / "labels.npy", np.zeros(10)), "whole numbers"),
        (lambda folder: np.save(folder / "labels.npy", np.arange(10)), "same labels for every severity"),
        (lambda folder: np.save(folder / "labels.npy", np.array([{}] * 10), allow_pickle=True), "cannot be read"),
    ],
)
def test_official_files_that_cannot_be_used(official, spoil, message):
    spoil(official)
    with pytest.raises(InputError, match=message):
        read_cifar_c(official, "fog", rows=10)


def test_official_files_are_used_for_the_whole_test_set_alone(official):
    images = np.zeros((2, 32, 32, 3), np.uint8)
    train, test = Images(np.zeros((8, 32, 32, 3), np.uint8), np.arange(8)), Images(images, np.array([3, 7]))
    source = Source("toy", train, test, tuple("abcdefgh"), "none", official_corruptions=official)
    published = published_images(source, test, np.array([1]), "fog", 3)
    assert published[:, 0, 0, 0].tolist() == [5]
    assert published_images(source, test.take([1]), np.array([0]), "fog", 3) is None
    assert published_images(replace(source, official_corruptions=None), test, np.array([1]), "fog", 3) is None
    other = Images(images, np.array([3, 6]))
    with pytest.raises(InputError, match="expected the labels of toy's test set"):
        published_images(replace(source, test=other), other, np.array([1]), "fog", 3)


@pytest.mark.parametrize(
    ("kind", "rows", "message"), [("fogg", 10, "did you mean"), ("fog", 11, "multiple of 5"), ("fog", 0, "multiple")]
)
def test_wrong_arguments_for_official_files(official, kind, rows, message):
    with pytest.raises(InputError, match=message):
        read_cifar_c(official, kind, rows)
