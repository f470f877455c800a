"""Attacks on a run's models in blocks: who does them, in which order and how often does not show."""

import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from study import confirm, tables
from study.attack_block import _fallen_in_block, under_attack
from study.attack_join import with_found
from study.attacks import attack_jobs
from study.data.embedded import digits
from study.ledger import Aim, attack_keys, block_keys, radius_key
from study.measure import read_scores
from study.options import study_config
from study.probes import attack as attack_module
from study.probes import attack_suite, dar
from study.probes.attack_verdicts import robust
from study.probes.transfer import changed
from study.run import Key, RunDirectory, npz_bytes, write_atomic
from tests.study.pipeline import attack_everything, train_everything

GIVEN = {"methods": ("plain",), "losses": ("ce", "hem"), "replicates": 1, "trials": 2, "epochs": 2, "eps": (0.1,)}


@pytest.fixture(autouse=True, scope="module")
def small():
    """Blocks of 5 points, few queries of Square, one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(attack_module, "BLOCK", 5)
        patch.setattr(attack_suite, "SQUARE_QUERIES", 50)
        yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def attacked(small, tmp_path_factory):
    """A study whose models were attacked, in the order of its jobs, and what was done."""
    config = study_config({"task": "rejection", "preset": "smoke", "attacks": "standard", "attack_points": 12, **GIVEN})
    run = RunDirectory(tmp_path_factory.mktemp("attacked"))
    train_everything(config, run, digits())
    return config, run, attack_everything(config, run, digits())


def copied(attacked, tmp_path, *without):
    """Return the study and a copy of its run, without some stages."""
    config, run, _ = attacked
    shutil.copytree(run.path, tmp_path / "copy")
    for stage in without:
        shutil.rmtree(tmp_path / "copy" / "cells" / stage)
    return config, RunDirectory(tmp_path / "copy")


def table(config, run):
    built = tables.build(config, run, confirm.winners(config, run))
    return built["evaluation"], built["health"]


def verdicts(config, run):
    return {key: read_scores(run.scores(key)) for key in attack_keys(config, run)}


def test_the_order_of_work_and_a_stop_in_between_do_not_show(attacked, tmp_path):
    config, one, done = attacked
    blocks = [key for key in done if key.stage == "block"]
    assert len(blocks) == 2 * 3, "12 points in blocks of 5, two models"
    config, other = copied(attacked, tmp_path, "block", "attack")
    attack_everything(config, other, digits(), last_first=True)
    other.cell(blocks[2]).unlink()
    other.cell(next(iter(attack_keys(config, other)))).unlink()
    again = attack_everything(config, other, digits())
    assert [key for key in again if key.stage == "block"] == [blocks[2]], "what is done stays done"
    for mine, theirs in zip(table(config, one), table(config, other), strict=True):
        pd.testing.assert_frame_equal(mine, theirs)
    for key, arrays in verdicts(config, one).items():
        for name, values in arrays.items():
            np.testing.assert_array_equal(values, read_scores(other.scores(key))[name])


def test_an_attack_is_its_blocks_and_what_broke_other_models(attacked):
    config, run, _ = attacked
    for key, arrays in verdicts(config, run).items():
        assert len(arrays["points"]) == 12
        assert arrays["attacks"][-1] == "transfer"
        assert (np.diff(arrays["points"]) > 0).all()
        parts = [read_scores(run.scores(key.at("block", f"{key.variant}~b{b}"))) for b in range(3)]
        np.testing.assert_array_equal(np.concatenate([part["points"] for part in parts]), arrays["points"])
        own = np.concatenate([part["stands"] for part in parts], axis=1)
        np.testing.assert_array_equal(own, arrays["stands"][:-1])


def test_what_broke_the_other_model_is_tried_on_the_same_images(attacked):
    config, run, _ = attacked
    (one, mine), (other, _) = verdicts(config, run).items()
    assert (one.loss, other.loss) == ("ce", "hem")
    clean, broken, later = dict(zip(mine["points"].tolist(), mine["clean"].tolist(), strict=True)), {}, 0
    for number in range(3):
        part = read_scores(run.scores(other.at("block", f"{other.variant}~b{number}")))
        points, subject = under_attack(one, config, digits(), run, "cpu", block=number)
        found = part["found"]
        images = changed(subject["images"][found], part["found_change"], "Linf", 0.1)
        wrong = subject["model"](images).argmax(1) != subject["labels"][found]
        fell = dict(zip(points[found].tolist(), wrong.tolist(), strict=True))
        later += sum(wrong and clean[point] for point, wrong in fell.items()) if number else 0
        broken |= fell
    assert later, "images of a later block, which do not stand where they stood in it"
    for point, clean, stands in zip(mine["points"], mine["clean"], mine["stands"][-1], strict=True):
        assert stands == (-1 if not clean else 0 if broken.get(int(point), False) else 1)


def test_a_smaller_radius_that_is_added_later_counts_for_the_larger_one(attacked, tmp_path):
    config, run = copied(attacked, tmp_path)
    before = verdicts(config, run)
    config = replace(config, eps=(0.06, 0.1))
    done = attack_everything(config, run, digits())
    assert {key.variant.split("-")[1] for key in done if key.stage == "block"} == {"0.06"}, "no attack twice"
    after = verdicts(config, run)
    small = {key.loss: arrays for key, arrays in after.items() if arrays["eps"] == 0.06}
    for key, arrays in after.items():
        if arrays["eps"] == 0.1:
            fell = small[key.loss]["clean"] & ~robust(small[key.loss])
            np.testing.assert_array_equal(arrays["carried"], fell)
            assert (robust(arrays) <= robust(before[key])).all()
            assert (robust(arrays) <= robust(small[key.loss])).all()


def test_what_was_joined_in_another_way_is_joined_again(attacked, tmp_path):
    config, run = copied(attacked, tmp_path)
    assert attack_everything(config, run, digits()) == []
    key = next(iter(attack_keys(config, run)))
    before = {name: value for name, value in run.read_cell(key).items() if name not in ("key", "seconds")}
    run.write_cell(key, {name: value for name, value in before.items() if name != "form"})
    assert attack_everything(config, run, digits()) == [key]
    assert {name: value for name, value in run.read_cell(key).items() if name not in ("key", "seconds")} == before


def test_a_larger_radius_leaves_out_what_a_smaller_one_broke(attacked, tmp_path):
    config, run = copied(attacked, tmp_path)
    config = replace(config, eps=(0.1, 0.15), attacks="quick")
    attack_everything(config, run, digits())
    found = verdicts(config, run)
    assert any(arrays["carried"].any() for arrays in found.values())
    for key, arrays in found.items():
        if arrays["eps"] == 0.15:
            small = read_scores(run.scores(key.at("attack", key.variant.replace("0.15", "0.1"))))
            np.testing.assert_array_equal(arrays["carried"], small["clean"] & ~robust(small))
            assert len(arrays["found"]) == len(set(arrays["found"])) == len(arrays["found_logits"])
            assert set(small["found"]) <= set(arrays["found"]), "images that broke the model, at whichever radius"
            assert set(arrays["found"]) <= set(np.flatnonzero(arrays["clean"] & ~robust(arrays)))
            own = set(np.flatnonzero(small["clean"] & (small["stands"] == 0).any(0)))
            assert set(small["found"]) == own, "positions among all points, not in a block"


def test_what_fell_in_a_ball_of_another_norm_or_a_larger_one_has_not_fallen_in_this_one(tmp_path):
    config = study_config(
        {"task": "rejection", "preset": "smoke", **GIVEN, "attacks": "standard", "eps": (0.05, 0.2), "l2_eps": (0.05,)}
    )
    run, model = RunDirectory(tmp_path), Key("attack", "plain", "ce", "tuned", 0, 0)
    stands = {("Linf", 0.05): [0, 1, 1], ("Linf", 0.2): [1, 0, 1], ("L2", 0.05): [1, 1, 0]}
    for (norm, eps), of_block in stands.items():
        [key] = block_keys(radius_key(config, model, Aim(norm, eps)), 1)
        arrays = {"clean": np.ones(3, bool), "stands": np.array([of_block], np.int8), "attacks": np.array(["apgd-ce"])}
        write_atomic(run.scores(key), npz_bytes(arrays))
        run.write_cell(key, {"state": "complete"})
    fallen = {radius: _fallen_in_block(model, config, run, Aim(*radius), 0) for radius in [("Linf", 0.1), *stands]}
    assert fallen["Linf", 0.1].tolist() == fallen["Linf", 0.2].tolist() == [True, False, False]
    assert fallen["Linf", 0.05] is None
    assert fallen["L2", 0.05] is None


def test_what_was_found_at_a_smaller_radius_joins_what_was_found_at_this_one():
    def found(positions, values):
        return {"found": np.array(positions), "found_logits": np.array([[v, -v] for v in values])}

    both = with_found(found([4, 0], [1.0, 2.0]), found([0, 3], [7.0, 8.0]))
    assert both["found"].tolist() == [4, 0, 3]
    assert both["found_logits"].tolist() == [[1.0, -1.0], [2.0, -2.0], [8.0, -8.0]]


def test_an_added_loss_is_tried_on_the_others_without_attacking_them_again(attacked, tmp_path):
    config, run = copied(attacked, tmp_path)
    for path in (run.path / "cells" / "block").glob("*~hem~*"):
        path.unlink()
    alone = replace(config, losses=("ce",))
    assert [key.stage for key in attack_everything(alone, run, digits())] == ["attack"]
    (key,) = attack_keys(alone, run)
    assert "transfer" not in read_scores(run.scores(key))["attacks"]
    done = attack_everything(config, run, digits())
    assert {made.loss for made in done if made.stage == "block"} == {"hem"}
    assert "transfer" in read_scores(run.scores(key))["attacks"]


def test_a_failed_block_fails_its_attack_with_its_reason(attacked, tmp_path):
    config, run = copied(attacked, tmp_path, "block", "attack")
    job = next(job for job in attack_jobs(config, run, digits()) if job.key.stage == "attack")
    for part in job.after:
        run.write_cell(part, {"state": "failed", "reason": "process", "error": "its process died"})
    cell = job.work(job.key, config, digits(), run, "cpu")
    assert (cell["state"], cell["reason"]) == ("failed", "process")
    assert cell["error"].endswith("~b0: its process died")


def test_the_adaptive_attack_knows_the_threshold_of_validation_images(attacked):
    config, run, _ = attacked
    for key, arrays in verdicts(config, run).items():
        outputs = read_scores(run.scores(key.at("evaluate")))
        limits = dar.thresholds(outputs["validation/logits"], outputs["validation/labels"])
        expected = [[limits[score][rule] for rule in dar.RULES] for score in dar.SCORES]
        np.testing.assert_array_equal(arrays["adaptive_limits"], expected)


def test_dar_is_the_mean_of_its_kinds_and_missing_without_one(attacked):
    config, run, _ = attacked
    evaluation, _ = table(config, run)
    dar = evaluation[(evaluation["probe"] == "dar") & (evaluation["arm"] == "tuned") & (evaluation["loss"] == "ce")]
    shown = dar[(dar["slice"] == "mls") & (dar["metric"] == "dar_all")].set_index("dataset")["value"]
    assert shown[["clean", "adversarial", "novel", "unrecognisable"]].between(0, 1).all()
    assert np.isnan(shown["corrupt"]), "nothing corrupts 8x8 digits"
    assert np.isnan(shown["all"])
    assert shown["adversarial"] == shown["adversarial:Linf-0.1"]
