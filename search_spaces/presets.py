"""What each preset spends, whatever the task: a task's own file says where it differs.

`paper` is the field's own ground: each task's file names the network, the data and the epochs that the field reports.
"""

from collections.abc import Mapping
from typing import Any

Preset = Mapping[str, Any]

CORE = ("ce", "mm", "hem", "hem+", "logitnorm", "logit_adjusted", "dice")
"""Losses that run on every task: the claims are about them."""

DIGIT_EPS = (0.05, 0.1, 0.2, 0.3)
NATURAL_EPS = (0.5 / 255, 1 / 255, 2 / 255, 4 / 255, 8 / 255)
QUICK_EPS: Mapping[str, tuple[float, ...]] = {"digits": (0.1,), "natural": (1 / 255,)}
CURVE_EPS: Mapping[str, tuple[float, ...]] = {"digits": DIGIT_EPS, "natural": NATURAL_EPS}
"""Linf radii in units of the pixel range, for images of digits and for natural ones."""

BASE: Mapping[str, Preset] = {
    "smoke": {
        "dataset": "digits",
        "model": "mlp",
        "losses": ("ce", "hem", "hem+"),
        "replicates": 2,
        "trials": 8,
        "seeds": 1,
        "epochs": 8,
        "rescored": 2,
        "sweep": 3,
        "attacks": "quick",
        "eps": QUICK_EPS,
        "attack_points": 50,
        "attack_replicates": 1,
        "corruption_points": 50,
    },
    "quick": {
        "dataset": "mnist5k",
        "model": "small_cnn",
        "losses": CORE,
        "replicates": 3,
        "trials": 18,
        "seeds": 1,
        "epochs": 20,
        "rescored": 3,
        "sweep": 3,
        "attacks": "quick",
        "eps": QUICK_EPS,
        "attack_points": 100,
        "attack_replicates": 1,
        "corruption_points": 200,
        "planned_seconds": 3.0,
    },
    "full": {
        "dataset": "mnist5k",
        "model": "small_cnn",
        "losses": CORE,
        "replicates": 10,
        "trials": 200,
        "seeds": 3,
        "epochs": 40,
        "rescored": 3,
        "sweep": 5,
        "attacks": "standard",
        "eps": CURVE_EPS,
        "l2_eps": (0.5,),
        "attack_points": 500,
        "attack_replicates": 10,
        "corruption_points": 0,
    },
    "paper": {
        "dataset": "cifar10",
        "model": "resnet18",
        "losses": CORE,
        "replicates": 5,
        "trials": 100,
        "seeds": 3,
        "epochs": 200,
        "rescored": 3,
        "sweep": 5,
        "attacks": "standard",
        "eps": CURVE_EPS,
        "l2_eps": (0.5,),
        "attack_points": 1000,
        "attack_replicates": 5,
        "corruption_points": 0,
    },
}
"""Preset → what it runs on and what it spends. `trials` is per loss, over all replicates; 0 points stand for all."""


def presets(shared: Preset | None = None, **changes: Preset) -> dict[str, Preset]:
    """Return `BASE` with what is changed in all presets, and then in those that are named."""
    return {name: {**base, **(shared or {}), **changes.get(name, {})} for name, base in BASE.items()}
