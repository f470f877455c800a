"""Rejection: does the model know what it does not know?

Every score is higher for a sample that should be accepted. `inside` are scores of known classes, `outside` of samples
that should be rejected. All metrics are nan where one side is empty.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from scipy.special import log_softmax, logsumexp

from study.errors import InputError, unknown
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
    row,
)

SCORES = ("msp", "mls", "entropy", "energy")
GROUPS = ("near", "far", "unrecognisable", "user")
ALWAYS_REPORTED = ("near", "far", "unrecognisable")
METRICS = ("auroc", "fpr95", "fpr95_ood", "aupr_in", "aupr_out", "oscr")
ACCEPTED_PERCENT = 95


def scores(logits: ArrayLike) -> dict[str, FloatArray]:
    """Return the four scores (N,) of logits z (N, C), higher = accept.

    msp: max_j p_j with p = softmax(z); mls: max_j z_j; entropy: Σ_j p_j log p_j (negative entropy, in nats);
    energy: log Σ_j exp z_j.
    """
    z = as_logits(logits)
    log_p = log_softmax(z, axis=1)
    p = np.exp(log_p)
    return {
        "msp": p.max(1),
        "mls": z.max(1),
        "entropy": (p * log_p).sum(1),
        "energy": np.asarray(logsumexp(z, axis=1)),
    }


def auroc(inside: ArrayLike, outside: ArrayLike) -> float:
    """Return P(s_in > s_out) + ½ P(s_in = s_out), from the places of s_in in the order of s_out."""
    s_in, s_out = as_scores(inside), as_scores(outside)
    if not len(s_in) or not len(s_out):
        return NOT_AVAILABLE
    ordered = np.sort(s_out)
    below, not_above = (np.searchsorted(ordered, s_in, side) for side in ("left", "right"))
    return float((below + not_above).mean() / (2 * len(s_out)))


def fpr95(inside: ArrayLike, outside: ArrayLike) -> float:
    """Return the share of outside samples accepted at the largest threshold that accepts >= 95 % of the inside ones."""
    s_in, s_out = as_scores(inside), as_scores(outside)
    if not len(s_in) or not len(s_out):
        return NOT_AVAILABLE
    accepted = -(-ACCEPTED_PERCENT * len(s_in) // 100)  # the ceiling, in whole numbers
    threshold = np.sort(s_in)[len(s_in) - accepted]
    return float(np.mean(s_out >= threshold))


def fpr95_ood(inside: ArrayLike, outside: ArrayLike) -> float:
    """Return the share of inside samples rejected where >= 95 % of the outside ones are (OpenOOD, pytorch-ood)."""
    return fpr95(-as_scores(outside), -as_scores(inside))


def _precision_recall_area(positive: FloatArray, negative: FloatArray) -> float:
    """Return the trapezoid area under precision against recall, from (recall 0, precision 1) on."""
    if not len(positive) or not len(negative):
        return NOT_AVAILABLE
    true, false = accepted_counts(positive, negative)
    recall = np.append(0.0, true / len(positive))
    precision = np.append(1.0, true / (true + false))
    return float(np.trapezoid(precision, recall))


def accepted_counts(*groups: FloatArray) -> tuple[FloatArray, ...]:
    """Return for each group how many score at least t, for every distinct score t of all groups, largest t first."""
    thresholds = np.unique(np.concatenate(groups))[::-1]
    return tuple(len(g) - np.searchsorted(np.sort(g), thresholds, side="left").astype(np.float64) for g in groups)


def aupr_in(inside: ArrayLike, outside: ArrayLike) -> float:
    """Return the area under the precision-recall curve with inside as positive (trapezoid, not average precision)."""
    return _precision_recall_area(as_scores(inside), as_scores(outside))


def aupr_out(inside: ArrayLike, outside: ArrayLike) -> float:
    """Return the area under the precision-recall curve with outside as positive (trapezoid)."""
    return _precision_recall_area(-as_scores(outside), -as_scores(inside))


def oscr(inside: ArrayLike, correct: ArrayLike, outside: ArrayLike) -> float:
    """Return the area under "correct and accepted" (share of inside) against "accepted" (share of outside).

    Open-set classification rate (Dhamija et al. 2018), trapezoid over the thresholds: the share of pairs in which a
    correctly classified inside sample scores above an outside one, ties ½. At most the accuracy.

    Args:
        inside: scores (N,).
        correct: (N,), true where the known sample is classified correctly.
        outside: scores (M,).
    """
    s_in, s_out = as_scores(inside), as_scores(outside)
    right = as_verdicts(correct, len(s_in))
    if not len(s_in) or not len(s_out):
        return NOT_AVAILABLE
    return auroc(s_in[right], s_out) * float(right.mean()) if right.any() else 0.0


def risk_steps(confidence: ArrayLike, correct: ArrayLike) -> tuple[FloatArray, FloatArray]:
    """Return the number accepted and the errors among them, at every distinct confidence, largest first.

    Args:
        confidence: scores (N,), higher = accept.
        correct: (N,), true where the sample is classified correctly.
    """
    values = as_scores(confidence)
    accepted, errors = accepted_counts(values, values[~as_verdicts(correct, len(values))])
    return accepted, errors


def aurc(confidence: ArrayLike, correct: ArrayLike) -> float:
    """Return the area under the risk-coverage curve: mean over k of (errors among the k most confident) / k.

    A group of equal confidences is one step, weighted by its size. (Geifman and El-Yaniv 2017.) Range [0, 1], lower
    is better.
    """
    accepted, errors = risk_steps(confidence, correct)
    if not len(accepted):
        return NOT_AVAILABLE
    return _weighted(errors / accepted, accepted)


def augrc(confidence: ArrayLike, correct: ArrayLike) -> float:
    """Return the area under the generalised risk-coverage curve: mean over k of (errors among the k) / n.

    Ties as in `aurc`. (Traub et al. 2024.) Range [0, 1], lower is better.
    """
    accepted, errors = risk_steps(confidence, correct)
    if not len(accepted):
        return NOT_AVAILABLE
    return _weighted(errors / accepted[-1], accepted)


def _weighted(risk: FloatArray, accepted: FloatArray) -> float:
    """Return the mean of a step's risk, weighted by how many samples the step adds."""
    return float((np.diff(accepted, prepend=0.0) * risk).sum() / accepted[-1])


def rows(
    logits: ArrayLike,
    labels: ArrayLike,
    outside: Mapping[str, tuple[str, ArrayLike]],
    dataset: str = "test",
    more_scores: Mapping[str, Mapping[str, ArrayLike]] | None = None,
) -> list[Row]:
    """Return the rows of probe "rejection".

    Dataset = name of the outside set, slice = score: auroc, fpr95, fpr95_ood, aupr_in, aupr_out, oscr; n counts the
    outside samples. Dataset "group:<group>": the same, the mean over the group's sets that are not empty, nan if there
    is none. Dataset `dataset`: aurc and augrc; n counts the known samples.

    Args:
        logits: of the known test samples (N, C).
        labels: (N,), in [0, C).
        outside: name of the set → (group, logits (M, C)); group near, far, unrecognisable or user.
        dataset: the name of the known samples' set in the table.
        more_scores: name of every set, the known samples' too → further scores by name, as those by features.

    Raises:
        InputError: an unknown group. Shifted-known sets belong to probe "shifted": their classes are known.
    """
    z = as_logits(logits)
    correct = z.argmax(1) == as_labels(labels, len(z), z.shape[1])
    further = more_scores or {}
    known = _all_scores(dataset, z, further)
    result = []
    for score in known:
        for metric, function in (("aurc", aurc), ("augrc", augrc)):
            result.append(row("rejection", dataset, score, metric, function(known[score], correct), len(z)))
    per_group: dict[str, list[Row]] = {group: [] for group in ALWAYS_REPORTED}
    for name, (group, out_logits) in outside.items():
        if group not in GROUPS:
            raise unknown("group of outside sets", group, GROUPS)
        out = _all_scores(name, _outside_logits(name, out_logits, z.shape[1]), further)
        of_set = _set_rows(name, known, correct, out)
        result += of_set
        per_group.setdefault(group, []).extend(of_set)
    for group, members in per_group.items():
        result += _group_rows(group, members, list(known))
    return result


def _all_scores(name: str, logits: FloatArray, further: Mapping[str, Mapping[str, ArrayLike]]) -> dict[str, FloatArray]:
    """Return a set's scores by its logits, and the further ones that it comes with."""
    result = scores(logits)
    for score, values in further.get(name, {}).items():
        result[score] = as_scores(values)
        if len(result[score]) != len(logits):
            raise InputError(f"{score} of {name}: expected {len(logits)} scores, got {len(result[score])}")
    return result


def _outside_logits(name: str, logits: ArrayLike, num_classes: int) -> FloatArray:
    """Return an outside set's logits, with the number of classes checked."""
    array = as_logits(logits, f"logits of {name}")
    if array.shape[1] != num_classes:
        raise InputError(f"logits of {name}: expected {num_classes} classes, got {array.shape[1]}")
    return array


def _set_rows(
    name: str, known: Mapping[str, FloatArray], correct: BoolArray, out: Mapping[str, FloatArray]
) -> list[Row]:
    """Return the rows of one outside set, for the scores that it shares with the known samples."""
    result = []
    for score in (score for score in known if score in out):
        pair = known[score], out[score]
        values = {
            "auroc": auroc(*pair),
            "fpr95": fpr95(*pair),
            "fpr95_ood": fpr95_ood(*pair),
            "aupr_in": aupr_in(*pair),
            "aupr_out": aupr_out(*pair),
            "oscr": oscr(known[score], correct, out[score]),
        }
        result += [row("rejection", name, score, metric, values[metric], len(out[score])) for metric in METRICS]
    return result


def _group_rows(group: str, members: list[Row], names: Sequence[str]) -> list[Row]:
    """Return the mean over a group's sets, for every score and metric."""
    result = []
    for score in names:
        for metric in METRICS:
            chosen = [r for r in members if (r["slice"], r["metric"]) == (score, metric)]
            values = [r["value"] for r in chosen if not math.isnan(r["value"])]
            value = sum(values) / len(values) if values else NOT_AVAILABLE
            result.append(row("rejection", f"group:{group}", score, metric, value, sum(r["n"] for r in chosen)))
    return result


def adversarial_rows(dataset: str, logits: ArrayLike, adversarial: ArrayLike) -> list[Row]:
    """Return auroc and fpr95 for every score: clean test images as inside, images that broke the model as outside.

    Non-adaptive: the attack did not know of the rejector. n counts the adversarial images; nan if there are none. A
    point that fell within a smaller radius is there with the image of that radius.

    Args:
        dataset: how the set is called in the table.
        logits: of the clean test images under attack (N, C).
        adversarial: of the images that were found (M, C).
    """
    known, found = scores(logits), scores(adversarial)
    return [
        row("rejection", dataset, score, name, metric(known[score], found[score]), len(found[score]))
        for score in SCORES
        for name, metric in (("auroc", auroc), ("fpr95", fpr95))
    ]


def corrupt_rows(kept: Mapping[str, Sequence[tuple[ArrayLike, ArrayLike]]]) -> list[Row]:
    """Return aurc and augrc on corrupted images, the mean over kinds and severities; the dataset is "corrupt".

    Args:
        kept: score → for each kind and severity (scores (N,), whether each image is classified correctly (N,)).
    """
    return [
        row(
            "rejection",
            "corrupt",
            score,
            name,
            float(np.mean([metric(*pair) for pair in pairs])) if pairs else NOT_AVAILABLE,
            sum(len(as_scores(values)) for values, _ in pairs),
        )
        for score, pairs in kept.items()
        for name, metric in (("aurc", aurc), ("augrc", augrc))
    ]
