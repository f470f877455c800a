"""Outside sets by name: only what is in the data directory, in the groups of the catalogue, without known classes."""

import json
import pickle
import zlib
from dataclasses import replace

import numpy as np
import pytest

from study import preflight, record
from study.data import companions
from study.data.catalogue import CATALOGUE, UNAVAILABLE
from study.data.outside import outside_sets
from study.data.registry import load_source
from study.data.tail import cut_imbalanced
from study.data.types import Images, OutsideSet, Source
from study.errors import InputError
from study.measure import outside
from study.options import study_config
from study.preflight import with_present_sets
from study.run import RunDirectory
from tests.data.formats import idx, save
from tests.data.helpers import toy_source


def mnist_files(root, folder="FashionMNIST", count=40):
    """`count` images in MNIST's format, image i full of i and of class i mod 10."""
    (root / folder / "raw").mkdir(parents=True)
    images = np.tile(np.arange(count, dtype=np.uint8)[:, None, None], (1, 28, 28))
    for prefix in ("train", "t10k"):
        (root / folder / "raw" / f"{prefix}-images-idx3-ubyte").write_bytes(idx(images))
        (root / folder / "raw" / f"{prefix}-labels-idx1-ubyte").write_bytes(idx(np.arange(count) % 10))


def known(name="cifar10", names=("airplane", "bird", "cat"), side=16):
    return replace(toy_source([20] * len(names), names=names, side=side, channels=3), name=name)


def cut(source):
    return cut_imbalanced(source, split_seed=0, order_seed=None, ratio=None, test_per_class=5, validation_per_class=2)


def test_only_what_is_there_is_present(tmp_path):
    assert companions.present("mnist", tmp_path) == ()
    mnist_files(tmp_path)
    assert companions.present("mnist", tmp_path) == ("fashion_mnist",)
    assert companions.present("digits", tmp_path) == companions.present("folder:x", tmp_path) == ()


def test_what_is_missing_is_named_with_its_reason():
    line = companions.missing("cifar10", ("cifar100", "svhn", "npz:mine.npz"))
    assert line == (
        "outside sets of cifar10 that were not in the data directory: near: tiny_imagenet; far: mnist, dtd, places365 "
        f"(cannot be had: {UNAVAILABLE['places365']})"
    )
    assert companions.missing("mnist5k", ()) == ""


def test_a_set_gets_shape_group_and_travels_with_the_source(tmp_path):
    mnist_files(tmp_path, "MNIST")
    source = companions.with_companions(known(), ("mnist",), tmp_path)
    (pool,) = pickle.loads(pickle.dumps(source)).companions
    assert (pool.name, pool.group, pool.images.shape) == ("mnist", "far", (40, 16, 16, 3))
    made = {out.name: out for out in outside_sets(source, cut(source), seed=0, n=15, extra=("mnist",))}
    assert (made["mnist"].group, len(made["mnist"]), made["mnist"].dropped) == ("far", 15, ())
    values = made["mnist"].images[:, 0, 0, 0]
    assert len(set(values)) == 15
    assert np.array_equal(values % 10, made["mnist"].labels)
    assert source.fingerprint() == known().fingerprint()


def birds(path, **change):
    """A user's file: 60 images of three classes, image i full of i."""
    images = np.tile(np.arange(60, dtype=np.uint8)[:, None, None], (1, 12, 12))
    given = {"x_test": images, "y_test": np.arange(60) % 3, "classes": np.array(["auk", "Bird", "coot"])}
    np.savez(path, **{**given, **change})


def test_a_users_file_is_read_once_and_travels_with_the_source(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    birds("birds.npz")
    source = companions.with_companions(known(), ("npz:birds.npz",), tmp_path)
    (tmp_path / "birds.npz").unlink()
    there = pickle.loads(pickle.dumps(source))
    for seed in (0, 5):
        made = outside_sets(there, cut(source), seed=seed, n=15, extra=("npz:birds.npz",))[-1]
        usable = [i for i in range(60) if i % 3 != 1]
        chosen = np.random.default_rng([4, zlib.crc32(b"npz:birds"), seed]).permutation(usable)[:15]
        assert made.images.shape == (15, 16, 16, 3)
        assert list(made.images[:, 3, 7, 1]) == list(chosen)
        assert (made.name, made.group, made.class_names) == ("npz:birds", "user", ("auk", "coot"))
        assert list(made.labels) == [0 if i % 3 == 0 else 1 for i in chosen]
        assert made.dropped == ("Bird",)
    assert source.fingerprint() == known().fingerprint()


def test_fingerprints_say_what_companions_hold(tmp_path):
    def found(name="birds", **change):
        birds(tmp_path / f"{name}.npz", **change)
        source = companions.with_companions(known(), ("mnist", f"npz:{tmp_path / name}.npz"), tmp_path)
        prints = companions.fingerprints(source)
        assert companions.fingerprints(pickle.loads(pickle.dumps(source))) == prints
        return prints

    mnist_files(tmp_path, "MNIST")
    first = found()
    assert list(first) == ["mnist", "npz:birds"]
    assert all(len(bytes.fromhex(value)) == 32 for value in first.values())
    assert found() == first
    assert found("auks") == {"mnist": first["mnist"], "npz:auks": first["npz:birds"]}
    changed = np.tile(np.arange(60, dtype=np.uint8)[:, None, None], (1, 12, 12))
    changed[59, 11, 11] = 0
    for change in (
        {"x_test": changed},
        {"y_test": np.append(np.arange(59) % 3, 0)},
        {"classes": np.array(["auk", "Bird", "crow"])},
    ):
        assert found(**change)["mnist"] == first["mnist"]
        assert found(**change)["npz:birds"] != first["npz:birds"]
    assert companions.fingerprints(known()) == {}


def test_known_classes_are_left_out_by_name_and_by_the_table():
    def pool(name, classes):
        images, labels = np.zeros((len(classes), 16, 16, 3), np.uint8), np.arange(len(classes))
        return companions.OutsideSet(name, "near", images, classes, labels)

    tiny = pool("tiny_imagenet", ("tabby", "teapot", "Bird", "goose", "sea_slug"))
    source = replace(known(), companions=(tiny,))
    made = {out.name: out for out in outside_sets(source, cut(source), seed=0, extra=("tiny_imagenet",))}
    assert made["tiny_imagenet"].dropped == ("tabby", "Bird", "goose")
    assert made["tiny_imagenet"].class_names == ("teapot", "sea_slug")
    assert sorted(made["tiny_imagenet"].labels) == [0, 1]


def test_a_set_that_only_shows_known_digits_is_refused(tmp_path):
    mnist_files(tmp_path, "MNIST")
    source = companions.with_companions(known("svhn", tuple("0123456789")), ("mnist",), tmp_path)
    with pytest.raises(InputError, match="mnist: expected images of classes that are not known"):
        outside_sets(source, cut(source), seed=0, extra=("mnist",))


@pytest.mark.parametrize("name", ["digits", "mnist5k", "usps"])
def test_look_alikes_of_digits_are_no_letters_to_reject(tmp_path, name):
    raw = tmp_path / "EMNIST" / "raw"
    raw.mkdir(parents=True)
    for part in ("train", "test"):
        (raw / f"emnist-letters-{part}-images-idx3-ubyte").write_bytes(idx(np.zeros((26, 28, 28))))
        (raw / f"emnist-letters-{part}-labels-idx1-ubyte").write_bytes(idx(np.arange(1, 27)))
    source = companions.with_companions(known(name, tuple("0123456789")), ("emnist_letters",), tmp_path)
    made = {out.name: out for out in outside_sets(source, cut(source), seed=0, extra=("emnist_letters",))}
    assert made["emnist_letters"].group == ("near" if name == "usps" else "user")
    assert made["emnist_letters"].class_names == tuple("ACEFHKMNPRUVWX")


@pytest.mark.parametrize("name", ["mnist", "usps", "svhn"])
def test_look_alikes_of_letters_are_no_digits_to_reject(name):
    pool = OutsideSet(
        name, "near", np.zeros((20, 16, 16, 3), np.uint8), CATALOGUE[name].classes, np.arange(20, dtype=np.int64) % 10
    )
    letters = replace(known("emnist_letters", CATALOGUE["emnist_letters"].classes), companions=(pool,))
    made = {out.name: out for out in outside_sets(letters, cut(letters), seed=0, extra=(name,))}
    assert made[name].class_names == ("3", "4", "7")
    assert made[name].dropped == tuple("0125689")
    assert len(made[name]) == 6  # two of each kept digit


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("places365", "places365 cannot be had by name: 24 GB"),
        ("fashion_mist", "did you mean 'fashion_mnist'?"),
        ("voc2012", "unknown outside set: 'voc2012'"),
        ("cifar10", "cifar10 is what is learnt"),
        ("dtd", r"dtd is not in .*; outside sets are not fetched on the way\nfirst: python -m study\.data --fetch dtd"),
    ],
)
def test_sets_that_cannot_be_used(tmp_path, name, message):
    with pytest.raises(InputError, match=message):
        companions.with_companions(known(), (name,), tmp_path)


def test_a_mapped_source_stays_mapped(tmp_path):
    rng = np.random.default_rng(0)
    for c in "ab":
        for i in range(3):
            save(tmp_path / "own" / c / f"{i}.png", rng.integers(0, 256, (16, 16, 3), dtype=np.uint8))
    mnist_files(tmp_path / "data", "MNIST")
    source = load_source(f"folder:{tmp_path / 'own'}", tmp_path / "data")
    found = companions.with_companions(source, ("mnist",), tmp_path / "data")
    there = pickle.loads(pickle.dumps(found))
    assert there.kept == source.kept
    assert there.companions[0].group == "user"
    assert there.fingerprint() == source.fingerprint()


def test_a_study_records_the_sets_that_it_found(tmp_path, capsys):
    mnist_files(tmp_path)
    given = {"task": "rejection", "preset": "smoke", "dataset": "mnist", "ood_sets": ("npz:a.npz",)}
    study = with_present_sets(study_config(given), tmp_path)
    assert study.ood_sets == ("npz:a.npz", "fashion_mnist")
    assert "near: notmnist (cannot be had" in capsys.readouterr().out
    assert with_present_sets(study, tmp_path) == study
    embedded = study_config({"task": "rejection", "preset": "smoke"})
    capsys.readouterr()
    assert with_present_sets(embedded, tmp_path) == embedded
    assert capsys.readouterr().out == ""


def test_a_copy_with_other_images_is_not_sent_as_the_first(tmp_path):
    source = Source("toy", Images(np.zeros((2, 8, 8, 1), np.uint8), np.array([0, 1])), None, ("a", "b"), "none")
    object.__setattr__(source, "kept", object())
    assert replace(source, classes=("c", "d")).kept is None
    assert CATALOGUE["cifar10"].corruptions == "CIFAR-10-C"


@pytest.mark.parametrize("group", ["near", "far"])
def test_a_users_file_may_say_its_group(tmp_path, group):
    birds(tmp_path / "birds.npz")
    name = f"{group}:npz:{tmp_path}/birds.npz"
    source = companions.with_companions(known(), (name,), tmp_path)
    made = outside_sets(source, cut(source), seed=0, n=15, extra=(name,))[-1]
    assert (made.name, made.group) == ("npz:birds", group)
    with pytest.raises(InputError, match="expected npz:PATH, near:npz:PATH or far:npz:PATH, got 'user:npz:x"):
        companions.with_companions(known(), ("user:npz:x.npz",), tmp_path)


def test_a_near_set_of_ones_own_is_enough_to_decide_by(tmp_path):
    birds(tmp_path / "birds.npz")
    given = {"task": "rejection", "preset": "smoke", "held_out": 0, "dataset": "tests.data.test_companions:known"}
    for name, said in ((f"npz:{tmp_path}/birds.npz", "no near outside set"), (f"near:npz:{tmp_path}/birds.npz", "")):
        config = study_config({**given, "ood_sets": [name], "model": "mlp"})
        sets = outside(config, preflight.study_source(config, tmp_path), 0)
        assert any(out.group == "near" for out in sets) == (said == ""), name


def test_a_resumed_run_refuses_a_changed_outside_set(tmp_path):
    config = study_config({"task": "rejection", "preset": "smoke", "ood_sets": [f"npz:{tmp_path}/birds.npz"]})
    birds(tmp_path / "birds.npz")
    study = record.new(config, preflight.study_source(config, tmp_path), RunDirectory(tmp_path / "run"), "command")
    study = json.loads(json.dumps(study))
    preflight.same_data(study, preflight.study_source(config, tmp_path))
    birds(tmp_path / "birds.npz", classes=np.array(["auk", "Bird", "crow"]))
    with pytest.raises(InputError, match=r"images of npz:birds are not those this run began with\nexpected the finger"):
        preflight.same_data(study, preflight.study_source(config, tmp_path))
    del study["data"]["companions"]  # a record from before they were fingerprinted
    preflight.same_data(study, preflight.study_source(config, tmp_path))


def test_a_named_set_that_lacks_images_is_told_of():
    entry = CATALOGUE["stl10"]
    images = np.broadcast_to(np.zeros(1, np.uint8), (entry.n_train + entry.n_test, 8, 8, 3))
    labels = np.arange(len(images)) % entry.num_classes
    train, test = (Images(images[part], labels[part]) for part in (slice(entry.n_train), slice(entry.n_train, None)))
    whole = Source("stl10", train, test, tuple(map(str, range(entry.num_classes))), "")
    assert preflight.unlike_published(whole) == ""
    short = replace(whole, train=Images(images[:4000], labels[:4000]))
    assert preflight.unlike_published(short) == (
        "stl10: 4,000 training and 8,000 test images of 10 classes are there, "
        "5,000 training and 8,000 test images of 10 classes were published: are the files whole?"
    )
    assert preflight.unlike_published(replace(short, name="npz:x")) == ""
