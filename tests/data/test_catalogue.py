"""The table of named data sets against torchvision's own, and the command that prints it."""

import subprocess
import sys

import pytest
from torchvision import datasets
from torchvision.datasets import mnist, voc

from study.data.__main__ import main
from study.data.adapters import READERS
from study.data.catalogue import CATALOGUE, OVERLAPS, UNAVAILABLE
from study.data.types import IGNORED


def known_to_torchvision():
    """(url, md5) of the files whose addresses torchvision keeps outside of its methods."""
    for cls in (mnist.MNIST, mnist.FashionMNIST, mnist.KMNIST):
        yield from ((base + name, md5) for base in cls.mirrors for name, md5 in cls.resources)
    yield mnist.EMNIST.url, mnist.EMNIST.md5
    for cls in (datasets.USPS, datasets.SVHN):
        yield from ((url, md5) for url, _, md5 in cls.split_list.values())
    for cls in (datasets.CIFAR10, datasets.CIFAR100, datasets.STL10):
        yield cls.url, cls.tgz_md5
    yield datasets.Food101._URL, datasets.Food101._MD5
    yield datasets.DTD._URL, datasets.DTD._MD5
    for name, md5 in datasets.Flowers102._file_dict.values():
        yield datasets.Flowers102._download_url_prefix + name, md5
    yield from datasets.OxfordIIITPet._RESOURCES
    yield datasets.Imagenette._ARCHIVES["160px"]
    yield voc.DATASET_YEAR_DICT["2012"]["url"], voc.DATASET_YEAR_DICT["2012"]["md5"]
    yield datasets.SBDataset.url, datasets.SBDataset.md5


def test_addresses_and_checksums_are_torchvisions():
    known = dict(known_to_torchvision())
    unchecked = {}
    for name, entry in CATALOGUE.items():
        for file in entry.files:
            for url in file.urls:
                if url in known:
                    assert file.md5 == known[url], name
                else:
                    unchecked[name] = entry.dataset
    assert unchecked == {"gtsrb": "GTSRB", "eurosat": "EuroSAT", "caltech101": "Caltech101"}


@pytest.mark.parametrize("name", ["gtsrb", "eurosat", "caltech101"])
def test_addresses_within_torchvisions_methods(name, monkeypatch):
    """Run torchvision's own download with nothing behind it and compare what it asks for."""
    entry, asked = CATALOGUE[name], []
    cls = getattr(datasets, entry.dataset)
    module = sys.modules[cls.__module__]
    monkeypatch.setattr(module, "download_and_extract_archive", lambda url, md5, **_: asked.append((url, md5)))
    for part in (entry.train, entry.test or {}):
        made = cls.__new__(cls)
        made.root, made._base_folder, made._split = "nowhere", "nowhere", part.get("split")
        for check in ("_check_exists", "_check_integrity"):
            monkeypatch.setattr(cls, check, lambda _: False, raising=False)
        try:
            made.download()
        except FileNotFoundError:
            assert name == "caltech101"  # goes on to unpack what it did not get
    assert set(asked) == {(file.urls[0], file.md5) for file in entry.files}


def test_every_line_is_whole():
    for name, entry in CATALOGUE.items():
        assert entry.reader in READERS, name
        assert bool(entry.files) != bool(entry.by_hand), name
        assert not entry.dataset or hasattr(datasets, entry.dataset), name
        assert not entry.classes or len(entry.classes) == entry.num_classes, name
        assert all(other in CATALOGUE or other in UNAVAILABLE for other in entry.near + entry.far), name
        assert name not in entry.near + entry.far
        assert not any(CATALOGUE[other].is_map for other in entry.near + entry.far if other in CATALOGUE)
        for file in entry.files:
            assert bool(file.unpack) == bool(file.gives), name
            assert len(file.md5) == 32, name
    assert {known for known, _ in OVERLAPS} <= {*CATALOGUE, "digits", "mnist5k"}
    assert {outside for _, outside in OVERLAPS} <= set(CATALOGUE)


def test_cityscapes_ids_are_torchvisions():
    meaning = CATALOGUE["cityscapes"].meaning
    for row in datasets.Cityscapes.classes:
        if row.id >= 0:
            expected = IGNORED if row.train_id == 255 else row.train_id
            assert meaning[row.id] == expected, row.name
            assert row.ignore_in_eval or CATALOGUE["cityscapes"].classes[row.train_id] == row.name


def test_groups_of_openood():
    assert (CATALOGUE["cifar10"].near, CATALOGUE["cifar100"].near) == (
        ("cifar100", "tiny_imagenet"),
        ("cifar10", "tiny_imagenet"),
    )
    assert CATALOGUE["cifar10"].far == CATALOGUE["cifar100"].far == ("mnist", "svhn", "dtd", "places365")


def test_the_table_is_markdown_and_needs_nothing_heavy(capsys):
    assert main([]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("| name | classes |")
    assert sum(line.startswith("| `") for line in lines) == len(CATALOGUE)
    assert len({line.count("|") for line in lines if line.startswith("|")}) == 1
    assert any(line.startswith("- places365: ") for line in lines)
    code = (
        "import sys, study.data.__main__ as command\ncommand.table()\n"
        "print([m for m in ('torch', 'torchvision', 'scipy', 'sklearn', 'numpy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_fetching_by_command(capsys):
    assert main(["--fetch", "digits"]) == 0
    assert capsys.readouterr().out == "digits: 1,797 training images, no test set, 10 classes, 8x8x1\n"
    assert main(["--fetch", "digit"]) == 2
    assert "did you mean 'digits'?" in capsys.readouterr().err


def test_a_link_that_leads_nowhere_is_named(capsys, tmp_path):
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "0.png").symlink_to(tmp_path / "nowhere.png")
    assert main(["--fetch", f"folder:{tmp_path}", "--data-dir", str(tmp_path / "data")]) == 2
    assert "cat/0.png: No such file" in capsys.readouterr().err
