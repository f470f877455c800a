"""One training: what its network is normalised by, and which number a search is told."""

import os
from dataclasses import replace

import numpy as np
import pytest
import torch

from study import trial
from study.data.embedded import digits
from study.data.types import Images, Source
from study.measure import load_network
from study.methods import Running
from study.options import study_config
from study.progress import StageProgress
from study.recent import Recent
from study.run import Key, RunDirectory
from study.trial import Training, build_network, run_training, save_weights, splits, train
from study.watchdog import Watchdog
from study.work import Job, do_job
from tests.study.test_search import RECIPE, config

STUDY = config(dataset="digits", losses=("ce",), trials=4, epochs=3)
KEY = Key("search", "plain", "ce", "", 0, 0)


def test_images_are_normalised_by_the_training_part_alone():
    data = splits(STUDY, digits(), 0, final=False)
    bright = Images(np.full_like(data.test.images, 255), data.test.labels)
    brighter = replace(data, test=bright, validation=Images(255 - data.validation.images, data.validation.labels))
    expected, found = (build_network(STUDY, part, "ce", seed=0).state_dict() for part in (data, brighter))
    assert expected.keys() == found.keys()
    assert all(torch.equal(value, found[name]) for name, value in expected.items())
    shares = data.train.images / 255
    normalised = {tuple(value.flatten().tolist()) for value in expected.values() if value.numel() == 1}
    assert (pytest.approx(shares.mean(), rel=1e-5),) in [(value,) for (value,) in normalised]


def test_a_network_that_is_loaded_asks_for_no_statistics(monkeypatch, tmp_path):
    key, run = Key("confirm", "plain", "ce", "", 0, 0), RunDirectory(tmp_path)
    expected = build_network(STUDY, splits(STUDY, digits(), 0, final=True), "ce", seed=3)
    path = run.model(key)
    path.parent.mkdir(parents=True, exist_ok=True)
    save_weights(path, expected, {}, Training(key, RECIPE, {}, 3), STUDY)
    monkeypatch.setattr("study.data.preprocessing.channel_statistics", lambda images: pytest.fail("counted"))
    found = load_network(STUDY, digits(), run, key).state_dict()
    assert all(torch.equal(value, found[name]) for name, value in expected.state_dict().items())


def test_of_large_data_only_the_last_cuts_stay(monkeypatch):
    monkeypatch.setattr(trial, "_SPLITS", Recent())
    first = splits(STUDY, digits(), 0, final=False)
    assert splits(STUDY, digits(), 1, final=False) is not first
    assert splits(STUDY, digits(), 0, final=False) is first
    trial._SPLITS.limit = 1
    assert splits(STUDY, digits(), 0, final=False) is first  # what is asked for never goes
    assert len(trial._SPLITS) == 1
    again = splits(STUDY, digits(), 1, final=False)
    assert len(trial._SPLITS) == 1
    assert np.array_equal(splits(STUDY, digits(), 0, final=False).train.images, first.train.images)
    assert not np.array_equal(again.train.images, first.train.images)


def test_every_replicate_is_cut_with_seeds_of_its_own_for_images_and_classes():
    cuts = [splits(STUDY, digits(), replicate, final=False) for replicate in range(3)]
    assert len({cut.test.images.tobytes() for cut in cuts}) == 3, "which hangs on the seed of the split alone"
    assert len({cut.class_order for cut in cuts}) == 3


def test_what_a_cut_holds_is_all_but_an_official_test_set(monkeypatch):
    """A digit of 8x8 pixels has 64 bytes, its label 8."""
    everything, named = digits(), config(task="classification", dataset="digits", losses=("ce",))
    official = Source("npz:own.npz", everything.train, everything.train.take(range(30)), everything.classes, "none")
    open_set = replace(named, task="rejection", held_out=4)
    for study, source, count in (
        (named, everything, len(everything.train)),
        (named, official, len(everything.train)),
        (open_set, everything, len(everything.train) - _held_out_in_training(open_set, everything)),
    ):
        monkeypatch.setattr(trial, "_SPLITS", Recent())
        splits(study, source, 0, final=False)
        assert trial._SPLITS.bytes == 72 * count


def _held_out_in_training(study, source):
    """Images of unknown classes that are neither trained on nor validated nor rejected: all but their test images."""
    data = splits(study, source, 0, final=False)
    unknown = [source.classes.index(name) for name in data.unknown.class_names]
    return int(np.isin(source.train.labels, unknown).sum()) - len(data.unknown)


def test_the_objective_is_the_validation_metric_of_the_last_epoch(monkeypatch):
    """Neither the best epoch's nor anything of the training images."""
    told = [
        {"epoch": 1.0, "train_loss": 0.9, "validation_balanced_accuracy": 0.5, "validation_accuracy": 0.6},
        {"epoch": 2.0, "train_loss": 0.1, "validation_balanced_accuracy": 0.8, "validation_accuracy": 0.9},
        {"epoch": 3.0, "train_loss": 0.4, "validation_balanced_accuracy": 0.7, "validation_accuracy": 0.65},
    ]

    def begin(training, *_):
        return torch.nn.Identity(), Running(iter([(epoch, dict) for epoch in told]), torch.nn.CrossEntropyLoss())

    monkeypatch.setattr("study.trial._begin", begin)
    cell = train(Training(KEY, RECIPE, {}, seed=0), STUDY, digits())
    assert cell["objective"] == 0.7
    assert cell["metrics"] == {"balanced_accuracy": 0.7, "accuracy": 0.65}


def test_the_margins_of_a_continual_learner_are_those_of_all_experiences_over_a_resume(tmp_path, monkeypatch):
    """The first experience has no memory and the largest margin of hem, the last ones have the smallest."""
    study = study_config(
        {"task": "continual", "preset": "smoke", "losses": ["ce", "hem"], "methods": ["replay"], "epochs": 2}
    )
    training = Training(Key("search", "replay", "hem", "", 0, 0), RECIPE, {"M": 100.0}, seed=0)
    data = splits(study, digits(), 0, final=False)
    sizes = [sum(data.class_counts[c] for c in part) + 50 * (k > 0) for k, part in enumerate(data.experiences)]
    expected = [(100 / max(sizes)) ** 0.5, (100 / sizes[0]) ** 0.5]

    def killed(metrics):
        if metrics["epoch"] == 7:
            raise KeyboardInterrupt

    monkeypatch.setattr(trial, "CHECKPOINT_SECONDS", 0.0)
    with pytest.raises(KeyboardInterrupt):
        train(training, study, digits(), checkpoint=tmp_path / "state.pt", report=killed)
    cell = train(training, study, digits(), checkpoint=tmp_path / "state.pt")
    assert len(cell["epochs"]) == 10
    assert cell["margin"] == pytest.approx(expected)
    saved = torch.load(tmp_path / "state.pt", weights_only=True)
    del saved["margins"]  # as an older version left it
    torch.save(saved, tmp_path / "state.pt")
    assert len(train(training, study, digits(), checkpoint=tmp_path / "state.pt")["epochs"]) == 10
    assert (tmp_path / "state.pt").exists()


def test_the_seconds_of_a_training_that_went_on_are_those_of_all_its_epochs(tmp_path, monkeypatch):
    training, run = Training(KEY, RECIPE, {}, seed=0), RunDirectory(tmp_path)

    def killed(metrics):
        if metrics["epoch"] == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(trial, "CHECKPOINT_SECONDS", 0.0)
    with pytest.raises(KeyboardInterrupt):
        run_training(training, STUDY, digits(), run, report=killed)
    saved = torch.load(run.checkpoint(KEY), weights_only=True)
    assert len(saved["epochs"]) == 2
    saved["epochs"][0]["seconds"] = 1000.0
    torch.save(saved, run.checkpoint(KEY))
    cell = run_training(training, STUDY, digits(), run)
    assert 1000.0 < sum(epoch["seconds"] for epoch in cell["epochs"]) < cell["seconds"] < 1100.0


def test_a_state_that_another_training_left_in_this_ones_place_is_not_taken_up(tmp_path):
    ours, other = Training(KEY, RECIPE, {}, seed=0), Training(KEY, {**RECIPE, "learning_rate": 0.01}, {}, seed=0)
    trial._save(tmp_path / "state.pt", other, {"epoch": 1}, [{"epoch": 1.0}], [0.2, 0.4])
    assert trial._load(tmp_path / "state.pt", other) == ({"epoch": 1}, [{"epoch": 1.0}], [0.2, 0.4])
    assert trial._load(tmp_path / "state.pt", ours) == (None, [], [])


def test_a_watchdog_writes_the_cell_and_then_ends_the_process(tmp_path, monkeypatch):
    ended = []
    monkeypatch.setattr(os, "_exit", lambda code: ended.append((code, run.read_cell(KEY)["reason"])))
    run = RunDirectory(tmp_path)
    watchdog = Watchdog(run, KEY, 2.0, {"training": {"seed": 1}})
    assert watchdog.timer.interval == pytest.approx(12.4)
    watchdog.timer.function(*watchdog.timer.args)
    assert ended == [(75, "timeout")]
    assert run.read_cell(KEY)["training"] == {"seed": 1}
    with Watchdog(run, KEY, 0.0) as unlimited:
        assert unlimited is None


@pytest.mark.parametrize("lost", [True, False])
def test_a_process_whose_gpu_is_lost_to_it_ends_and_leaves_no_failed_cell(tmp_path, monkeypatch, lost):
    """After an illegal access all that a process computes on its GPU fails; for want of memory one training does."""

    class Ended(BaseException):
        pass

    def fails(*_, **__):
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    def ends(code):
        raise Ended

    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "synchronize", fails if lost else lambda: None)
    monkeypatch.setattr(os, "_exit", ends)
    monkeypatch.setattr(trial, "train", fails)
    run, measured = RunDirectory(tmp_path), KEY.at("evaluate")
    works = (
        lambda: trial.run_training(Training(KEY, RECIPE, {}, 3), STUDY, digits(), run, device="cuda"),
        lambda: do_job(Job(measured, fails), STUDY, digits(), run, device="cuda", timeout=0.0),
    )
    for work, key in zip(works, (KEY, measured), strict=True):
        if lost:
            with pytest.raises(Ended):
                work()
            assert run.read_cell(key) is None, "another process would not try it"
        else:
            work()
            assert run.read_cell(key)["reason"] == "error"


def test_a_retraining_without_validation_images_is_whole(monkeypatch, tmp_path, capsys):
    """As of long-tailed CIFAR at preset paper, which is retrained on all of the field's images."""
    monkeypatch.setattr("study.tasks.imbalanced.N_MAX", {"cifar10": 20})
    draw = np.random.default_rng(0)
    parts = [Images(draw.integers(0, 256, (10 * n, 8, 8, 3), np.uint8), np.repeat(np.arange(10), n)) for n in (25, 2)]
    source = Source("cifar10", *parts, classes=tuple("abcdefghij"), licence="")
    study = replace(STUDY, preset="paper", dataset="cifar10", epochs=1, imbalance_ratio=2.0)
    key, run = Key("confirm", "plain", "ce", "tuned", 0, 0), RunDirectory(tmp_path)
    assert len(splits(study, source, 0, final=True).validation) == 0
    run_training(Training(key, {**RECIPE, "warmup_epochs": 0}, {}, 0), study, source, run)
    cell = run.read_cell(key)
    assert (cell["state"], cell["objective"]) == ("complete", None)
    with StageProgress("confirm", {"ce": 1}, metric="balanced_accuracy") as shown:
        shown.done(key, cell)
    assert "done" in capsys.readouterr().out
    run.tell_damage()
    assert capsys.readouterr().out == ""
    assert run.read_cell(key) == cell
