"""Long-tailed classification: literature recipes by data set, and what each preset spends.

Source of the CIFAR recipe: Cao et al. 2019 (LDAM): ResNet-32, 200 epochs, batch 128, SGD 0.1, momentum 0.9, weight
decay 2e-4, five warm-up epochs, learning rate × 0.01 at epochs 160 and 180.
"""

from search_spaces.presets import CORE, presets
from search_spaces.recipes import with_cifar

RECIPES = with_cifar(weight_decay=2e-4, schedule="step")

SPECIALISTS = ("ce_balanced", "ce_resampled", "focal", "ldam", "ldam_drw")

PRESETS = presets(
    quick={"losses": ("ce", "mm", "hem", "hem+", "logit_adjusted")},
    full={"losses": CORE + SPECIALISTS, "methods": ("plain", "drw")},
    paper={"losses": CORE + SPECIALISTS, "methods": ("plain", "drw"), "model": "resnet32"},
)
