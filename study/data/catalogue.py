"""Every data set that has a name, as data: where it comes from, how torchvision reads it, its size, terms and groups.

To add one: a line in `CATALOGUE`, and if its files lie in a way that no other set's do, a function in `adapters`.

Outside groups are those of OpenOOD v1.5 for CIFAR-10, CIFAR-100 and ImageNet, and of OpenOOD v1.0 for MNIST; those of
the other sets are this project's choice. The overlaps are, too: OpenOOD takes out single images, here whole classes go.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any


@dataclass(frozen=True)
class File:
    """A file to fetch.

    Attributes:
        urls: where it is, the first one that answers is taken; its name is the last part of the first.
        md5: of the file.
        folder: where it is put, under the data directory.
        unpack: "", "gz", "tar" (plain or compressed) or "zip".
        gives: what it unpacks to, under `folder`; that these are there means that nothing has to be fetched.
        inner: archives in it that have to be unpacked, too.
    """

    urls: tuple[str, ...]
    md5: str
    folder: str = ""
    unpack: str = ""
    gives: tuple[str, ...] = ()
    inner: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Name of the file."""
        return PurePosixPath(self.urls[0]).name


@dataclass(frozen=True)
class Entry:
    """A data set.

    Attributes:
        dataset: name of the class in `torchvision.datasets`; "" where it has none.
        reader: name of the function in `adapters` that reads it.
        train, also, test: arguments of that class for the training part, for one that joins it, and for the test part;
            None: there is none.
        num_classes, n_train, n_test: as published; n_train with the part that joins it; n_test 0: cut from the rest.
        size: height, width and channels as published; 0 for mixed ones.
        side: images get so many pixels a side unless another size is asked for; 0: they have one size and keep it.
        licence: terms as stated by the owner.
        files: what is fetched; () for sets that have to be put in place by hand.
        root: folder under the data directory that the class is given.
        by_hand: what has to be put where, for sets that cannot be fetched.
        ratio, validation: of the imbalanced task, see `registry.CutDefaults`.
        radii: "digits" or "natural": which radii attacks have.
        mirrored: whether an image's mirror image shows the same class.
        near, far: outside groups.
        corruptions: folder under the data directory with the published corruptions of the test set.
        classes: names, where torchvision does not give them.
        meaning: value in a label map → class, see `decode.read_map`.
    """

    reader: str
    num_classes: int
    n_train: int
    n_test: int
    size: tuple[int, int, int]
    licence: str
    dataset: str = ""
    train: Mapping[str, Any] = field(default_factory=dict)
    also: Mapping[str, Any] | None = None
    test: Mapping[str, Any] | None = None
    side: int = 0
    files: tuple[File, ...] = ()
    root: str = ""
    by_hand: str = ""
    ratio: float | None = None
    validation: int | None = None
    radii: str = "natural"
    mirrored: bool = True
    near: tuple[str, ...] = ()
    far: tuple[str, ...] = ()
    corruptions: str = ""
    classes: tuple[str, ...] = ()
    meaning: Mapping[int, int] | None = None

    @property
    def is_map(self) -> bool:
        """Whether every pixel has a label."""
        return self.reader in MAP_READERS


MAP_READERS = ("maps", "voc_and_sbd", "pet_maps", "cityscapes", "camvid")
IGNORED = -100
"""As `types.IGNORED`, which would bring NumPy to whoever reads this table."""


def _idx(folder: str, bases: tuple[str, ...], sums: tuple[str, str, str, str]) -> tuple[File, ...]:
    """Return the four files of a set in MNIST's format."""
    names = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
    return tuple(
        File(tuple(f"{base}{name}.gz" for base in bases), md5, f"{folder}/raw", "gz", (name,))
        for name, md5 in zip(names, sums, strict=True)
    )


def _emnist(split: str) -> tuple[File, ...]:
    names = tuple(
        f"emnist-{split}-{part}-{what}-ubyte" for part in ("train", "test") for what in ("images-idx3", "labels-idx1")
    )
    return (
        File(
            ("https://biometrics.nist.gov/cs_links/EMNIST/gzip.zip",),
            "58c8d27c78d21e728a6bc7b3cc06412e",
            "EMNIST/raw",
            "zip",
            names,
            tuple(f"gzip/{name}.gz" for name in names),
        ),
    )


DIGITS = tuple("0123456789")
TRAIN_TEST: Mapping[str, Any] = {"train": {"train": True}, "test": {"train": False}}
SPLITS: Mapping[str, Any] = {"train": {"split": "train"}, "test": {"split": "test"}}
GREY: Mapping[str, Any] = {
    "reader": "arrays",
    "size": (28, 28, 1),
    "ratio": 100.0,
    "radii": "digits",
    "mirrored": False,
}
CIFAR: Mapping[str, Any] = {"reader": "arrays", "size": (32, 32, 3), "ratio": 100.0, **TRAIN_TEST}
PETS = (
    File(
        ("https://www.robots.ox.ac.uk/~vgg/data/pets/data/images.tar.gz",),
        "5c4f3ee8e5d25df40f4fd59a7f44e54c",
        "oxford-iiit-pet",
        "tar",
        ("images",),
    ),
    File(
        ("https://www.robots.ox.ac.uk/~vgg/data/pets/data/annotations.tar.gz",),
        "95a8c909bbe2e81eed6a22bccdf3f68f",
        "oxford-iiit-pet",
        "tar",
        ("annotations",),
    ),
)
VOC_CLASSES = tuple(
    "background aeroplane bicycle bird boat bottle bus car cat chair cow diningtable dog horse motorbike person "
    "pottedplant sheep sofa train tvmonitor".split()
)
CITYSCAPES_CLASSES = (
    "road",
    "sidewalk",
    "building",
    "wall",
    "fence",
    "pole",
    "traffic light",
    "traffic sign",
    "vegetation",
    "terrain",
    "sky",
    "person",
    "rider",
    "car",
    "truck",
    "bus",
    "train",
    "motorcycle",
    "bicycle",
)
CITYSCAPES_IDS = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)
"""Value in a map of each class of `CITYSCAPES_CLASSES`; the others do not count in the field's evaluation."""
CAMVID_CLASSES = tuple("sky building pole road pavement tree signsymbol fence car pedestrian bicyclist".split())
_ERDA = "https://sid.erda.dk/public/archives/daaeac0d7ce1152aea9b61d9f1e19370/"
_FLOWERS = "https://www.robots.ox.ac.uk/~vgg/data/flowers/102/"
NO_TERMS = "no licence stated; research use"
IMAGENET_TERMS = "non-commercial research and education (ImageNet's terms of access)"

VOC: Mapping[str, Any] = {
    "dataset": "VOCSegmentation",
    "num_classes": 21,
    "n_test": 1_449,
    "size": (0, 0, 3),
    "side": 128,
    "train": {"year": "2012", "image_set": "train"},
    "test": {"year": "2012", "image_set": "val"},
    "licence": "photographs under Flickr's terms of use",
    "classes": VOC_CLASSES,
}
VOC_FILES = (
    File(
        ("https://thor.robots.ox.ac.uk/pascal/VOC/voc2012/VOCtrainval_11-May-2012.tar",),
        "6cd6e144f989b92b3379bac3b3de84fd",
        unpack="tar",
        gives=("VOCdevkit/VOC2012",),
    ),
)
SBD_ROOT = "SBD/benchmark_RELEASE/dataset"
SBD_FILES = (
    File(
        ("https://www2.eecs.berkeley.edu/Research/Projects/CS/vision/grouping/semantic_contours/benchmark.tgz",),
        "82b4d87ceb2ed10f6038a1cba92111cb",
        folder="SBD",
        unpack="tar",
        gives=("benchmark_RELEASE",),
    ),
)
"""Hariharan et al. 2011: label maps of 11,355 images of VOC 2011, 9,118 of them not among the maps of VOC 2012."""

CATALOGUE: dict[str, Entry] = {
    "mnist": Entry(
        dataset="MNIST",
        num_classes=10,
        n_train=60_000,
        n_test=10_000,
        licence="CC BY-SA 3.0",
        files=_idx(
            "MNIST",
            ("https://ossci-datasets.s3.amazonaws.com/mnist/", "http://yann.lecun.com/exdb/mnist/"),
            (
                "f68b3c2dcbeaaa9fbdd348bbdeb94873",
                "d53e105ee54ea40749a09fcbcd1e9432",
                "9fb629c4189551a2d022fa330f9573f3",
                "ec29112dd5afa0611ce80d1b7f02629c",
            ),
        ),
        near=("notmnist", "fashion_mnist"),
        far=("dtd", "cifar10", "tiny_imagenet", "places365"),
        classes=DIGITS,
        **GREY,
        **TRAIN_TEST,
    ),
    "fashion_mnist": Entry(
        dataset="FashionMNIST",
        num_classes=10,
        n_train=60_000,
        n_test=10_000,
        licence="MIT",
        files=_idx(
            "FashionMNIST",
            ("http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",),
            (
                "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
                "25c81989df183df01b3e8a0aad5dffbe",
                "bef4ecab320f06d8554ea6380940ec79",
                "bb300cfdad3c16e7a12a480ee83cd310",
            ),
        ),
        near=("mnist", "kmnist"),
        far=("dtd", "cifar10"),
        **GREY,
        **TRAIN_TEST,
    ),
    "kmnist": Entry(
        dataset="KMNIST",
        num_classes=10,
        n_train=60_000,
        n_test=10_000,
        licence="CC BY-SA 4.0",
        files=_idx(
            "KMNIST",
            ("http://codh.rois.ac.jp/kmnist/dataset/kmnist/",),
            (
                "bdb82020997e1d708af4cf47b453dcf7",
                "e144d726b3acfaa3e44228e80efcd344",
                "5c965bf0a639b31b8f53240b1b52f4d7",
                "7320c461ea6c1c855c0b718fb2a4b134",
            ),
        ),
        near=("mnist", "fashion_mnist"),
        far=("dtd", "cifar10"),
        classes=tuple(f"hiragana {name}" for name in "o ki su tsu na ha ma ya re wo".split()),
        **GREY,
        **TRAIN_TEST,
    ),
    "emnist_letters": Entry(
        dataset="EMNIST",
        num_classes=26,
        n_train=124_800,
        n_test=20_800,
        train={"split": "letters", "train": True},
        test={"split": "letters", "train": False},
        licence="no licence stated (NIST)",
        files=_emnist("letters"),
        near=("mnist", "kmnist"),
        far=("dtd", "cifar10"),
        classes=tuple("ABCDEFGHIJKLMNOPQRSTUVWXYZ"),
        **{**GREY, "reader": "emnist"},
    ),
    "emnist_balanced": Entry(
        dataset="EMNIST",
        num_classes=47,
        n_train=112_800,
        n_test=18_800,
        train={"split": "balanced", "train": True},
        test={"split": "balanced", "train": False},
        licence="no licence stated (NIST)",
        files=_emnist("balanced"),
        near=("kmnist", "fashion_mnist"),
        far=("dtd", "cifar10"),
        **{**GREY, "reader": "emnist"},
    ),
    "usps": Entry(
        dataset="USPS",
        num_classes=10,
        n_train=7_291,
        n_test=2_007,
        licence=NO_TERMS,
        root="usps",
        files=(
            File(
                ("https://www.csie.ntu.edu.tw/~cjlin/libsvmtools/datasets/multiclass/usps.bz2",),
                "ec16c51db3855ca6c91edd34d0e9b197",
                "usps",
            ),
            File(
                ("https://www.csie.ntu.edu.tw/~cjlin/libsvmtools/datasets/multiclass/usps.t.bz2",),
                "8ea070ee2aca1ac39742fdd1ef5ed118",
                "usps",
            ),
        ),
        near=("emnist_letters", "fashion_mnist"),
        far=("dtd", "cifar10"),
        classes=DIGITS,
        **{**GREY, "size": (16, 16, 1), "ratio": None},
        **TRAIN_TEST,
    ),
    "svhn": Entry(
        dataset="SVHN",
        reader="arrays",
        num_classes=10,
        n_train=73_257,
        n_test=26_032,
        size=(32, 32, 3),
        licence="non-commercial use",
        root="svhn",
        files=(
            File(
                ("http://ufldl.stanford.edu/housenumbers/train_32x32.mat",), "e26dedcc434d2e4c54c9b2d4a06d8373", "svhn"
            ),
            File(
                ("http://ufldl.stanford.edu/housenumbers/test_32x32.mat",), "eb5a983be6a315427106f1b164d9cef3", "svhn"
            ),
        ),
        mirrored=False,
        near=("emnist_letters",),
        far=("cifar10", "cifar100", "dtd"),
        classes=DIGITS,
        **SPLITS,
    ),
    "cifar10": Entry(
        dataset="CIFAR10",
        num_classes=10,
        n_train=50_000,
        n_test=10_000,
        licence="no licence stated; research use, citing Krizhevsky 2009, Learning multiple layers of features",
        files=(
            File(
                ("https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",),
                "c58f30108f718f92721af3b95e74349a",
                unpack="tar",
                gives=("cifar-10-batches-py",),
            ),
        ),
        validation=100,
        near=("cifar100", "tiny_imagenet"),
        far=("mnist", "svhn", "dtd", "places365"),
        corruptions="CIFAR-10-C",
        **CIFAR,
    ),
    "cifar100": Entry(
        dataset="CIFAR100",
        num_classes=100,
        n_train=50_000,
        n_test=10_000,
        licence="no licence stated; research use, citing Krizhevsky 2009, Learning multiple layers of features",
        files=(
            File(
                ("https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz",),
                "eb9058c3a382ffc7106e4002c42a8d85",
                unpack="tar",
                gives=("cifar-100-python",),
            ),
        ),
        validation=20,
        near=("cifar10", "tiny_imagenet"),
        far=("mnist", "svhn", "dtd", "places365"),
        corruptions="CIFAR-100-C",
        **CIFAR,
    ),
    "stl10": Entry(
        dataset="STL10",
        reader="arrays",
        num_classes=10,
        n_train=5_000,
        n_test=8_000,
        size=(96, 96, 3),
        licence=NO_TERMS,
        files=(
            File(
                ("http://ai.stanford.edu/~acoates/stl10/stl10_binary.tar.gz",),
                "91f7769df0f17e558f3565bffb0c7dfb",
                unpack="tar",
                gives=("stl10_binary",),
            ),
        ),
        ratio=50.0,
        near=("cifar100", "tiny_imagenet"),
        far=("mnist", "svhn", "dtd"),
        **SPLITS,
    ),
    "gtsrb": Entry(
        dataset="GTSRB",
        reader="tracks",
        num_classes=43,
        n_train=26_640,
        n_test=12_630,
        size=(0, 0, 3),
        side=32,
        licence=NO_TERMS,
        files=(
            File(
                (f"{_ERDA}GTSRB-Training_fixed.zip",),
                "513f3c79a4c5141765e10e952eaa2478",
                "gtsrb",
                "zip",
                ("GTSRB/Training",),
            ),
            File(
                (f"{_ERDA}GTSRB_Final_Test_Images.zip",),
                "c7e4e6327067d32654124b0fe9e82185",
                "gtsrb",
                "zip",
                ("GTSRB/Final_Test",),
            ),
            File(
                (f"{_ERDA}GTSRB_Final_Test_GT.zip",),
                "fe31e9c9270bbcd7b84b7f21a9d9d9e5",
                "gtsrb",
                "zip",
                ("GT-final_test.csv",),
            ),
        ),
        mirrored=False,
        far=("svhn", "cifar10", "dtd"),
        classes=tuple(f"sign {number:02}" for number in range(43)),
        **SPLITS,
    ),
    "eurosat": Entry(
        dataset="EuroSAT",
        reader="files",
        num_classes=10,
        n_train=27_000,
        n_test=0,
        size=(64, 64, 3),
        licence="MIT",
        files=(
            File(
                (
                    "https://huggingface.co/datasets/torchgeo/eurosat/resolve/"
                    "c877bcd43f099cd0196738f714544e355477f3fd/EuroSAT.zip",
                ),
                "c8fa014336c82ac7804f0398fcb19387",
                "eurosat",
                "zip",
                ("2750",),
            ),
        ),
        ratio=100.0,
        far=("cifar10", "svhn", "dtd"),
    ),
    "food101": Entry(
        dataset="Food101",
        reader="files",
        num_classes=101,
        n_train=75_750,
        n_test=25_250,
        size=(0, 0, 3),
        side=64,
        licence="photographs are not the publisher's (Foodspotting); scientific fair use",
        files=(
            File(
                ("http://data.vision.ee.ethz.ch/cvl/food-101.tar.gz",),
                "85eeb15f3717b99a5da872d97d918f87",
                unpack="tar",
                gives=("food-101",),
            ),
        ),
        ratio=100.0,
        far=("cifar10", "dtd"),
        **SPLITS,
    ),
    "flowers102": Entry(
        dataset="Flowers102",
        reader="files",
        num_classes=102,
        n_train=2_040,
        n_test=6_149,
        size=(0, 0, 3),
        side=64,
        also={"split": "val"},
        licence=NO_TERMS,
        files=(
            File((f"{_FLOWERS}102flowers.tgz",), "52808999861908f626f3c1f4e79d11fa", "flowers-102", "tar", ("jpg",)),
            File((f"{_FLOWERS}imagelabels.mat",), "e0620be6f572b9609742df49c70aed4d", "flowers-102"),
            File((f"{_FLOWERS}setid.mat",), "a5357ecc9cb78c4bef273ce3793fc85c", "flowers-102"),
        ),
        far=("cifar10", "dtd"),
        **SPLITS,
    ),
    "oxford_pets": Entry(
        dataset="OxfordIIITPet",
        reader="files",
        num_classes=37,
        n_train=3_680,
        n_test=3_669,
        size=(0, 0, 3),
        side=64,
        train={"split": "trainval"},
        test={"split": "test"},
        licence="CC BY-SA 4.0",
        files=PETS,
        far=("flowers102", "dtd"),
    ),
    "dtd": Entry(
        dataset="DTD",
        reader="files",
        num_classes=47,
        n_train=3_760,
        n_test=1_880,
        size=(0, 0, 3),
        side=64,
        also={"split": "val"},
        licence="research purposes",
        files=(
            File(
                ("https://www.robots.ox.ac.uk/~vgg/data/dtd/download/dtd-r1.0.1.tar.gz",),
                "fff73e5086ae6bdbea199a49dfb8a4c1",
                "dtd",
                "tar",
                ("dtd",),
            ),
        ),
        far=("cifar10", "svhn"),
        **SPLITS,
    ),
    "caltech101": Entry(
        dataset="Caltech101",
        reader="files",
        num_classes=101,
        n_train=8_677,
        n_test=0,
        size=(0, 0, 3),
        side=64,
        licence="CC BY 4.0",
        files=(
            File(
                ("https://data.caltech.edu/records/mzrjq-6wc02/files/caltech-101.zip",),
                "3138e1922a9193bfa496528edbbc45d0",
                "caltech101",
                "zip",
                ("101_ObjectCategories",),
                ("caltech-101/101_ObjectCategories.tar.gz",),
            ),
        ),
        far=("svhn", "dtd"),
    ),
    "imagenette": Entry(
        dataset="Imagenette",
        reader="files",
        num_classes=10,
        n_train=9_469,
        n_test=3_925,
        size=(0, 0, 3),
        side=64,
        train={"split": "train", "size": "160px"},
        test={"split": "val", "size": "160px"},
        licence=f"Apache 2.0; the images: {IMAGENET_TERMS}",
        files=(
            File(
                ("https://s3.amazonaws.com/fast-ai-imageclas/imagenette2-160.tgz",),
                "e793b78cc4c9e9a4ccc0c1155377a412",
                unpack="tar",
                gives=("imagenette2-160",),
            ),
        ),
        ratio=100.0,
        far=("svhn", "dtd"),
    ),
    "tiny_imagenet": Entry(
        reader="tiny_imagenet",
        num_classes=200,
        n_train=100_000,
        n_test=10_000,
        size=(64, 64, 3),
        licence=IMAGENET_TERMS,
        by_hand="unpack tiny-imagenet-200.zip (Stanford, cs231n) so that DATA_DIR/tiny-imagenet-200/wnids.txt is there",
        root="tiny-imagenet-200",
        ratio=100.0,
        far=("svhn", "dtd"),
    ),
    "imagenet": Entry(
        dataset="ImageNet",
        reader="files",
        num_classes=1000,
        n_train=1_281_167,
        n_test=50_000,
        size=(0, 0, 3),
        side=64,
        train={"split": "train"},
        test={"split": "val"},
        licence=IMAGENET_TERMS,
        root="imagenet",
        by_hand="put ILSVRC2012_devkit_t12.tar.gz, ILSVRC2012_img_train.tar and ILSVRC2012_img_val.tar (image-net.org, "
        "after signing in) into DATA_DIR/imagenet",
        ratio=100.0,
        near=("ssb_hard", "ninco"),
        far=("inaturalist", "dtd", "openimage_o"),
    ),
    "voc2012": Entry(**VOC, reader="maps", n_train=1_464, files=VOC_FILES),
    "voc2012_aug": Entry(**VOC, reader="voc_and_sbd", n_train=10_582, files=(*VOC_FILES, *SBD_FILES)),
    "oxford_pets_masks": Entry(
        dataset="OxfordIIITPet",
        reader="pet_maps",
        num_classes=2,
        n_train=3_680,
        n_test=3_669,
        size=(0, 0, 3),
        side=128,
        train={"split": "trainval"},
        test={"split": "test"},
        licence="CC BY-SA 4.0",
        files=PETS,
        classes=("background", "pet"),
        meaning={1: 1, 2: 0, 3: IGNORED},
    ),
    "cityscapes": Entry(
        dataset="Cityscapes",
        reader="cityscapes",
        num_classes=19,
        n_train=2_975,
        n_test=500,
        size=(1024, 2048, 3),
        side=128,
        train={"split": "train", "target_type": "semantic"},
        test={"split": "val", "target_type": "semantic"},
        licence="non-commercial research (cityscapes-dataset.com)",
        root="cityscapes",
        by_hand="put leftImg8bit_trainvaltest.zip and gtFine_trainvaltest.zip (cityscapes-dataset.com, after signing "
        "in) into DATA_DIR/cityscapes",
        classes=CITYSCAPES_CLASSES,
        meaning={
            **dict.fromkeys(range(34), IGNORED),
            255: IGNORED,
            **dict(zip(CITYSCAPES_IDS, range(19), strict=True)),
        },
    ),
    "camvid": Entry(
        reader="camvid",
        num_classes=11,
        n_train=468,
        n_test=233,
        size=(360, 480, 3),
        side=128,
        licence=NO_TERMS,
        root="camvid",
        by_hand="put the 11-class version of the SegNet tutorial, folders train, trainannot, val, valannot, test and "
        "testannot, into DATA_DIR/camvid",
        classes=CAMVID_CLASSES,
        meaning={**{label: label for label in range(11)}, 11: IGNORED, 255: IGNORED},
    ),
}

UNAVAILABLE: dict[str, str] = {
    "places365": "24 GB, and OpenOOD's choice of its images has no address of its own",
    "notmnist": "has no checksum that its author states; give it as --ood-sets npz:PATH",
    "ssb_hard": "a choice of ImageNet-21k, by application only",
    "ninco": "not read by torchvision; give it as --ood-sets npz:PATH",
    "inaturalist": "OpenOOD's choice of it has no address of its own; give it as --ood-sets npz:PATH",
    "openimage_o": "not read by torchvision; give it as --ood-sets npz:PATH",
}
"""Sets of the outside groups that cannot be had by name, and why."""

_DIGIT_LIKE = tuple("BDGIJLOQSTYZ")
_LETTER_LIKE = tuple("0125689")
"""Written as O, I, Z, S, b, B and g are; most 3, 4 and 7 look like no letter."""
_DOGS = (
    "Chihuahua",
    "Yorkshire terrier",
    "golden retriever",
    "Labrador retriever",
    "German shepherd",
    "standard poodle",
)
OVERLAPS: dict[tuple[str, str], tuple[str, ...]] = {
    **{(digits, "emnist_letters"): _DIGIT_LIKE for digits in ("digits", "mnist5k", "mnist", "usps", "svhn")},
    **{("emnist_letters", digits): _LETTER_LIKE for digits in ("mnist", "usps", "svhn")},
    ("cifar10", "tiny_imagenet"): (
        *_DOGS,
        *("tabby", "Persian cat", "Egyptian cat", "bullfrog", "tailed frog", "goose", "albatross", "black stork"),
        *("king penguin", "beach wagon", "sports car", "convertible", "limousine", "moving van", "police van"),
        *("lifeboat", "gondola"),
    ),
    ("stl10", "tiny_imagenet"): (
        *_DOGS,
        *("tabby", "Persian cat", "Egyptian cat", "goose", "albatross", "black stork", "king penguin", "beach wagon"),
        *("sports car", "convertible", "limousine", "moving van", "police van", "lifeboat", "gondola", "orangutan"),
        *("chimpanzee", "baboon"),
    ),
    ("stl10", "cifar100"): ("chimpanzee", "pickup_truck"),
    ("cifar100", "tiny_imagenet"): (
        *("African elephant", "Arabian camel", "monarch", "sulphur butterfly", "American alligator", "brown bear"),
        *("school bus", "trolleybus", "bullet train", "rocking chair", "tarantula", "black widow", "boa constrictor"),
        *("goldfish", "bell pepper", "beer bottle", "pop bottle", "pill bottle", "computer keyboard", "pay-phone"),
        *("spiny lobster", "American lobster", "ox"),
    ),
}
"""(known set, outside set) → classes of the outside set that show a known class under another name. Classes of the same
name are found without this table."""
