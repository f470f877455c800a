"""Work over a cluster: what is left of a piece of work whose process Ray ended."""

import pytest
from ray.exceptions import OutOfMemoryError, WorkerCrashedError

from study import remote, tables
from study.options import study_config
from study.run import Key, RunDirectory
from study.shape import cell_shape, mismatch


@pytest.mark.parametrize("error", [OutOfMemoryError("1 worker(s) were killed\nmore"), WorkerCrashedError()])
def test_a_process_that_died_leaves_a_cell_that_can_be_tabled(tmp_path, monkeypatch, error):
    def get(answer):
        raise error

    monkeypatch.setattr(remote.ray, "get", get)
    config, run, key = (
        study_config({"task": "classification"}),
        RunDirectory(tmp_path),
        Key("cost", "plain", "ce", "", 0, 0),
    )
    remote._cell(object(), key, run)
    cell = run.read_cell(key)
    assert (cell["state"], cell["reason"]) == ("failed", "process")
    assert cell["error"].startswith("its process died: ")
    assert "\n" not in cell["error"]
    assert not mismatch(cell, cell_shape("cost", "failed"), "cell")
    timing = tables.build(config, run, {})["timing"]
    assert len(timing) == 1
