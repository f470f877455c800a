"""What is decided: the lead variant, the best set, the claims, and the family over several tasks; worked by hand."""

import math

import numpy as np
import pytest
from scipy import stats

from study.compare import confirmatory, decide_family
from study.comparison.claims import CLAIMS
from study.comparison.wording import amount, names, p_value
from study.report import _signed
from tests.study.evaluations import CLEAN, NOISE, PLANTED, PRIMARY, claim, judged, row, rows, study

# Lead variant.


@pytest.mark.parametrize(
    ("counts", "losses", "lead", "note"),
    [
        ((350, 50, 7), ["ce", "hem", "hem+"], "hem+", ""),
        ((100, 100, 100), ["ce", "hem", "hem+"], "hem", ""),
        ((350, 50, 7), ["ce", "hem"], "hem", "hem+ is the lead variant here but was not run: hem stands in for it."),
        ((9, 9), ["ce", "hem+"], "hem+", "hem is the lead variant here but was not run: hem+ stands in for it."),
    ],
)
def test_lead_variant(counts, losses, lead, note):
    values = {loss: PLANTED["ce" if loss == "ce" else "hem+"] for loss in losses}
    result, comparison = judged(values, counts=counts)
    assert result["lead_variant"] == lead
    assert row(comparison, loss=lead)["verdict"] == "win"
    assert [n for n in result["notes"] if "stands in" in n] == ([note] if note else [])
    assert ("stands in" in claim(result, "HEM > CE on imbalanced")["reason"]) == bool(note)


def test_a_lead_variant_that_failed_is_not_replaced():
    result, _ = judged({"ce": PLANTED["ce"], "hem": PLANTED["hem+"]}, losses=["ce", "hem", "hem+"])
    assert result["lead_variant"] == "hem+"
    assert "hem+ has no value on this endpoint" in result["headline"]
    assert claim(result, "HEM > CE on imbalanced")["verdict"] == "no information"


# The best set and the claims.


def test_the_best_set_keeps_what_is_not_shown_to_be_worse():
    values = {
        "ce": [0.60, 0.62, 0.58],
        "hem+": [0.69, 0.72, 0.69],
        "logit_adjusted": [0.70, 0.70, 0.71],  # 0.3 points above hem+, differences +1, -2, +2
        "dice": [0.40, 0.43, 0.38],
    }
    result, _ = judged(values)
    assert result["best_set"] == ["logit_adjusted", "hem+"]
    assert result["status"] == "undecided"
    assert result["headline"].startswith(
        "On balanced accuracy logit_adjusted and hem+ cannot be told apart from the best mean (logit_adjusted, "
        "70.3 %); ce and dice are worse (exploratory, not adjusted for the number of losses)."
    )
    assert any("exploratory" in note for note in result["notes"])
    assert claim(result, "logit-adjusted > HEM on imbalanced")["verdict"] == "undecided"
    got = claim(result, "DICE < HEM on imbalanced")
    assert got["verdict"] == "supported"
    assert got["p_holm"] is None
    assert got["reason"].startswith("exploratory")
    assert got["difference"] == pytest.approx((-0.29 - 0.29 - 0.31) / 3)


def test_claims_are_those_of_the_task_and_a_loss_that_was_not_run_decides_nothing():
    result, _ = judged(PLANTED)
    assert [c["claim"] for c in result["claims"]] == [
        "HEM > CE on imbalanced",
        "logit-adjusted > HEM on imbalanced",
        "DICE < HEM on imbalanced",
    ]
    got = claim(result, "DICE < HEM on imbalanced")
    assert (got["verdict"], got["difference"]) == ("undecided", None)
    assert got["reason"] == "dice was not run"


def test_the_table_of_claims_holds_all_of_the_papers():
    tasks = {"classification", "rejection", "adversarial", "imbalanced", "continual", "segmentation"}
    assert {c.task for c in CLAIMS if c.loss == "HEM"} == {c.task for c in CLAIMS if c.loss == "dice"} == tasks
    texts = {c.text for c in CLAIMS}
    assert len(texts) == len(CLAIMS) == 18
    assert {"HEM ≈ CE on clean images", "LogitNorm ≈ HEM on rejection", "logit-adjusted < HEM on segmentation"} <= texts


def test_a_claim_of_being_equal_without_a_margin_can_be_refuted_only():
    rejection = PRIMARY | {"probe": "rejection", "metric": "auroc", "label": "near AUROC"}
    same = {"ce": [0.80, 0.82, 0.79], "hem": [0.85, 0.88, 0.85], "logitnorm": [0.85, 0.875, 0.855]}
    result, _ = judged(same, primary=rejection, task="rejection", counts=(9, 9))
    assert claim(result, "LogitNorm ≈ HEM on rejection")["verdict"] == "undecided"
    apart = same | {"logitnorm": [0.70, 0.72, 0.71]}
    result, _ = judged(apart, primary=rejection, task="rejection", counts=(9, 9))
    assert claim(result, "LogitNorm ≈ HEM on rejection")["verdict"] == "refuted"


def test_on_an_upper_bound_no_claim_is_decided():
    robust = PRIMARY | {"probe": "attack", "metric": "robust_accuracy", "label": "robust accuracy"}
    apart = {"ce": [0.50, 0.52, 0.51], "hem": [0.60, 0.63, 0.61], "dice": [0.30, 0.31, 0.32]}
    for mode, verdicts in (("quick", {"undecided"}), ("standard", {"supported"})):
        attack = {"mode": mode, "points": 100, "replicates": 3}
        result, _ = judged(apart, primary=robust, task="adversarial", counts=(9, 9), attack=attack)
        assert {claim["verdict"] for claim in result["claims"]} == verdicts


# Equivalence.


@pytest.mark.parametrize(
    ("shift", "word", "claimed"),
    [
        ([0.0005, -0.0005, 0.0], "equal", "supported"),
        ([0.02, -0.02, 0.0], "undecided", "undecided"),
        ([-0.050, -0.052, -0.054], "loss", "refuted"),
        ([0.050, 0.052, 0.054], "win", "refuted"),
    ],
)
def test_clean_accuracy_is_judged_by_two_one_sided_tests(shift, word, claimed):
    ce = [0.90, 0.92, 0.91]
    values = {"ce": ce, "hem": [a + b for a, b in zip(ce, shift, strict=True)]}
    result, comparison = judged(values, primary=CLEAN, task="classification", counts=(9, 9))
    got = row(comparison, loss="hem")
    assert got["verdict"] == word
    difference = np.array(shift)
    se = difference.std(ddof=1) * math.sqrt(1 / 3 + 1 / 4)
    p = max(stats.t.sf((difference.mean() + 0.005) / se, 2), stats.t.cdf((difference.mean() - 0.005) / se, 2))
    assert (got["p"], got["p_holm"]) == pytest.approx((p, p))
    assert claim(result, "HEM ≈ CE on clean images")["verdict"] == claimed
    assert ("wins" in result["headline"]) == (word == "win")
    assert ("equals ce within 0.5 points" in result["headline"]) == (word == "equal")
    # s = 2 points: t(0.95, 2) s sqrt(7/12) = 2.919986 · 1.527525 = 4.5 points
    assert ("could show it within 4.5 points at best" in result["headline"]) == (word == "undecided")


def test_equal_is_never_said_of_another_endpoint():
    close = {"ce": [0.90, 0.92, 0.91], "hem+": [0.9005, 0.9195, 0.91]}
    result, comparison = judged(close)
    assert row(comparison, loss="hem+")["verdict"] == "undecided"
    assert "equal" not in result["headline"]


# The family over several tasks.


def member(values, task="imbalanced", **more):
    primary = more.pop("primary", PRIMARY)
    return confirmatory(rows(values, metric=primary["metric"]), study=study(values, task=task, primary=primary, **more))


def test_holm_over_several_tasks():
    # one-sided by hand: p = 1 - t / sqrt(2 + t²); p = 0.0058 (d = 10) and 0.0349 (d = 4, s = 1), and noise 0.88
    smaller = {"ce": [0.60, 0.62, 0.58], "hem+": [0.63, 0.66, 0.63]}
    members = [member(smaller, "continual"), member(NOISE, "segmentation"), member(PLANTED)]
    t = 0.04 / (0.01 * math.sqrt(7 / 12))
    second = 1 - t / math.sqrt(2 + t * t)
    assert members[0].p == pytest.approx(second)
    alone = [decide_family([m])[0] for m in members]
    assert [m.verdict for m in alone] == ["win", "undecided", "win"]
    together = decide_family(members)
    assert [m.p_holm for m in together] == pytest.approx([2 * second, members[1].p, 3 * members[2].p])
    assert [m.verdict for m in together] == ["undecided", "undecided", "win"]
    assert [m.primary.task for m in together] == ["continual", "segmentation", "imbalanced"]


def test_a_task_without_information_counts_for_nobody_and_still_in_the_family():
    ceiling = {"ce": [0.995, 0.996, 0.994], "hem+": [0.90, 0.90, 0.91]}
    two = {loss: values[:2] for loss, values in PLANTED.items()}
    nothing, short, planted = decide_family([member(ceiling), member(two), member(PLANTED)])
    assert (nothing.verdict, short.verdict) == ("no information", "")
    assert math.isnan(nothing.p_holm)
    assert math.isnan(short.p_holm)
    assert planted.p_holm == pytest.approx(3 * planted.p)
    assert {one.family for one in (nothing, short, planted)} == {3}


def test_equality_has_to_hold_against_the_whole_family():
    """s = 0.18 points: 0.5 points are 3.64 standard errors, p = 0.034; of two tasks it counts twice."""
    ce = [0.90, 0.92, 0.91]
    close = {"ce": ce, "hem": [a + b for a, b in zip(ce, [0.0018, 0.0, -0.0018], strict=True)]}
    clean = member(close, "classification", primary=CLEAN, counts=(9, 9))
    t = 0.5 / (0.18 * math.sqrt(7 / 12))
    assert clean.p == pytest.approx(0.5 * (1 - t / math.sqrt(2 + t * t)))
    assert decide_family([clean])[0].verdict == "equal"
    assert decide_family([clean, member(NOISE)])[0].verdict == "undecided"


def test_no_room_is_left_where_cross_entropy_has_none_and_chance_is_that_of_the_classes_that_compete():
    above = {"ce": [0.95, 0.95, 0.96], "hem+": [0.995, 0.994, 0.995]}
    assert judged(above)[0]["status"] != "no information"
    of_six = {"class_counts": [9, 8], "test_train_ratio": 0.25, "classes": list("abcdef")}
    data = {"classes": [str(k) for k in range(10)], "splits": [of_six] * 3}
    result, _ = judged({"ce": [0.17, 0.16, 0.17], "hem+": [0.18, 0.17, 0.16]}, data=data)
    assert "every loss lies within 2 points of chance (16.7 %)" in result["headline"]


def test_a_loss_beyond_the_margin_is_held_against_the_whole_family():
    ce = [0.90, 0.92, 0.91]
    worse = {"ce": ce, "hem": [a + b for a, b in zip(ce, [-0.050, -0.052, -0.054], strict=True)]}
    clean = member(worse, "classification", primary=CLEAN, counts=(9, 9))
    assert decide_family([clean])[0].verdict == "loss"
    # d = -5.2 points, s = 0.2: 4.7 points beyond the margin, t = 4.7 / (0.2 sqrt(7/12)); 60 times its p is 0.063
    t = 23.5 / math.sqrt(7 / 12)
    assert clean.p_beyond == pytest.approx(1 - t / math.sqrt(2 + t * t))
    assert decide_family([clean] * 60)[0].verdict == "undecided"


@pytest.mark.parametrize(
    ("value", "metric", "options", "text"),
    [
        (0.7123, "accuracy", {}, "71.2 %"),
        (0.0084, "auroc", {"points": True, "signed": True}, "+0.8 points"),
        (-0.0084, "fpr95", {"points": True, "signed": True}, "−0.8 points"),
        (-0.0004, "accuracy", {"points": True, "signed": True}, "0.0 points"),
        (0.0004, "accuracy", {"points": True, "signed": True}, "0.0 points"),
        (1.23456, "nll", {"points": True}, "1.235"),
        (math.nan, "accuracy", {}, "n/a"),
    ],
)
def test_numbers_as_a_reader_meets_them(value, metric, options, text):
    assert amount(value, metric, **options) == text


def test_p_values_and_lists_as_a_reader_meets_them():
    assert [p_value(p) for p in (0.412, 0.0412, 1e-5, math.nan)] == ["p = 0.41", "p = 0.041", "p < 0.001", "no p-value"]
    assert [names(list(losses)) for losses in ("a", "ab", "abc")] == ["a", "a and b", "a, b and c"]


def test_what_rounds_to_nothing_has_no_minus():
    assert [_signed(share) for share in (-0.0004, 0.0, 0.0126, -0.0126)] == ["+0.0", "+0.0", "+1.3", "-1.3"]
