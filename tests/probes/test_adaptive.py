"""The attack that has to pass the rejector, on a linear model where the answer is known, and what transfers."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from study.errors import InputError
from study.probes import transfer
from study.probes.adaptive import _loss, adaptive_attack, deceives
from study.probes.attack import attack, norm_of
from study.probes.rejection import scores


def two_pixels():
    """z = (10 x₁, 10 x₂): a model of two classes whose answer in a ball is plain to see."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(2, 2, bias=False))
    model[1].weight.data = 10 * torch.eye(2)
    return model.eval()


CASES = [
    # x₁, x₂, threshold on the largest logit, ε → can it be wrong (z₂ > z₁) and accepted (z₂ ≥ t)?
    (0.50, 0.45, 5.0, 0.10, True),  # z₂ reaches 5.5
    (0.50, 0.45, 5.8, 0.10, False),  # wrong, but never accepted
    (0.60, 0.45, 5.4, 0.05, False),  # the classes do not change places: 5.5 against 5.0
    (0.20, 0.60, 6.5, 0.10, True),  # wrong and rejected on the clean image; the attack has it accepted
    (0.20, 0.60, 7.5, 0.10, False),
    (0.20, 0.60, 5.0, 0.00, True),  # wrong and accepted as it is
]


@pytest.mark.parametrize(("first", "second", "threshold", "eps", "falls"), CASES)
def test_wrong_and_accepted(first, second, threshold, eps, falls):
    image = torch.tensor([[first, second]]).view(1, 1, 1, 2)
    fell = adaptive_attack(
        two_pixels(),
        image,
        torch.tensor([0]),
        norm="Linf",
        eps=eps,
        num_classes=2,
        score="mls",
        threshold=threshold,
        seed=0,
    )
    assert fell.tolist() == [falls]


@pytest.mark.parametrize(("norm", "eps"), [("Linf", 0.08), ("L2", 0.6)])
@pytest.mark.parametrize("score", ["mls", "msp"])
def test_a_rejector_that_accepts_everything_adds_nothing_and_one_that_accepts_nothing_stops_all(
    mlp_digits, norm, eps, score
):
    model, images, labels = mlp_digits.take(40)
    common = {"norm": norm, "eps": eps, "num_classes": 10, "seed": 0}
    lowest = {"mls": -1e6, "msp": 1e-30}[score]
    open_door = adaptive_attack(model, images, labels, score=score, threshold=lowest, **common)
    margin_only = attack(model, images, labels, mode="quick", **common).robust
    assert abs(open_door.sum() - (~margin_only).sum()) <= 1
    with torch.no_grad():
        values = scores(model(images))[score]
    closed = {"mls": 1e6, "msp": 1.0}[score]
    assert not adaptive_attack(model, images, labels, score=score, threshold=closed, **common).any()
    half = float(np.median(values))
    between = adaptive_attack(model, images, labels, score=score, threshold=half, **common)
    assert between.sum() <= open_door.sum()


def test_unknown_score(mlp_digits):
    model, images, labels = mlp_digits.take(2)
    with pytest.raises(InputError, match="score of the adaptive attack"):
        adaptive_attack(model, images, labels, norm="Linf", eps=0.1, num_classes=10, score="knn", threshold=0.0, seed=0)


@pytest.mark.parametrize(("norm", "eps"), [("Linf", 0.1), ("L2", 0.7)])
def test_what_broke_a_model_breaks_its_twin_and_stays_in_the_ball(mlp_digits, norm, eps):
    model, images, labels = mlp_digits.take(60)
    result = attack(model, images, labels, norm=norm, eps=eps, num_classes=10, seed=0)
    found = np.flatnonzero(result.clean & ~result.robust)
    change = transfer.changes(result.adversarial, images, found)
    again = transfer.changed(images[found], change, norm, eps)
    assert float(norm_of(again.double() - images[found].double(), norm).max()) <= eps + 1e-6
    torch.testing.assert_close(again, result.adversarial[found], atol=2e-3, rtol=0)
    fell = transfer.fell(model, images, labels, [(found, change)], norm, eps)
    assert not fell[[n for n in range(60) if n not in found and result.clean[n]]].any()
    assert fell[found].mean() > 0.9, "rounding to 16 bits may save a few"
    flat = nn.Sequential(nn.Flatten(), nn.Linear(64, 10)).eval()
    nn.init.zeros_(flat[1].weight)
    flat[1].bias.data = torch.arange(10.0)
    always_nine = transfer.fell(flat, images, labels, [(found, change)], norm, eps)
    expected = np.isin(np.arange(60), found) & (labels.numpy() != 9)
    np.testing.assert_array_equal(always_nine, expected)
    assert math.isclose(float(change.astype(np.float32).max()), float(change.max()))


def test_what_the_attack_raises_by_hand():
    """At threshold 3 the wrong class of (2, 1) lacks 1 to be larger and 2 to be accepted, of (9, 7) only the former."""
    raised = _loss(torch.tensor([[2.0, 1.0], [9.0, 7.0], [1.0, 4.0]]), torch.tensor([0, 0, 0]), "mls", 3.0)
    assert raised.tolist() == [-2.0, -2.0, 1.0]


def test_at_the_threshold_a_sample_is_accepted():
    """As in `dar.counted`."""
    logits, target = torch.tensor([[0.0, 2.0], [0.0, 1.75], [2.0, 0.0]]), torch.tensor([0, 0, 0])
    assert deceives(logits, target, "mls", 2.0).tolist() == [True, False, False]
