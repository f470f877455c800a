"""Class-incremental learning: five experiences of two classes, and what each preset spends.

`epochs` are those of one experience; the learning rate's schedule begins anew with each. `memory` is the size of the
replay buffer in images.

Source of the CIFAR recipe and of `paper`: Buzzega et al. 2020 (arXiv 2004.07211): ResNet-18, 50 epochs an experience,
rate 0.1, 32 new images and as many remembered ones a step, a buffer of 200. Theirs is plain SGD with a constant rate;
here momentum, weight decay and the fall of the rate are those of the other tasks.
"""

from search_spaces.presets import presets
from search_spaces.recipes import recipes

RECIPES = recipes(warmup_epochs=0)
RECIPES["cifar"] = {**RECIPES["cifar"], "batch_size": 64}

_METHODS = {"methods": ("replay", "naive", "joint")}

PRESETS = presets(
    {"experiences": 5, "memory": 200},
    smoke={"epochs": 3, "memory": 50},
    quick={"epochs": 4},
    full={**_METHODS, "epochs": 10},
    paper={**_METHODS, "epochs": 50},
)
