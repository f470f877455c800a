"""Robustness against attacks: what each preset spends. Every model of every arm is attacked: it is the endpoint.

Source of the CIFAR recipe and of `paper`: Pang et al. 2021 (arXiv 2010.00467), whose base setting trains 110 epochs
with SGD 0.1, momentum 0.9, weight decay 5e-4 and batch 128; the rate drops twice near the end (theirs: × 0.1 at epochs
100 and 105; here: the step schedule). PreAct-ResNet-18 is the network of Rice et al. 2020 (arXiv 2002.11569).
"""

from collections.abc import Mapping

from search_spaces.presets import presets
from search_spaces.recipes import with_cifar

RECIPES = with_cifar(schedule="step", warmup_epochs=0)

_METHODS = {"methods": ("plain", "pgd", "pgd_own", "fast", "fast_own", "trades", "trades_own")}

TRAINING_EPS: Mapping[str, float] = {"digits": 0.1, "natural": 8 / 255}
"""Linf radius at which defences train and are judged, for images of digits and for natural ones."""

PRESETS = presets(
    smoke={"attack_replicates": 2, "training_eps": TRAINING_EPS},
    quick={"epochs": 8, "attack_replicates": 3, "training_eps": TRAINING_EPS},
    full={**_METHODS, "epochs": 20, "training_eps": TRAINING_EPS},
    paper={**_METHODS, "model": "preact_resnet18", "epochs": 110, "training_eps": TRAINING_EPS},
)
