"""Segmentation: a class for every pixel, of images with label maps or of composed scenes (digits on photographs)."""

from typing import TYPE_CHECKING

from search_spaces.segmentation import PRESETS, RECIPES
from study.tasks.common import recipe_from
from study.tasks.types import YES, Applies, Cut, Endpoint, Task

if TYPE_CHECKING:
    import numpy as np

    from study.config import StudyConfig
    from study.data.types import Source, Splits


def split(source: "Source", config: "StudyConfig", cut: Cut) -> "Splits":
    """Cut images with label maps as they are; of digits, compose scenes without shared digits or grounds."""
    from study.data.maps import cut_maps
    from study.data.scenes import split_scenes

    if source.is_map:
        return cut_maps(source, split_seed=cut.split_seed)
    return split_scenes(
        source,
        split_seed=cut.split_seed,
        n_train=config.scenes,
        n_validation=max(1, config.scenes // 4),
        n_test=max(1, config.scenes // 2),
    )


def score(predicted: "np.ndarray", labels: "np.ndarray") -> dict[str, float]:
    """Return mIoU and pixel accuracy of predicted classes (N, H, W): a class that is nowhere counts for nothing."""
    from study.probes.segmentation import confusions, miou, pixel_accuracy

    matrix = confusions(predicted, labels, 1 + int(max(predicted.max(), labels.max()))).sum(0)
    return {"miou": miou(matrix), "pixel_accuracy": pixel_accuracy(matrix)}


_NO = Applies("no", "made for one label an image")

SEGMENTATION = Task(
    name="segmentation",
    endpoint=Endpoint(
        probe="segmentation",
        dataset="test",
        slice="all",
        metric="miou",
        method="plain",
        label="mean IoU",
    ),
    objective="miou",
    objectives=("miou", "pixel_accuracy"),
    methods=("plain",),
    presets=PRESETS,
    recipe=recipe_from(RECIPES),
    split=split,
    score=score,
    dense=True,
    unusable={
        "ce_resampled": "pixels of a scene cannot be drawn one by one",
        "ldam_drw": "its deferred weights were made for one label an image",
    },
    probes={
        **dict.fromkeys(("accuracy", "posthoc", "rejection", "calibration", "corruption", "continual"), _NO),
        "attack": Applies("no", "AutoAttack has no form for maps"),
        "segmentation": YES,
    },
)
