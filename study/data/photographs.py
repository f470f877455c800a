"""Patches of the two photographs that come with scikit-learn, in pools that share no pixel.

    train       the left half of the flower
    validation  the right half of the flower
    test        all of the temple (china.jpg): another photograph

So a model that has seen outliers in training, or was chosen with outliers, is tested on outliers from another source.
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np

from study.data.convert import to_channels, to_size
from study.data.embedded import package_file
from study.data.types import UInt8Array, read_only
from study.errors import InputError, unknown


class Region(NamedTuple):
    """Part of a photograph: rows top to bottom − 1, columns left to right − 1, as shares of its height and width."""

    photograph: str
    top: float
    bottom: float
    left: float
    right: float


REGIONS: dict[str, Region] = {
    "train": Region("flower.jpg", 0.0, 1.0, 0.0, 0.5),
    "validation": Region("flower.jpg", 0.0, 1.0, 0.5, 1.0),
    "test": Region("china.jpg", 0.0, 1.0, 0.0, 1.0),
}
CROP_SIDES = (32, 160)
"""Shorter side in pixels of what is cut out of a photograph before it is shrunk; more for larger images."""
MIN_CONTRAST = 15.0
"""Least standard deviation (grey levels, in the channel that varies most): bare sky and blurred background are drawn
again, up to `MAX_TRIES` times."""
MAX_TRIES = 50
_ROLE_STREAM = {"train": 0, "validation": 1, "test": 2}
_STREAM = 3


def outlier_pool(role: str, shape: tuple[int, int, int], n: int, seed: int) -> UInt8Array:
    """Return n photograph patches for one role; the roles' patches come from disjoint parts of the photographs.

    Each patch has a random place and a random side (log-uniform in `CROP_SIDES`, at least the image's side where the
    region allows it), shows more than a plain surface (`MIN_CONTRAST`), and is shrunk to the image's size, averaging
    over area; grey for one channel.

    Args:
        role: "train" (outliers to learn from), "validation" (to choose with) or "test".
        shape: height, width and channels (1 or 3) of the patches.
        n: number of patches, at least 1.
        seed: whole number of at least 0; the same patches in any process.

    Returns:
        uint8 (n, H, W, C), read-only.

    Raises:
        InputError: if an argument is outside of its range.
    """
    if role not in REGIONS:
        raise unknown("role of outliers", role, REGIONS)
    height, width, channels = shape
    if n < 1 or seed < 0 or min(height, width) < 1 or channels not in (1, 3):
        raise InputError(
            f"outlier_pool: expected n >= 1, seed >= 0, sides >= 1 and 1 or 3 channels; got {n=}, {seed=}, {shape=}"
        )
    region = to_channels(region_pixels(role)[None], channels)[0]
    generator = np.random.default_rng([_STREAM, _ROLE_STREAM[role], seed])
    patches = np.empty((n, height, width, channels), dtype=np.uint8)
    for patch in patches:
        patch[:] = to_size(_crop(region, height, width, generator)[None], height, width)[0]
    return read_only(patches)


def region_pixels(role: str) -> UInt8Array:
    """Return the part of a photograph that a role's patches come from, uint8 (rows, columns, 3)."""
    region = REGIONS[role]
    photograph = _photographs()[region.photograph]
    rows, columns = photograph.shape[:2]
    return np.ascontiguousarray(
        photograph[
            round(region.top * rows) : round(region.bottom * rows),
            round(region.left * columns) : round(region.right * columns),
        ]
    )


@lru_cache(maxsize=1)
def _photographs() -> dict[str, UInt8Array]:
    from PIL import Image

    found = {}
    for name in ("china.jpg", "flower.jpg"):
        with Image.open(package_file("scikit-learn", f"sklearn/datasets/images/{name}")) as photograph:
            found[name] = read_only(np.asarray(photograph))
    return found


def _crop(region: UInt8Array, height: int, width: int, generator: np.random.Generator) -> UInt8Array:
    """Return a random crop with the side ratio height : width: the first with `MIN_CONTRAST`, or the last tried."""
    for _ in range(MAX_TRIES):
        top, left, rows, columns = _box(region.shape[0], region.shape[1], height, width, generator)
        crop = region[top : top + rows, left : left + columns]
        if crop.std(axis=(0, 1)).max() >= MIN_CONTRAST:
            break
    return crop


def _box(rows: int, columns: int, height: int, width: int, generator: np.random.Generator) -> tuple[int, int, int, int]:
    """Return top, left, rows and columns of a random box with the side ratio height : width."""
    longest = min(rows / height, columns / width)
    low, high = (min(max(side / min(height, width), 1.0), longest) for side in CROP_SIDES)
    scale = float(np.exp(generator.uniform(np.log(low), np.log(high))))
    box_rows, box_columns = max(1, min(rows, round(scale * height))), max(1, min(columns, round(scale * width)))
    top, left = generator.integers(rows - box_rows + 1), generator.integers(columns - box_columns + 1)
    return int(top), int(left), box_rows, box_columns
