"""Rejection of the unknown: a model is to reject images of classes that it never saw, held out or of other data."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from search_spaces.rejection import PRESETS, RECIPES
from study.tasks.common import IMAGE_PROBES, recipe_from, score
from study.tasks.types import Applies, Cut, Endpoint, Judging, Task

if TYPE_CHECKING:
    from torch import nn

    from study.config import StudyConfig
    from study.data.types import Source, Splits

VALIDATION_OUTLIERS = 200


def split(source: "Source", config: "StudyConfig", cut: Cut) -> "Splits":
    """Cut test and validation, and hold out some of the classes; the replicate's order says which."""
    from study.data.open_set import cut_open

    return cut_open(source, split_seed=cut.split_seed, order_seed=cut.order_seed, held_out=config.held_out)


def judge(about: Judging) -> "Callable[[nn.Module, int], dict[str, float]]":
    """Return what scores a network on validation outliers, for the arm that may choose with them."""
    from study.data.photographs import outlier_pool
    from study.methods.outliers import outlier_judge

    shape = about.data.train.images.shape[1:]
    outliers = outlier_pool("validation", (shape[0], shape[1], shape[2]), VALIDATION_OUTLIERS, about.seed)
    return outlier_judge(about.data.validation, outliers, device=about.device, every=about.due)


REJECTION = Task(
    name="rejection",
    endpoint=Endpoint(
        probe="rejection",
        dataset="group:near",
        slice="mls",
        metric="auroc",
        method="plain",
        label="near AUROC (maximum logit)",
    ),
    objective="accuracy",
    objectives=("accuracy", "balanced_accuracy"),
    methods=("plain", "outlier_exposure"),
    selections={"tuned_outliers": "outlier_auroc"},
    presets=PRESETS,
    recipe=recipe_from(RECIPES),
    split=split,
    score=score,
    judge=judge,
    probes={**IMAGE_PROBES, "attack": Applies("restricted", "test images of the known classes")},
)
