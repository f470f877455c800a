import io
import math
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from hem import HEMLoss
from study.methods import get_method
from study.methods.adversarial import _regime, divergence, robust_judge
from study.methods.inner_attack import cross_entropy, own, pgd, shared, untruncated_margin
from study.options import study_config
from study.tasks import get_task
from study.tasks.types import Judging
from study.training.parallel import Objective
from tests.methods.jobs import job, weights

EPS = 0.1
MODULE = sys.modules["study.methods.adversarial"]  # the package has a function of that name


class Linear(nn.Module):
    """Two classes, z = (w·x, 0)."""

    def __init__(self, direction):
        super().__init__()
        self.direction = nn.Parameter(direction)
        self.batch = nn.BatchNorm2d(1)

    def forward(self, images):
        score = images.flatten(1) @ self.direction
        return torch.stack((score, torch.zeros_like(score)), 1)


def images(n=8):
    return torch.rand(n, 1, 8, 8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("objective", [cross_entropy, untruncated_margin, shared])
def test_a_linear_model_is_attacked_as_well_as_can_be(objective):
    model = Linear(torch.randn(64, generator=torch.Generator().manual_seed(1)))
    x, labels = images() * 0.5 + 0.25, torch.zeros(8, dtype=torch.long)
    moved = pgd(model, x, lambda z: objective(z, labels), eps=EPS, step=EPS / 2, steps=5)
    best = x - EPS * model.direction.detach().sign().reshape(1, 1, 8, 8)
    torch.testing.assert_close(moved, best)


def test_attacks_stay_in_the_ball_and_in_the_pixel_range():
    begun, x = job(), images()
    labels = torch.arange(8)
    moved = pgd(begun.model, x, lambda z: cross_entropy(z, labels), eps=EPS, step=EPS, steps=3)
    assert (moved - x).abs().max() <= EPS + 1e-6
    assert moved.min() >= 0
    assert moved.max() <= 1
    assert not torch.equal(moved, x)


def test_an_attack_begins_anywhere_in_the_ball_or_at_the_images_themselves():
    """A step of length 0 shows where: of 512 uniform numbers the mean is within 5 of its standard errors."""
    grey, model = torch.full((8, 1, 8, 8), 0.5), Linear(torch.ones(64))
    torch.manual_seed(0)
    begun, still = (
        (pgd(model, grey, lambda z: z.sum(), eps=EPS, step=0.0, steps=1, random_start=start) - grey) / EPS
        for start in (True, False)
    )
    assert still.abs().max() == 0
    assert 0.95 < begun.abs().max() <= 1 + 1e-6
    assert begun.abs().mean() == pytest.approx(0.5, abs=5 * (1 / 12 / 512) ** 0.5)
    assert begun.mean() == pytest.approx(0, abs=5 * (1 / 3 / 512) ** 0.5)


@pytest.mark.parametrize(
    ("attack", "step", "steps"),
    [("pgd", 0.25, 7), ("trades", 0.25, 7), ("fast", 1.25, 1)],
    ids=("pgd", "trades", "fast"),
)
@pytest.mark.parametrize("own_objective", [False, True])
def test_steps_of_the_literature_from_a_random_start(attack, step, steps, own_objective, monkeypatch):
    """Seven of a quarter of ε (Madry et al. 2018), one of 1.25 ε (Wong et al. 2020)."""
    begun, given = job(), []
    monkeypatch.setattr(MODULE, "pgd", lambda model, images, objective, **how: given.append(how) or images)
    _regime(attack, EPS, own_objective)(begun.model, begun.spec.build([1] * 10), images(), torch.arange(8))
    [how] = given
    assert how.pop("random_start", True)
    assert how == pytest.approx({"eps": EPS, "step": step * EPS, "steps": steps})


@pytest.mark.parametrize("attack", ["pgd", "fast", "trades"])
def test_the_inner_attack_raises_the_objective_of_its_name(attack, monkeypatch):
    begun, loss, labels, raised = job(), HEMLoss(0.5), torch.arange(8), []
    logits = torch.randn(8, 10, generator=torch.Generator().manual_seed(3))
    monkeypatch.setattr(
        MODULE, "pgd", lambda model, images, objective, **how: raised.append(objective(logits)) or images
    )
    for own_objective in (False, True):
        _regime(attack, EPS, own_objective)(begun.model, loss, images(), labels)
    clean = begun.model.eval()(images()).detach()
    expected = divergence(clean, logits) if attack == "trades" else shared(logits, labels)
    torch.testing.assert_close(raised[0], expected)
    torch.testing.assert_close(raised[1], own(loss)(logits, labels))
    assert not torch.isclose(*raised)


def test_an_attack_leaves_the_network_as_it_was():
    model = Linear(torch.ones(64)).train()
    pgd(model, images(), lambda z: z.sum(), eps=EPS, step=EPS, steps=2)
    assert model.training
    assert model.batch.training
    assert model.direction.grad is None


def test_a_cleared_margin_still_moves_under_its_own_objective():
    model, labels = Linear(torch.ones(64)), torch.zeros(8, dtype=torch.long)
    loss = HEMLoss(0.01)
    assert loss(model(images()), labels) == 0  # all are separated by the margin
    moved = pgd(model, images(), lambda z: own(loss)(z, labels), eps=EPS, step=EPS, steps=1, random_start=False)
    assert (moved < images()).any()


@pytest.mark.parametrize("method", ["pgd", "pgd_own", "fast", "fast_own"])
def test_without_a_ball_it_is_plain_training(method):
    one, other = job(eps=0.0), job()
    for name, begun in ((method, one), ("plain", other)):
        for _ in get_method(name)(begun).epochs:
            pass
    for name, value in weights(one.model).items():
        assert torch.equal(value, other.model.state_dict()[name])


def test_divergence_by_hand():
    clean, moved = torch.tensor([[0.0, 0.0]]), torch.tensor([[torch.log(torch.tensor(3.0)), 0.0]])
    # KL((1/2, 1/2) ‖ (3/4, 1/4)) = ½ ln(2/3) + ½ ln 2
    assert divergence(clean, moved).item() == pytest.approx(0.5 * torch.log(torch.tensor(4 / 3)).item(), rel=1e-5)
    both = torch.randn(5, 4), torch.randn(5, 4)
    expected = (both[0].softmax(1) * (both[0].log_softmax(1) - both[1].log_softmax(1))).sum(1).mean()
    torch.testing.assert_close(divergence(*both), expected)
    assert divergence(both[0], both[0]).abs() < 1e-6


@pytest.mark.parametrize("method", ["trades", "trades_own"])
def test_trades_adds_nothing_without_a_ball(method):
    one, other = job(eps=0.0), job()
    values = [[m["train_loss"] for m, _ in get_method(n)(j).epochs] for n, j in ((method, one), ("plain", other))]
    assert values[0] == pytest.approx(values[1], rel=1e-3)


def judged(begun):
    return robust_judge(
        begun.data.validation, EPS, seed=0, device="cpu", points=60, steps=3, every=lambda epoch: epoch > 1
    )


def test_the_judge_attacks_and_says_nothing_in_other_epochs():
    begun = job()
    judge = judged(begun)
    assert judge(begun.model, 1) == {}
    found = judge(begun.model, 2)
    assert found == judge(begun.model, 2)
    assert 0 <= found["robust_accuracy"] <= found["robust_mean"] <= 1


def test_training_under_attack_withstands_more():
    shares = {}
    for method in ("plain", "pgd"):
        begun = job(eps=EPS, epochs=12)
        for _ in get_method(method)(begun).epochs:
            pass
        shares[method] = judged(begun)(begun.model, 2)["robust_accuracy"]
    assert shares["pgd"] > shares["plain"] + 0.1


def test_the_best_epoch_is_kept_over_a_resume():
    robust = {1: 0.3, 2: 0.7, 3: 0.7, 4: 0.1}

    def judge(model, epoch):
        return {"robust_accuracy": robust[epoch]}

    whole = job(eps=EPS, epochs=4, judge=judge)
    running, at = get_method("fast")(whole), {}
    for metrics, get_state in running.epochs:
        at[metrics["epoch"]] = weights(whole.model)
        if metrics["epoch"] == 3:
            buffer = io.BytesIO()
            torch.save(get_state(), buffer)
    assert all(torch.equal(value, at[2][name]) for name, value in running.kept["best"].items())
    buffer.seek(0)
    again = replace(job(eps=EPS, epochs=4, judge=judge), state=torch.load(buffer, weights_only=True))
    resumed = get_method("fast")(again)
    assert [metrics["epoch"] for metrics, _ in resumed.epochs] == [4]
    assert all(torch.equal(value, at[2][name]) for name, value in resumed.kept["best"].items())
    assert all(torch.equal(value, again.model.state_dict()[name]) for name, value in weights(whole.model).items())


def test_the_shared_attack_raises_cross_entropy_and_the_margin_for_half_of_a_batch_each():
    logits, labels = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 3.0]]), torch.tensor([0, 0, 0])
    expected = math.log1p(math.exp(-1)) + (0 - 1) + math.log1p(math.exp(3))
    assert shared(logits, labels).item() == pytest.approx(expected)


def test_a_network_is_judged_at_the_radius_of_the_endpoint_and_a_defence_at_its_own(monkeypatch):
    monkeypatch.setattr(MODULE, "robust_judge", lambda validation, eps, **_: eps)
    config = replace(study_config({"task": "adversarial", "preset": "smoke"}), training_eps=0.3)
    begun, task = job(), get_task("adversarial")
    radii = [
        task.judge(Judging(config, begun.data, method, 0, "cpu", False)) for method in ("plain", "pgd", "fast_own")
    ]
    assert radii == [0.1, 0.3, 0.3]


def test_cross_entropy_is_the_sum():
    logits, labels = torch.randn(4, 3), torch.tensor([0, 1, 2, 0])
    torch.testing.assert_close(cross_entropy(logits, labels), F.cross_entropy(logits, labels, reduction="none").sum())


@pytest.mark.parametrize("method", ["trades", "trades_own"])
def test_trades_weighs_its_second_term_with_six(method, monkeypatch):
    """A step's loss is that of the clean images + 6 KL(clean ‖ attacked)."""
    begun, x = job(), images()
    labels = torch.arange(8)
    away = x.roll(1, 0)  # not in pairs, or the divergence would be the same the other way round
    monkeypatch.setattr(MODULE, "pgd", lambda *_, **__: away)
    regime = _regime("trades", EPS, own_objective=method.endswith("own"))
    logits, extra = regime(begun.model, begun.spec.build([1] * 10), x, labels)
    clean, moved = begun.model(x), begun.model(away)
    torch.testing.assert_close(logits, clean)
    expected = (clean.softmax(1) * (clean.log_softmax(1) - moved.log_softmax(1))).sum(1).mean()
    assert expected > 1e-4
    assert extra.item() == pytest.approx(6 * expected.item(), rel=1e-4)


@pytest.mark.parametrize("reduces", [False, True])
@pytest.mark.parametrize("own_objective", [False, True])
@pytest.mark.parametrize("attack", ["pgd", "fast", "trades"])
def test_a_rank_without_images_takes_the_passes_of_the_others(attack, own_objective, reduces):
    """Ranks meet in the network's passes, and in a loss that reduces its denominator: as many of them, and nothing."""
    seen = {}
    for count in (8, 0):
        begun, passes = job("focal"), []
        inner = begun.spec.build([1] * 10)

        def loss(logits, labels, inner=inner, passes=passes):
            passes.append("loss")
            return inner(logits, labels)

        def met(module, given, logits, passes=passes):
            passes.append("forward")
            if logits.requires_grad:
                logits.register_hook(lambda _: passes.append("backward"))

        begun.model.register_forward_hook(met)
        training = torch.nn.Module()
        training.forward = loss
        if reduces:
            training.process_group = None
        regime = _regime(attack, EPS, own_objective)
        objective = Objective(begun.model, training, torch.device("cpu"), 2, regime)
        value, _ = objective(images(count), torch.arange(count), 8)
        value.backward()
        seen[count] = [one for one in passes if reduces or one != "loss"]
        assert count or value == 0
    assert seen[0] == seen[8]
    assert seen[8].count("forward") == {"pgd": 8, "fast": 2, "trades": 9 + (not own_objective)}[attack]


def test_an_attack_uses_the_running_statistics_and_leaves_them():
    """In training mode a batch of one brightness would be normalised away, and the statistics would move."""
    model = nn.Sequential(nn.BatchNorm2d(1), nn.Flatten(), nn.Linear(64, 2)).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    modes = []
    model[0].register_forward_hook(lambda module, *_: modes.append(module.training))
    pgd(model, images(), lambda z: z[:, 0].sum(), eps=EPS, step=EPS, steps=2)
    assert modes == [False, False]
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert model.training


def test_the_judge_attacks_cross_entropy_and_the_margin(monkeypatch):
    begun, raised = job(), []
    logits = torch.randn(60, 10, generator=torch.Generator().manual_seed(3))
    monkeypatch.setattr(
        MODULE, "pgd", lambda model, images, objective, **how: raised.append(objective(logits)) or images
    )
    judged(begun)(begun.model, 2)
    chosen = np.sort(np.random.default_rng(0).permutation(len(begun.data.validation))[:60])
    labels = torch.tensor(begun.data.validation.labels[chosen])
    torch.testing.assert_close(raised, [cross_entropy(logits, labels), untruncated_margin(logits, labels)])


def test_the_judge_counts_images_that_stand_under_both_attacks(monkeypatch):
    """Of four images one falls to the first attack, another to the second, a third is wrong without any."""
    stands = [[True, True, True, False], [False, True, True, False], [True, False, True, False]]
    monkeypatch.setattr(MODULE, "_right_after", lambda *_: (torch.tensor(right) for right in stands))
    begun = job()
    assert judged(begun)(begun.model, 2) == {"robust_accuracy": 0.25, "robust_mean": (0.75 + 0.25) / 2}


def test_a_loss_of_ones_own_is_not_asked_about_no_images():
    def largest(logits, labels):
        return logits.max() - logits.min()

    logits = torch.zeros(0, 10, requires_grad=True)
    assert own(largest)(logits, torch.zeros(0, dtype=torch.long)) == 0
    some = torch.tensor([[3.0, 1.0]])
    assert own(largest)(some, torch.tensor([0])) == 2
