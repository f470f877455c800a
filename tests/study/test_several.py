"""Several runs in one directory: what was asked for, what of it has begun, and the exit code of all together."""

import json
from pathlib import Path

import pytest

from study import ledger, tune
from study.config import Resources
from study.errors import CannotGoOn, InputError
from study.options import all_tasks
from study.run import Key, RunDirectory
from study.several import ALL_FILE, asked, begin, is_several, run_directories, work
from study.stages import Context
from study.tasks import TASKS

CONFIGS = all_tasks({"preset": "smoke"})


def test_what_was_asked_for_comes_back(tmp_path):
    begin(tmp_path, CONFIGS, "python -m study.tune --task all")
    assert asked(tmp_path) == (list(CONFIGS), "python -m study.tune --task all")
    assert is_several(tmp_path)
    assert not is_several(tmp_path / "imbalanced")


def test_a_damaged_record_says_so(tmp_path):
    (tmp_path / ALL_FILE).write_text("{")
    with pytest.raises(InputError, match=r"all\.json cannot be read"):
        asked(tmp_path)


def test_only_runs_that_have_begun_are_reported(tmp_path):
    begin(tmp_path, CONFIGS, "")
    with pytest.raises(InputError, match="none of its tasks has begun"):
        run_directories(tmp_path)
    (tmp_path / "continual").mkdir()
    (tmp_path / "continual" / "study.json").write_text(json.dumps({"version": 1}))
    assert [run.path.name for run in run_directories(tmp_path)] == ["continual"]
    with pytest.raises(InputError, match=r"not a run directory: .*\nexpected: one of the runs in it: continual"):
        RunDirectory(tmp_path).read_study()


def test_a_single_run_stands_for_itself(tmp_path):
    assert [run.path for run in run_directories(tmp_path)] == [tmp_path.resolve()]


@pytest.mark.parametrize(
    ("codes", "result", "done"),
    [
        ([0, 0, 0, 0, 0, 0], 0, 6),
        ([0, 1, 0, 0, 0, 0], 1, 6),  # failed cells of one task do not keep the others from being done
        ([0, 0, 130], 130, 3),  # an interruption ends it
        ([2], 2, 1),
    ],
)
def test_exit_code_of_all_together(tmp_path, codes, result, done):
    seen = []

    def one(config, path):
        seen.append((config.task, path))
        return codes[len(seen) - 1]

    assert work(tmp_path, CONFIGS, one) == result
    assert seen == [(task, Path(tmp_path / task)) for task in list(TASKS)[:done]]


def test_where_one_task_cannot_go_on_the_next_does_not_begin(tmp_path, monkeypatch, capsys):
    begun = []

    def one(request, config, path):
        begun.append(config.task)
        raise CannotGoOn("the disk is full\ngo on with: python -m study.tune --resume X")

    monkeypatch.setattr(tune, "_one_of_all", one)
    monkeypatch.setattr("study.cluster.connect", lambda resources: "")
    line = ["--task", "all", "--preset", "smoke", "--output", str(tmp_path / "all")]
    assert tune.main(line) == tune.INCOMPLETE
    assert begun == [next(iter(TASKS))]
    assert "the disk is full\ngo on with: python -m study.tune --resume X" in capsys.readouterr().err


@pytest.mark.parametrize("failed", [{}, {Key("confirm", "plain", "hem", "tuned", 0, 0): "out of luck\nand more"}])
def test_a_study_is_complete_or_its_failed_cells_are_named_and_the_exit_code_is_one(
    tmp_path, monkeypatch, capsys, failed
):
    monkeypatch.setattr("study.ledger.asked", lambda config, run: [])
    monkeypatch.setattr("study.ledger.failures", lambda config, run: failed)
    monkeypatch.setattr("study.report.finish_run", lambda *_, **__: {})
    monkeypatch.setattr("study.report.print_summary", lambda *_: None)
    context = Context(CONFIGS[0], Resources(), RunDirectory(tmp_path), None, {"peak_memory_bytes": 0})
    assert tune._report(context, 0.0, dashboard=False) == (1 if failed else 0)
    told = capsys.readouterr().err
    assert ("confirm/plain~hem~tuned~r0~n000: out of luck\n" in told) == bool(failed)
    assert ("1 cells failed; try them again with: python -m study.tune --resume" in told) == bool(failed)


@pytest.mark.parametrize(
    ("reasons", "told"),
    [
        (["diverged", "diverged"], "2 cells failed\nwhat diverged is not tried again: it would diverge again\n"),
        (["diverged", "error"], "2 cells failed; try 1 of them again with: python -m study.tune --resume"),
        (["timeout", "error"], "2 cells failed; try them again with: python -m study.tune --resume"),
    ],
)
def test_only_what_resuming_does_anew_is_said_to_be_tried_again(tmp_path, monkeypatch, capsys, reasons, told):
    run = RunDirectory(tmp_path)
    for replicate, reason in enumerate(reasons):
        key = Key("confirm", "plain", "ce", "default", replicate, 0)
        run.write_cell(key, {"state": "failed", "reason": reason, "error": reason})
    monkeypatch.setattr("study.ledger.asked", lambda config, run: [])
    monkeypatch.setattr("study.report.finish_run", lambda *_, **__: {})
    monkeypatch.setattr("study.report.print_summary", lambda *_: None)
    context = Context(CONFIGS[0], Resources(), run, None, {"peak_memory_bytes": 0})
    assert tune._report(context, 0.0, dashboard=False) == tune.INCOMPLETE
    assert told in capsys.readouterr().err
    ledger.forget_failures(run)
    kept = [cell["reason"] for _, cell in run.cells("confirm")]
    assert kept == [reason for reason in reasons if reason == "diverged"], "what the message says is what is done"
