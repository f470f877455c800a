"""Class-incremental learning: five experiences of two classes, and what each preset spends.

`epochs` are those of one experience; the learning rate's schedule begins anew with each. `memory` is the size of the
replay buffer in images.
"""

from search_spaces.presets import presets
from search_spaces.recipes import recipes

RECIPES = recipes(warmup_epochs=0)

_METHODS = {"methods": ("replay", "naive", "joint")}

PRESETS = presets(
    {"experiences": 5, "memory": 200},
    smoke={"epochs": 3, "memory": 50},
    quick={"epochs": 4},
    full={**_METHODS, "epochs": 10},
    paper={**_METHODS, "epochs": 50},
)
