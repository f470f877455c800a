"""What a dry run says: counts by hand, time in proportion, and nothing started."""

from dataclasses import replace
from pathlib import Path

import pytest

from study import estimate, preflight
from study.config import Resources
from study.data.embedded import digits
from study.estimate import Speed, attack_passes, attacked_models, trainings
from study.methods import METHODS
from study.options import study_config
from study.run import Key, RunDirectory

CONFIG = study_config({"task": "imbalanced", "preset": "smoke"})


def test_counts_by_hand():
    assert trainings(CONFIG) == {"search": 3 * 2 * 4, "rescore": 3 * 2 * 2, "confirm": 3 * 2 * 3, "sweep": 2 * 9}
    assert attacked_models(CONFIG) == 3
    assert attacked_models(replace(CONFIG, attacks="none")) == 0
    adversarial = study_config({"task": "adversarial", "preset": "smoke"})
    assert attacked_models(adversarial) == len(adversarial.pairs) * adversarial.attack_replicates * 3


def test_a_training_is_images_times_epochs_times_passes(monkeypatch):
    monkeypatch.setattr(estimate, "measure", lambda *_: Speed(both=1.0, forward=0.25, weights=1000))
    monkeypatch.setattr(estimate, "attack_passes", lambda *_: (8.0, 3.0))
    source = digits()
    found = estimate.estimate(CONFIG, source)
    from study.trial import splits

    data = splits(CONFIG, source, 0, final=False)
    assert found.training == 8 * (len(data.train) * 1.0 + len(data.validation) * 0.25)
    assert found.confirm == pytest.approx(18 * found.training)
    assert found.search == pytest.approx((24 + 12 + 18) * found.training)
    assert found.attack == 3 * 50 * (8 * 0.25 + 3 * 1.0)
    assert found.weights == 18 * 1000
    assert found.seconds == found.search + found.confirm + found.evaluate + found.attack


def test_a_method_takes_so_many_passes_for_an_image():
    """Its inner attack's, and one; a batch with as many outliers, or remembered images, is twice as large."""
    plain = dict.fromkeys(("plain", "drw", "naive", "joint"), 1)
    larger = {"outlier_exposure": 2, "replay": 2}
    attacked = {"pgd": 7 + 1, "pgd_own": 7 + 1, "fast": 1 + 1, "fast_own": 1 + 1, "trades": 7 + 2, "trades_own": 7 + 2}
    assert {name: estimate.passes(name) for name in METHODS} == {**plain, **larger, **attacked}


def test_passes_are_counted_in_the_real_attacks():
    one, two = (attack_passes("quick", "Linf", radii, 10) for radii in (1, 2))
    assert 0 < one[1] < two[1] <= 2 * one[1]
    assert attack_passes("quick", "Linf", 1, 10) == one


def dry(capsys, **resources):
    preflight.dry_run(CONFIG, Resources(**resources), digits(), RunDirectory(Path("nowhere")))
    return capsys.readouterr().out


def test_what_is_done_already_is_said(capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(estimate, "estimate", lambda *_: estimate.Estimate(1.0, 1.0, 1.0, 1.0, 1.0, 1, 1, 1))
    assert "already" not in dry(capsys)
    run = RunDirectory(tmp_path)
    for number in range(3):
        run.write_cell(Key("search", "plain", "ce", "", 0, number), {"state": "complete"})
    run.write_cell(Key("confirm", "plain", "ce", "default", 0, 0), {"state": "complete"})
    run.write_cell(Key("search", "plain", "ce", "", 0, 3), {"state": "failed", "reason": "timeout"})
    run.write_cell(Key("search", "plain", "ce", "", 1, 0), {"state": "failed", "reason": "diverged"})
    preflight.dry_run(CONFIG, Resources(), digits(), run)
    assert "of these are done already: search 4, confirm 1; times and disk below are of the whole study" in (
        capsys.readouterr().out
    )


def test_time_is_said_for_each_part_and_for_clusters_of_several_sizes(capsys, monkeypatch):
    costs = estimate.Estimate(10.0, 7200.0, 3600.0, 60.0, 30.0, 1_000_000, 2_000_000, 3_000_000)
    monkeypatch.setattr(estimate, "estimate", lambda *_: costs)
    monkeypatch.setattr(preflight, "machine", lambda: {"cores": 4})
    said = dry(capsys)
    assert (
        "4 at a time (this machine, 4 cores, 0 GPUs): search 30:00, confirm 15:00, evaluate 0:15, attack 7.5 s" in said
    )
    assert "weights 1 MB, scores 2 MB, cells and page 3 MB; together 6 MB" in said
    assert "1 at a time (this machine" in dry(capsys, max_concurrent=1)
    assert "it would be refused" in dry(capsys, gpus_per_trial=0.25)
    said = dry(capsys, address="auto", gpus_per_trial=0.25)
    assert "8 at a time (if the cluster has 2 GPUs): search 15:00" in said
    assert "128 at a time (if the cluster has 32 GPUs)" in said
