"""Classification of clean images with balanced classes: is a loss as good as cross-entropy where nothing is special?"""

from search_spaces.classification import PRESETS, RECIPES
from study.tasks.common import IMAGE_PROBES, plain_split, recipe_from, score
from study.tasks.types import Endpoint, Task

CLASSIFICATION = Task(
    name="classification",
    endpoint=Endpoint(
        probe="accuracy",
        dataset="test",
        slice="all",
        metric="accuracy",
        method="plain",
        label="clean accuracy",
        kind="equivalence",
        delta=0.005,
    ),
    objective="accuracy",
    objectives=("accuracy", "balanced_accuracy"),
    methods=("plain",),
    presets=PRESETS,
    recipe=recipe_from(RECIPES),
    split=plain_split,
    score=score,
    probes=IMAGE_PROBES,
)
