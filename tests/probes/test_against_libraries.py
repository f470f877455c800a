"""The same random numbers, ties included, through pytorch-ood, torchmetrics, scikit-learn and this project.

Conventions: pytorch-ood calls unknown samples positive, with higher = unknown, and its scores are minus ours; its FPR95
is our fpr95_ood, and ours is its with the parts exchanged. torchmetrics puts a confidence on an edge into the upper bin
and we into the lower one (lo, hi], so confidences on edges are left out there.
"""

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from sklearn.metrics import auc, average_precision_score, brier_score_loss, precision_recall_curve, roc_auc_score

from study.probes import accuracy, calibration, rejection, segmentation

TIED = st.integers(-4, 4).map(lambda k: k / 4)
SPREAD = st.integers(-5000, 5000).map(lambda k: k / 1000)
SCORES = st.one_of(st.lists(TIED, min_size=1, max_size=40), st.lists(SPREAD, min_size=1, max_size=40))
SEED = st.integers(0, 2**31 - 1)
quickly = settings(max_examples=60, deadline=None, derandomize=True)


@pytest.fixture(scope="module")
def ood():
    from pytorch_ood.metrics import functional

    return functional


@pytest.fixture(scope="module")
def classification():
    from torchmetrics.functional import classification

    return classification


def as_theirs(inside, outside):
    """Outlier scores, and labels that are negative for unknown samples."""
    values = -np.concatenate([inside, outside]).astype(np.float64)
    labels = np.concatenate([np.zeros(len(inside), int), np.full(len(outside), -1)])
    return torch.tensor(values), torch.tensor(labels)


@quickly
@given(inside=SCORES, outside=SCORES)
def test_rejection_against_pytorch_ood(ood, inside, outside):
    scores, labels = as_theirs(inside, outside)
    assert rejection.auroc(inside, outside) == pytest.approx(float(ood.auroc(scores, labels)), abs=1e-9)
    assert rejection.aupr_in(inside, outside) == pytest.approx(float(ood.aupr(scores, labels, "id")), abs=1e-9)
    assert rejection.aupr_out(inside, outside) == pytest.approx(float(ood.aupr(scores, labels, "ood")), abs=1e-9)
    assert rejection.fpr95_ood(inside, outside) == pytest.approx(float(ood.fpr_at_tpr(scores, labels)), abs=1e-9)
    exchanged, parts = as_theirs(-np.array(outside), -np.array(inside))
    assert rejection.fpr95(inside, outside) == pytest.approx(float(ood.fpr_at_tpr(exchanged, parts)), abs=1e-9)


@quickly
@given(inside=SCORES, outside=SCORES)
def test_rejection_against_scikit_learn_and_torchmetrics(classification, inside, outside):
    known = np.concatenate([np.ones(len(inside), int), np.zeros(len(outside), int)])
    values = np.concatenate([inside, outside]).astype(np.float64)
    assert rejection.auroc(inside, outside) == pytest.approx(roc_auc_score(known, values), abs=1e-9)
    precision, recall, _ = precision_recall_curve(known, values)
    assert rejection.aupr_in(inside, outside) == pytest.approx(auc(recall, precision), abs=1e-9)
    probabilities = torch.tensor((values + 5.0) / 10.0)  # torchmetrics squashes what lies outside of [0, 1]
    theirs = classification.binary_auroc(probabilities, torch.tensor(known))
    assert rejection.auroc(inside, outside) == pytest.approx(float(theirs), abs=1e-5)
    step = average_precision_score(known, values)
    assert float(classification.binary_average_precision(probabilities, torch.tensor(known))) == pytest.approx(
        step, abs=1e-5
    ), "average precision is another number than the trapezoid; both libraries agree on it"


@quickly
@given(count=st.integers(2, 60), classes=st.integers(2, 6), seed=SEED, coarse=st.booleans())
def test_calibration_and_accuracy_against_torchmetrics_and_scikit_learn(classification, count, classes, seed, coarse):
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 2, (count, classes)).round(0 if coarse else 6)
    labels = rng.integers(0, classes, count)
    p = torch.softmax(torch.tensor(logits), 1)
    confidence = p.max(1).values.numpy()
    assume((np.abs(confidence * 15 - np.rint(confidence * 15)) > 1e-4).all())
    correct = logits.argmax(1) == labels
    assume(all((np.sort(row)[-1] - np.sort(row)[-2]) > 0 for row in logits))  # ties go to the first class with us
    target = torch.tensor(labels)
    theirs = classification.multiclass_calibration_error(p, target, classes, n_bins=15, norm="l1")
    assert calibration.ece(confidence, correct) == pytest.approx(float(theirs), abs=1e-6)
    assert calibration.brier(logits, labels) == pytest.approx(
        brier_score_loss(labels, p.numpy(), labels=np.arange(classes), scale_by_half=False), abs=1e-9
    )
    shares, counts = accuracy.class_accuracies(logits.argmax(1), labels, classes)
    own = classification.multiclass_accuracy(p, target, classes, average=None).numpy()
    np.testing.assert_allclose(shares[counts > 0], own[counts > 0], atol=1e-6)


@quickly
@given(classes=st.integers(2, 5), seed=SEED, ignored=st.booleans())
def test_iou_against_torchmetrics(classification, classes, seed, ignored):
    rng = np.random.default_rng(seed)
    true, predicted = rng.integers(0, classes, (2, 3, 4, 4))
    if ignored:
        true[:, 0] = -100
    matrix = segmentation.confusions(predicted, true, classes).sum(0)
    theirs = classification.multiclass_jaccard_index(
        torch.tensor(predicted), torch.tensor(true), classes, average=None, ignore_index=-100 if ignored else None
    ).numpy()
    union = matrix.sum(0) + matrix.sum(1) - np.diag(matrix)
    np.testing.assert_allclose(segmentation.iou(matrix)[union > 0], theirs[union > 0], atol=1e-6)


@quickly
@given(scores=SCORES, seed=SEED)
def test_risk_coverage_against_a_sum_over_orders_of_ties(scores, seed):
    """AURC with ties: a tie group is one step, weighted by its size. No library has it; counted one by one."""
    values = np.array(scores)
    correct = np.random.default_rng(seed).integers(0, 2, len(values)).astype(bool)
    steps = [(values >= t).sum() for t in values]
    errors = [(~correct[values >= t]).sum() for t in values]
    assert rejection.aurc(values, correct) == pytest.approx(
        np.mean([e / k for e, k in zip(errors, steps, strict=True)])
    )
    assert rejection.augrc(values, correct) == pytest.approx(np.mean([e / len(values) for e in errors]))
