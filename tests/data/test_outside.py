"""Sets from outside: what is in them, what must not be in them, and that they are the same everywhere."""

import hashlib
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_sample_image

from study.data import letters, photographs, unrecognisable
from study.data.companions import with_companions
from study.data.convert import to_channels, to_shape, to_size
from study.data.outside import digit_of, outlier_pool, outside_sets, same_class
from study.data.registry import cut_defaults, load_source
from study.data.tail import cut_imbalanced
from study.errors import InputError
from tests.data.helpers import toy_source

OUT_GROUPS = ("near", "far", "unrecognisable", "user")


def cut(source):
    defaults = cut_defaults(source)
    return cut_imbalanced(
        source,
        split_seed=0,
        order_seed=0,
        ratio=defaults.ratio,
        test_per_class=defaults.test_per_class,
        validation_per_class=defaults.validation_per_class,
    )


def toy_sets(source, **change):
    splits = cut_imbalanced(source, split_seed=0, order_seed=0, ratio=None, test_per_class=5, validation_per_class=5)
    source = with_companions(source, change.get("extra", ()), Path("none"))
    return {made.name: made for made in outside_sets(source, splits, **{"seed": 0, "n": 12, **change})}


@pytest.fixture(scope="module")
def embedded():
    """The sets of both embedded sources, by source and set name."""
    made = {}
    for name in ("digits", "mnist5k"):
        source = load_source(name)
        made[name] = (source, {s.name: s for s in outside_sets(source, cut(source), seed=3, n=60)})
    return made


def in_known(source, made):
    return {same_class(name) for name in made.class_names} & {same_class(name) for name in source.classes}


@pytest.mark.parametrize("name", ["digits", "mnist5k"])
def test_sets_groups_and_shapes(embedded, name):
    source, sets = embedded[name]
    other = "mnist5k" if name == "digits" else "digits"
    assert {made.name: made.group for made in sets.values()} == {
        "letters": "near",
        "photographs": "far",
        "uniform_noise": "unrecognisable",
        "gaussian_blobs": "unrecognisable",
        "permuted_pixels": "unrecognisable",
        "randomised_phases": "unrecognisable",
        other: "shifted-known",
    }
    for made in sets.values():
        assert made.images.shape == (60, *source.shape)
        assert not made.images.flags.writeable
        assert len(np.unique(made.images.reshape(60, -1), axis=0)) > 55


@pytest.mark.parametrize("name", ["digits", "mnist5k"])
def test_no_out_set_has_a_known_class_and_shifted_sets_have_nothing_else(embedded, name):
    source, sets = embedded[name]
    for made in sets.values():
        if made.group in OUT_GROUPS:
            assert in_known(source, made) == set()
        else:
            assert set(made.class_names) <= set(source.classes)


def nearest_labels(images, labels, queries):
    """Return for each query the label of the image at the smallest Euclidean distance."""
    flat, asked = (x.reshape(len(x), -1).astype(float) for x in (images, queries))
    return labels[((flat**2).sum(1) - 2 * asked @ flat.T).argmin(1)]


@pytest.mark.parametrize("name", ["digits", "mnist5k"])
def test_shifted_digits_look_like_digits_of_the_same_label(embedded, name):
    """The nearest image of the source mostly has the same label (chance: 0.1): images and labels belong together."""
    source, sets = embedded[name]
    (made,) = (s for s in sets.values() if s.group == "shifted-known")
    found = nearest_labels(source.train.images, source.train.labels, made.images)
    assert (found == made.labels).mean() > 0.4


def test_data_that_are_not_characters_have_letters_far_and_no_shifted_set():
    sets = toy_sets(toy_source([30, 30], names=["cat", "dog"], side=16, channels=3))
    assert sets["letters"].group == "far"
    assert {made.group for made in sets.values()} == {"far", "unrecognisable"}
    assert sets["letters"].images.shape == (12, 16, 16, 3)
    # test images: 5 of each class, used at most once
    assert len(sets["permuted_pixels"]) == len(sets["randomised_phases"]) == 10


def test_folders_of_ones_own_that_are_called_like_digits_are_not_taken_for_digits():
    named = toy_source([30, 30, 30], names=["0", "1", "2"], side=16)
    assert toy_sets(named)["letters"].group == "near"
    sets = toy_sets(replace(named, name="folder:knees"))
    assert sets["letters"].group == "far"
    assert {made.group for made in sets.values()} == {"far", "unrecognisable"}


def test_mnist_is_no_other_source_for_mnist():
    small = toy_source([30, 30, 30], names=["0", "1", "2"], side=12)
    assert "mnist5k" in toy_sets(small)
    sets = toy_sets(replace(small, name="mnist"))
    assert "mnist5k" not in sets
    assert sets["digits"].images.shape[1:] == (12, 12, 1)


def test_letters_that_are_known_classes_are_left_out():
    sets = toy_sets(toy_source([30, 30, 30], names=["a", "K", "3"], side=16))
    assert sets["letters"].group == "near"
    assert sets["letters"].class_names == tuple("CEFHMNPRUVWX")
    assert sets["letters"].dropped == ("A", "K")
    everything = toy_source([30] * len(letters.LETTERS), names=letters.LETTERS, side=16)
    assert "letters" not in toy_sets(everything)


def test_some_digits_by_other_names_get_the_right_labels():
    sets = toy_sets(toy_source([30, 30, 30], names=["Seven", "two", "3 - three"], side=28), n=80)
    shifted = sets["digits"]
    assert shifted.class_names == ("Seven", "two", "3 - three")
    assert set(shifted.labels) == {0, 1, 2}
    seven = load_source("digits").train
    ink = seven.images[seven.labels == 7].mean()
    assert shifted.images[shifted.labels == 0].mean() == pytest.approx(ink * (20 / 28) ** 2, rel=0.1)


@pytest.mark.parametrize(
    ("name", "digit"), [("7", 7), (" 7", 7), ("seven", 7), ("Seven", 7), ("7 - seven", 7), ("cat", None), ("10", None)]
)
def test_digit_names(name, digit):
    assert digit_of(name) == digit
    assert same_class(name) == (name.strip().casefold() if digit is None else "7")


def test_letters_are_not_digits_and_are_whole():
    assert not set(letters.LETTERS) & set("BDGIJLOQSTYZ" + "0123456789")
    for font in letters._fonts(64):
        for letter in letters.LETTERS:
            left, top, right, bottom = font.getbbox(letter, anchor="mm")
            # Rotated by any angle it stays on the canvas of twice the font's size.
            assert max(np.hypot(x, y) for x in (left, right) for y in (top, bottom)) < 64


@pytest.mark.parametrize("shape", [(28, 28, 1), (40, 28, 3), (8, 8, 1)])
def test_letters_fill_the_image_as_digits_do(shape):
    images, labels = letters.render_letters(shape, 140, np.random.default_rng(0))
    assert list(np.bincount(labels)) == [10] * 14
    assert (images.max((1, 2, 3)) == 255).all()
    assert (images == images[..., :1]).all()
    extents = []
    for image in images[..., 0]:
        rows, columns = np.flatnonzero(image.max(1) > 20), np.flatnonzero(image.max(0) > 20)
        extents.append(max(rows[-1] - rows[0], columns[-1] - columns[0]) + 1)
    low, high = (7, 8) if shape[0] == 8 else (16, 24)
    assert low <= min(extents)
    assert max(extents) <= high
    # Away from the edge there is always a frame that no ink touches, so nothing is cut off.
    if shape[0] > 8:
        frame = np.concatenate([images[:, 0].ravel(), images[:, -1].ravel()])
        assert (frame > 0).mean() < 0.01


@pytest.mark.parametrize("shape", [(28, 28, 1), (8, 8, 1)])
def test_letters_differ_and_can_be_told_apart(shape):
    images, labels = letters.render_letters(shape, 700, np.random.default_rng(0))
    assert len(np.unique(images.reshape(700, -1), axis=0)) == 700
    assert (nearest_labels(images[:350], labels[:350], images[350:]) == labels[350:]).mean() > 0.7


def test_regions_of_the_roles_share_no_pixel():
    taken = {name: np.zeros(load_sample_image(name).shape[:2], dtype=int) for name in ("china.jpg", "flower.jpg")}
    for role, region in photographs.REGIONS.items():
        mask = taken[region.photograph]
        rows, columns = mask.shape
        box = np.s_[
            round(region.top * rows) : round(region.bottom * rows),
            round(region.left * columns) : round(region.right * columns),
        ]
        mask[box] += 1
        assert np.array_equal(photographs.region_pixels(role), load_sample_image(region.photograph)[box])
    assert max(mask.max() for mask in taken.values()) == 1
    photograph = {role: region.photograph for role, region in photographs.REGIONS.items()}
    assert photograph["train"] == photograph["validation"] != photograph["test"]


@pytest.mark.parametrize("role", ["train", "validation", "test"])
def test_patches_come_from_their_region_only(role, monkeypatch):
    """With the other roles' pixels painted over, a role's patches stay the same."""
    before = outlier_pool(role, (28, 28, 3), 20, seed=1)
    painted = {name: pixels.copy() for name, pixels in photographs._photographs().items()}
    for other, region in photographs.REGIONS.items():
        if other != role:
            rows, columns = painted[region.photograph].shape[:2]
            painted[region.photograph][
                round(region.top * rows) : round(region.bottom * rows),
                round(region.left * columns) : round(region.right * columns),
            ] = 0
    monkeypatch.setattr(photographs, "_photographs", lambda: painted)
    assert np.array_equal(outlier_pool(role, (28, 28, 3), 20, seed=1), before)


@pytest.mark.parametrize("shape", [(8, 8, 1), (32, 32, 3), (24, 40, 1), (400, 400, 3)])
def test_pools_have_the_shape_asked_for_and_something_to_see(shape):
    pool = outlier_pool("train", shape, 8, seed=0)
    assert (pool.shape, pool.dtype) == ((8, *shape), np.uint8)
    assert not pool.flags.writeable
    assert (pool.astype(float).std((1, 2)).max(1) > 3).all()
    assert not np.array_equal(pool, outlier_pool("train", shape, 8, seed=1))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("tests", (8, 8, 1), 5, 0),
            "unknown role of outliers: 'tests'\nknown: test, train, validation\ndid you mean 'test'",
        ),
        (("test", (8, 8, 2), 5, 0), r"1 or 3 channels; .*shape=\(8, 8, 2\)"),
        (("test", (8, 8, 1), 0, 0), "got n=0"),
        (("test", (8, 8, 1), 5, -1), "seed=-1"),
    ],
)
def test_pools_refuse_other_arguments(arguments, message):
    with pytest.raises(InputError, match=message):
        outlier_pool(*arguments)


def test_noise_is_uniform():
    noise = unrecognisable.uniform_noise((16, 16, 3), 200, np.random.default_rng(0))
    counts = np.bincount(noise.ravel(), minlength=256)
    expected = noise.size / 256
    # chi-square with 255 degrees of freedom: mean 255, standard deviation 22.6
    assert abs(((counts - expected) ** 2 / expected).sum() - 255) < 5 * 22.6


def test_blobs_are_smooth_and_never_empty():
    blobs = unrecognisable.gaussian_blobs((28, 28, 1), 100, np.random.default_rng(0)).astype(float)
    assert (blobs.max((1, 2, 3)) >= 90).all()
    assert np.abs(np.diff(blobs, axis=1)).max() < 150


def test_permuted_images_keep_their_pixels():
    images = np.random.default_rng(1).integers(0, 256, (5, 8, 9, 3), dtype=np.uint8)
    permuted = unrecognisable.permuted_pixels(images, np.random.default_rng(0))
    assert not np.array_equal(permuted, images)
    for before, after in zip(images.reshape(5, 72, 3), permuted.reshape(5, 72, 3), strict=True):
        assert sorted(map(tuple, before)) == sorted(map(tuple, after))


@pytest.mark.parametrize("shape", [(28, 28, 1), (9, 8, 3), (8, 9, 1)])
def test_random_phases_keep_the_spectrum(shape):
    # Low contrast, so that nothing is cut off and only rounding is left.
    images = np.random.default_rng(1).integers(110, 146, (6, *shape), dtype=np.uint8)
    changed = unrecognisable.randomised_phases(images, np.random.default_rng(0))
    before, after = (np.abs(np.fft.fft2(x.astype(float), axes=(1, 2))) for x in (images, changed))
    # Rounding adds white noise of variance 1/12 a pixel: about sqrt(H·W/12) to each frequency.
    assert np.abs(before - after).max() < 5 * np.sqrt(shape[0] * shape[1] / 12)
    similarity = [np.corrcoef(a.ravel(), b.ravel())[0, 1] for a, b in zip(images, changed, strict=True)]
    assert np.abs(similarity).max() < 0.6


def digest(sets):
    total = hashlib.sha256()
    for made in sets:
        total.update(made.name.encode() + made.images.tobytes())
        total.update(b"" if made.labels is None else made.labels.tobytes())
    return total.hexdigest()


def digits_of_our_own():
    return toy_source([30, 30], names=["two", "seven"], side=28)


def test_the_same_in_another_process():
    code = (
        "from tests.data.test_outside import digest, digits_of_our_own, toy_sets\n"
        "source = digits_of_our_own()\n"
        "print(source.fingerprint(), digest(toy_sets(source).values()))\n"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "12345"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    source = digits_of_our_own()
    sets = toy_sets(source)
    assert len(sets) == 7
    assert done.stdout.split() == [source.fingerprint(), digest(sets.values())]


def test_a_set_depends_on_the_seed_but_not_on_the_other_sets(tmp_path):
    source = toy_source([30, 30], names=["cat", "dog"], side=16)
    first, second = toy_sets(source), toy_sets(source, seed=1)
    for name, made in first.items():
        assert not np.array_equal(made.images, second[name].images)
    more = toy_sets(source, extra=[write(tmp_path)])
    for name, made in first.items():
        assert np.array_equal(made.images, more[name].images)


def write(folder, name="own", count=20, shape=(10, 12, 3), **change):
    """Write a user's set of out images and return how it is named on the command line."""
    arrays = {
        "x_test": np.random.default_rng(0).integers(0, 256, (count, *shape), dtype=np.uint8),
        "y_test": np.arange(count) % 4,
        "classes": np.array(["bee", "cat", "cow", "Dog"]),
        **change,
    }
    path = folder / f"{name}.npz"
    np.savez(path, **{key: value for key, value in arrays.items() if value is not None})
    return f"npz:{path}"


def test_a_users_set_loses_known_classes_and_gets_the_shape(tmp_path):
    source = toy_source([30, 30], names=["cat", "dog"], side=16)
    made = toy_sets(source, extra=[write(tmp_path)])["npz:own"]
    assert (made.group, made.class_names, made.dropped) == ("user", ("bee", "cow"), ("cat", "Dog"))
    assert made.images.shape == (10, 16, 16, 1)
    assert sorted(made.labels) == [0] * 5 + [1] * 5
    assert in_known(source, made) == set()
    fewer = toy_sets(source, extra=[write(tmp_path)], n=3)["npz:own"]
    assert np.array_equal(fewer.images, made.images[:3])


def test_a_users_set_keeps_images_and_labels_together(tmp_path):
    images = np.zeros((20, 16, 16), dtype=np.uint8) + (np.arange(20) % 4 * 50).astype(np.uint8)[:, None, None]
    source = toy_source([30, 30], names=["cat", "dog"], side=16)
    made = toy_sets(source, extra=[write(tmp_path, x_test=images)])["npz:own"]
    assert {(int(i.max()), made.class_names[c]) for i, c in zip(made.images, made.labels, strict=True)} == {
        (0, "bee"),
        (100, "cow"),
    }


def test_a_users_set_may_be_training_images_and_unlabelled(tmp_path):
    source = toy_source([30, 30], names=["cat", "dog"], side=16)
    images = np.full((20, 16, 16), 9, dtype=np.uint8)
    train = write(tmp_path, "train", x_test=None, y_test=None, x_train=images, y_train=np.arange(20) % 4)
    plain = write(tmp_path, "plain", x_test=images, y_test=None, classes=None)
    sets = toy_sets(source, extra=[train, plain])
    assert sets["npz:train"].class_names == ("bee", "cow")
    assert (sets["npz:plain"].class_names, sets["npz:plain"].labels) == (("plain",), None)
    assert np.array_equal(sets["npz:plain"].images, np.full((12, 16, 16, 1), 9))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"classes": np.array(["cat", "dog", "CAT ", "Dog"])}, "got only known ones: cat, dog, CAT , Dog"),
        ({"y_test": None}, r"expected labels .*known: cat, Dog"),
        ({"classes": np.array(["bee"])}, "expected names for the labels 0 to 3, got 1"),
        ({"x_test": None}, "expected a key x_test or x_train, got: y_test, classes"),
        ({"x_test": np.zeros((20, 16, 16))}, "expected uint8 images"),
        ({"y_test": np.zeros((20, 10, 12), np.uint8)}, "label maps"),
    ],
)
def test_a_users_set_that_cannot_be_used(tmp_path, change, message):
    with pytest.raises(InputError, match=message):
        toy_sets(toy_source([30, 30], names=["cat", "dog"]), extra=[write(tmp_path, **change)])


def test_wrong_names_of_users_sets(tmp_path):
    source = toy_source([30, 30], names=["cat", "dog"])
    with pytest.raises(InputError, match="expected one that came with the source, none; got 'svhn'"):
        outside_sets(load_source("digits"), cut(load_source("digits")), seed=0, extra=["svhn"])
    with pytest.raises(InputError, match="expected npz:PATH, near:npz:PATH or far:npz:PATH, got 'folder:own'"):
        toy_sets(source, extra=["folder:own"])
    with pytest.raises(InputError, match="no such file"):
        toy_sets(source, extra=[f"npz:{tmp_path / 'none.npz'}"])
    with pytest.raises(InputError, match="different file names, got more than once: npz:own"):
        toy_sets(source, extra=[write(tmp_path), write(tmp_path)])
    with pytest.raises(InputError, match="n >= 1 and seed >= 0, got n=0"):
        toy_sets(source, n=0)


def test_conversions_by_hand():
    red = np.zeros((1, 2, 2, 3), dtype=np.uint8)
    red[..., 0] = 255
    assert (to_channels(red, 1) == 76).all()  # 0.299 · 255 = 76.2
    grey = np.arange(4, dtype=np.uint8).reshape(1, 2, 2, 1)
    assert np.array_equal(to_channels(grey, 3)[..., 2], grey[..., 0])
    assert to_channels(grey, 1) is grey
    assert to_size(grey, 2, 2) is grey
    flat = np.full((2, 5, 9, 3), 77, dtype=np.uint8)
    assert np.array_equal(to_shape(flat, (12, 3, 1)), np.full((2, 12, 3, 1), 77))
    halves = np.zeros((1, 8, 8, 1), dtype=np.uint8)
    halves[:, :, 4:] = 200
    small = to_size(halves, 2, 2)[0, :, :, 0]
    assert small[0, 0] < 40 < 160 < small[0, 1]
