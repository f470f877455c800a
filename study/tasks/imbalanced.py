"""Imbalanced classification: a long-tailed training set, judged by balanced accuracy on a balanced test set."""

from typing import TYPE_CHECKING

from search_spaces.imbalanced import PRESETS, RECIPES
from study.tasks.common import IMAGE_PROBES, recipe_from, score
from study.tasks.types import YES, Cut, Endpoint, Task

if TYPE_CHECKING:
    from study.config import StudyConfig
    from study.data.types import Source, Splits

N_MAX = {"cifar10": 5000, "cifar100": 500}
"""Images of the head class in the field's long-tailed CIFAR (Cui et al. 2019): all that the official set has."""


def split(source: "Source", config: "StudyConfig", cut: Cut) -> "Splits":
    """Cut test, then validation, then the long tail.

    On CIFAR the models of the `paper` preset are retrained on the field's own 12,406 or 10,847 images: no validation
    part, classes in the order of their labels.
    """
    from study.data.registry import cut_defaults
    from study.data.tail import cut_imbalanced

    defaults = cut_defaults(source)
    field = cut.final and config.preset == "paper" and source.name in N_MAX
    return cut_imbalanced(
        source,
        split_seed=cut.split_seed,
        order_seed=None if field else cut.order_seed,
        ratio=defaults.ratio if config.imbalance_ratio is None else config.imbalance_ratio,
        test_per_class=defaults.test_per_class,
        validation_per_class=0 if field else defaults.validation_per_class,
        n_max=N_MAX[source.name] if field else None,
    )


IMBALANCED = Task(
    name="imbalanced",
    endpoint=Endpoint(
        probe="accuracy",
        dataset="test",
        slice="all",
        metric="balanced_accuracy",
        method="plain",
        label="balanced accuracy",
    ),
    objective="balanced_accuracy",
    objectives=("balanced_accuracy", "accuracy"),
    methods=("plain", "drw"),
    # Deferred re-weighting would replace ce_balanced's own weights, and ldam_drw is LDAM under it already.
    excluded=frozenset({("drw", "ce_balanced"), ("drw", "ldam_drw")}),
    presets=PRESETS,
    recipe=recipe_from(RECIPES),
    split=split,
    score=score,
    probes={**IMAGE_PROBES, "posthoc": YES},
)
