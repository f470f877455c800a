"""The training hyperparameters that every loss shares, and the learning rate they give at every step."""

import math
from dataclasses import dataclass
from typing import Literal, get_args

from study.errors import InputError, unknown

Schedule = Literal["cosine", "step"]
Augmentation = Literal["none", "shift", "crop_flip"]

SCHEDULES: tuple[str, ...] = get_args(Schedule)
AUGMENTATIONS: tuple[str, ...] = get_args(Augmentation)
STEP_FACTOR = 0.01
"""Factor of each of the two drops of the "step" schedule (Cao et al. 2019)."""


@dataclass(frozen=True)
class Recipe:
    """How a network is trained: SGD with Nesterov momentum.

    Weight decay is the plain L2 term of SGD and acts on all of the network's weights, batch norm and biases included,
    as in the long-tail literature that the published figures come from (Cao et al. 2019 and its successors).

    Raises:
        InputError: a value out of its range.
    """

    learning_rate: float
    """Highest learning rate of the run, > 0."""
    weight_decay: float
    """Coefficient of the L2 term, at least 0."""
    momentum: float = 0.9
    """In [0, 1); 0 is plain SGD."""
    schedule: Schedule = "cosine"
    """ "cosine": half a cosine from the full rate to 0, set at every step. "step": × 0.01 from 80 % of the epochs on
    and again × 0.01 from 90 % on, the published long-tail schedule (epochs 160 and 180 of 200; Cao et al. 2019)."""
    warmup_epochs: int = 0
    """So many epochs of linearly rising learning rate come first and count as epochs; fewer than `epochs`."""
    batch_size: int = 64
    """Images a step, over all ranks together, at least 1."""
    epochs: int = 20
    """At least 1."""
    augmentation: Augmentation = "none"
    """"shift": by up to 2 pixels each way (1 below 16 pixels). "crop_flip": by up to 4 pixels (an eighth of the side
    below 32 pixels) and mirrored left to right half of the time. What enters at the borders is 0."""

    def __post_init__(self) -> None:
        for name, value, fits, allowed in (
            ("learning_rate", self.learning_rate, self.learning_rate > 0, "a finite number > 0"),
            ("weight_decay", self.weight_decay, self.weight_decay >= 0, "a finite number ≥ 0"),
            ("momentum", self.momentum, 0 <= self.momentum < 1, "a number in [0, 1)"),
            ("batch_size", self.batch_size, _whole(self.batch_size) and self.batch_size >= 1, "a whole number ≥ 1"),
            ("epochs", self.epochs, _whole(self.epochs) and self.epochs >= 1, "a whole number ≥ 1"),
            (
                "warmup_epochs",
                self.warmup_epochs,
                _whole(self.warmup_epochs) and 0 <= self.warmup_epochs < max(self.epochs, 1),
                f"a whole number of 0 or more and below the {self.epochs} epochs",
            ),
        ):
            if not (fits and math.isfinite(value)):
                raise InputError(f"{name}: expected {allowed}, given {value!r}")
        if self.schedule not in SCHEDULES:
            raise unknown("schedule", self.schedule, SCHEDULES)
        if self.augmentation not in AUGMENTATIONS:
            raise unknown("augmentation", self.augmentation, AUGMENTATIONS)


def learning_rate_at(recipe: Recipe, step: int, steps_per_epoch: int) -> float:
    """Return the learning rate of a step.

    With w warm-up steps of T in all, for s = step: s < w: η (s + 1) / w. Then "cosine":
    η/2 · (1 + cos(π (s − w) / (T − w))); "step": η · 0.01^k, k = 0, 1, 2 before 80 %, from 80 % and from 90 % of the
    epochs on.

    Args:
        recipe: the hyperparameters.
        step: steps done before this one, from 0 to epochs · steps_per_epoch − 1.
        steps_per_epoch: at least 1.
    """
    warmup = recipe.warmup_epochs * steps_per_epoch
    if step < warmup:
        return recipe.learning_rate * (step + 1) / warmup
    if recipe.schedule == "cosine":
        progress = (step - warmup) / (recipe.epochs * steps_per_epoch - warmup)
        return recipe.learning_rate * 0.5 * (1 + math.cos(math.pi * progress))
    epoch = step // steps_per_epoch
    drops = (10 * epoch >= 8 * recipe.epochs) + (10 * epoch >= 9 * recipe.epochs)
    return recipe.learning_rate * STEP_FACTOR**drops


def _whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
