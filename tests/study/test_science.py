"""What would make the comparison worthless: leakage from the test set, and losses that are not treated alike."""

import io

import numpy as np
import pytest
import torch

from hem.registry import LOSSES
from search_spaces.losses import LOSS_SPACES
from study.data.embedded import digits
from study.data.types import Images, Source
from study.run import RunDirectory
from tests.study.pipeline import train_everything
from tests.study.test_search import config as search_config

SMALL = {"dataset": "digits", "model": "mlp", "trials": 8, "replicates": 2, "epochs": 2, "rescored": 2, "sweep": 3}
VARYING = ("seconds",)


def config(**changes):
    return search_config(**{**SMALL, "losses": ("ce", "hem+"), **changes})


def without_times(value):
    if isinstance(value, dict):
        return {k: without_times(v) for k, v in value.items() if k not in VARYING}
    if isinstance(value, list):
        return [without_times(v) for v in value]
    return value


def results(run):
    """Everything that training left behind: cells without times, and weights."""
    cells = {
        f"{stage}/{key.name}": without_times(cell)
        for stage in ("search", "rescore", "confirm", "sweep")
        for key, cell in run.cells(stage)
    }
    weights = {
        str(path.relative_to(run.path)): torch.load(io.BytesIO(path.read_bytes()), weights_only=True)["weights"]
        for path in sorted((run.path / "models").rglob("*.pt"))
    }
    return cells, weights


def with_official_test(labels_of_test):
    """Digits with a fixed test set whose labels may be anything."""
    whole = digits()
    order = np.random.default_rng(0).permutation(len(whole.train))
    test, train = order[:400], order[400:]
    images = whole.train
    return Source(
        name="npz:digits",
        train=images.take(train),
        test=Images(images.images[test], labels_of_test(images.labels[test])),
        classes=whole.classes,
        licence=whole.licence,
    )


def permuted(labels):
    shuffled = np.random.default_rng(1).permutation(labels)
    assert (shuffled != labels).mean() > 0.5
    return shuffled


def test_permuted_test_labels_change_no_trial_and_no_weight(tmp_path):
    """Nor do outside files: `train_everything` is never given any, and the two runs name different ones."""
    study = config(imbalance_ratio=5.0)
    honest, blind = RunDirectory(tmp_path / "honest"), RunDirectory(tmp_path / "blind")
    for run, labels, sets in ((honest, lambda y: y, ()), (blind, permuted, ("npz:other.npz",))):
        run.path.mkdir()
        train_everything(config(imbalance_ratio=5.0, ood_sets=sets), run, with_official_test(labels))
    cells, weights = results(honest)
    other_cells, other_weights = results(blind)
    assert cells == other_cells
    assert weights.keys() == other_weights.keys()
    assert len(weights) == 2 * 2 * 3
    for name, tensors in weights.items():
        assert all(torch.equal(tensor, other_weights[name][part]) for part, tensor in tensors.items()), name
    assert study.trials_per_search * 4 == sum(name.startswith("search/") for name in cells)


@pytest.fixture
def second_name(monkeypatch):
    """Cross-entropy, registered once more."""
    monkeypatch.setitem(LOSSES, "cross_entropy_again", LOSSES["ce"])
    monkeypatch.setitem(LOSS_SPACES, "cross_entropy_again", LOSS_SPACES["ce"])
    return "cross_entropy_again"


def test_cross_entropy_under_a_second_name_gets_the_same_of_everything(tmp_path, second_name):
    run = RunDirectory(tmp_path)
    train_everything(config(losses=("ce", "mm", second_name)), run, digits())
    cells, weights = results(run)
    ours = {name: cell for name, cell in cells.items() if "~ce~" in name}
    assert len(ours) == 2 * (4 + 2 + 3)
    for name, cell in ours.items():
        again = cells[name.replace("~ce~", f"~{second_name}~")]
        assert {k: v for k, v in cell.items() if k != "key"} == {k: v for k, v in again.items() if k != "key"}
    for name, tensors in weights.items():
        if "/ce/" in name:
            again = weights[name.replace("/ce/", f"/{second_name}/")]
            assert all(torch.equal(tensor, again[part]) for part, tensor in tensors.items())


def test_trials_epochs_and_retrainings_are_equal_for_every_loss(tmp_path):
    study = config(losses=("ce", "mm", "hem", "hem+"))
    run = RunDirectory(tmp_path)
    train_everything(study, run, digits())
    for stage in ("search", "rescore", "confirm"):
        per_loss = dict.fromkeys(study.losses, 0)
        for key, cell in run.cells(stage):
            per_loss[key.loss] += 1
            assert cell["state"] == "failed" or len(cell["epochs"]) == study.epochs
        assert len(set(per_loss.values())) == 1, stage


def test_losses_differ_only_in_what_they_declare(tmp_path):
    """The default arm of each loss has cross-entropy's recipe and seed."""
    run = RunDirectory(tmp_path)
    study = config(losses=("ce", "mm", "hem", "focal", "logit_adjusted"), trials=4, rescored=1)
    train_everything(study, run, digits())
    default = {
        (key.loss, key.replicate): cell["training"] for key, cell in run.cells("confirm") if key.arm == "default"
    }
    for (loss, replicate), training in default.items():
        reference = default["ce", replicate]
        assert training["recipe"] == reference["recipe"]
        assert training["seed"] == reference["seed"]
        own = set(LOSS_SPACES[loss].distributions)
        assert set(training["loss_parameters"]) == own


def test_dropin_takes_the_training_of_the_tuned_cross_entropy(tmp_path):
    run = RunDirectory(tmp_path)
    train_everything(config(), run, digits())
    arms = {(k.loss, k.arm, k.replicate): cell["training"] for k, cell in run.cells("confirm")}
    for replicate in range(2):
        assert arms["hem+", "dropin", replicate]["recipe"] == arms["ce", "tuned", replicate]["recipe"]
        assert arms["hem+", "dropin", replicate]["loss_parameters"] == {"M": 2000.0}


def test_confirmation_uses_no_seed_of_the_search(tmp_path):
    run = RunDirectory(tmp_path)
    train_everything(config(), run, digits())
    seeds = {
        stage: {cell["training"]["seed"] for _, cell in run.cells(stage)} for stage in ("search", "rescore", "confirm")
    }
    assert not seeds["confirm"] & (seeds["search"] | seeds["rescore"])
    assert not seeds["rescore"] & seeds["search"]
