"""Robustness against attacks: what each preset spends. Every model of every arm is attacked: it is the endpoint."""

from search_spaces.presets import presets
from search_spaces.recipes import RECIPES

__all__ = ["PRESETS", "RECIPES"]

_METHODS = {"methods": ("plain", "pgd", "pgd_own", "fast", "fast_own", "trades", "trades_own")}

PRESETS = presets(
    smoke={"attack_replicates": 2},
    quick={"epochs": 8, "attack_replicates": 3},
    full={**_METHODS, "epochs": 20},
    paper=_METHODS,
)
