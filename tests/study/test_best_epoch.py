"""A trained defence is attacked after its last epoch and after the one that was best on validation images."""

import json

import pytest

from study.attack_join import rows_from_verdicts
from study.data.embedded import digits
from study.ledger import attack_keys
from study.measure import read_scores
from study.options import study_config
from study.run import RunDirectory
from tests.study.pipeline import attack_everything, train_everything


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
    attack_everything(config, run, digits())
    found = {}
    for key, aim in attack_keys(config, run).items():
        if (key.method, key.arm) == ("pgd", "tuned"):
            cell = found[aim.kept] = run.read_cell(key)
            again = rows_from_verdicts(read_scores(run.scores(key)))
            stored = json.loads(json.dumps(again).replace("NaN", "null"))
            assert stored == {name: cell[name] for name in again}
    assert {row["probe"] for row in found[""]["rows"]} == {"attack", "rejection"}
    assert {row["probe"] for row in found["best"]["rows"]} == {"attack_best"}
    of_last = [row["metric"] for row in found[""]["rows"] if row["probe"] == "attack"]
    assert [row["metric"] for row in found["best"]["rows"]] == of_last
    assert found["best"]["curves"] == found["best"]["health"] == []
