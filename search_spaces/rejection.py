"""Open-set rejection: what each preset spends; six known classes of ten, in `paper` all of CIFAR's.

Source of the CIFAR recipe and of `paper`: OpenOOD v1.5 (Zhang et al. 2023, arXiv 2306.09301): ResNet-18, 100 epochs,
SGD 0.1, momentum 0.9, weight decay 5e-4, cosine without warm-up, batch 128; all classes are known, and the near outside
sets are other data (for CIFAR-10 CIFAR-100 and Tiny ImageNet).
"""

from search_spaces.presets import presets
from search_spaces.recipes import with_cifar

RECIPES = with_cifar(warmup_epochs=0)

_METHODS = {"methods": ("plain", "outlier_exposure")}

AS_OPENOOD = {"near sets": 0, "no near sets": None}
"""Classes that `paper` holds out of data that have near outside sets by name, and of others (None: four tenths)."""

PRESETS = presets(
    quick={"epochs": 12},
    full={**_METHODS, "epochs": 30},
    paper={**_METHODS, "epochs": 100, "held_out": AS_OPENOOD},
)
