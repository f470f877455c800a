"""The parts of the attack: losses by hand, settings against the library's own, and what was put right."""

import math

import pytest
import torch
from pyautoattack import AutoAttack
from pyautoattack.autopgd_base import APGDAttack, APGDAttack_targeted
from pyautoattack.square import SquareAttack
from torch import nn

from study.probes import attack_losses
from study.probes.attack_suite import (
    APGD,
    EXTRAS,
    PaddedSquare,
    Settings,
    Suite,
    TargetedAPGD,
    attack_names,
    square_side,
)

LOGITS = torch.tensor([[2.0, 1.5, 0.0, -1.0], [0.2, 0.5, 0.1, 0.4], [5.0, -1.0, 0.0, 1.0], [-0.5, 0.3, 1.2, 1.1]])
TARGETS = torch.tensor([0, 0, 0, 3])


def test_margin_by_hand():
    expected = torch.tensor([-0.5, 0.3, -4.0, 0.1])
    torch.testing.assert_close(attack_losses.margin(LOGITS, TARGETS), expected)


def test_hem_is_the_loss_itself():
    expected = torch.tensor([0.5, 1.1333333, 0.0, 1.1])
    torch.testing.assert_close(attack_losses.hem(1.0)(LOGITS, TARGETS), expected)
    per_class = [0.31622777, 0.70710678, 1.58113883, 3.16227766]
    expected = torch.tensor([0.0, 0.56622777, 0.0, 2.81227766])
    torch.testing.assert_close(attack_losses.hem(per_class)(LOGITS, TARGETS), expected)


def test_untruncated_hem_by_hand():
    # d of the first row: −0.5, −2, −3, their mean −1.83: H = {1}. Of the second: 0.3, −0.1, 0.2, mean 0.13: H = {1, 3}.
    expected = torch.tensor([-0.5, 0.25, -4.5, (0.1 - 0.8) / 2])
    # Third row: −6, −5, −4, mean −5: H = {2, 3}. Fourth: −1.6, −0.8, 0.1, mean −0.77: H = {2}.
    expected[3] = 0.1
    torch.testing.assert_close(attack_losses.hem_untruncated(LOGITS, TARGETS), expected)


def test_untruncated_losses_have_a_gradient_everywhere():
    confident = torch.tensor([[100.0, 0.0, -5.0], [3.0, 0.1, 0.1]], requires_grad=True)
    for loss in (attack_losses.margin, attack_losses.hem_untruncated):
        (gradient,) = torch.autograd.grad(loss(confident, torch.tensor([0, 0])).sum(), confident)
        torch.testing.assert_close(gradient[:, 0], torch.tensor([-1.0, -1.0]))
        torch.testing.assert_close(gradient.sum(1), torch.zeros(2))
    (gradient,) = torch.autograd.grad(attack_losses.hem(0.2)(confident, torch.tensor([0, 0])).sum(), confident)
    assert not gradient.any()


def test_two_classes_make_both_untruncated_losses_one():
    logits, target = torch.randn(20, 2), torch.randint(0, 2, (20,))
    torch.testing.assert_close(
        attack_losses.hem_untruncated(logits, target), attack_losses.margin(logits, target), rtol=0, atol=0
    )


def test_scaled_cross_entropy():
    expected = nn.functional.cross_entropy(10 * LOGITS, TARGETS, reduction="none")
    torch.testing.assert_close(attack_losses.scaled_cross_entropy(10)(LOGITS, TARGETS), expected)


@pytest.mark.parametrize(
    ("mode", "classes", "names"),
    [
        ("quick", 10, ("apgd-ce", "apgd-t")),
        ("quick", 3, ("apgd-ce", "fab")),
        ("standard", 4, ("apgd-ce", "apgd-t", "fab-t", "square", *EXTRAS)),
        ("standard", 3, ("apgd-ce", "fab", "square", *EXTRAS)),
        ("plus", 10, ("apgd-ce", "apgd-dlr", "fab", "square", "apgd-t", "fab-t", *EXTRAS)),
        ("plus", 3, ("apgd-ce", "apgd-dlr", "fab", "square", "fab-t", *EXTRAS)),
        ("plus", 2, ("apgd-ce", "fab", "square", "fab-t", *EXTRAS)),
    ],
)
def test_attack_names(mode, classes, names):
    assert attack_names(mode, classes) == names


def built(mode, name, classes=10, norm="Linf"):
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, classes))
    return Suite(model, Settings(norm, 0.1, mode, classes, 0.2)).build(name, torch.device("cpu"), seed=0)


@pytest.mark.parametrize("mode", ["standard", "plus"])
@pytest.mark.parametrize("norm", ["Linf", "L2"])
def test_settings_are_autoattacks_own(mode, norm):
    own = AutoAttack(nn.Identity(), norm=norm, eps=0.1, seed=0, version=mode)
    assert set(own.attacks_to_run) == set(attack_names(mode, 10)) - set(EXTRAS)
    common = ("norm", "eps", "n_restarts", "seed")
    apgd = (*common, "n_iter", "thr_decr", "eot_iter", "use_largereps", "topk")
    for name, theirs, attributes in (
        ("apgd-ce", own.apgd, apgd),
        ("apgd-t", own.apgd_targeted, (*apgd, "n_target_classes")),
        ("square", own.square, (*common, "n_queries", "p_init", "rescale_schedule", "loss")),
    ):
        ours = built(mode, name, norm=norm)
        for attribute in attributes:
            expected = 0 if attribute == "seed" else getattr(theirs, attribute)
            assert getattr(ours, attribute) == expected, (name, attribute)
    for name in ("fab", "fab-t"):
        ours = built(mode, name, norm=norm)
        for attribute in ("norm", "eps", "n_iter", "alpha_max", "eta", "beta", "n_target_classes"):
            assert getattr(ours, attribute) == getattr(own.fab, attribute), (name, attribute)
        assert ours.targeted == (name == "fab-t")
    assert built("plus", "fab", norm=norm).n_restarts == own.fab.n_restarts if mode == "plus" else True
    assert built(mode, "fab-t", norm=norm).n_restarts == 1


@pytest.mark.parametrize(
    ("mode", "classes", "targets"), [("standard", 10, 9), ("standard", 4, 3), ("standard", 100, 9)]
)
def test_target_classes(mode, classes, targets):
    assert built(mode, "apgd-t", classes).n_target_classes == targets
    assert built(mode, "fab-t", classes).n_target_classes == targets
    assert built("quick", "apgd-t", classes).n_target_classes == 3


@pytest.mark.parametrize("norm", ["Linf", "L2"])
def test_leaving_out_fallen_points_changes_no_verdict(mlp_digits, norm):
    model, images, labels = mlp_digits.take(60)
    with torch.no_grad():
        correct = model(images).argmax(1) == labels
    images, labels = images[correct], labels[correct]
    common = {"norm": norm, "eps": {"Linf": 0.06, "L2": 0.5}[norm], "seed": 0, "device": torch.device("cpu")}
    for own, theirs in (
        (APGD(model, loss="ce", n_restarts=2, **common), APGDAttack(model, loss="ce", n_restarts=2, **common)),
        (TargetedAPGD(model, **common), APGDAttack_targeted(model, **common)),
    ):
        fell = []
        for attack in (own, theirs):
            with torch.random.fork_rng():
                found = attack.perturb(images, labels)
            with torch.no_grad():
                fell.append(model(found).argmax(1) != labels)
        assert torch.equal(*fell)
        assert 0 < fell[0].float().mean() < 1


def test_fewer_points_are_asked_about_as_they_fall(mlp_digits):
    model, images, labels = mlp_digits.take(60)
    asked = []

    def counting(x):
        asked.append(len(x))
        return model(x)

    with torch.random.fork_rng():
        attack = APGD(counting, norm="Linf", eps=0.3, seed=0, device=torch.device("cpu"))
        attack.perturb(images, labels)
    runs = asked[1:]
    assert runs == sorted(runs, reverse=True)
    assert len(runs) < 101  # it ends when nothing stands


class Pooled(nn.Module):
    """A class for images of any size."""

    def forward(self, x):
        middle = x.mean((1, 2, 3))
        return torch.stack([middle, 0.5 - middle], 1)


@pytest.mark.parametrize("shape", [(n, n) for n in (1, 3, 5, 8, 12, 13, 14, 18, 19, 24, 28, 32)] + [(10, 7), (7, 24)])
@pytest.mark.parametrize("norm", ["Linf", "L2"])
def test_square_takes_images_of_any_size(shape, norm):
    images = torch.full((3, 1, *shape), 0.3)
    square = PaddedSquare(Pooled(), norm=norm, eps=0.2, n_queries=30, seed=0, device=torch.device("cpu"))
    with torch.random.fork_rng():
        found = square.perturb(images, torch.zeros(3, dtype=torch.int64))
    assert found.shape == images.shape
    size = torch.linalg.vector_norm((found - images).flatten(1), ord=math.inf if norm == "Linf" else 2, dim=1)
    assert float(size.max()) <= 0.2 + 1e-6


def test_the_library_needs_the_frame_that_square_side_gives():
    """The frame is there for the sizes at which the library's own start pattern runs over the edge, and only those."""
    for side in range(5, 40):
        square = SquareAttack(Pooled(), norm="L2", eps=0.2, n_queries=1, seed=0, device=torch.device("cpu"))
        images = torch.full((1, 1, side, side), 0.3)
        with torch.random.fork_rng():
            if square_side(side, side) == side:
                square.perturb(images, torch.tensor([0]))
            else:
                with pytest.raises(RuntimeError, match=r"match the (size|broadcast shape)"):
                    square.perturb(images, torch.tensor([0]))


@pytest.mark.parametrize("points", [1, 7])
def test_squares_margin_is_the_librarys(points):
    generator = torch.Generator().manual_seed(points)
    logits, labels = torch.randn(points, 5, generator=generator), torch.arange(points) % 5
    common = {"norm": "Linf", "eps": 0.1, "seed": 0, "device": torch.device("cpu")}
    mine, theirs = (kind(lambda _: logits.clone(), **common) for kind in (PaddedSquare, SquareAttack))
    found, expected = (attack.margin_and_loss(torch.zeros(points, 1), labels) for attack in (mine, theirs))
    torch.testing.assert_close(found, expected, rtol=0, atol=0)


@pytest.mark.parametrize("norm", ["Linf", "L2"])
def test_square_finds_what_the_librarys_finds(norm):
    model = nn.Sequential(nn.Flatten(), nn.Linear(100, 4)).requires_grad_(False)
    images = torch.rand(9, 1, 10, 10, generator=torch.Generator().manual_seed(3))
    labels = model(images).argmax(1)
    common = {"norm": norm, "eps": 0.1, "n_queries": 60, "resc_schedule": False, "device": torch.device("cpu")}
    found = []
    for kind in (PaddedSquare, SquareAttack):
        torch.manual_seed(0)
        found.append(kind(model, seed=0, **common).perturb(images, labels))
    torch.testing.assert_close(found[0], found[1], rtol=0, atol=0)
    assert not torch.equal(found[0], images)
