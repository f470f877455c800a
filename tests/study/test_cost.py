"""What a step costs: a row for every loss that can take one."""

import pytest
from torch import nn

from study.cost import cost_key, measure_cost
from study.data.registry import load_source
from study.ledger import forget_failures
from study.options import study_config
from study.run import RunDirectory
from study.trial import splits


class Raises(nn.Module):
    """A loss that takes a few steps and then no more."""

    def __init__(self, class_counts):
        super().__init__()
        self.steps = 0

    def forward(self, logits, target):
        self.steps += 1
        if self.steps > 3:
            raise RuntimeError("no step")
        return logits.sum()


def measured(tmp_path, *losses):
    config = study_config({"task": "classification", "preset": "smoke", "losses": losses})
    source = load_source(config.dataset, None)
    return measure_cost(cost_key(config), config, source, RunDirectory(tmp_path), "cpu")


def test_every_loss_has_a_row_and_one_that_fails_takes_none_of_the_others_with_it(tmp_path):
    cell = measured(tmp_path, "ce", "tests.study.test_cost:Raises", "hem")
    assert cell["state"] == "complete"
    assert [row["loss"] for row in cell["steps"]] == ["ce", "hem"]
    assert cell["missing"] == {"tests.study.test_cost:Raises": "RuntimeError: no step"}
    config = study_config({"task": "classification", "preset": "smoke"})
    count = len(splits(config, load_source(config.dataset, None), 0, final=False).train)
    images = cell["steps"][0]["images"]
    assert count % images, "a last batch of fewer images is a step, too"
    for row in cell["steps"]:
        assert row["step_seconds"] > 0
        assert row["epoch_seconds"] / row["step_seconds"] == pytest.approx(count // images + 1)
        assert row["images"] == images


@pytest.mark.parametrize(("missing", "kept"), [({}, True), ({"own:Loss": "RuntimeError: no step"}, False)])
def test_a_loss_that_is_missing_is_measured_when_the_run_is_resumed(tmp_path, missing, kept):
    run, key = RunDirectory(tmp_path), cost_key(study_config({"task": "classification"}))
    run.write_cell(key, {"state": "complete", "steps": [], "missing": missing, "seconds": 1.0})
    forget_failures(run)
    assert run.cell(key).exists() == kept


def test_if_none_can_the_reason_is_said(tmp_path):
    cell = measured(tmp_path, "tests.study.test_cost:Raises")
    assert (cell["state"], cell["error"]) == ("failed", "RuntimeError: no step")
