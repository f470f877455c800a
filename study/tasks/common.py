"""What several tasks share: recipes by data set, plain cuts, the score of logits, the usual probes."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from study.data.catalogue import CATALOGUE
from study.tasks.types import YES, Applies, Cut

if TYPE_CHECKING:
    import numpy as np

    from study.config import StudyConfig
    from study.data.types import Source, Splits

DIGITS = ("digits", "mnist5k", *(name for name, entry in CATALOGUE.items() if entry.radii == "digits"))
"""Data sets of light characters or clothes on black; all others are taken for natural images where radii of attacks are
chosen."""


def kind_of_images(dataset: str) -> str:
    """Return "digits" or "natural"."""
    return "digits" if dataset in DIGITS else "natural"


def recipe_from(recipes: Mapping[str, Mapping[str, Any]]) -> "Callable[[Source], Mapping[str, Any]]":
    """Return the function that finds a data set's literature recipe: its own, or that of its kind of images.

    Grey images, and those whose mirror image shows something else, get mnist5k's, which mirrors nothing.
    """

    def recipe(source: "Source") -> Mapping[str, Any]:
        if source.name.startswith("cifar"):
            return recipes["cifar"]
        entry = CATALOGUE.get(source.name)
        mirrored = source.shape[2] == 3 and (entry is None or entry.mirrored)
        return recipes.get(source.name, recipes["photographs" if mirrored else "mnist5k"])

    return recipe


def plain_split(source: "Source", config: "StudyConfig", cut: Cut) -> "Splits":
    """Cut test, then validation; all that is left is for training, with the class sizes that the data have."""
    from study.data.registry import cut_defaults
    from study.data.tail import cut_imbalanced

    defaults = cut_defaults(source)
    return cut_imbalanced(
        source,
        split_seed=cut.split_seed,
        order_seed=None,
        ratio=None,
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


POSTHOC_NO = Applies("no", "the prior of the training set is flat: nothing to adjust for")
IMAGE_PROBES: Mapping[str, Applies] = {
    "accuracy": YES,
    "posthoc": POSTHOC_NO,
    "rejection": YES,
    "calibration": YES,
    "corruption": Applies("restricted", "the kinds that make sense for the size and channels of the images"),
    "attack": YES,
    "continual": Applies("no", "all classes are learnt at once"),
    "segmentation": Applies("no", "one label an image"),
}
"""Probes of a task of images with one label each."""
