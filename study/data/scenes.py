"""Composed scenes with a label for every pixel: real digits, light on patches of real photographs in half their light.

Label 0 is the ground, 1 + d the ink of digit d. The faint border of the ink, where a pixel is partly ground, has no
label (`IGNORED`). Training, validation and test scenes share neither a digit nor a pixel of a photograph.
"""

import numpy as np

from study.data.convert import to_size
from study.data.photographs import outlier_pool
from study.data.registry import cut_defaults
from study.data.tail import cut_imbalanced
from study.data.types import IGNORED, Images, Source, Splits, UInt8Array
from study.errors import InputError

SIDE = 64
"""Height and width of a scene in pixels."""
DIGITS = (2, 4)
"""Fewest and most digits in a scene."""
DIGIT_SIDES = (28, 32, 40)
"""Sides in pixels that a digit's square is scaled to."""
INK = 127
"""Grey level of a digit's image above which a pixel is ink."""
INK_LEVELS = (160, 255)
"""Grey levels of a digit in a scene; drawn once a digit."""
DIMMED = 0.5
"""Factor of the photographs' grey levels: no ground is as light as ink."""
COMPOSABLE = ("digits", "mnist5k")
_STREAM = 13
_ROLES = {"train": 0, "validation": 1, "test": 2}


def split_scenes(source: Source, *, split_seed: int, n_train: int, n_validation: int, n_test: int) -> Splits:
    """Compose scenes for training, validation and test.

    Args:
        source: light digits on a dark ground.
        split_seed: which digits go where, and the scenes.
        n_train: scenes for training, at least 1; so for the others.
        n_validation: scenes for validation.
        n_test: scenes for test.

    Raises:
        InputError: a source that is not made of digits.
    """
    if source.name not in COMPOSABLE:
        raise InputError(
            f"segmentation: expected label maps, or digits to compose scenes of, got {source.name}\n"
            f"allowed: masks:PATH, npz:PATH with maps, {', '.join(COMPOSABLE)}"
        )
    defaults = cut_defaults(source)
    digits = cut_imbalanced(
        source,
        split_seed=split_seed,
        order_seed=None,
        ratio=None,
        test_per_class=defaults.test_per_class,
        validation_per_class=defaults.validation_per_class,
    )
    train = compose_scenes(digits.train, "train", n_train, split_seed)
    classes = ("ground", *source.classes)
    counts = train.class_counts(len(classes))
    return Splits(
        train=train,
        validation=compose_scenes(digits.validation, "validation", n_validation, split_seed),
        test=compose_scenes(digits.test, "test", n_test, split_seed),
        classes=classes,
        class_counts=counts,
        class_order=tuple(sorted(range(len(classes)), key=lambda c: (-counts[c], c))),
        n_pool=n_train + n_validation,
    )


def compose_scenes(digits: Images, role: str, n: int, seed: int) -> Images:
    """Return n scenes, uint8 (n, 64, 64, 1), with labels (n, 64, 64).

    Args:
        digits: grey images of digits, (N, H, W, 1), ink light.
        role: "train", "validation" or "test": which part of which photograph is the ground.
        n: number of scenes, at least 1.
        seed: whole number of at least 0; the same scenes in any process.
    """
    scenes = DIMMED * outlier_pool(role, (SIDE, SIDE, 1), n, seed).astype(np.float32)
    labels = np.zeros((n, SIDE, SIDE), dtype=np.int64)
    generator = np.random.default_rng([_STREAM, _ROLES[role], seed])
    for scene, label in zip(scenes[..., 0], labels, strict=True):
        for _ in range(int(generator.integers(DIGITS[0], DIGITS[1] + 1))):
            which, side = int(generator.integers(len(digits))), DIGIT_SIDES[int(generator.integers(len(DIGIT_SIDES)))]
            digit = to_size(digits.images[which : which + 1], side, side)[0, ..., 0]
            _place(scene, label, digit, int(digits.labels[which]), generator)
    return Images(np.rint(scenes.clip(0, 255)).astype(np.uint8), labels)


def _place(scene: np.ndarray, label: np.ndarray, digit: UInt8Array, name: int, generator: np.random.Generator) -> None:
    """Draw a digit at a random place, over what is there."""
    side = len(digit)
    top, left = generator.integers(SIDE - side + 1, size=2)
    part = np.s_[top : top + side, left : left + side]
    ink = generator.uniform(*INK_LEVELS)
    share = digit.astype(np.float32) / 255
    scene[part] += share * (ink - scene[part])
    faint, full = (digit > INK // 4) & (digit <= INK), digit > INK
    label[part][faint] = IGNORED
    label[part][full] = 1 + name
