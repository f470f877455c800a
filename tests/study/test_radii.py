"""At which radius networks are judged and defended, by kind of images."""

import importlib
from types import SimpleNamespace

import pytest

from study.comparison.published import FIGURES
from study.errors import InputError
from study.options import study_config
from study.tasks import get_task
from study.tasks.types import Judging


@pytest.mark.parametrize(
    ("dataset", "method", "radius"),
    [("mnist5k", "plain", 0.1), ("mnist5k", "pgd", 0.1), ("cifar10", "plain", 1 / 255), ("cifar10", "trades", 8 / 255)],
)
def test_defences_are_judged_where_they_defend(monkeypatch, dataset, method, radius):
    seen = []
    module = importlib.import_module("study.methods.adversarial")
    monkeypatch.setattr(module, "robust_judge", lambda images, eps, **rest: seen.append(eps))
    config = study_config({"task": "adversarial", "dataset": dataset})
    data = SimpleNamespace(validation=None)
    get_task("adversarial").judge(Judging(config, data, method, 0, "cpu", True))
    assert seen == [radius]


@pytest.mark.parametrize("preset", ["smoke", "quick", "full", "paper"])
def test_defences_train_at_the_fields_radius_which_the_run_records(preset):
    task = get_task("adversarial")
    for dataset, radius in (("mnist5k", 0.1), ("cifar100", 8 / 255)):
        config = study_config({"task": "adversarial", "preset": preset, "dataset": dataset})
        assert config.to_dict()["training_eps"] == task.training_eps(config) == radius


def test_a_run_that_recorded_none_keeps_the_endpoints_radius():
    config = study_config({"task": "adversarial", "dataset": "cifar10"})
    older = type(config).from_dict({k: v for k, v in config.to_dict().items() if k != "training_eps"})
    assert get_task("adversarial").training_eps(older) == 1 / 255
    assert get_task("imbalanced").training_eps(study_config({"task": "imbalanced"})) == 0.0


@pytest.mark.parametrize("radius", [0.0, -0.1, 1.1])
def test_impossible_training_radii_are_refused(radius):
    config = study_config({"task": "adversarial"})
    with pytest.raises(InputError, match="training_eps: expected a radius above 0 and at most 1"):
        type(config).from_dict({**config.to_dict(), "training_eps": radius})


def test_published_radii_are_attacked_by_the_fields_preset():
    attacked = {f"Linf-{eps:g}" for eps in study_config({"task": "adversarial", "preset": "paper"}).eps}
    slices = {figure.slice for figure in FIGURES if figure.probe == "attack"}
    assert slices
    assert slices <= attacked
