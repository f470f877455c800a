"""A loss made worse by a known amount is found, and an identical one is not; from the search to the comparison."""

import pytest

from study import compare, ledger, record, tables
from study.confirm import winners
from study.data.embedded import digits
from study.measure import evaluate_model
from study.run import RunDirectory
from tests.study.pipeline import train_everything
from tests.study.test_search import config

LOSSES = ("ce", "tests.study.planted:Twin", "tests.study.planted:Forgetful")


@pytest.fixture(scope="module")
def comparison(tmp_path_factory):
    run, source = RunDirectory(tmp_path_factory.mktemp("planted")), digits()
    study = config(
        dataset="digits", model="mlp", losses=LOSSES, trials=6, replicates=3, epochs=6, rescored=1, sweep=0,
        attacks="none", imbalance_ratio=1.0, corruption_points=10,
    )  # fmt: skip
    train_everything(study, run, source)
    for key in ledger.evaluation_keys(study, run):
        run.write_cell(key, {**evaluate_model(key, study, source, run, "cpu"), "seconds": 0.0})
    table = tables.build(study, run, winners(study, run))["evaluation"]
    found = compare.compare(table, study=record.new(study, source, run, ""))
    chosen = found[(found["probe"] == "accuracy") & (found["dataset"] == "test") & (found["slice"] == "all")]
    return chosen[(chosen["metric"] == "balanced_accuracy") & (chosen["arm"] == "tuned")].set_index("loss")


def test_a_lost_class_is_found_with_its_size(comparison):
    row = comparison.loc[LOSSES[2]]
    assert row["difference_high"] < 0
    assert row["difference_low"] < -0.1 < row["difference_high"] + 0.02
    assert row["difference"] == pytest.approx(-0.1, abs=0.02)
    assert row["p"] < 0.05


def test_an_identical_loss_is_not(comparison):
    row = comparison.loc[LOSSES[1]]
    assert row["mean"] == pytest.approx(comparison.loc["ce", "mean"], abs=0.02)
    assert not row["p"] < 0.05
