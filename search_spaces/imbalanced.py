"""Long-tailed classification: literature recipes by data set, and what each preset spends.

Sources: CIFAR long tail, Cao et al. 2019 (LDAM): ResNet-32, 200 epochs, batch 128, SGD 0.1, momentum 0.9, weight decay
2e-4, five warm-up epochs, learning rate × 0.01 at epochs 160 and 180. The small embedded sets have no literature: their
recipe is the same optimiser with fewer epochs and no class-dependent choice.
"""

from collections.abc import Mapping
from typing import Any

RECIPES: Mapping[str, Mapping[str, Any]] = {
    "cifar": {
        "learning_rate": 0.1,
        "weight_decay": 2e-4,
        "momentum": 0.9,
        "schedule": "step",
        "warmup_epochs": 5,
        "batch_size": 128,
        "augmentation": "crop_flip",
    },
    "digits": {
        "learning_rate": 0.1,
        "weight_decay": 2e-4,
        "momentum": 0.9,
        "schedule": "cosine",
        "warmup_epochs": 1,
        "batch_size": 64,
        "augmentation": "none",
    },
    "mnist5k": {
        "learning_rate": 0.1,
        "weight_decay": 2e-4,
        "momentum": 0.9,
        "schedule": "cosine",
        "warmup_epochs": 1,
        "batch_size": 64,
        "augmentation": "shift",
    },
    "photographs": {
        "learning_rate": 0.1,
        "weight_decay": 2e-4,
        "momentum": 0.9,
        "schedule": "cosine",
        "warmup_epochs": 1,
        "batch_size": 64,
        "augmentation": "crop_flip",
    },
}
"""Recipe name → hyperparameters of the `default` arm; also the first point of every search."""

CORE = ("ce", "mm", "hem", "hem+", "logitnorm", "logit_adjusted", "dice")
SPECIALISTS = ("ce_balanced", "ce_resampled", "focal", "ldam", "ldam_drw")

PRESETS: Mapping[str, Mapping[str, Any]] = {
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
        "eps": (0.1,),
        "attack_points": 50,
        "attack_replicates": 1,
    },
    "quick": {
        "dataset": "mnist5k",
        "model": "small_cnn",
        "losses": ("ce", "mm", "hem", "hem+", "logit_adjusted"),
        "replicates": 3,
        "trials": 18,
        "seeds": 1,
        "epochs": 20,
        "rescored": 3,
        "sweep": 3,
        "attacks": "quick",
        "eps": (0.1,),
        "attack_points": 100,
        "attack_replicates": 1,
        "planned_seconds": 3.0,
    },
    "full": {
        "dataset": "mnist5k",
        "model": "small_cnn",
        "losses": CORE + SPECIALISTS,
        "methods": ("plain", "drw"),
        "replicates": 10,
        "trials": 200,
        "seeds": 3,
        "epochs": 40,
        "rescored": 3,
        "sweep": 5,
        "attacks": "standard",
        "eps": (0.05, 0.1, 0.2, 0.3),
        "l2_eps": (0.5,),
        "attack_points": 500,
        "attack_replicates": 10,
    },
    "paper": {
        "dataset": "cifar10",
        "model": "resnet32",
        "losses": CORE + SPECIALISTS,
        "methods": ("plain", "drw"),
        "replicates": 5,
        "trials": 100,
        "seeds": 3,
        "epochs": 200,
        "rescored": 3,
        "sweep": 5,
        "attacks": "standard",
        "eps": (0.5 / 255, 1 / 255, 2 / 255, 4 / 255, 8 / 255),
        "l2_eps": (0.5,),
        "attack_points": 1000,
        "attack_replicates": 5,
    },
}
"""Preset → what it runs on and what it spends. `trials` is per loss, over all replicates."""
