"""Literature recipes that several tasks share, by data set: the `default` arm and the first point of every search.

CIFAR: ResNets as they are trained on clean images (SGD 0.1, Nesterov momentum 0.9, weight decay 5e-4, cosine, 200
epochs, batch 128). The small embedded sets have no literature: theirs is the same optimiser with fewer epochs.
"""

from collections.abc import Mapping
from typing import Any

Recipe = Mapping[str, Any]

_SMALL: Recipe = {
    "learning_rate": 0.1,
    "weight_decay": 2e-4,
    "momentum": 0.9,
    "schedule": "cosine",
    "warmup_epochs": 1,
    "batch_size": 64,
}

RECIPES: Mapping[str, Recipe] = {
    "cifar": {**_SMALL, "weight_decay": 5e-4, "warmup_epochs": 5, "batch_size": 128, "augmentation": "crop_flip"},
    "digits": {**_SMALL, "augmentation": "none"},
    "mnist5k": {**_SMALL, "augmentation": "shift"},
    "photographs": {**_SMALL, "augmentation": "crop_flip"},
}
"""Recipe name → hyperparameters, by the names of `study.training.Recipe`."""


def with_cifar(**changes: Any) -> dict[str, Recipe]:  # noqa: ANN401
    """Return `RECIPES` with some hyperparameters of CIFAR's changed: a task's own literature."""
    return {**RECIPES, "cifar": {**RECIPES["cifar"], **changes}}


def recipes(**changes: Any) -> dict[str, Recipe]:  # noqa: ANN401
    """Return `RECIPES` with some hyperparameters changed in all of them."""
    return {name: {**recipe, **changes} for name, recipe in RECIPES.items()}
