"""Detection accuracy rate (DAR): one number for accepting what is right and rejecting what is not.

After Spratling, arXiv 2308.04137; its text could not be read, so this is our reading, and never a primary endpoint. A
sample counts if it is accepted and right, or rejected and (unknown or wrong). The threshold is the largest that accepts
at least 95 % of the clean validation samples (dar_all), or of those among them that are classified correctly
(dar_correct). Five kinds, each the mean of its sets; the mean over the five stands in slice "all":

    clean           test images
    corrupt         test images under every corruption and severity
    adversarial     test images under the adaptive attack (`adaptive`), which has to pass the rejector; no other
    novel           outside sets near, far, and a user's own
    unrecognisable  noise and scrambled images
"""

import math
from collections.abc import Collection, Iterable, Mapping, Sequence

import numpy as np

from study.probes.rejection import ACCEPTED_PERCENT, scores
from study.probes.rows import (
    NOT_AVAILABLE,
    ArrayLike,
    BoolArray,
    FloatArray,
    Row,
    as_labels,
    as_logits,
    as_scores,
    as_verdicts,
    mean,
    row,
)

KINDS = ("clean", "corrupt", "adversarial", "novel", "unrecognisable")
SCORES = ("mls", "msp")
RULES = ("all", "correct")
ADVERSARIAL = "adversarial:"
NOVEL = ("near", "far", "user")
PROBE = "dar"


def threshold(validation: ArrayLike) -> float:
    """Return the largest threshold that accepts at least 95 % of scores (N,); nan if there are none."""
    values = np.sort(as_scores(validation))
    if not len(values):
        return NOT_AVAILABLE
    accepted = -(-ACCEPTED_PERCENT * len(values) // 100)
    return float(values[len(values) - accepted])


def thresholds(logits: ArrayLike, labels: ArrayLike) -> dict[str, dict[str, float]]:
    """Return score → rule → threshold, from clean validation samples: of all of them, and of the correct ones."""
    z = as_logits(logits)
    right = z.argmax(1) == as_labels(labels, len(z), z.shape[1])
    found = scores(z)
    return {name: {"all": threshold(found[name]), "correct": threshold(found[name][right])} for name in SCORES}


def counted(values: ArrayLike, right: ArrayLike, limit: float) -> BoolArray:
    """Return (N,) whether a sample counts: accepted (score >= limit) and right, or rejected and not right.

    Args:
        values: scores (N,).
        right: (N,), whether it is classified correctly; never for an unknown sample.
        limit: the threshold.
    """
    given = as_scores(values)
    verdicts = as_verdicts(right, len(given))
    return np.where(verdicts, given >= limit, given < limit)


Samples = tuple[Mapping[str, FloatArray], BoolArray]
"""(score → values (N,), whether each sample is right (N,))"""


def known(logits: ArrayLike, labels: ArrayLike) -> Samples:
    """Return the scores of known samples, and which are classified correctly."""
    z = as_logits(logits)
    return scores(z), z.argmax(1) == as_labels(labels, len(z), z.shape[1])


def unknown(logits: ArrayLike) -> Samples:
    """Return the scores of unknown samples: none of them is right."""
    z = as_logits(logits)
    return scores(z), np.zeros(len(z), dtype=np.bool_)


def rows(kinds: Mapping[str, Sequence[Samples]], limits: Mapping[str, Mapping[str, float]]) -> list[Row]:
    """Return the rows of probe "dar" for kinds whose samples are there; the dataset is the kind.

    Slice mls or msp: dar_all and dar_correct, with accepted_all and accepted_correct, the share that is accepted.
    Slice "accept all" and "reject all": what a rejector gets that never looks, as dar_all and dar_correct alike.

    Args:
        kinds: kind → its sets.
        limits: score → rule → threshold.
    """
    result = []
    for kind, sets in kinds.items():
        filled = [(values, right) for values, right in sets if len(right)]
        n = sum(len(right) for _, right in filled)
        for score, of_score in limits.items():
            for rule, limit in of_score.items():
                there = [] if math.isnan(limit) else filled
                dar = [mean(counted(values[score], right, limit)) for values, right in there]
                accepted = [mean(values[score] >= limit) for values, _ in there]
                result.append(row(PROBE, kind, score, f"dar_{rule}", mean(np.array(dar)), n))
                result.append(row(PROBE, kind, score, f"accepted_{rule}", mean(np.array(accepted)), n))
        right_share = mean(np.array([mean(right) for _, right in filled]))
        result += reference_rows(kind, right_share, 1.0 - right_share, n)
    return result


def reference_rows(dataset: str, accept: float, reject: float, n: int) -> list[Row]:
    """Return what accepting and what rejecting everything gives."""
    lines = {"accept all": accept, "reject all": reject}
    return [row(PROBE, dataset, name, f"dar_{rule}", value, n) for name, value in lines.items() for rule in RULES]


def totals(found: Iterable[Row], attacks: Collection[str] = ()) -> list[Row]:
    """Return one model's rows of the kind "adversarial" and of the mean over the five kinds, dataset "all".

    The mean is nan where a kind is missing, and both are where an attack is: they would be means over other things.

    Args:
        found: all the model's rows; those of other probes are left alone.
        attacks: datasets of the attacks that any model has.
    """
    mine = [r for r in found if r["probe"] == PROBE and r["metric"].startswith("dar_")]
    result = []
    for part, metric in dict.fromkeys((r["slice"], r["metric"]) for r in mine):
        chosen = [r for r in mine if (r["slice"], r["metric"]) == (part, metric)]
        attacked = [r for r in chosen if r["dataset"].startswith(ADVERSARIAL)]
        every_attack = {r["dataset"] for r in attacked} >= set(attacks)
        adversarial = mean(np.array([r["value"] for r in attacked])) if every_attack else NOT_AVAILABLE
        n = sum(r["n"] for r in attacked)
        result.append(row(PROBE, "adversarial", part, metric, adversarial, n))
        values = {r["dataset"]: r["value"] for r in chosen} | {"adversarial": adversarial}
        every = [values.get(kind, math.nan) for kind in KINDS]
        result.append(row(PROBE, "all", part, metric, sum(every) / len(every), sum(r["n"] for r in chosen)))
    return result
