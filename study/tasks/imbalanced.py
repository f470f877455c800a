"""Imbalanced classification: a long-tailed training set, judged by balanced accuracy on a balanced test set."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from search_spaces.imbalanced import PRESETS, RECIPES
from study.tasks.types import Endpoint, Task

if TYPE_CHECKING:
    import numpy as np

    from study.data.types import Source, Splits


def recipe(source: "Source") -> Mapping[str, Any]:
    """Return the literature recipe for a data set: its own, or that of photographs of any size."""
    if source.name.startswith("cifar"):
        return RECIPES["cifar"]
    return RECIPES.get(source.name, RECIPES["photographs"])


def split(source: "Source", ratio: float | None, split_seed: int, order_seed: int) -> "Splits":
    """Cut test, then validation, then the long tail.

    Args:
        source: the data set.
        ratio: ρ = n_max / n_min; None takes the data set's default (none where it is imbalanced by nature).
        split_seed: which images go where.
        order_seed: which class is head and which is tail.
    """
    from study.data.registry import cut_defaults
    from study.data.tail import cut_imbalanced

    defaults = cut_defaults(source)
    return cut_imbalanced(
        source,
        split_seed=split_seed,
        order_seed=order_seed,
        ratio=defaults.ratio if ratio is None else ratio,
        test_per_class=defaults.test_per_class,
        validation_per_class=defaults.validation_per_class,
    )


def score(logits: "np.ndarray", labels: "np.ndarray") -> dict[str, float]:
    """Return accuracy and balanced accuracy of validation logits (N, C)."""
    from study.probes.accuracy import accuracy, balanced_accuracy

    predictions = logits.argmax(1)
    return {
        "accuracy": accuracy(predictions, labels),
        "balanced_accuracy": balanced_accuracy(predictions, labels, logits.shape[1]),
    }


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
    lead_variant="hem+",
    # Deferred re-weighting would replace ce_balanced's own weights, and ldam_drw is LDAM under it already.
    excluded=frozenset({("drw", "ce_balanced"), ("drw", "ldam_drw")}),
    presets=PRESETS,
    recipe=recipe,
    split=split,
    score=score,
)
