"""The command line: every mistake is a short block that says what was wrong, what was given and what is allowed."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from study.config import Resources
from study.options import parse
from study.tune import main, resume_command

ROOT = Path(__file__).parents[2]
TASK = ["--task", "imbalanced", "--preset", "smoke"]


def refused(capsys, *argv):
    """Run the command; return what it says. It must be short and exit with 2."""
    assert main([str(part) for part in argv]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert "Traceback" not in said
    assert len(said.splitlines()) <= 10
    return said


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--tsk", "imbalanced"], ["unknown option", "did you mean '--task'"]),
        (["--task", "imbalance"], ["unknown task", "did you mean 'imbalanced'"]),
        ([], ["--task is missing", "imbalanced"]),
        ([*TASK, "--losses", "ce", "hme"], ["unknown loss: 'hme'", "did you mean 'hem'"]),
        ([*TASK, "--losses", "ce", "ce"], ["--losses", "each name once"]),
        ([*TASK, "--preset", "smok"], ["unknown preset", "did you mean 'smoke'"]),
        ([*TASK, "--model", "mpl"], ["unknown model", "did you mean 'mlp'"]),
        ([*TASK, "--dataset", "digit"], ["unknown data set", "did you mean 'digits'"]),
        ([*TASK, "--dataset", "npz:nowhere.npz"], ["nowhere.npz"]),
        ([*TASK, "--methods", "dwr"], ["unknown method", "did you mean 'drw'"]),
        ([*TASK, "--objective", "acuracy"], ["unknown objective", "did you mean 'accuracy'"]),
        ([*TASK, "--attacks", "fast"], ["--attacks", "standard"]),
        ([*TASK, "--attack-points", "some"], ["--attack-points", "'some'"]),
        ([*TASK, "--eps", "8"], ["--eps", "[0, 1]", "got 8"]),
        ([*TASK, "--eps", "8/0"], ["--eps", "as 0.1 or 8/255", "got '8/0'"]),
        ([*TASK, "--eps", "1e300000000/255"], ["--eps", "[0, 1]", "got inf"]),
        ([*TASK, "--eps", "nan"], ["--eps", "[0, 1]", "got nan"]),
        ([*TASK, "--methods", "drw"], ["--methods", "decided by method plain"]),
        ([*TASK, "--eps", "0.031", "0.0310000001"], ["--eps", "six digits", "Linf 0.031 twice"]),
        (["--task", "classification", "--imbalance-ratio", "5"], ["--imbalance-ratio belongs to task imbalanced"]),
        ([*TASK, "--workers-per-trial", "2", "--cpus-per-trial", "2"], ["--cpus-per-trial", "--cpus-per-worker"]),
        ([*TASK, "--image-size", "7"], ["--image-size", "≥ 8"]),
        ([*TASK, "--dataset", "folder:nowhere"], ["nowhere", "no such folder"]),
        ([*TASK, "--dataset", "folder:no\udcffwhere"], ["text in UTF-8", r"'folder:no\udcffwhere'"]),
        ([*TASK, "--dataset", "npz:~nobody.known/x.npz"], ["~nobody.known/x.npz", "a home that is not known"]),
        ([*TASK, "--data-dir", "~nobody.known"], ["~nobody.known", "a home that is not known"]),
        ([*TASK, "--ood-sets", "npz:~nobody.known/x.npz"], ["~nobody.known/x.npz", "a home that is not known"]),
        ([*TASK, "--held-out", "2"], ["--held-out belongs to task rejection", "imbalanced"]),
        (["--task", "rejection", "--preset", "smoke", "--held-out", "9"], ["--held-out", "0 to 8 of 10", "got 9"]),
        ([*TASK, "--ood-sets", "svhm"], ["unknown outside set", "did you mean 'svhn'"]),
        ([*TASK, "--trials", "x"], ["--trials", "'x'"]),
        ([*TASK, "--trials", "7", "--replicates", "3"], ["multiples of 3"]),
        ([*TASK, "--trials", "2", "--replicates", "2"], ["fewer than 2 trials"]),
        ([*TASK, "--epochs", "0"], ["--epochs", "≥ 1"]),
        ([*TASK, "--imbalance-ratio", "0.5"], ["--imbalance-ratio", "≥ 1"]),
        ([*TASK, "--imbalance-ratio", "nan"], ["--imbalance-ratio", "got nan"]),
        ([*TASK, "--cpus-per-trial", "0"], ["--cpus-per-trial", "above 0"]),
        ([*TASK, "--cpus-per-trial", "nan"], ["--cpus-per-trial", "finite number above 0", "nan"]),
        ([*TASK, "--gpus-per-trial", "inf"], ["--gpus-per-trial", "inf GPUs cannot be given"]),
        ([*TASK, "--gpus-per-trial", "2"], ["2 GPUs cannot be given", "--workers-per-trial 2 --gpus-per-worker 1"]),
        ([*TASK, "--workers-per-trial", "2", "--cpus-per-worker", "0.01"], ["--cpus-per-worker", "above 0.01"]),
        (
            [*TASK, "--workers-per-trial", "2", "--gpus-per-worker", "0.5"],
            ["--gpus-per-worker", "0.5 several workers of a training lie on one GPU", "--gpus-per-trial 0.25"],
        ),
        ([*TASK, "--workers-per-trial", "0"], ["--workers-per-trial", "≥ 1"]),
        ([*TASK, "--add-losses", "mm"], ["--add-losses", "--resume"]),
        ([*TASK, "--gpus-per-worker", "1"], ["--workers-per-trial"]),
        ([*TASK, "--workers-per-trial", "2", "--gpus-per-trial", "1"], ["--gpus-per-worker"]),
        ([*TASK, "--replicates", "0"], ["--replicates", "≥ 1"]),
        ([*TASK, "--replicates", "10000000"], ["--replicates", "≤ 1000", "got 10000000"]),
        ([*TASK, "--epochs", "9" * 40], ["--epochs", "≤ 100000"]),
        ([*TASK, "--image-size", "100000"], ["--image-size", "≤ 2048"]),
        ([*TASK, "--epochs", "1"], ["--epochs", "warm-up"]),
        ([*TASK, "--output", "what?"], ["question mark"]),
        ([*TASK, "stray"], ["did not expect 'stray'"]),
        ([*TASK, "--losses", "ce", "no_such_package:Loss"], ["no_such_package"]),
        ([*TASK, "--losses", "ce", "examples.own_loss:Nothing"], ["Nothing"]),
        (["--resume", "nowhere"], ["not a run directory"]),
        (["--resume", "nowhere", "--epochs", "3"], ["--epochs cannot be given with --resume"]),
    ],
)
def test_mistakes_are_named(capsys, argv, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(ROOT)
    said = refused(capsys, *argv)
    for word in words:
        assert word in said, said
    assert not list(tmp_path.iterdir()), "a mistake left something behind"


def test_a_network_too_large_for_the_images_is_refused(capsys, tmp_path):
    x = np.zeros((40, 8, 8, 1), np.uint8)
    np.savez(tmp_path / "tiny.npz", x_train=x, y_train=np.arange(40) % 2)
    said = refused(capsys, *TASK, "--dataset", f"npz:{tmp_path / 'tiny.npz'}", "--model", "rsnet20")
    assert "did you mean 'resnet20'" in said


def test_a_class_with_too_few_images_is_named(capsys, tmp_path):
    y = np.array([0] * 60 + [1] * 60 + [2])
    np.savez(tmp_path / "few.npz", x_train=np.zeros((len(y), 8, 8, 1), np.uint8), y_train=y, classes=["a", "b", "rare"])
    said = refused(capsys, *TASK, "--dataset", f"npz:{tmp_path / 'few.npz'}")
    assert "rare" in said


def test_all_classes_known_and_nothing_near_to_reject_is_refused(capsys, tmp_path):
    x = np.random.default_rng(0).integers(0, 256, (180, 8, 8, 1), dtype=np.uint8)
    np.savez(tmp_path / "things.npz", x_train=x, y_train=np.arange(180) % 3, classes=["cup", "hat", "key"])
    said = refused(
        capsys, *("--task", "rejection", "--preset", "smoke", "--held-out", 0),
        *("--dataset", f"npz:{tmp_path / 'things.npz'}"),
    )  # fmt: skip
    assert "no near outside set" in said
    assert "allowed: --held-out 1 to 1" in said


@pytest.mark.parametrize(
    ("dataset", "held_out"), [("cifar10", 0), ("cifar100", 0), ("folder:photographs", None), ("gtsrb", None)]
)
def test_paper_holds_out_no_class_where_there_are_near_sets_by_name(dataset, held_out):
    argv = ["--task", "rejection", "--preset", "paper", "--dataset", dataset]
    assert parse(argv).config.held_out == held_out
    assert parse([*argv, "--held-out", "3"]).config.held_out == 3


def test_over_all_tasks_rejection_alone_holds_classes_out():
    found = {config.task: config.held_out for config in parse(["--task", "all", "--held-out", "3"]).tasks}
    assert found == {**dict.fromkeys(found, None), "rejection": 3}


def test_directories_that_hold_something_are_left_alone(capsys, tmp_path):
    (tmp_path / "mine.txt").write_text("keep me")
    assert "holds something else" in refused(capsys, *TASK, "--output", tmp_path)
    (tmp_path / "study.json").write_text("{}")
    assert "already holds a run" in refused(capsys, *TASK, "--output", tmp_path)
    (tmp_path / "study.json").rename(tmp_path / "all.json")
    assert f"allowed: --resume {tmp_path}" in refused(capsys, "--task", "all", "--output", tmp_path)
    assert "is a file" in refused(capsys, *TASK, "--output", tmp_path / "mine.txt" / "run")
    assert (tmp_path / "mine.txt").read_text() == "keep me"


@pytest.mark.parametrize(
    ("content", "word"),
    [("{", "JSON"), ('{"version": 99}', "version"), ("[1]", "expected")],
    ids=["torn", "new", "list"],
)
def test_a_damaged_record_is_named(capsys, tmp_path, content, word):
    (tmp_path / "study.json").write_text(content)
    assert word in refused(capsys, "--resume", tmp_path)


def test_the_presets_are_what_they_promise():
    quick = parse(["--task", "imbalanced"]).config
    assert quick.preset == "quick"
    assert quick.losses == ("ce", "mm", "hem", "hem+", "logit_adjusted")
    assert (quick.replicates, quick.trials_per_search, quick.seeds, quick.rescored, quick.sweep) == (3, 6, 1, 3, 3)
    full = parse(["--task", "imbalanced", "--preset", "full"]).config
    assert full.trials_per_search >= 20
    assert full.replicates >= 5
    assert full.attacks == "standard"
    assert len(full.eps) > 1
    assert len(full.losses) == 12


def test_the_config_survives_json():
    config = parse(["--task", "imbalanced", "--preset", "full", "--eps", "0.1", "0.2"]).config
    assert type(config).from_dict(json.loads(json.dumps(config.to_dict()))) == config


def test_help_lists_every_group_and_option():
    answer = subprocess.run(
        [sys.executable, "-m", "study.tune", "--help"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    for word in ("what:", "how much:", "where:", "on what:", "show:", "--workers-per-trial", "exit code"):
        assert word in answer.stdout
    assert max(map(len, answer.stdout.splitlines())) <= 120


def test_dry_run_starts_nothing(capsys, tmp_path):
    assert main([*TASK, "--output", str(tmp_path / "run"), "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert "24 trainings" in said
    assert not (tmp_path / "run").exists()
    assert "RAY_JOB_ID" not in os.environ


def test_help_names_every_network():
    from study.models import MODELS
    from study.options import parser

    (model,) = (action for action in parser()._actions if action.dest == "model")
    assert model.help.partition(" (")[0].split(", ") == list(MODELS)


def test_the_command_to_go_on_with_asks_for_what_the_run_had():
    assert resume_command(Path("/runs/long tail"), Resources(verbose=True)) == (
        "python -m study.tune --resume '/runs/long tail'"
    )
    had = Resources(address="auto", workers_per_trial=4, gpus_per_worker=1.0, trial_timeout=5400.0)
    line = resume_command(Path("/runs/tail"), had)
    assert line == (
        "python -m study.tune --resume /runs/tail "
        "--address auto --workers-per-trial 4 --gpus-per-worker 1 --trial-timeout 5400"
    )
    mine = resume_command(Path("/runs/tail"), Resources(), Path("/my data"))
    assert mine == "python -m study.tune --resume /runs/tail --data-dir '/my data'"
    assert parse(line.split()[3:]).resources == had


def test_the_method_that_decides_comes_first():
    assert parse([*TASK, "--methods", "drw", "plain"]).config.methods == ("plain", "drw")


def test_a_radius_twice_is_one():
    assert parse([*TASK, "--eps", "0.1", "0.05", "0.1"]).config.eps == (0.1, 0.05)
