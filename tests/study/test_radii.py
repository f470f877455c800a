"""At which radius networks are judged and defended, by kind of images."""

import importlib
from types import SimpleNamespace

import pytest

from study.comparison.published import FIGURES
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


def test_defences_train_at_the_fields_radius():
    task = get_task("adversarial")
    assert (task.defended("mnist5k"), task.defended("cifar100")) == (0.1, 8 / 255)
    assert [get_task(name).defended for name in ("imbalanced", "rejection")] == [None, None]


def test_published_radii_are_attacked_by_the_fields_preset():
    attacked = {f"Linf-{eps:g}" for eps in study_config({"task": "adversarial", "preset": "paper"}).eps}
    slices = {figure.slice for figure in FIGURES if figure.probe == "attack"}
    assert slices
    assert slices <= attacked
