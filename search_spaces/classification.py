"""Classification of balanced, clean images: what each preset spends.

Label smoothing is in cross-entropy's own space. `paper`: ResNet-18 in its form for CIFAR, 200 epochs, as the published
figures of CIFAR are made (DeVries and Taylor 2017, arXiv 1708.04552: SGD 0.1, batch 128, weight decay 5e-4).
"""

from search_spaces.presets import CORE, presets
from search_spaces.recipes import RECIPES

__all__ = ["PRESETS", "RECIPES"]

PRESETS = presets(
    quick={"epochs": 8}, full={"losses": (*CORE, "focal"), "epochs": 20}, paper={"losses": (*CORE, "focal")}
)
