"""Small evaluation tables whose means, differences and verdicts were worked out by hand."""

import json
import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from study.compare import COLUMNS, compare, verdict
from study.errors import InputError
from tests.study.evaluations import CLEAN, NOISE, PLANTED, PRIMARY, claim, judged, row, rows, study

NUMBERS = ["mean", "sd", "low", "high", "difference", "difference_sd", "difference_low", "difference_high", "p"]


def test_the_rows_of_a_planted_difference_by_hand():
    _, comparison = judged(PLANTED)
    se = 0.01 * math.sqrt(1 / 3 + 1 / 4)
    t = 0.1 / se
    p = 1 - t / math.sqrt(2 + t * t)
    half = stats.t.ppf(0.975, 2) * se
    got = row(comparison, loss="hem+")
    assert got[["mean", "n"]].to_list() == pytest.approx([0.70, 3])
    assert got["sd"] == pytest.approx(math.sqrt(3) / 100)
    assert got["high"] - 0.70 == pytest.approx(stats.t.ppf(0.975, 2) * math.sqrt(3) * se)
    wanted = {"difference": 0.1, "difference_sd": 0.01, "difference_low": 0.1 - half, "difference_high": 0.1 + half}
    assert got[list(wanted)].to_list() == pytest.approx(list(wanted.values()))
    assert (got["p"], got["p_holm"]) == pytest.approx((p, p))
    assert got["smallest_detectable"] == pytest.approx(5.65349 * se, rel=1e-5)
    assert (got["role"], got["verdict"], got["higher_is_better"]) == ("primary", "win", True)
    ce = row(comparison, loss="ce")
    assert (ce["role"], ce["verdict"]) == ("primary", "reference")
    assert ce[["difference", "p", "p_holm", "smallest_detectable"]].isna().all()


def test_the_columns_and_types_are_those_of_the_table():
    _, comparison = judged(PLANTED)
    assert {name: str(kind) for name, kind in comparison.dtypes.items()} == COLUMNS


def test_a_planted_difference_is_a_win_and_the_headline_may_say_so():
    result, _ = judged(PLANTED)
    assert result["status"] == "lead"
    assert result["best_set"] == ["hem+"]
    assert result["lead_variant"] == "hem+"
    assert result["headline"] == (
        "On balanced accuracy hem+ leads (70.0 %): ce is worse (exploratory). "
        "hem+ wins against ce: +10.0 points [6.7, 13.3], p = 0.006, 3 replicates."
    )
    got = claim(result, "HEM > CE on imbalanced")
    assert (got["verdict"], got["loss"], got["versus"]) == ("supported", "hem+", "ce")
    assert got["difference"] == pytest.approx(0.1)
    t = 10 / math.sqrt(7 / 12)
    assert got["p"] == got["p_holm"] == pytest.approx(1 - t / math.sqrt(2 + t * t))


def test_a_planted_loss_is_a_loss():
    result, comparison = judged({"ce": PLANTED["hem+"], "hem+": PLANTED["ce"]})
    assert row(comparison, loss="hem+")["verdict"] == "loss"
    assert "hem+ loses to ce: −10.0 points [−13.3, −6.7]" in result["headline"]
    assert claim(result, "HEM > CE on imbalanced")["verdict"] == "refuted"


def test_noise_is_undecided_with_the_smallest_difference_that_could_have_been_shown():
    result, comparison = judged(NOISE)
    got = row(comparison, loss="hem+")
    assert got["verdict"] == "undecided"
    assert result["status"] == "undecided"
    assert result["best_set"] == ["hem+", "ce"]
    # s = sqrt((7² + 1² + 8²)/9 / 2) = 2.5166 points, se = 1.9221, smallest = 5.6535 se = 10.9, half = 4.3027 se = 8.3
    assert result["headline"] == (
        "On balanced accuracy no loss is shown to be better: hem+ and ce cannot be told apart from the best mean "
        "(hem+, 60.3 %). hem+ − ce = +0.3 points [−7.9, 8.6], p = 0.88, 3 replicates; the smallest difference this run "
        "could have shown is 10.9 points."
    )
    assert "win" not in result["headline"]
    assert claim(result, "HEM > CE on imbalanced")["verdict"] == "undecided"


def test_overlap_makes_the_same_differences_less_certain():
    few = {"ce": [0.60, 0.62, 0.58], "hem+": [0.61, 0.64, 0.61]}
    p = [row(judged(few, ratio=ratio)[1], loss="hem+")["p"] for ratio in (0.0, 0.25)]
    assert p[0] == pytest.approx(stats.ttest_rel(few["hem+"], few["ce"]).pvalue)
    assert p[1] > p[0]


def test_the_ratio_is_the_mean_over_the_splits():
    setting = study(PLANTED)
    setting["data"]["splits"] = [{"class_counts": [3, 2], "test_train_ratio": r} for r in (0.2, 0.25, 0.3)]
    table = rows(PLANTED)
    pd.testing.assert_frame_equal(compare(table, study=setting), compare(table, study=study(PLANTED)))


def test_identical_losses_have_no_p_value_and_no_verdict_but_undecided():
    result, comparison = judged({"ce": [0.60, 0.62, 0.58], "hem+": [0.60, 0.62, 0.58]})
    got = row(comparison, loss="hem+")
    assert (got["difference"], got["difference_sd"]) == (0, 0)
    assert got[["difference_low", "difference_high", "p", "p_holm", "smallest_detectable"]].isna().all()
    assert got["verdict"] == "undecided"
    assert "do not vary" in got["reason"]
    assert result["best_set"] == ["ce", "hem+"]
    assert "hem+ − ce = 0.0 points, 3 replicates (the differences do not vary: no p-value)." in result["headline"]
    assert claim(result, "HEM > CE on imbalanced")["p"] is None


@pytest.mark.parametrize(("n", "words"), [(1, "conditional on one search"), (2, "conditional on 2 searches")])
def test_fewer_than_three_replicates_are_conditional(n, words):
    result, comparison = judged({loss: values[:n] for loss, values in PLANTED.items()})
    got = row(comparison, loss="hem+")
    assert got["difference"] == pytest.approx(0.09 if n == 1 else 0.095)
    assert got[["low", "high", "difference_low", "difference_high", "p", "p_holm"]].isna().all()
    assert got["verdict"] == ""
    assert words in got["reason"]
    assert result["status"] == "conditional"
    assert words in result["headline"].lower()
    assert "win" not in result["headline"]
    assert set(result["best_set"]) == {"ce", "hem+"}
    got = claim(result, "HEM > CE on imbalanced")
    assert got["verdict"] == "undecided"
    assert words in got["reason"]


def test_retrainings_are_averaged_before_anything_is_tested():
    table = pd.concat(
        rows({loss: [v + shift for v in values] for loss, values in PLANTED.items()}).assign(seed=seed)
        for seed, shift in enumerate((-0.04, 0.04))
    )
    got = compare(table, study=study(PLANTED))
    want = compare(rows(PLANTED), study=study(PLANTED))
    pd.testing.assert_frame_equal(got, want)


def test_cross_entropy_at_the_ceiling_is_no_information():
    result, comparison = judged({"ce": [0.995, 0.996, 0.994], "hem+": [0.985, 0.987, 0.984]})
    assert row(comparison, loss="hem+")["verdict"] == "no information"
    assert math.isnan(row(comparison, loss="hem+")["p_holm"])
    assert result["status"] == "no information"
    assert result["headline"] == (
        "No information on balanced accuracy: ce reaches 99.5 %, which leaves no room for a difference."
    )
    assert {c["verdict"] for c in result["claims"]} == {"no information"}


def test_every_loss_at_chance_is_no_information():
    at_chance = {"ce": [0.10, 0.11, 0.10], "hem+": [0.12, 0.115, 0.12]}
    result, _ = judged(at_chance)
    assert result["status"] == "no information"
    assert "every loss lies within 2 points of chance (10.0 %)" in result["headline"]
    result, _ = judged(at_chance | {"mm": [0.3, 0.3, 0.31]})
    assert result["status"] != "no information"


def test_a_failed_training_leaves_fewer_pairs_and_says_so():
    four = {"ce": [0.60, 0.62, 0.58, 0.61], "hem+": [0.69, 0.72, None, 0.72]}
    result, comparison = judged(four)
    got = row(comparison, loss="hem+")
    # pairs 0, 1 and 3: differences 9, 10 and 11 points
    assert (got["n"], got["difference"], got["difference_sd"]) == pytest.approx((3, 0.1, 0.01))
    assert "3 of 4 replicates have a value" in got["reason"]
    assert row(comparison, loss="ce")["n"] == 4
    assert "hem+: 3 of 4 replicates have a value." in result["notes"]
    assert "3 replicates" in result["headline"]


def test_no_verdict_is_given_on_the_replicates_that_did_not_fail():
    whole = {"ce": [0.60, 0.62, 0.58, 0.61], "hem+": [0.69, 0.72, 0.69, 0.72]}
    assert row(judged(whole)[1], loss="hem+")["verdict"] == "win"
    result, comparison = judged(whole | {"hem+": [0.69, 0.72, None, 0.72]})
    got, claimed = row(comparison, loss="hem+"), claim(result, "HEM > CE on imbalanced")
    assert (got["verdict"], claimed["verdict"]) == ("", "undecided")
    assert math.isnan(got["p_holm"])
    assert got["difference_low"] == pytest.approx(0.1 - 4.302652729911275 * 0.01 * (1 / 3 + 1 / 4) ** 0.5)
    for text in (got["reason"], claimed["reason"], result["headline"]):
        assert "3 of 4 replicates have both hem+ and ce" in text
        assert "no verdict is given without them" in text


def test_attacks_on_the_first_replicates_alone_miss_nothing():
    primary = PRIMARY | {"probe": "attack", "metric": "robust_accuracy"}
    values = {"ce": [0.60, 0.62, 0.58], "hem+": [0.69, 0.72, 0.69]}
    attack = {"mode": "standard", "replicates": 3}
    _, comparison = judged(values, primary=primary, task="adversarial", replicates=5, attack=attack)
    assert row(comparison, loss="hem+")["verdict"] == "win"
    _, comparison = judged(values, primary=primary, task="adversarial", replicates=5, attack=attack | {"replicates": 4})
    assert row(comparison, loss="hem+")["verdict"] == ""


def test_pairs_are_the_replicates_that_both_have():
    _, comparison = judged({"ce": [0.6, 0.6, 0.6, None, 0.7], "hem+": [None, 0.7, 0.8, 0.9, 0.9]})
    got = row(comparison, loss="hem+")
    assert got["n"] == 4
    assert got["difference"] == pytest.approx((0.1 + 0.2 + 0.2) / 3)
    assert "3 of 5 replicates have both hem+ and ce" in got["reason"]


def test_a_missing_retraining_is_named():
    table = rows(PLANTED, seeds=2)
    table = table[~((table["loss"] == "hem+") & (table["replicate"] == 1) & (table["seed"] == 0))]
    got = row(compare(table, study=study(PLANTED)), loss="hem+")
    assert "replicate 1: 1 of 2 retrainings" in got["reason"]
    assert "1 retrainings of hem+ or ce failed or are not done, and no verdict is given without them" in got["reason"]
    assert (got["verdict"], math.isnan(got["p"])) == ("", True)
    assert (
        row(compare(rows(PLANTED, seeds=2), study=study(PLANTED, config={"seeds": 2})), loss="hem+")["verdict"] == "win"
    )
    got = row(compare(rows(PLANTED, seeds=2), study=study(PLANTED, config={"seeds": 3})), loss="hem+")
    assert "6 retrainings of hem+ or ce failed" in got["reason"]
    assert got["verdict"] == ""


def test_too_few_pairs_of_the_lead_variant_give_no_verdict_though_others_have_three():
    values = {"ce": [0.60, 0.62, 0.58], "hem+": [0.69, None, 0.69], "dice": [0.40, 0.43, 0.38]}
    result, comparison = judged(values)
    assert row(comparison, loss="hem+")["verdict"] == ""
    assert result["status"] == "undecided"
    # hem+ lacks a replicate, so it cannot be named the best
    assert result["best_set"] == ["ce", "hem+"]
    assert "2 replicates (conditional on 2 searches: no p-value, no verdict)" in result["headline"]


def test_only_one_loss_has_nothing_to_be_compared_with():
    result, comparison = judged({"ce": [0.60, 0.62, 0.58]})
    assert len(comparison) == 1
    assert result["headline"] == (
        "Only ce has a value on balanced accuracy (60.0 %): there is nothing to compare it with. "
        "There is no difference hem+ − ce: hem+ was not run."
    )
    assert result["status"] == "undecided"
    assert claim(result, "HEM > CE on imbalanced")["reason"].startswith("hem+ was not run")
    result, _ = judged({"hem+": [0.6]})
    assert result["status"] == "conditional"
    assert "conditional on one search" in result["headline"]


@pytest.mark.parametrize(
    ("losses", "state", "word"),
    [(["hem+", "mm"], "was not run", "undecided"), (["ce", "hem+", "mm"], "has no value", "no information")],
)
def test_without_cross_entropy_there_are_no_differences(losses, state, word):
    result, comparison = judged({"hem+": [0.69, 0.72, 0.69], "mm": [0.60, 0.62, 0.58]}, losses=losses)
    assert comparison["difference"].isna().all()
    assert comparison["reason"].str.contains("ce").all()
    assert comparison["mean"].notna().all()
    assert f"ce {state}" in result["headline"]
    assert result["best_set"] == ["hem+"]
    got = claim(result, "HEM > CE on imbalanced")
    assert got["verdict"] == word
    assert got["reason"].startswith(f"ce {state}")


def test_the_best_of_the_complete_losses_is_not_called_the_best_mean_where_another_has_a_better_one():
    values = {"ce": [0.60, 0.62, 0.58, 0.61], "hem+": [0.69, 0.72, None, 0.72], "dice": [0.40, 0.43, 0.41, 0.39]}
    result, _ = judged(values)
    assert result["best_set"] == ["ce", "hem+"]
    assert result["headline"].startswith(
        "On balanced accuracy ce and hem+ are not shown to be worse than the best mean of the losses with 4 replicates "
        "(ce, 60.2 %); dice is worse"
    )
    result, _ = judged({loss: series for loss, series in values.items() if loss != "dice"})
    assert result["headline"].startswith(
        "On balanced accuracy ce and hem+ are not shown to be worse than the best mean of the losses with 4 replicates "
        "(ce, 60.2 %). hem+ − ce = "
    )
    result, _ = judged({"ce": [0.60, 0.62], "hem+": [0.69, None]})
    assert result["headline"].startswith(
        "Conditional on one search: the best mean of the losses with 2 replicates on balanced accuracy is that of ce"
    )


def test_nothing_at_all():
    empty = rows(PLANTED).iloc[:0]
    setting = study(PLANTED)
    comparison = compare(empty, study=setting)
    assert list(comparison.columns) == list(COLUMNS)
    assert len(comparison) == 0
    result = verdict(comparison, empty, study=setting)
    assert result["status"] == "no information"
    assert result["headline"] == "No information on balanced accuracy: no training has a value on it."
    assert result["best_set"] == []


def test_values_that_are_not_available_are_left_out_and_infinite_ones_are_not():
    nan = math.nan
    values = {"ce": [0.6, 0.7, 0.8], "hem": [nan, nan, nan], "hem+": [0.9, math.inf, 0.8], "dice": [nan, 0.5, 0.6]}
    table = pd.concat([rows(PLANTED), rows(values, probe="calibration", slice="raw", metric="nll")])
    comparison = compare(table, study=study(values))
    nll = comparison[comparison["metric"] == "nll"].set_index("loss")
    assert nll["n"].to_dict() == {"ce": 3, "hem": 0, "hem+": 3, "dice": 2}
    assert nll.loc["hem", NUMBERS].isna().all()
    assert "0 of 3 replicates" in nll.loc["hem", "reason"]
    assert nll.loc["hem+", "mean"] == math.inf
    assert nll.loc["hem+", "difference":"p"].isna().all()
    assert nll.loc["hem+", "reason"] == "infinite in replicate 1"
    assert nll.loc["dice", "difference"] == pytest.approx(-0.2)


def test_a_loss_with_no_finite_value_on_the_primary_endpoint_does_no_harm():
    result, _ = judged(PLANTED | {"mm": [math.nan] * 3, "dice": [math.inf, 0.5, 0.5]})
    assert result["best_set"] == ["hem+"]
    assert "mm: 0 of 3 replicates have a value." in result["notes"]
    got = claim(result, "DICE < HEM on imbalanced")
    assert got["verdict"] == "undecided"
    assert got["difference"] is None


def test_losses_of_the_user_are_losses():
    mine = "my_pkg.losses:MyLoss"
    result, comparison = judged(PLANTED | {mine: [0.75, 0.76, 0.77]})
    assert row(comparison, loss=mine)["role"] == "exploratory"
    assert row(comparison, loss=mine)["verdict"] == ""
    assert result["best_set"][0] == mine


def test_only_the_lead_variant_is_judged():
    values = PLANTED | {"hem": PLANTED["hem+"], "mm": PLANTED["hem+"]}
    _, comparison = judged(values)
    others = comparison[~comparison["loss"].isin(["ce", "hem+"])]
    assert set(others["role"]) == {"exploratory"}
    assert set(others["verdict"]) == {""}
    assert others["p_holm"].isna().all()
    assert others["p"].notna().all()


def test_only_the_primary_arm_method_and_metric_are_judged():
    keys = [{}, {"arm": "default"}, {"method": "drw"}, {"metric": "accuracy"}, {"slice": "few", "metric": "accuracy"}]
    comparison = compare(pd.concat([rows(PLANTED, **key) for key in keys]), study=study(PLANTED))
    assert len(comparison) == 10
    lead = comparison[(comparison["loss"] == "hem+") & (comparison["verdict"] != "")]
    assert lead[["method", "arm", "metric"]].to_numpy().tolist() == [["plain", "tuned", "balanced_accuracy"]]
    assert comparison["p_holm"].notna().sum() == 1
    # differences stay within a method and an arm
    assert comparison[comparison["loss"] == "hem+"]["difference"].to_list() == pytest.approx([0.1] * 5)
    assert comparison["method"].to_list() == ["plain"] * 8 + ["drw"] * 2
    assert comparison["arm"].to_list() == ["default"] * 2 + ["tuned"] * 8


def test_lower_is_better_keeps_the_difference_and_turns_the_judgement():
    fpr = PRIMARY | {"probe": "rejection", "metric": "fpr95", "higher_is_better": False, "label": "FPR95"}
    lower = {"ce": PLANTED["hem+"], "hem+": PLANTED["ce"], "dice": [0.9, 0.91, 0.89]}
    result, comparison = judged(lower, primary=fpr, task="rejection")
    got = row(comparison, loss="hem+")
    assert got["difference"] == pytest.approx(-0.1)
    assert not got["higher_is_better"]
    assert got["verdict"] == "win"
    assert result["best_set"] == ["hem+"]
    assert claim(result, "HEM > CE on rejection")["verdict"] == "supported"
    assert claim(result, "DICE < HEM on rejection")["verdict"] == "supported"


@pytest.mark.parametrize("metric", ["ece", "nll", "brier", "fpr95", "fpr95_ood", "aurc", "augrc"])
def test_metrics_of_which_less_is_better(metric):
    table = pd.concat([rows(PLANTED), rows(PLANTED, metric=metric)])
    got = row(compare(table, study=study(PLANTED)), loss="hem+", metric=metric)
    assert not got["higher_is_better"]
    assert got["difference"] == pytest.approx(0.1)


@pytest.mark.parametrize("metric", ["auroc", "oscr", "robust_accuracy", "robust_accuracy.apgd-ce", "clean_accuracy"])
def test_metrics_of_which_more_is_better(metric):
    table = pd.concat([rows(PLANTED), rows(PLANTED, metric=metric)])
    assert row(compare(table, study=study(PLANTED)), loss="hem+", metric=metric)["higher_is_better"]


@pytest.mark.parametrize("metric", ["temperature", "tau", "robust_accuracy_low", "something_new"])
def test_what_is_neither_is_described_and_not_compared(metric):
    table = pd.concat([rows(PLANTED), rows(PLANTED, metric=metric)])
    got = row(compare(table, study=study(PLANTED)), loss="hem+", metric=metric)
    assert got["mean"] == pytest.approx(0.7)
    assert math.isnan(got["difference"])
    assert got["reason"] == "described, not compared"


# Attacks, input.


def test_quick_attacks_carry_no_verdict():
    attacked = PRIMARY | {"probe": "attack", "metric": "robust_accuracy", "label": "robust accuracy"}
    result, comparison = judged(PLANTED, primary=attacked, task="adversarial", attack={"mode": "quick"})
    assert row(comparison, loss="hem+")["verdict"] == ""
    assert result["status"] == "undecided"
    assert "upper bound" in result["headline"]
    claimed = claim(result, "HEM > CE on adversarial")
    assert (claimed["verdict"], claimed["p"], claimed["p_holm"]) == ("undecided", None, None)
    result, _ = judged(PLANTED, primary=attacked, task="adversarial", attack={"mode": "standard"})
    assert "wins" in result["headline"]
    result, _ = judged({"ce": [0.0, 0.0, 0.01], "hem+": [0.0, 0.02, 0.0]}, primary=attacked, task="adversarial")
    assert result["status"] == "no information"


def test_the_order_of_the_rows_does_not_matter():
    rng = np.random.default_rng(0)
    values = {loss: rng.uniform(0.5, 0.9, 3).tolist() for loss in ("ce", "mm", "hem", "hem+", "dice")}
    table = pd.concat(
        rows(values, seeds=1, arm=arm).assign(seed=seed, value=lambda t: t["value"] + rng.normal(0, 0.01, len(t)))
        for arm in ("default", "tuned")
        for seed in range(3)
    )
    setting = study(values)
    want = compare(table, study=setting)
    for seed in range(3):
        shuffled = table.sample(frac=1, random_state=seed)
        pd.testing.assert_frame_equal(compare(shuffled, study=setting), want, check_exact=True)
        assert verdict(want, shuffled, study=setting) == verdict(want, table, study=setting)


def test_input_that_contradicts_itself_is_refused():
    table, setting = rows(PLANTED), study(PLANTED)
    with pytest.raises(InputError, match="columns missing: seed"):
        compare(table.drop(columns="seed"), study=setting)
    with pytest.raises(InputError, match="stand there twice"):
        compare(pd.concat([table, table]), study=setting)
    with pytest.raises(InputError, match="rows without"):
        compare(table.assign(slice=None), study=setting)
    with pytest.raises(InputError, match="test_train_ratio"):
        compare(table, study=setting | {"data": {"classes": ["a", "b"], "splits": []}})
    with pytest.raises(InputError, match="higher_is_better=True"):
        compare(table, study=study(PLANTED, primary=PRIMARY | {"higher_is_better": False}))
    with pytest.raises(InputError, match="needs delta > 0"):
        compare(table, study=study(PLANTED, primary=CLEAN | {"delta": 0.0}))
    with pytest.raises(InputError, match="kind of endpoint: 'equality'"):
        compare(table, study=study(PLANTED, primary=PRIMARY | {"kind": "equality"}))
    with pytest.raises(InputError, match="expected that of this evaluation"):
        verdict(compare(rows(NOISE), study=setting), table, study=setting)


def test_nothing_that_was_given_is_changed():
    table, setting = rows(PLANTED), study(PLANTED)
    before, text = table.copy(deep=True), json.dumps(setting)
    verdict(compare(table, study=setting), table, study=setting)
    pd.testing.assert_frame_equal(table, before)
    assert json.dumps(setting) == text
