import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import auc, precision_recall_curve, roc_auc_score, roc_curve

from study.errors import InputError
from study.probes.rejection import (
    METRICS,
    SCORES,
    adversarial_rows,
    augrc,
    aupr_in,
    aupr_out,
    aurc,
    auroc,
    corrupt_rows,
    fpr95,
    fpr95_ood,
    oscr,
    rows,
    scores,
)

# Expected numbers from an independent computation, checked against torch and scikit-learn.
INSIDE = [0.99, 0.95, 0.9, 0.85, 0.8, 0.75, 0.7, 0.65, 0.6, 0.2]
OUTSIDE = [0.97, 0.72, 0.5, 0.45, 0.4, 0.35, 0.3, 0.25, 0.15, 0.1]
CORRECT = [1, 1, 1, 0, 1, 1, 0, 1, 1, 0]
LOGITS = [[2.0, 1.5, 0.0, -1.0], [0.2, 0.5, 0.1, 0.4], [5.0, -1.0, 0.0, 1.0], [-0.5, 0.3, 1.2, 1.1]]
SCORES_OF_LOGITS = {
    "entropy": [-0.9868424483676648, -1.3739212307507063, -0.14572069380881353, -1.221434425306033],
    "energy": [2.5831386637261224, 1.698751904542098, 5.027160139461845, 2.113924174516724],
    "msp": [0.5581437888270915, 0.30157036572914203, 0.9732053804590249, 0.40094774394584903],
    "mls": [2.0, 0.5, 5.0, 1.2],
}

tied_scores = st.lists(st.integers(0, 8).map(lambda k: k / 4), min_size=1, max_size=40)


@pytest.mark.parametrize(
    ("function", "arguments", "expected"),
    [
        (auroc, (INSIDE, OUTSIDE), 0.81),
        (fpr95, (INSIDE, OUTSIDE), 0.8),
        (fpr95_ood, (INSIDE, OUTSIDE), 0.9),
        (aupr_in, (INSIDE, OUTSIDE), 0.7632923775570833),
        (aupr_out, (INSIDE, OUTSIDE), 0.8085899042477989),
        (oscr, (INSIDE, CORRECT, OUTSIDE), 0.62),
        (aurc, (INSIDE, CORRECT), 0.16746031746031748),
        (augrc, (INSIDE, CORRECT), 0.12),
    ],
)
def test_known_numbers(function, arguments, expected):
    assert function(*arguments) == pytest.approx(expected, abs=1e-14)


def test_known_scores():
    for name, values in scores(LOGITS).items():
        np.testing.assert_allclose(values, SCORES_OF_LOGITS[name], rtol=1e-13, err_msg=name)


def test_scores_do_not_overflow():
    for values in scores([[1e4, 0.0], [-1e4, 0.0]]).values():
        assert np.isfinite(values).all()


@settings(max_examples=40, deadline=None)
@given(tied_scores, tied_scores)
def test_against_scikit_learn(inside, outside):
    truth = np.array([1] * len(inside) + [0] * len(outside))
    both = np.array(inside + outside)
    assert auroc(inside, outside) == pytest.approx(roc_auc_score(truth, both))
    for function, positive, score in ((aupr_in, truth, both), (aupr_out, 1 - truth, -both)):
        precision, recall, _ = precision_recall_curve(positive, score)
        assert function(inside, outside) == pytest.approx(auc(recall, precision))
    for function, positive, score in ((fpr95, truth, both), (fpr95_ood, 1 - truth, -both)):
        false, true, _ = roc_curve(positive, score, drop_intermediate=False)
        assert function(inside, outside) == pytest.approx(false[np.argmax(true >= 0.95)])


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 8), st.booleans()), min_size=1, max_size=40), tied_scores)
def test_oscr_against_pairs(known, outside):
    inside = np.array([score for score, _ in known]) / 4
    correct = np.array([right for _, right in known])
    wins = (inside[:, None] > outside) + 0.5 * (inside[:, None] == outside)
    expected = (wins * correct[:, None]).mean()
    assert oscr(inside, correct, outside) == pytest.approx(expected)
    # the area itself, threshold by threshold
    x, y = [0.0], [0.0]
    for threshold in sorted({*inside, *outside}, reverse=True):
        x.append(np.mean(np.array(outside) >= threshold))
        y.append(np.mean(correct & (inside >= threshold)))
    assert np.dot(np.diff(x), (np.array(y[1:]) + y[:-1]) / 2) == pytest.approx(expected)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=1, max_size=40))
def test_risk_areas_against_their_definition(known):
    confidence = np.array([score for score, _ in known])
    correct = np.array([right for _, right in known])
    # every sample of a tie group has the risk at the group's end
    ends = [(confidence >= c).sum() for c in confidence]
    errors = [(~correct[confidence >= c]).sum() for c in confidence]
    assert aurc(confidence, correct) == pytest.approx(np.mean(np.divide(errors, ends)))
    assert augrc(confidence, correct) == pytest.approx(np.mean(np.divide(errors, len(known))))


def test_risk_areas_without_ties_are_means_over_k():
    rng = np.random.default_rng(0)
    confidence, correct = rng.normal(size=50), rng.random(50) < 0.7
    wrong = np.cumsum(~correct[np.argsort(-confidence)])
    assert aurc(confidence, correct) == pytest.approx(np.mean(wrong / np.arange(1, 51)))
    assert augrc(confidence, correct) == pytest.approx(np.mean(wrong / 50))


@pytest.mark.parametrize("n", [1, 19, 20, 21, 40, 60, 100])
def test_threshold_of_fpr95_accepts_no_less_than_95_percent(n):
    inside = np.arange(n, dtype=float)
    accepted = math.ceil(round(0.95 * n, 9))
    just_below, at = [n - accepted - 0.5], [float(n - accepted)]
    assert fpr95(inside, just_below) == 0.0
    assert fpr95(inside, at) == 1.0


def test_all_equal_scores_are_a_coin():
    assert auroc([1.0] * 5, [1.0] * 7) == 0.5
    assert fpr95([1.0] * 5, [1.0] * 7) == 1.0
    assert oscr([1.0] * 4, [1, 1, 0, 0], [1.0] * 3) == 0.25
    assert oscr([1.0, 2.0], [0, 0], [0.0]) == 0.0


@pytest.mark.parametrize("metric", [auroc, fpr95, fpr95_ood, aupr_in, aupr_out])
def test_an_empty_side_is_not_available(metric):
    assert math.isnan(metric([], [1.0]))
    assert math.isnan(metric([1.0], []))


def test_empty_known_samples_are_not_available():
    assert math.isnan(oscr([], [], [1.0]))
    assert math.isnan(aurc([], []))
    assert math.isnan(augrc([], []))


def example(seed: int, n: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, 4))


def test_rows():
    logits, labels = example(0, 30), np.arange(30) % 4
    outside = {
        "letters": ("near", example(1, 10)),
        "held_out": ("near", example(2, 20)),
        "noise": ("unrecognisable", example(3, 5)),
        "nothing": ("unrecognisable", np.zeros((0, 4))),
    }
    table = rows(logits, labels, outside)
    found = {(r["dataset"], r["slice"], r["metric"]): (r["value"], r["n"]) for r in table}
    assert len(found) == len(table) == len(SCORES) * (2 + (4 + 3) * len(METRICS))
    known, out = scores(logits), scores(outside["letters"][1])
    assert found["letters", "mls", "auroc"] == (auroc(known["mls"], out["mls"]), 10)
    assert found["test", "msp", "aurc"] == (aurc(known["msp"], logits.argmax(1) == labels), 30)
    pair = [found[name, "energy", "fpr95"][0] for name in ("letters", "held_out")]
    assert found["group:near", "energy", "fpr95"] == (pytest.approx(np.mean(pair)), 30)
    assert found["group:unrecognisable", "msp", "oscr"] == found["noise", "msp", "oscr"]
    assert math.isnan(found["nothing", "msp", "oscr"][0])
    assert math.isnan(found["group:far", "msp", "auroc"][0])
    assert found["group:far", "msp", "auroc"][1] == 0


def test_further_scores_count_where_a_set_has_them():
    known, far = np.arange(8.0), np.array([-1.0, 3.0])
    outside = {"sky": ("far", example(1, 2)), "late": ("far", example(2, 2))}
    further = {"test": {"knn": known}, "sky": {"knn": far}}
    table = rows(example(0, 8), np.arange(8) % 4, outside, more_scores=further)
    found = {(r["dataset"], r["slice"], r["metric"]): r["value"] for r in table}
    assert found["sky", "knn", "auroc"] == found["group:far", "knn", "auroc"] == auroc(known, far)
    assert ("late", "knn", "auroc") not in found
    assert ("test", "knn", "aurc") in found
    with pytest.raises(InputError, match="knn of sky: expected 2 scores, got 1"):
        rows(example(0, 8), np.arange(8) % 4, outside, more_scores={**further, "sky": {"knn": far[:1]}})


def test_images_that_broke_a_model_are_those_to_reject():
    """By maximum logit 3 and 1 against 2, 0 and 0.5: five of six pairs in order; 95 % of two are both, at 1."""
    table = adversarial_rows("adversarial:Linf-0.1", [[3.0, 0.0], [1.0, 0.0]], [[2.0, 0.0], [0.0, -1.0], [0.5, 0.0]])
    found = {(r["slice"], r["metric"]): (r["value"], r["n"]) for r in table}
    assert found["mls", "auroc"] == (pytest.approx(5 / 6), 3)
    assert found["mls", "fpr95"] == (pytest.approx(1 / 3), 3)
    assert {r["dataset"] for r in table} == {"adversarial:Linf-0.1"}


def test_risk_on_corrupted_images_is_the_mean_over_corruptions():
    """An error below a right one: 0 and 1/2 of the risk, mean 1/4; above it 1 and 1/2, mean 3/4."""
    table = corrupt_rows({"mls": [([2.0, 1.0], [1, 0]), ([2.0, 1.0], [0, 1])]})
    found = {r["metric"]: (r["value"], r["n"]) for r in table}
    assert found["aurc"] == (pytest.approx((1 / 4 + 3 / 4) / 2), 4)
    assert found["augrc"] == (pytest.approx(((0 + 1 / 2) / 2 + (1 / 2 + 1 / 2) / 2) / 2), 4)


def test_a_users_set_has_its_own_group():
    table = rows(example(0, 8), np.arange(8) % 4, {"mine": ("user", example(1, 4))})
    assert {r["dataset"] for r in table} >= {"mine", "group:user"}


@pytest.mark.parametrize(
    ("outside", "message"),
    [
        ({"digits": ("shifted-known", example(1, 4))}, "unknown group of outside sets"),
        ({"letters": ("near", example(1, 4)[:, :3])}, "letters: expected 4 classes, got 3"),
    ],
)
def test_errors(outside, message):
    with pytest.raises(InputError, match=message):
        rows(example(0, 8), np.arange(8) % 4, outside)


def test_verdicts_must_be_verdicts():
    with pytest.raises(InputError, match="0 or 1"):
        aurc([0.5, 0.2], [2, 0])
