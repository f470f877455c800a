"""Trainings that begin from given weights: said, recorded, the same for all losses, and refused when they change."""

import json
from dataclasses import replace

import pytest
import torch

from study import finetuning, preflight, record
from study.config import StudyConfig
from study.data.embedded import digits
from study.errors import InputError
from study.models import build_model
from study.options import parse, study_config
from study.run import Key, RunDirectory
from study.search import training_of
from study.trial import run_training, splits, start_network

BUDGET = {"replicates": 1, "trials": 2, "epochs": 2, "attacks": "none"}


def weights(path, classes=10, seed=5):
    model = build_model("mlp", shape=(8, 8, 1), num_classes=classes, mean=0.3, std=0.4, seed=seed)
    torch.save({"weights": model.state_dict()}, path)
    return model.state_dict()


def config_of(path, **more):
    given = {"task": "imbalanced", "preset": "smoke", "losses": ("ce", "hem", "ldam"), **BUDGET}
    return study_config({**given, "weights": str(path), **more})


def test_every_loss_begins_from_the_file(tmp_path):
    theirs = weights(tmp_path / "w.pt", classes=3)
    config = config_of(tmp_path / "w.pt")
    data = splits(config, digits(), 0, final=False)
    ce, hem, other = (start_network(config, data, *case).state_dict() for case in (("ce", 1), ("hem", 1), ("hem", 2)))
    for key, value in theirs.items():
        if not key.startswith("head."):
            assert torch.equal(ce[key], value)
            assert torch.equal(other[key], value)
    assert torch.equal(ce["head.weight"], hem["head.weight"])
    assert not torch.equal(other["head.weight"], hem["head.weight"]), "a new head is drawn from the training's seed"


def test_what_was_loaded_is_said_in_a_line_and_recorded(tmp_path, capsys):
    weights(tmp_path / "w.pt")
    config = config_of(tmp_path / "w.pt", freeze_body=True)
    preflight.check(config, digits())
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith(f"weights: {tmp_path / 'w.pt'} ({config.weights_sha256[:16]}…); new heads for ldam (the fil")
    assert line.endswith("the body stays as it is")
    study = record.new(config, digits(), RunDirectory(tmp_path / "run"), "command")
    assert study["weights"] == {
        "path": str(tmp_path / "w.pt"),
        "sha256": config.weights_sha256,
        "freeze_body": True,
        "new_heads": {"ce": "", "hem": "", "ldam": "the file's is of another kind"},
        "left_out": 0,
    }
    assert type(config).from_dict(json.loads(json.dumps(study["config"]))) == config


def test_a_frozen_body_is_trained_to_a_cell_with_the_files_body(tmp_path):
    theirs = weights(tmp_path / "w.pt", classes=3)
    config = config_of(tmp_path / "w.pt", freeze_body=True)
    run, key = RunDirectory(tmp_path / "run"), Key("confirm", "plain", "hem", "default", 0, 0)
    recipe = {"learning_rate": 0.1, "weight_decay": 1e-2, "momentum": 0.9, "schedule": "cosine", "batch_size": 64}
    cell = run_training(training_of(recipe, key, {}, 3, keep_weights=True), config, digits(), run)
    assert cell["state"] == "complete", cell
    kept = torch.load(run.model(key), weights_only=True)["weights"]
    assert all(torch.equal(kept[name], value) for name, value in theirs.items() if name.startswith("body."))
    assert kept["head.weight"].shape == (10, 256)


def test_a_resumed_run_refuses_changed_weights(tmp_path):
    weights(tmp_path / "w.pt")
    config = config_of(tmp_path / "w.pt")
    study = record.new(config, digits(), RunDirectory(tmp_path / "run"), "command")
    weights(tmp_path / "w.pt", seed=6)
    with pytest.raises(InputError, match=r"not those this run began with\nexpected the fingerprint"):
        preflight.check(config, digits())
    (tmp_path / "w.pt").unlink()
    with pytest.raises(InputError, match="no such file"):
        finetuning.describe(config, digits())
    assert record.describe(study, config, digits())["weights"]["sha256"] == config.weights_sha256
    with pytest.raises(InputError, match="no such file"):
        record.describe(study, replace(config, losses=(*config.losses, "focal")), digits())


def test_other_weights_are_refused_before_anything_is_trained(tmp_path):
    model = build_model("resnet8", shape=(8, 8, 1), num_classes=10, seed=0)
    torch.save(model.state_dict(), tmp_path / "w.pt")
    with pytest.raises(InputError, match="not the weights of mlp for these data"):
        preflight.check(config_of(tmp_path / "w.pt"), digits())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--task", "imbalanced", "--freeze-body"], "--freeze-body keeps the body of given weights"),
        (["--task", "imbalanced", "--weights", "nowhere.pt"], r"--weights: no file that can be read: .*nowhere\.pt"),
        (["--task", "all", "--weights", "w.pt"], "--weights belongs to one task"),
        (["--task", "all", "--freeze-body"], "--freeze-body belongs to one task"),
        (["--resume", "run", "--weights", "w.pt"], "--weights cannot be given with --resume"),
        (["--resume", "run", "--freeze-body"], "--freeze-body cannot be given with --resume"),
    ],
)
def test_options_that_do_not_fit_are_refused(arguments, said):
    with pytest.raises(InputError, match=said):
        parse(arguments)


def test_without_weights_nothing_is_recorded():
    config = study_config({"task": "imbalanced", "preset": "smoke"})
    assert (config.weights, config.freeze_body) == (None, False)
    assert finetuning.describe(config, digits()) is None


def test_the_configuration_is_read_back_whole_and_checked(tmp_path):
    weights(tmp_path / "w.pt")
    values = json.loads(json.dumps(config_of(tmp_path / "w.pt", freeze_body=True).to_dict()))
    again = StudyConfig.from_dict(values)
    assert (again.weights, again.freeze_body) == (str(tmp_path / "w.pt"), True)
    assert StudyConfig.from_dict({**values, "weights": None, "freeze_body": False}).weights is None
    with pytest.raises(InputError, match=r"the run's configuration cannot be used: config\.weights"):
        StudyConfig.from_dict({**values, "weights": 5})
