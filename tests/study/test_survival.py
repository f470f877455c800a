"""Interrupted, killed, locked, too small: nothing finished is lost, nothing is done twice."""

import json
import signal
import subprocess

import pandas as pd
import pytest

from study import evaluate, report
from study.run import RunDirectory, locked
from study.tune import main
from tests.study import commands


def contents(run, stage):
    return {path.name: path.read_bytes() for path in (run / "cells" / stage).glob("*.json")}


def test_stopped_killed_and_resumed(smoke, tmp_path):
    run, log = tmp_path / "run", tmp_path / "log"
    process = commands.start(*commands.SMOKE, "--output", run, log=log)
    commands.wait_for_cells(process, run, "search", 5)
    assert commands.stop(process, signal.SIGINT) == 130
    assert "--resume" in log.read_text()
    assert json.loads((run / "study.json").read_text())["status"] == "interrupted"
    first = contents(run, "search")

    process = commands.start("-m", "study.tune", "--resume", run, log=log)
    commands.wait_for_cells(process, run, "confirm", 3)
    commands.stop(process, signal.SIGKILL)
    second = {stage: contents(run, stage) for stage in ("search", "rescore", "confirm")}
    assert first.items() <= second["search"].items()

    finished = commands.run("-m", "study.tune", "--resume", run)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    for stage, before in second.items():
        assert before.items() <= contents(run, stage).items(), f"{stage}: something finished was done again"
    ours, calm = (pd.read_parquet(path / "trials.parquet") for path in (run, smoke[0]))
    assert ours.groupby(["loss", "replicate"]).size().nunique() == 1
    same = ["loss", "replicate", "number", "source", "param.learning_rate", "objective", "rescore", "selected"]
    pd.testing.assert_frame_equal(ours[same], calm[same])

    again = commands.run("-m", "study.tune", "--resume", run, "--add-losses", "mm", "--no-dashboard")
    assert again.returncode == 0, again.stdout + again.stderr
    assert contents(run, "confirm").items() >= second["confirm"].items()
    trials = pd.read_parquet(run / "trials.parquet").groupby("loss").size()
    assert trials["mm"] == trials["ce"]


@pytest.mark.parametrize(
    ("command", "argv", "stage"),
    [
        (evaluate.main, ["RUN", "--add", "x=y.npz"], "study.evaluate.add_models"),
        (evaluate.main, ["RUN", "--from-scores"], "study.evaluate.rescore"),
        (report.main, ["RUN"], "study.report.report"),
    ],
)
def test_an_interruption_says_in_one_line_what_to_do(tmp_path, monkeypatch, capsys, command, argv, stage):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(stage, interrupted)
    monkeypatch.setattr(RunDirectory, "read_study", dict)
    assert command([str(tmp_path) if word == "RUN" else word for word in argv]) == 130
    [line] = capsys.readouterr().err.strip().splitlines()
    assert line.startswith("interrupted; ")
    assert "the same command" in line


def test_two_processes_on_one_run_are_kept_apart(smoke, capsys):
    with locked(RunDirectory(smoke[0])):
        assert main(["--resume", str(smoke[0])]) == 2
    assert "another process works on this run" in capsys.readouterr().err


def test_resources_that_are_not_there_are_refused(tmp_path):
    finished = commands.run(*commands.SMOKE, "--output", tmp_path / "run", "--cpus-per-trial", 64)
    assert finished.returncode == 2
    assert "64 CPU" in finished.stderr
    assert "Traceback" not in finished.stderr


def test_an_address_where_nobody_answers_is_named(tmp_path):
    finished = commands.run(*commands.SMOKE, "--output", tmp_path / "run", "--address", "127.0.0.1:1", timeout=300)
    assert finished.returncode == 2
    assert "--address 127.0.0.1:1" in finished.stderr
    assert len(finished.stderr.splitlines()) <= 10
    assert isinstance(finished, subprocess.CompletedProcess)
