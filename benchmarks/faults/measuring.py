"""Faults in what is measured of a trained model, and in what is concluded from it."""

from benchmarks.faults.fault import Fault

REJECTION, CALIBRATION, ACCURACY = (f"study/probes/{name}.py" for name in ("rejection", "calibration", "accuracy"))
VERDICTS, OUTPUTS = "study/probes/attack_verdicts.py", "study/outputs.py"
REPLICATES, STATISTICS = "study/comparison/replicates.py", "study/statistics.py"

T_REJECTION, T_CALIBRATION, T_ACCURACY, T_ATTACK, T_VERDICTS = (
    f"tests/probes/test_{name}.py" for name in ("rejection", "calibration", "accuracy", "attack", "attack_verdicts")
)
T_OUTPUTS, T_STATISTICS, T_COMPARE = (f"tests/study/test_{name}.py" for name in ("outputs", "statistics", "compare"))

MEASURING: tuple[Fault, ...] = (
    # Probes.
    Fault(
        "fpr95-other-way-round",
        "FPR95 exchanges inside and outside: it is the other of the two rates in use.",
        REJECTION,
        "s_in, s_out = as_scores(inside), as_scores(outside)\n"
        "    if not len(s_in) or not len(s_out):\n        return NOT_AVAILABLE\n    accepted",
        "s_out, s_in = as_scores(inside), as_scores(outside)\n"
        "    if not len(s_in) or not len(s_out):\n        return NOT_AVAILABLE\n    accepted",
        (T_REJECTION,),
    ),
    Fault(
        "auroc-ties-win",
        "AUROC counts ties as wins: saturated scores look perfect.",
        REJECTION,
        "(below + not_above).mean()",
        "(2 * not_above).mean()",
        (T_REJECTION,),
    ),
    Fault(
        "ece-bins-closed-below",
        "Confidences on an edge fall into the bin above: ECE is not that of the literature.",
        CALIBRATION,
        'np.searchsorted(edges, values, side="left")',
        'np.searchsorted(edges, values, side="right")',
        (T_CALIBRATION,),
    ),
    Fault(
        "temperature-of-test",
        "The temperature is fitted on the test set: scaled calibration is too good.",
        CALIBRATION,
        "temperature = fit_temperature(validation, validation_labels)",
        "temperature = fit_temperature(logits, labels)",
        (T_CALIBRATION,),
    ),
    Fault(
        "tau-of-test",
        "The post-hoc adjustment's strength is chosen on the test set.",
        ACCURACY,
        "tau, _ = choose_tau(validation_logits, validation_labels, class_counts)",
        "tau, _ = choose_tau(logits, labels, class_counts)",
        (T_ACCURACY,),
    ),
    Fault(
        "adjusted-at-test-too",
        "Logits are adjusted by the prior in the plain accuracy too: every loss gets logit adjustment.",
        ACCURACY,
        '_rows("accuracy", z.argmax(1), y,',
        '_rows("accuracy", adjust_logits(z, class_counts, 1.0).argmax(1), y,',
        (T_ACCURACY,),
    ),
    Fault(
        "miou-absent-classes",
        "Classes in neither truth nor prediction count with IoU 0.",
        "study/probes/segmentation.py",
        "out=np.full(union.shape, NOT_AVAILABLE)",
        "out=np.zeros(union.shape)",
        ("tests/probes/test_segmentation.py",),
    ),
    Fault(
        "forgetting-of-the-last",
        "Forgetting includes the last experience, of which nothing can be forgotten yet: it looks smaller.",
        "study/probes/continual.py",
        "matrix[j:last, j].max() - matrix[last, j] for j in range(last)",
        "matrix[j:, j].max() - matrix[last, j] for j in range(last + 1)",
        ("tests/probes/test_continual.py",),
    ),
    Fault(
        "robust-after-last-attack",
        "Robust accuracy is that of the last attack alone and not the worst case.",
        VERDICTS,
        '(arrays["stands"][:attacks] != 0).all(0)',
        '(arrays["stands"][:attacks][-1] != 0)',
        (T_VERDICTS,),
    ),
    Fault(
        "misclassified-are-robust",
        "Points that are wrong without any attack count as robust.",
        VERDICTS,
        'return arrays["clean"] & ~fallen_before(arrays)',
        "return ~fallen_before(arrays)",
        (T_VERDICTS,),
    ),
    Fault(
        "carried-points-dropped",
        "Points that fell within a smaller ball count as robust in the larger one, where they are not attacked again.",
        VERDICTS,
        "& ~fallen_before(arrays) & (arrays",
        "& (arrays",
        (T_VERDICTS, T_ATTACK),
    ),
    Fault(
        "attacked-in-training-mode",
        "Models are attacked and judged with batch norm in training mode.",
        "study/probes/attack.py",
        "    model.eval()\n    for parameter, _ in wanted:",
        "    for parameter, _ in wanted:",
        (T_ATTACK,),
    ),
    Fault(
        "labels-of-other-images",
        "A model's logits are stored with the labels of other test images.",
        OUTPUTS,
        "subject.logits(model, part.images), part.labels\n",
        "subject.logits(model, part.images), part.labels[::-1]\n",
        (T_OUTPUTS,),
    ),
    Fault(
        "corrupted-labels-of-other-images",
        "Corrupted images are scored with the labels of the first test images.",
        OUTPUTS,
        "corruption.rows(predicted, labels[points], clean",
        "corruption.rows(predicted, labels[: len(points)], clean",
        (T_OUTPUTS,),
    ),
    Fault(
        "corruption-by-loss",
        "Every loss is tested on other corrupted images: paired differences are not paired.",
        OUTPUTS,
        'derive(config.seed, "corruption", subject.key.replicate)',
        'derive(config.seed, "corruption", subject.key.replicate, subject.key.loss)',
        (T_OUTPUTS,),
    ),
    Fault(
        "attacked-labels-of-other-images",
        "Attacks count with the labels of the first test images: most points are wrong before they are attacked.",
        "study/attack_block.py",
        "torch.tensor(data.test.labels[points])",
        "torch.tensor(data.test.labels[: len(points)])",
        (T_OUTPUTS,),
    ),
    Fault(
        "rejected-wrong-not-counted",
        "DAR counts a wrong sample that is accepted, and none that is rejected.",
        "study/probes/dar.py",
        "np.where(verdicts, given >= limit, given < limit)",
        "np.where(verdicts, given >= limit, given >= limit)",
        ("tests/probes/test_dar.py",),
    ),
    Fault(
        "rejector-forgotten",
        "The attack that has to pass the rejector only has to be misclassified.",
        "study/probes/adaptive.py",
        "(logits.argmax(1) != target) & (worth >= threshold)",
        "(logits.argmax(1) != target) & (worth >= threshold.__class__('-inf'))",
        ("tests/probes/test_adaptive.py",),
    ),
    Fault(
        "transfer-of-other-images",
        "Images that broke another model are tried on the wrong test images, and break next to nothing.",
        "study/attack_join.py",
        'others.append((theirs["found"] + start,',
        'others.append((theirs["found"],',
        ("tests/study/test_attacks.py",),
    ),
    # Statistics.
    Fault(
        "seeds-pooled",
        "Retrainings count as replicates: intervals speak of seeds and not of searches.",
        REPLICATES,
        '[*CELL, "replicate", "loss"], sort',
        '[*CELL, "replicate", "seed", "loss"], sort',
        (T_COMPARE,),
    ),
    Fault(
        "difference-reversed",
        "Differences are cross-entropy minus the loss: every verdict is turned round.",
        REPLICATES,
        "return paired_t(x, y, ratio=ratio)",
        "return paired_t(y, x, ratio=ratio)",
        (T_COMPARE,),
    ),
    Fault(
        "overlap-ignored",
        "Standard errors ignore that training sets overlap: false alarms are several times too many.",
        STATISTICS,
        "return sd * sqrt(1 / n + ratio)",
        "return sd * sqrt(1 / n)",
        (T_STATISTICS,),
    ),
    Fault(
        "holm-dropped",
        "p-values are not adjusted for the number of tasks.",
        STATISTICS,
        "min(1.0, (len(p_values) - rank) * p)",
        "min(1.0, p)",
        (T_STATISTICS,),
    ),
    Fault(
        "holm-reversed",
        "Holm's factors run from 1 to m: the smallest p-value is not adjusted at all.",
        STATISTICS,
        "min(1.0, (len(p_values) - rank) * p)",
        "min(1.0, (rank + 1) * p)",
        (T_STATISTICS,),
    ),
    Fault(
        "equivalence-by-one-side",
        "Equality needs one of the two one-sided tests only: a large gain counts as equal.",
        STATISTICS,
        "Equivalence(max(p_low, p_high), p_low",
        "Equivalence(p_low, p_low",
        (T_STATISTICS,),
    ),
    # The field's baselines.
    Fault(
        "gate-open-above",
        "A baseline far above all published figures passes: another setting is taken for the field's.",
        "study/comparison/published.py",
        "low - TOLERANCE <= ours <= high + TOLERANCE",
        "low - TOLERANCE <= ours",
        ("tests/study/test_published.py",),
    ),
)
