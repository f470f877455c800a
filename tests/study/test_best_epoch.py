"""A trained defence is attacked after its last epoch and after the one that was best on validation images."""

from dataclasses import replace

import numpy as np
import pytest

from study.data.embedded import digits
from study.ledger import attack_keys
from study.measure import attack_model, read_scores, rows_from_verdicts
from study.options import study_config
from study.probes.attack_verdicts import robust
from study.run import RunDirectory
from tests.study.pipeline import train_everything


@pytest.fixture(scope="module")
def defended(tmp_path_factory):
    given = {"methods": ("plain", "pgd"), "losses": ("ce",), "replicates": 1, "trials": 2, "epochs": 2}
    config = study_config({"task": "adversarial", "preset": "smoke", **given})
    run = RunDirectory(tmp_path_factory.mktemp("defended"))
    train_everything(config, run, digits())
    return config, run


def test_only_a_defence_has_two_of_each_attack(defended):
    config, run = defended
    keys = attack_keys(config, run)
    for method, expected in (("plain", {""}), ("pgd", {"", "best"})):
        assert {which for key, (_, _, which) in keys.items() if key.method == method} == expected
    assert len({key.name for key in keys}) == len(keys)


def test_the_best_epoch_has_a_probe_of_its_own_and_no_curve(defended):
    config, run = defended
    found = {}
    for key, (norm, eps, kept) in attack_keys(config, run).items():
        if (key.method, key.arm) == ("pgd", "tuned"):
            cell = attack_model(key, config, digits(), run, "cpu", norm=norm, eps=eps, kept=kept)
            found[kept] = cell
            again = rows_from_verdicts(read_scores(run.scores(key)))
            assert repr(again) == repr({name: cell[name] for name in again})
    assert {row["probe"] for row in found[""]["rows"]} == {"attack"}
    assert {row["probe"] for row in found["best"]["rows"]} == {"attack_best"}
    assert [row["metric"] for row in found["best"]["rows"]] == [row["metric"] for row in found[""]["rows"]]
    assert found["best"]["curves"] == found["best"]["health"] == []


def test_a_larger_radius_takes_over_what_a_smaller_one_broke(defended):
    config, run = defended
    config = replace(config, eps=(0.02, 0.1))
    keys = attack_keys(config, run)
    of_one = sorted((eps, key) for key, (_, eps, kept) in keys.items() if (key.method, key.arm) == ("plain", "tuned"))
    for eps, key in of_one:
        run.write_cell(key, attack_model(key, config, digits(), run, "cpu", norm="Linf", eps=eps))
    small, large = (read_scores(run.scores(key)) for _, key in of_one)
    assert np.array_equal(large["carried"], small["clean"] & ~robust(small))
    assert not (robust(large) & ~robust(small)).any()
