"""Open-set rejection: six known classes of ten, and what each preset spends."""

from search_spaces.presets import presets
from search_spaces.recipes import RECIPES

__all__ = ["PRESETS", "RECIPES"]

_METHODS = {"methods": ("plain", "outlier_exposure")}

PRESETS = presets(quick={"epochs": 12}, full={**_METHODS, "epochs": 30}, paper=_METHODS)
