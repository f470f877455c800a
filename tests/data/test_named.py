"""Every reader of the catalogue on small files in the real format, without a network and with the test's checksums."""

import bz2
import hashlib
import json
import pickle
from dataclasses import replace

import numpy as np
import pytest
import scipy.io
import torch
from PIL import Image
from torchvision import datasets

from study.data.catalogue import CATALOGUE
from study.data.decode import UnreadableError, read_map
from study.data.registry import cut_defaults, load_source
from study.data.types import IGNORED
from study.errors import InputError
from study.options import study_config
from study.trial import splits
from tests.data.formats import idx, picture, save


def md5(path):
    return hashlib.md5(path.read_bytes()).hexdigest()


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    def fail(request, timeout):
        raise OSError(f"the test asked for {request.full_url}")

    monkeypatch.setattr("study.data.fetch.urllib.request.urlopen", fail)


@pytest.fixture
def own_sums(monkeypatch):
    """Replace the checksums of a data set's plain files by those of the test's files."""

    def use(name, folder):
        entry = CATALOGUE[name]
        files = (file if file.gives else replace(file, md5=md5(folder / file.name)) for file in entry.files)
        monkeypatch.setitem(CATALOGUE, name, replace(entry, files=tuple(files)))

    return use


def idx_files(folder, prefixes, size=28, labels=(0, 1, 2), first=0):
    made = {}
    for part, prefix in prefixes.items():
        images = picture(size, size, seed=len(made), channels=len(labels)).transpose(2, 0, 1)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{prefix}-images-idx3-ubyte").write_bytes(idx(images))
        (folder / f"{prefix}-labels-idx1-ubyte").write_bytes(idx(np.array(labels) + first))
        made[part] = images
    return made


@pytest.mark.parametrize(
    ("name", "folder"), [("mnist", "MNIST"), ("fashion_mnist", "FashionMNIST"), ("kmnist", "KMNIST")]
)
def test_idx(tmp_path, name, folder):
    made = idx_files(tmp_path / folder / "raw", {"train": "train", "test": "t10k"}, labels=range(10))
    source = load_source(name, tmp_path)
    assert (source.name, source.shape, source.num_classes) == (name, (28, 28, 1), 10)
    assert np.array_equal(source.train.images[..., 0], made["train"])
    assert np.array_equal(source.test.images[..., 0], made["test"])
    assert list(source.test.labels) == list(range(10))
    assert cut_defaults(source).ratio == 100.0
    assert load_source(name, tmp_path, image_size=16).shape == (16, 16, 1)


def test_emnist_lies_on_its_side_and_letters_count_from_one(tmp_path):
    prefixes = {part: f"emnist-letters-{part}" for part in ("train", "test")}
    made = idx_files(tmp_path / "EMNIST" / "raw", prefixes, labels=range(26), first=1)
    source = load_source("emnist_letters", tmp_path)
    assert np.array_equal(source.train.images[3, :, :, 0], made["train"][3].T)
    assert list(source.train.labels) == list(range(26))
    assert source.classes[:3] == ("A", "B", "C")
    idx_files(tmp_path / "EMNIST" / "raw", {p: f"emnist-balanced-{p}" for p in ("train", "test")}, labels=range(47))
    balanced = load_source("emnist_balanced", tmp_path)
    assert balanced.classes[9:12] == ("9", "A", "B")
    assert list(balanced.train.labels) == list(range(47))


def test_usps(tmp_path, own_sums):
    folder = tmp_path / "usps"
    folder.mkdir()
    for name in ("usps.bz2", "usps.t.bz2"):
        lines = [
            " ".join([str(digit + 1), *(f"{i + 1}:{digit / 9 * 2 - 1:.6f}" for i in range(256))]) for digit in range(10)
        ]
        (folder / name).write_bytes(bz2.compress("\n".join(lines).encode()))
    own_sums("usps", folder)
    source = load_source("usps", tmp_path)
    assert source.shape == (16, 16, 1)
    assert list(source.test.labels) == list(range(10))
    assert [int(image.max()) for image in source.train.images] == pytest.approx([255 * d / 9 for d in range(10)], abs=1)


def test_svhn(tmp_path, own_sums, monkeypatch):
    folder = tmp_path / "svhn"
    folder.mkdir()
    images = picture(32, 32, channels=30).reshape(32, 32, 3, 10)
    for part in ("train", "test"):
        scipy.io.savemat(
            folder / f"{part}_32x32.mat", {"X": images, "y": np.array([[10, *range(1, 10)]]).T.astype(np.uint8)}
        )
    own_sums("svhn", folder)
    sums = {
        part: [row[0], row[1], md5(folder / row[1])]
        for part, row in datasets.SVHN.split_list.items()
        if part != "extra"
    }
    monkeypatch.setattr(datasets.SVHN, "split_list", sums)
    source = load_source("svhn", tmp_path)
    assert np.array_equal(source.train.images, images.transpose(3, 0, 1, 2))
    assert list(source.train.labels) == list(range(10))  # 10 stands for the digit 0


def test_stl10(tmp_path, monkeypatch):
    folder = tmp_path / "stl10_binary"
    folder.mkdir()
    images = picture(96, 96, channels=30).reshape(96, 96, 10, 3).transpose(2, 0, 1, 3)
    for part in ("train", "test"):
        (folder / f"{part}_X.bin").write_bytes(images.transpose(0, 3, 2, 1).tobytes())  # planes, columns first
        (folder / f"{part}_y.bin").write_bytes(np.arange(1, 11, dtype=np.uint8).tobytes())
    (folder / "class_names.txt").write_text("\n".join(f"thing {c}" for c in range(10)))
    for table in ("train_list", "test_list"):
        rows = [[name, md5(folder / name)] for name, _ in getattr(datasets.STL10, table) if (folder / name).is_file()]
        monkeypatch.setattr(datasets.STL10, table, rows)
    source = load_source("stl10", tmp_path)
    assert np.array_equal(source.train.images, images)
    assert (source.classes[3], list(source.test.labels)) == ("thing 3", list(range(10)))


def classes_of(folder, names, end="jpg", per_class=1, channels=3, size=70):
    for c, name in enumerate(names):
        for i in range(per_class):
            save(folder / name / f"image_{i + 1:04}.{end}", picture(size, size + c, seed=c, channels=channels))


def test_class_folders_eurosat_caltech_and_imagenette(tmp_path):
    classes_of(tmp_path / "eurosat" / "2750", [f"land {c}" for c in range(10)], size=30)
    source = load_source("eurosat", tmp_path)
    assert (source.test, source.shape, source.classes[9]) == (None, (64, 64, 3), "land 9")
    names = ["BACKGROUND_Google", *(f"object_{c:03}" for c in range(101))]
    classes_of(tmp_path / "caltech101" / "101_ObjectCategories", names, channels=1)
    source = load_source("caltech101", tmp_path)
    assert (source.shape, source.classes[0], source.test) == ((64, 64, 1), "object_000", None)
    assert list(source.train.labels) == list(range(101))
    ids = sorted(datasets.Imagenette._WNID_TO_CLASS)
    for part in ("train", "val"):
        classes_of(tmp_path / "imagenette2-160" / part, ids, end="jpeg")
    source = load_source("imagenette", tmp_path)
    assert (source.classes[:2], len(source.test)) == (("tench", "English springer"), 10)


def test_gtsrb(tmp_path):
    root = tmp_path / "gtsrb"
    for c in range(43):
        for track, frame in ((0, 0), (0, 1), (1, 0)):
            name = f"{track:05}_{frame:05}.ppm"
            save(root / "GTSRB" / "Training" / f"{c:05}" / name, picture(40, 30, seed=c, channels=3))
    rows = ["Filename;Width;Height;Roi.X1;Roi.Y1;Roi.X2;Roi.Y2;ClassId"]
    for i, label in enumerate((7, 0)):
        save(root / "GTSRB" / "Final_Test" / "Images" / f"{i:05}.ppm", picture(40, 30, seed=i))
        rows.append(f"{i:05}.ppm;30;40;1;1;9;9;{label}")
    (root / "GT-final_test.csv").write_text("\n".join(rows))
    source = load_source("gtsrb", tmp_path)
    assert (source.shape, source.num_classes, list(source.test.labels)) == ((32, 32, 3), 43, [7, 0])
    tracks = [number for c in range(43) for number in (2 * c, 2 * c, 2 * c + 1)]
    again = load_source("gtsrb", tmp_path)  # from the decoded images
    for found in (source, again, pickle.loads(pickle.dumps(again))):
        assert list(found.groups) == tracks
    validated = splits(study_config({"task": "classification", "preset": "smoke"}), source, 0, final=False).validation
    assert 43 <= len(validated) <= 86  # of each sign one track, of one frame or of two


def test_food101_and_dtd(tmp_path):
    names = [f"dish_{c:03}" for c in range(101)]
    classes_of(tmp_path / "food-101" / "images", names)
    for part in ("train", "test"):
        path = tmp_path / "food-101" / "meta" / f"{part}.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps({name: [f"{name}/image_0001"] for name in names}))
    source = load_source("food101", tmp_path)
    assert (source.shape, source.num_classes, len(source.test)) == ((64, 64, 3), 101, 101)
    textures = [f"texture{c:02}" for c in range(47)]
    classes_of(tmp_path / "dtd" / "dtd" / "images", textures)
    for part in ("train", "val", "test"):
        path = tmp_path / "dtd" / "dtd" / "labels" / f"{part}1.txt"
        path.parent.mkdir(exist_ok=True)
        path.write_text("\n".join(f"{name}/image_0001.jpg" for name in textures))
    source = load_source("dtd", tmp_path)
    assert (len(source.train), len(source.test)) == (94, 47)  # val joins train


def test_flowers102(tmp_path, own_sums, monkeypatch):
    root = tmp_path / "flowers-102"
    for number in range(1, 307):
        save(root / "jpg" / f"image_{number:05}.jpg", picture(10, 12, seed=number))
    labels = np.tile(np.arange(1, 103), 3)
    parts = dict(zip(("trnid", "valid", "tstid"), np.arange(1, 307).reshape(3, 102), strict=True))
    scipy.io.savemat(root / "imagelabels.mat", {"labels": labels[None]})
    scipy.io.savemat(root / "setid.mat", {name: ids[None] for name, ids in parts.items()})
    own_sums("flowers102", root)
    sums = {
        key: (name, md5(root / name) if key != "image" else "")
        for key, (name, _) in datasets.Flowers102._file_dict.items()
    }
    monkeypatch.setattr(datasets.Flowers102, "_file_dict", sums)
    source = load_source("flowers102", tmp_path)
    assert source.train.counts(102) == (2,) * 102
    assert (source.test.counts(102), source.classes[0]) == ((1,) * 102, "pink primrose")


def pets(root):
    names = [f"{'Breed' if c % 2 else 'breed'}_{c:02}" for c in range(37)]
    for part, number in (("trainval", 1), ("test", 2)):
        lines = []
        for c, name in enumerate(names):
            save(root / "images" / f"{name}_{number}.jpg", picture(20, 24, seed=c))
            trimap = np.tile(np.repeat([1, 3, 2], 8), (20, 1)).astype(np.uint8)
            save(root / "annotations" / "trimaps" / f"{name}_{number}.png", trimap)
            lines.append(f"{name}_{number} {c + 1} {c % 2 + 1} 1")
        (root / "annotations" / f"{part}.txt").write_text("\n".join(lines))


def test_oxford_pets_and_their_masks(tmp_path):
    pets(tmp_path / "oxford-iiit-pet")
    source = load_source("oxford_pets", tmp_path)
    assert (source.shape, source.num_classes, source.classes[0]) == ((64, 64, 3), 37, "Breed 00")
    masks = load_source("oxford_pets_masks", tmp_path, image_size=24)
    assert (masks.classes, masks.shape) == (("background", "pet"), (24, 24, 3))
    row = masks.train.labels[0, 12].tolist()  # columns 2 to 22 of 24, stretched by 1.2
    assert [label for label, after in zip(row, [*row[1:], None], strict=True) if label != after] == [1, IGNORED, 0]


def test_voc2012(tmp_path):
    root = tmp_path / "VOCdevkit" / "VOC2012"
    (root / "ImageSets" / "Segmentation").mkdir(parents=True)
    for part in ("train", "val"):
        names = [f"2007_{part}_{i}" for i in range(2)]
        (root / "ImageSets" / "Segmentation" / f"{part}.txt").write_text("\n".join(names) + "\n")
        for name in names:
            save(root / "JPEGImages" / f"{name}.jpg", picture(21, 30))
            labels = np.repeat(np.arange(21, dtype=np.uint8)[:, None], 30, 1)
            labels[:, 29] = 255
            mask = Image.fromarray(labels)
            mask.putpalette(bytes(range(256)) * 3)
            assert mask.mode == "P"
            save(root / "SegmentationClass" / f"{name}.png", mask)
    source = load_source("voc2012", tmp_path, image_size=21)
    assert (source.classes[0], source.classes[20], source.is_map) == ("background", "tvmonitor", True)
    assert source.train.labels[0, :, 10].tolist() == list(range(21))
    assert load_source("voc2012", tmp_path).shape == (128, 128, 3)


def every_class(left):
    """Return a label map, uint8 (21, 30): one class on the left, and a row of each on the right."""
    maps = np.repeat(np.arange(21, dtype=np.uint8)[:, None], 30, 1)
    maps[:, :15] = left
    return maps


def test_voc2012_with_the_sbd(tmp_path):
    """Of the SBD's six images VOC has one for training and one for validation: its own map is taken, or none."""
    voc, sbd = tmp_path / "VOCdevkit" / "VOC2012", tmp_path / "SBD" / "benchmark_RELEASE" / "dataset"
    (voc / "ImageSets" / "Segmentation").mkdir(parents=True)
    for part, names in (("train", ["both", "own"]), ("val", ["tested"])):
        (voc / "ImageSets" / "Segmentation" / f"{part}.txt").write_text("\n".join(names) + "\n")
        for name in names:
            save(voc / "JPEGImages" / f"{name}.jpg", picture(21, 30))
            save(voc / "SegmentationClass" / f"{name}.png", Image.fromarray(every_class(7)))
    (sbd / "cls").mkdir(parents=True)
    for part, names in (("train", ["both", "a", "b"]), ("val", ["c", "tested", "d"])):
        (sbd / f"{part}.txt").write_text("\n".join(names) + "\n")
        for number, name in enumerate(names):
            save(sbd / "img" / f"{name}.jpg", picture(21, 30))
            maps = every_class(10 + number if part == "train" else 15 + number)
            maps[0] = 255
            kind = [("Boundaries", object), ("Segmentation", object), ("CategoriesPresent", object)]
            scipy.io.savemat(sbd / "cls" / f"{name}.mat", {"GTcls": np.array([[(0, maps, 1)]], dtype=kind)})
    source = load_source("voc2012_aug", tmp_path, image_size=21)
    assert sorted(source.train.labels[:, 10, 5].tolist()) == [7, 7, 11, 12, 15, 17]  # both, own, a, b, c, d
    assert sorted(source.train.labels[:, 0, 5].tolist()) == [IGNORED] * 4 + [7, 7]
    assert source.test.labels[:, 10, 5].tolist() == [7]
    assert (source.classes[0], source.num_classes, source.is_map) == ("background", 21, True)


@pytest.mark.parametrize("content", [b"", b"MATLAB 5.0", b"\0" * 200])
def test_a_damaged_map_of_the_sbd_is_named(tmp_path, content):
    save(tmp_path / "a.jpg", picture(8, 8))
    (tmp_path / "a.mat").write_bytes(content)
    with pytest.raises(UnreadableError):
        read_map(tmp_path / "a.mat", (8, 8), (8, 8))


def test_a_map_that_is_not_the_sbds_is_named(tmp_path):
    scipy.io.savemat(tmp_path / "a.mat", {"something": np.zeros(3)})
    with pytest.raises(UnreadableError):
        read_map(tmp_path / "a.mat", (8, 8), (8, 8))


def test_tiny_imagenet(tmp_path):
    root = tmp_path / "tiny-imagenet-200"
    ids = [f"n{c:08}" for c in range(3)]
    for c, wnid in enumerate(ids):
        save(root / "train" / wnid / "images" / f"{wnid}_0.JPEG", picture(64, 64, seed=c), format="JPEG")
        save(root / "val" / "images" / f"val_{c}.JPEG", picture(64, 64, seed=c), format="JPEG")
    (root / "wnids.txt").write_text("\n".join(reversed(ids)))
    (root / "words.txt").write_text("".join(f"{wnid}\tthing {c}, other name\n" for c, wnid in enumerate(ids)))
    lines = [f"val_{c}.JPEG\t{wnid}\t0\t0\t62\t62" for c, wnid in enumerate(ids)]
    (root / "val" / "val_annotations.txt").write_text("\n".join(lines))
    source = load_source("tiny_imagenet", tmp_path)
    assert (source.shape, source.classes) == ((64, 64, 3), ("thing 0", "thing 1", "thing 2"))
    assert np.array_equal(source.train.images, source.test.images)
    assert list(source.test.labels) == [0, 1, 2]


def test_imagenet(tmp_path):
    root = tmp_path / "imagenet"
    ids = ["n00000001", "n00000002", "n00000003"]
    for part in ("train", "val"):
        classes_of(root / part, ids, end="JPEG")
    torch.save(({ids[0]: ("crane", "bird"), ids[1]: ("crane",), ids[2]: ("tench",)}, ids), root / "meta.bin")
    source = load_source("imagenet", tmp_path)
    assert (source.classes, len(source.test)) == (("crane", "crane (2)", "tench"), 3)


def test_cityscapes(tmp_path):
    for part in ("train", "val"):
        for i in range(2):
            save(tmp_path / "cityscapes" / "leftImg8bit" / part / "town" / f"town_{i}_leftImg8bit.png", picture(20, 20))
            ids = np.tile(np.array([*range(7, 14), 17, *range(19, 29), *range(31, 34), 0], np.uint8)[:20], (20, 1))
            ids[:10] = np.array([29, 30, 31, 32, 33] * 4, np.uint8)
            save(tmp_path / "cityscapes" / "gtFine" / part / "town" / f"town_{i}_gtFine_labelIds.png", ids)
    source = load_source("cityscapes", tmp_path, image_size=20)
    assert source.train.labels[0, 0, :5].tolist() == [IGNORED, IGNORED, 16, 17, 18]
    assert source.train.labels[0, 19, :8].tolist() == [0, 1, IGNORED, IGNORED, 2, 3, 4, 5]
    assert (source.classes[0], len(source.test)) == ("road", 2)


def test_camvid(tmp_path):
    for part in ("train", "val", "test"):
        save(tmp_path / "camvid" / part / "0001.png", picture(12, 12))
        save(tmp_path / "camvid" / f"{part}annot" / "0001.png", np.tile(np.arange(12, dtype=np.uint8), (12, 1)))
    source = load_source("camvid", tmp_path, image_size=12)
    assert (len(source.train), len(source.test)) == (2, 1)
    assert source.train.labels[0, 0].tolist() == [*range(11), IGNORED]
    (tmp_path / "camvid" / "valannot" / "0001.png").unlink()
    with pytest.raises(InputError, match=r"camvid: .*cannot be fetched; by hand: .*the same names in val and valannot"):
        load_source("camvid", tmp_path, image_size=8)


@pytest.mark.parametrize("name", [name for name, entry in CATALOGUE.items() if entry.by_hand])
def test_what_has_to_be_put_there_by_hand(tmp_path, name):
    with pytest.raises(InputError) as caught:
        load_source(name, tmp_path)
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    assert f"{tmp_path / CATALOGUE[name].root} is missing or incomplete and cannot be fetched; by hand: " in message
    (tmp_path / CATALOGUE[name].root).mkdir()
    with pytest.raises(InputError, match="missing or incomplete"):
        load_source(name, tmp_path)


@pytest.mark.parametrize("name", [name for name, entry in CATALOGUE.items() if entry.files])
def test_without_a_network_one_line_says_what_to_do(tmp_path, name):
    with pytest.raises(InputError) as caught:
        load_source(name, tmp_path)
    file = CATALOGUE[name].files[0]
    assert len(str(caught.value).splitlines()) == 1
    for part in (f"{name}: ", file.urls[0], f"by hand: put {file.name} from there into {tmp_path / file.folder}"):
        assert part in str(caught.value)
