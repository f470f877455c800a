"""Robustness: how many test images stay right whatever a bounded attack does to them, with and without a defence."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from search_spaces.adversarial import PRESETS, RECIPES
from study.tasks.common import IMAGE_PROBES, kind_of_images, plain_split, recipe_from, score
from study.tasks.types import Endpoint, Judging, Task

if TYPE_CHECKING:
    from torch import nn

JUDGED_POINTS = 200
JUDGING_STEPS = 5
RADII = {"digits": 0.1, "natural": 1 / 255}
UNDEFENDED = "plain"


def radius(dataset: str) -> float:
    """Return the Linf radius of the endpoint: 0.1 on digits, 1/255 on natural images."""
    return RADII[kind_of_images(dataset)]


def judge(about: Judging) -> "Callable[[nn.Module, int], dict[str, float]]":
    """Return what attacks a network in training with two short PGDs on validation images."""
    from study.methods.adversarial import robust_judge

    config = about.config
    return robust_judge(
        about.data.validation,
        radius(config.dataset) if about.method == UNDEFENDED else ADVERSARIAL.training_eps(config),
        seed=about.seed,
        device=about.device,
        points=JUDGED_POINTS,
        steps=JUDGING_STEPS,
        every=about.due,
    )


ADVERSARIAL = Task(
    name="adversarial",
    endpoint=Endpoint(
        probe="attack",
        dataset="test",
        slice="",
        metric="robust_accuracy",
        method="plain",
        label="robust accuracy",
    ),
    objective="robust_mean",
    objectives=("robust_mean", "robust_accuracy", "accuracy"),
    methods=("plain", "pgd", "pgd_own", "fast", "fast_own", "trades", "trades_own"),
    presets=PRESETS,
    recipe=recipe_from(RECIPES),
    split=plain_split,
    score=score,
    judge=judge,
    probes=IMAGE_PROBES,
    radius=radius,
)
