"""The CIFAR adapters on tiny files in the real format: pickles as Python 2 wrote them."""

import hashlib
import io
import tarfile
from dataclasses import replace
from urllib.error import URLError

import numpy as np
import pytest
from torchvision.datasets import CIFAR10, CIFAR100

from study.data.catalogue import CATALOGUE
from study.data.registry import load_source
from study.data.tail import cut_imbalanced
from study.errors import InputError
from tests.data.formats import python2_pickle


def batch(generator, label_key, labels):
    data = generator.integers(0, 256, (len(labels), 3072), dtype=np.uint8)
    return {
        "data": data,
        label_key: [int(label) for label in labels],
        "batch_label": "b",
        "filenames": ["f"] * len(labels),
    }


def files_of(dataset, label_key, num_classes, per_class):
    """Return the files' bytes and batches of a tiny set with `per_class` images of each class in every batch."""
    generator = np.random.default_rng(0)
    batches = {
        name: batch(generator, label_key, generator.permutation(np.repeat(np.arange(num_classes), per_class)))
        for name, _ in dataset.train_list + dataset.test_list
    }
    files = {name: python2_pickle(content) for name, content in batches.items()}
    files[dataset.meta["filename"]] = python2_pickle({dataset.meta["key"]: [f"thing {c}" for c in range(num_classes)]})
    return files, batches


def md5(raw):
    return hashlib.md5(raw).hexdigest()


@pytest.fixture(params=[("cifar10", CIFAR10, "labels", 10), ("cifar100", CIFAR100, "fine_labels", 100)], ids=str)
def tiny(request, monkeypatch):
    """Return name, class, files and batches, with torchvision's table of MD5 sums replaced by theirs."""
    name, dataset, label_key, num_classes = request.param
    files, batches = files_of(dataset, label_key, num_classes, per_class=2)
    for table in ("train_list", "test_list"):
        monkeypatch.setattr(dataset, table, [[file, md5(files[file])] for file, _ in getattr(dataset, table)])
    monkeypatch.setattr(dataset, "meta", {**dataset.meta, "md5": md5(files[dataset.meta["filename"]])})
    return name, dataset, files, batches


@pytest.fixture
def no_network(monkeypatch):
    """Make every download fail as it does without a network; record the time allowed for a connection."""
    calls = []

    def fail(request, timeout):
        calls.append((request.full_url, timeout))
        raise URLError("Name or service not known")

    monkeypatch.setattr("study.data.fetch.urllib.request.urlopen", fail)
    return calls


def put(folder, files):
    folder.mkdir(parents=True)
    for name, raw in files.items():
        (folder / name).write_bytes(raw)


def test_files_that_are_there_are_read_and_nothing_is_fetched(tiny, no_network, tmp_path):
    name, dataset, files, batches = tiny
    put(tmp_path / dataset.base_folder, files)
    source = load_source(name, tmp_path)
    assert no_network == []
    assert source.classes == tuple(f"thing {c}" for c in range(source.num_classes))
    for part, table in ((source.train, dataset.train_list), (source.test, dataset.test_list)):
        stored = [batches[file] for file, _ in table]
        rows = np.concatenate([content["data"] for content in stored])
        # A stored row is the red plane, then green, then blue.
        assert np.array_equal(part.images.transpose(0, 3, 1, 2).reshape(-1, 3072), rows)
        labels = [label for content in stored for label in content.get("labels", content.get("fine_labels"))]
        assert list(part.labels) == labels


def test_a_cut_of_them_has_the_official_test_set(tiny, no_network, tmp_path):
    name, dataset, files, _ = tiny
    put(tmp_path / dataset.base_folder, files)
    source = load_source(name, tmp_path)
    splits = cut_imbalanced(source, split_seed=0, order_seed=0, ratio=None, test_per_class=None, validation_per_class=1)
    assert splits.test is source.test
    assert splits.n_pool == len(source.train)


def test_an_archive_put_there_by_hand_is_unpacked(tiny, no_network, monkeypatch, tmp_path):
    name, dataset, files, _ = tiny
    archive = tmp_path / dataset.filename
    with tarfile.open(archive, "w:gz") as tar:
        for file, raw in files.items():
            member = tarfile.TarInfo(f"{dataset.base_folder}/{file}")
            member.size = len(raw)
            tar.addfile(member, io.BytesIO(raw))
    entry = CATALOGUE[name]
    file = replace(entry.files[0], md5=md5(archive.read_bytes()))
    monkeypatch.setitem(CATALOGUE, name, replace(entry, files=(file,)))
    assert load_source(name, tmp_path).num_classes == (10 if name == "cifar10" else 100)
    assert no_network == []


@pytest.mark.parametrize("damaged", [False, True])
def test_without_network_one_line_says_what_to_do(tiny, no_network, tmp_path, damaged):
    name, dataset, files, _ = tiny
    if damaged:
        put(tmp_path / dataset.base_folder, {file: raw[:-1] for file, raw in files.items()})
    with pytest.raises(InputError) as caught:
        load_source(name, tmp_path)
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    for part in (name, str(tmp_path / dataset.base_folder), dataset.url, "Name or service not known", dataset.filename):
        assert part in message
    assert no_network == [(dataset.url, 60.0)]


def test_a_folder_that_cannot_be_made(no_network, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"cifar10: .*a folder that can be written to"):
        load_source("cifar10", tmp_path / "file" / "data")


def test_the_default_folder_is_used_if_none_is_given(no_network, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(InputError) as caught:
        load_source("cifar10")
    assert str(tmp_path / ".cache" / "hem-study" / "cifar-10-batches-py") in str(caught.value)
