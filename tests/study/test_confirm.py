"""Who wins a search, what the arms are made of, and the map around a winner."""

import pytest

from study import confirm, ledger
from study.run import Key, RunDirectory
from study.search import SearchFeed
from tests.study.test_search import COUNTS, RECIPE, config

SEARCH = ("plain", "hem", 0)


def trial(run, search, slot, objective, rescore=None, **recipe):
    method, loss, replicate = search
    training = {
        "recipe": {**RECIPE, **recipe},
        "loss_parameters": {"M": 100.0 * (slot + 1)} if loss.startswith("hem") else {"label_smoothing": 0.1},
        "seed": 1,
        "source": "shared",
    }
    cell = {"state": "complete" if objective is not None else "failed", "objective": objective, "training": training}
    cell |= {"seconds": 1.0, "epochs": [], "error": "diverged", "reason": "diverged"}
    run.write_cell(Key("search", method, loss, "", replicate, slot), cell)
    if rescore is not None:
        run.write_cell(confirm.rescored_key(search, slot), {"state": "complete", "objective": rescore})


def test_the_best_mean_of_two_scores_wins_not_the_luckiest_one(tmp_path):
    run, study = RunDirectory(tmp_path), config(rescored=3)
    for slot, scores in enumerate([(0.90, 0.70), (0.85, 0.84), (0.50, None), (0.84, 0.83), (None, None)]):
        trial(run, SEARCH, slot, *scores)
    assert confirm.winner(study, run, SEARCH)[0] == 1


@pytest.mark.parametrize(
    ("scores", "best"),
    [
        ([(0.90, 0.70), (0.85, 0.84), (0.84, 0.845)], 1),  # the best first score, the best mean, the best second score
        ([(0.75, 0.50), (0.50, 0.75)], 0),
        ([(0.50, 0.75), (0.75, 0.50)], 1),
    ],
)
def test_both_scores_count_the_same_and_of_equal_means_the_better_first_score_wins(tmp_path, scores, best):
    run, study = RunDirectory(tmp_path), config(rescored=3)
    for slot, pair in enumerate(scores):
        trial(run, SEARCH, slot, *pair)
    assert confirm.winner(study, run, SEARCH)[0] == best


def test_the_dropin_arm_has_cross_entropys_training_and_the_losss_literature_parameters(tmp_path):
    run, study = RunDirectory(tmp_path), config(losses=("ce", "hem"), replicates=1, trials=2)
    trial(run, ("plain", "ce", 0), 0, 0.5, 0.5, learning_rate=0.3)
    trial(run, SEARCH, 0, 0.5, 0.5, learning_rate=0.7)
    made = {(t.key.loss, t.key.arm): t for t in confirm.confirm_trainings(study, run, RECIPE, 10)}
    found = {name: (t.recipe["learning_rate"], t.loss_parameters) for name, t in made.items()}
    assert found["hem", "dropin"] == (0.3, {"M": 2000.0})
    assert found["hem", "tuned"] == (0.7, {"M": 100.0})
    assert found["hem", "default"] == (RECIPE["learning_rate"], {"M": 2000.0})
    assert found["ce", "dropin"] == (0.3, {"label_smoothing": 0.0})
    assert all(t.keep_weights for t in made.values())


def test_only_the_best_are_scored_again_and_ties_go_to_the_first(tmp_path):
    run, study = RunDirectory(tmp_path), config(rescored=2)
    for slot, score in enumerate([0.5, 0.9, 0.9, 0.9, None]):
        trial(run, SEARCH, slot, score)
    assert [slot for slot, _ in confirm.best_trials(study, run, SEARCH)] == [1, 2]
    wanted = [t.key.number for t in confirm.rescore_trainings(study, run, RECIPE)]
    assert wanted == [1, 2]


def test_a_search_whose_trials_all_failed_has_no_winner_and_is_named(tmp_path):
    run, study = RunDirectory(tmp_path), config(losses=("ce", "hem"), replicates=1, trials=4)
    for slot in range(4):
        trial(run, ("plain", "ce", 0), slot, 0.5, 0.5)
        trial(run, SEARCH, slot, None)
    assert confirm.winner(study, run, SEARCH) is None
    arms = {t.key.arm for t in confirm.confirm_trainings(study, run, RECIPE, 10) if t.key.loss == "hem"}
    assert arms == {"default", "dropin"}
    failed = ledger.failures(study, run)
    assert failed[Key("confirm", "plain", "hem", "tuned", 0, 0)] == "no trial of hem finished in replicate 0"
    assert Key("search", "plain", "hem", "", 0, 0) not in failed, "a diverged trial is a result"
    lost = [key for key in failed if key.loss == "hem" and key.arm == "tuned"]
    assert ledger.tried_again(study, run, lost) == 0, "every trial would diverge again"
    assert ledger.tried_again(study, run, failed) == len(failed) - len(lost)


def test_a_search_without_a_winner_is_said_to_be_unfinished_or_why(tmp_path):
    run, study = RunDirectory(tmp_path), config(losses=("ce", "hem"), replicates=1, trials=4)
    tuned = Key("confirm", "plain", "hem", "tuned", 0, 0)
    assert ledger.failures(study, run)[tuned] == "not done yet"
    trial(run, SEARCH, 0, 0.5)
    assert ledger.failures(study, run)[tuned] == "not done yet", "it is to be scored again"
    again = {"state": "failed", "reason": "diverged", "error": "diverged"}
    run.write_cell(confirm.rescored_key(SEARCH, 0), again)
    assert ledger.failures(study, run)[tuned] == "no trial of hem finished again, with a fresh seed, in replicate 0"


def test_every_retraining_has_a_seed_of_its_own_and_all_losses_and_arms_share_them(tmp_path):
    run, study = RunDirectory(tmp_path), config(losses=("ce", "hem"), replicates=2, trials=4, seeds=3)
    for search in confirm.searches(study):
        trial(run, search, 0, 0.9)
    again = confirm.rescore_trainings(study, run, RECIPE)
    for search in confirm.searches(study):
        trial(run, search, 0, 0.9, 0.9)
    final = confirm.confirm_trainings(study, run, RECIPE, 10)
    assert (len(again), len(final)) == (2 * 2, 2 * 2 * 3 * 3), "losses and replicates; also arms and seeds"
    assert len({(t.key.replicate, t.seed) for t in again}) == 2, "the same for both losses"
    assert len({(t.key.replicate, t.key.number, t.seed) for t in final}) == 2 * 3
    (tmp_path / "other").mkdir()
    searched = SearchFeed(study, RunDirectory(tmp_path / "other"), RECIPE, COUNTS)
    first = [searched.next() for _ in range(4)]
    assert {t.key.replicate for t in first} == {0, 1}
    assert len({t.seed for t in (*first, *again, *final)}) == 2 + 2 + 2 * 3, "and none comes twice"


def test_an_arm_that_chooses_by_another_metric_has_the_winner_by_that_metric(tmp_path):
    run, study = RunDirectory(tmp_path), config(task="rejection", losses=("ce",), replicates=1, trials=2)
    for slot, (accuracy, outliers) in enumerate([(0.9, 0.5), (0.8, 0.7)]):
        for key in (Key("search", "plain", "ce", "", 0, slot), confirm.rescored_key(("plain", "ce", 0), slot)):
            training = {"recipe": {**RECIPE, "learning_rate": 0.1 + slot}, "loss_parameters": {"label_smoothing": 0.1}}
            cell = {"state": "complete", "objective": accuracy, "metrics": {"outlier_auroc": outliers}}
            run.write_cell(key, {**cell, "training": training})
    rates = {t.key.arm: t.recipe["learning_rate"] for t in confirm.confirm_trainings(study, run, RECIPE, 6)}
    assert rates == {"default": RECIPE["learning_rate"], "dropin": 0.1, "tuned": 0.1, "tuned_outliers": 1.1}


def test_without_cross_entropy_there_is_no_dropin_arm():
    keys = confirm.confirm_keys(config(losses=("mm", "hem")))
    assert {key.arm for key in keys} == {"default", "tuned"}


def test_the_map_steps_m_by_ten_and_the_rate_by_three_around_the_winner(tmp_path):
    run, study = RunDirectory(tmp_path), config(sweep=3, rescored=1)
    trial(run, SEARCH, 0, 0.9, 0.9, learning_rate=0.1)
    points = {
        t.key.number: (t.loss_parameters["M"], t.recipe["learning_rate"])
        for t in confirm.sweep_trainings(study, run, RECIPE)
    }
    assert points[4] == pytest.approx((100.0, 0.1))
    assert points[0] == pytest.approx((10.0, 0.1 / 3))
    assert points[5] == pytest.approx((100.0, 0.3))
    assert points[7] == pytest.approx((1000.0, 0.1))
    assert len(points) == 9


def test_failures_of_the_machine_are_tried_again_but_not_what_diverged(tmp_path):
    run = RunDirectory(tmp_path)
    for number, reason in enumerate(["process", "error", "timeout", "diverged"]):
        run.write_cell(Key("confirm", "plain", "ce", "default", 0, number), {"state": "failed", "reason": reason})
    settled, open_search = ("plain", "ce", 0), ("plain", "ce", 1)
    for search in (settled, open_search):
        run.write_cell(Key("search", *search[:2], "", search[2], 0), {"state": "failed", "reason": "process"})
    run.write_cell(Key("confirm", "plain", "ce", "tuned", 0, 0), {"state": "complete"})
    ledger.forget_failures(run)
    assert [key.number for key, _ in run.cells("confirm")] == [3, 0]
    assert [key.replicate for key, _ in run.cells("search")] == [0]


def test_where_robustness_is_the_endpoint_every_arm_is_attacked_and_the_tuned_one_checked(tmp_path):
    run = RunDirectory(tmp_path)
    study = config(task="adversarial", losses=("ce",), attacks="quick", eps=(0.1,), attack_points=10, seeds=2,
                   attack_replicates=1)  # fmt: skip
    for key in confirm.confirm_keys(study):
        run.write_cell(key, {"state": "complete"})
    arms = {(key.arm, key.replicate, key.number) for key in ledger.attack_keys(study, run)}
    assert arms == {(arm, 0, number) for arm in study.arms for number in (0, 1)}
    assert {(key.arm, key.replicate, key.number) for key in ledger.health_keys(study, run)} == {("tuned", 0, 0)}


def test_a_retraining_that_failed_is_neither_measured_nor_asked_to_be(tmp_path):
    run, study = RunDirectory(tmp_path), config(losses=("ce",), replicates=1, trials=2)
    keys = confirm.confirm_keys(study)[:2]
    for key, state in zip(keys, ("complete", "failed"), strict=True):
        run.write_cell(key, {"state": state})
    assert ledger.evaluation_keys(study, run) == [keys[0].at("evaluate")]


def test_every_cell_that_is_asked_for_and_missing_is_named(tmp_path):
    run, study = RunDirectory(tmp_path), config(losses=("ce",), replicates=1, trials=2, rescored=1)
    trial(run, ("plain", "ce", 0), 0, 0.5, 0.5)
    failed = ledger.failures(study, run)
    expected = {("confirm", arm): "not done yet" for arm in ("default", "dropin", "tuned")}
    assert {(key.stage, key.arm): reason for key, reason in failed.items()} == {
        **expected,
        ("cost", ""): "not done yet",
    }


def test_pixels_are_laid_out_as_attacks_expect_them():
    """Attack code views images as rows: colour images must not be mere transposed views."""
    import numpy as np

    from study.trial import pixels

    images = np.random.default_rng(0).integers(0, 256, (5, 8, 9, 3), dtype=np.uint8)
    found = pixels(images)
    assert found.shape == (5, 3, 8, 9)
    assert found.is_contiguous()
    assert found[3, 2, 7, 4] == images[3, 7, 4, 2] / 255
