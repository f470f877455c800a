"""The grid that is to be run: data × networks of each task, every core loss on all of them; and what of it there is."""

from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd

from search_spaces.presets import CORE

GRID: tuple[tuple[str, str, str], ...] = (
    ("classification", "cifar10", "resnet18"),
    ("classification", "cifar10", "wrn_28_10"),
    ("classification", "cifar100", "resnet18"),
    ("classification", "cifar100", "wrn_28_10"),
    ("rejection", "cifar10", "resnet18"),
    ("rejection", "cifar100", "resnet18"),
    ("adversarial", "cifar10", "preact_resnet18"),
    ("adversarial", "cifar100", "preact_resnet18"),
    ("imbalanced", "cifar10", "resnet32"),
    ("imbalanced", "cifar100", "resnet32"),
    ("continual", "cifar10", "resnet18"),
    ("continual", "cifar100", "resnet18"),
    ("segmentation", "voc2012_aug", "deeplabv3_resnet50"),
)
"""(task, data set, network)."""
LOSSES = CORE
PRESET = "paper"
"""A cell counts as run when a run of this preset has the figure of the loss on the endpoint, arm tuned; a run of task
rejection has to know all classes, as OpenOOD has it."""


def coverage(runs: Iterable[tuple[Mapping[str, Any], pd.DataFrame]]) -> dict[str, Any]:
    """Return how much of the grid is there.

    Args:
        runs: study.json and the comparison of each run.

    Returns:
        declared and run: numbers of cells; rows: task, dataset, model, losses that were run, losses declared.
    """
    there: dict[tuple[str, str, str], set[str]] = {place: set() for place in GRID}
    for study, comparison in runs:
        place = tuple(str(study.get(name)) for name in ("task", "dataset", "model"))
        other = study.get("task") == "rejection" and dict(study.get("config") or {}).get("held_out") != 0
        if study.get("preset") == PRESET and place in there and not other:
            there[place] |= _measured(dict(study["primary"]), comparison) & set(LOSSES)
    rows = [
        {"task": task, "dataset": dataset, "model": model, "run": sorted(losses, key=LOSSES.index), "of": len(LOSSES)}
        for (task, dataset, model), losses in there.items()
    ]
    return {"declared": len(GRID) * len(LOSSES), "run": sum(len(losses) for losses in there.values()), "rows": rows}


def _measured(primary: Mapping[str, Any], comparison: pd.DataFrame) -> set[str]:
    rows = comparison[comparison["mean"].notna()]
    for name in ("probe", "dataset", "slice", "metric", "method", "arm"):
        rows = rows[rows[name] == primary[name]]
    return set(rows["loss"])
