"""Continual learning: classes come a few at a time, and the network is to know all of them in the end."""

from dataclasses import replace
from typing import TYPE_CHECKING

from search_spaces.continual import PRESETS, RECIPES
from study.errors import InputError, some
from study.tasks.common import IMAGE_PROBES, plain_split, recipe_from, score
from study.tasks.types import YES, Applies, Cut, Endpoint, Task

if TYPE_CHECKING:
    from study.config import StudyConfig
    from study.data.types import Source, Splits


def split(source: "Source", config: "StudyConfig", cut: Cut) -> "Splits":
    """Cut test and validation, and deal the classes out to experiences; the retraining has an order of its own.

    Raises:
        InputError: classes that cannot be dealt out equally, or an official test set without those of an experience.
    """
    from study.data.experiences import experiences
    from study.seeds import derive

    data = plain_split(source, config, cut)
    order = derive(cut.order_seed, "experiences", cut.final)
    dealt = experiences(len(data.classes), config.experiences, order)
    tested = set(data.test.labels.tolist())
    for part in dealt if cut.final else ():  # the search does not look at test images
        if tested.isdisjoint(part):
            names = some([source.classes[c] for c in part])
            raise InputError(
                f"{source.name}: an experience needs test images of one of its classes, got none of: {names}\n"
                "with --resplit every class has some"
            )
    return replace(data, experiences=dealt)


_FINAL = Applies("restricted", "the network after its last experience")

CONTINUAL = Task(
    name="continual",
    endpoint=Endpoint(
        probe="continual",
        dataset="test",
        slice="class-incremental",
        metric="acc",
        method="replay",
        label="class-incremental accuracy",
    ),
    objective="acc",
    objectives=("acc", "accuracy"),
    methods=("replay", "naive", "joint"),
    presets=PRESETS,
    recipe=recipe_from(RECIPES),
    split=split,
    score=score,
    unusable={
        "ce_resampled": "a replay buffer has its own way of drawing images",
        "ldam_drw": "its weights change late in a training, and every experience is a training of its own",
    },
    probes={
        **IMAGE_PROBES,
        "accuracy": _FINAL,
        "rejection": _FINAL,
        "calibration": _FINAL,
        "corruption": Applies("no", "the field reports continual learners on clean images"),
        "attack": Applies("no", "the field reports continual learners on clean images"),
        "continual": YES,
    },
)
