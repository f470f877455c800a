"""CIFAR-10 and CIFAR-100 through torchvision, which checks the files by their MD5 sums.

The files are downloaded only if they are not in the data directory.
"""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from study.data.types import Images, Source
from study.errors import InputError

if TYPE_CHECKING:
    from torchvision.datasets import CIFAR10

LICENCE = "no licence stated; research use, citing Krizhevsky 2009, Learning multiple layers of features"
OFFICIAL_CORRUPTIONS = {"cifar10": "CIFAR-10-C", "cifar100": "CIFAR-100-C"}
"""Name of the folder in the data directory that has a test set's published corruptions, where the user has put it."""
CONNECTION_TIMEOUT = 60.0
"""Seconds without an answer after which a download is given up."""


def cifar10(data_dir: Path) -> Source:
    """Return CIFAR-10: 50,000 training and 10,000 test images, 32x32x3, 10 classes.

    Args:
        data_dir: the folder that has, or shall get, `cifar-10-batches-py`.

    Raises:
        InputError: if the files are not there and cannot be downloaded.
    """
    from torchvision.datasets import CIFAR10

    return _load("cifar10", CIFAR10, data_dir)


def cifar100(data_dir: Path) -> Source:
    """Return CIFAR-100: 50,000 training and 10,000 test images, 32x32x3, 100 (fine) classes.

    Args:
        data_dir: the folder that has, or shall get, `cifar-100-python`.

    Raises:
        InputError: if the files are not there and cannot be downloaded.
    """
    from torchvision.datasets import CIFAR100

    return _load("cifar100", CIFAR100, data_dir)


def _load(name: str, dataset: "type[CIFAR10]", data_dir: Path) -> Source:
    train = _open_or_download(name, dataset, data_dir)
    test = dataset(str(data_dir), train=False)
    corrupted = data_dir / OFFICIAL_CORRUPTIONS[name]
    return Source(
        name,
        _as_images(train),
        _as_images(test),
        tuple(train.classes),
        LICENCE,
        official_corruptions=corrupted if corrupted.is_dir() else None,
    )


def _open_or_download(name: str, dataset: "type[CIFAR10]", data_dir: Path) -> "CIFAR10":
    """Return the training part; fetch the archive first if torchvision says that a file is missing or damaged."""
    try:
        return dataset(str(data_dir), train=True)
    except RuntimeError:
        return _download(name, dataset, data_dir)


def _download(name: str, dataset: "type[CIFAR10]", data_dir: Path) -> "CIFAR10":
    """Unpack the archive, from the data directory if it is there, else from the network; return the training part."""
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        with _timeout(CONNECTION_TIMEOUT):
            return dataset(str(data_dir), train=True, download=True)
    except (OSError, RuntimeError, EOFError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(
            f"{name}: {data_dir / dataset.base_folder} is missing or damaged and {dataset.url} could not be fetched "
            f"({reason}); by hand: put {dataset.filename} from there into {data_dir}"
        ) from error


@contextmanager
def _timeout(seconds: float) -> Iterator[None]:
    """Let new connections give up after some seconds of silence; torchvision itself would wait forever."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def _as_images(part: "CIFAR10") -> Images:
    return Images(np.ascontiguousarray(part.data), np.asarray(part.targets, dtype=np.int64))
