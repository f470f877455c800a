"""Classification of balanced, clean images: what each preset spends.

Label smoothing is in cross-entropy's own space.
"""

from search_spaces.presets import CORE, presets
from search_spaces.recipes import RECIPES

__all__ = ["PRESETS", "RECIPES"]

PRESETS = presets(
    quick={"epochs": 8}, full={"losses": (*CORE, "focal"), "epochs": 20}, paper={"losses": (*CORE, "focal")}
)
