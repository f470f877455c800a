"""All six tasks through the same command, once, as small as they go: each one's end-to-end test."""

import json

import pandas as pd
import pytest

from study.run import RunDirectory
from study.tasks import TASKS
from tests.study import commands

LOSSES = ("ce", "hem+")


@pytest.fixture(scope="module")
def every(tmp_path_factory):
    path = tmp_path_factory.mktemp("all") / "runs"
    arguments = ("--preset", "smoke", "--losses", *LOSSES, "--replicates", "1", "--trials", "2", "--epochs", "2")
    finished = commands.run("-m", "study.tune", "--task", "all", *arguments, "--output", path)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    return path, finished


@pytest.mark.parametrize("name", sorted(TASKS))
def test_a_task_leaves_the_whole_of_a_run(every, name):
    run, task = RunDirectory(every[0] / name), TASKS[name]
    study = json.loads((run.path / "study.json").read_text())
    assert study["status"] == "complete"
    assert study["cells"]["asked"] == study["cells"]["complete"]
    evaluation = pd.read_parquet(run.path / "evaluation.parquet")
    endpoint = task.endpoint_on(study["dataset"])
    rows = evaluation[
        (evaluation["probe"] == endpoint.probe)
        & (evaluation["dataset"] == endpoint.dataset)
        & (evaluation["slice"] == endpoint.slice)
        & (evaluation["metric"] == endpoint.metric)
        & (evaluation["arm"] == endpoint.arm)
        & (evaluation["method"] == endpoint.method)
    ]
    assert sorted(rows["loss"]) == sorted(LOSSES)
    assert rows["value"].between(0, 1).all()


@pytest.mark.parametrize("name", sorted(TASKS))
def test_only_probes_that_make_sense_were_measured_and_are_shown(every, name):
    run = every[0] / name
    measured = set(pd.read_parquet(run / "evaluation.parquet")["probe"])
    page = (run / "dashboard.html").read_text()
    for probe, section in (("attack", "attack"), ("continual", "continual"), ("segmentation", "segmentation")):
        expected = bool(TASKS[name].applies(probe))
        assert (probe in measured) == expected, probe
        assert (f'<section id="{section}"' in page) == expected, probe


def test_the_scoreboard_has_every_task_and_says_that_one_search_decides_nothing(every):
    path, finished = every
    content = json.loads((path / "scoreboard.json").read_text())
    assert [run["task"] for run in content["runs"]] == list(TASKS)
    assert {claim["verdict"] for claim in content["claims"]} <= {"undecided", "no information"}
    page = (path / "scoreboard.html").read_text()
    assert all(f'href="{name}/dashboard.html"' in page for name in TASKS)
    assert f"{path}/scoreboard.html" in finished.stdout
    assert finished.stderr == ""


def test_a_finished_folder_is_resumed_without_work(every):
    before = {path: path.stat().st_mtime_ns for path in every[0].glob("*/cells/*/*.json")}
    again = commands.run("-m", "study.tune", "--resume", every[0])
    assert again.returncode == 0, again.stdout + again.stderr
    assert {path: path.stat().st_mtime_ns for path in every[0].glob("*/cells/*/*.json")} == before
