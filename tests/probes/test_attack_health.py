import numpy as np
import pytest
import torch
from torch import nn

from study.errors import InputError
from study.probes.attack import attack
from study.probes.attack_health import eps_rows, gradient_free_rows, health_rows, model_rows
from study.probes.attack_verdicts import verdicts_to_arrays


class Around(nn.Module):
    """A model with something done before and after it."""

    def __init__(self, inner, before=lambda x: x, after=lambda z: z):
        super().__init__()
        self.inner, self.before, self.after = inner, before, after

    def forward(self, x):
        return self.after(self.inner(self.before(x)))


def checks(rows):
    return {r["check"]: r for r in rows}


def flags(rows):
    return {r["check"] for r in rows if r["flag"]}


def test_a_plain_model_has_no_flags(mlp_digits):
    model, images, labels = mlp_digits.take(40)
    arrays = verdicts_to_arrays(attack(model, images, labels, norm="Linf", eps=0.1, num_classes=10, seed=0))
    rows = health_rows(model, images, labels, norm="Linf", eps=[0.05, 0.1], num_classes=10, seed=0, verdicts=[arrays])
    assert {r["check"] for r in rows} == {
        "zero_gradient_ce",
        "zero_gradient_margin",
        "random_outputs",
        "softmax_outputs",
        "rising_with_eps",
        "not_clean_at_zero",
    }
    assert flags(rows) == set()
    for row in rows:
        assert list(row) == ["norm", "eps", "check", "value", "flag", "message"]
        assert type(row["flag"]) is bool
        assert type(row["value"]) is float
        assert row["value"] == 0.0
        assert len(row["message"]) > 10


def test_zero_gradients_of_ce_only(mlp_digits):
    inner, images, labels = mlp_digits.take(40)
    rows = checks(
        model_rows(Around(inner, after=lambda z: 1e4 * z), images, labels, norm="Linf", num_classes=10, seed=0)
    )
    assert rows["zero_gradient_ce"]["flag"]
    assert 0.5 < rows["zero_gradient_ce"]["value"] <= 1
    assert "cross-entropy" in rows["zero_gradient_ce"]["message"]
    assert not rows["zero_gradient_margin"]["flag"]


def test_hidden_gradients_are_flagged_and_square_finds_them(few_class_digits):
    inner, images, labels = few_class_digits[3].take(12)
    model = Around(inner, before=lambda x: (x * 8).round() / 8)  # as good as before, without a gradient
    result = attack(model, images, labels, norm="Linf", eps=0.25, mode="standard", num_classes=3, seed=0)
    rows = checks(
        health_rows(
            model,
            images,
            labels,
            norm="Linf",
            eps=[0.25],
            num_classes=3,
            seed=0,
            verdicts=[verdicts_to_arrays(result)],
        )
    )
    assert rows["zero_gradient_ce"]["value"] == rows["zero_gradient_margin"]["value"] == 1.0
    assert rows["square_beyond_gradients"]["flag"]
    assert rows["square_beyond_gradients"]["eps"] == 0.25
    assert "no gradient attack broke" in rows["square_beyond_gradients"]["message"]


def test_random_outputs(mlp_digits):
    inner, images, labels = mlp_digits.take(40)
    model = Around(inner, after=lambda z: z + 5 * torch.randn_like(z))
    state = torch.get_rng_state()
    rows = health_rows(model, images, labels, norm="L2", eps=[0.01], num_classes=10, seed=0)
    assert {"random_outputs", "not_clean_at_zero"} <= flags(rows)
    assert {r["norm"] for r in rows} == {"L2"}
    assert torch.equal(torch.get_rng_state(), state)


def test_softmax_outputs(mlp_digits):
    inner, images, labels = mlp_digits.take(20)
    model = Around(inner, after=lambda z: z.softmax(1))
    assert "softmax_outputs" in flags(model_rows(model, images, labels, norm="Linf", num_classes=10, seed=0))


def test_some_logits_that_happen_to_lie_like_probabilities_are_no_softmax(mlp_digits):
    inner, images, labels = mlp_digits.take(20)
    model = Around(inner, after=lambda z: torch.where(torch.arange(len(z))[:, None] % 2 == 0, z.softmax(1), z))
    rows = checks(model_rows(model, images, labels, norm="Linf", num_classes=10, seed=0))
    assert (rows["softmax_outputs"]["value"], rows["softmax_outputs"]["flag"]) == (0.5, False)


def verdicts(stands, eps=0.1, attacks=("apgd-ce", "apgd-t", "square", "apgd-margin"), norm="Linf"):
    stands = np.array(stands, dtype=np.int8)
    return {
        "clean": (stands != -1).any(0),
        "attacks": np.array(attacks[: len(stands)]),
        "stands": stands,
        "norm": np.array(norm),
        "mode": np.array("standard"),
        "eps": np.array(eps),
        "seed": np.array(0),
        "num_classes": np.array(10),
    }


def square_verdicts(points, by_square, also_by_a_later_attack=0):
    stands = np.ones((4, points))
    stands[2, :by_square] = 0
    stands[3, :also_by_a_later_attack] = 0
    return verdicts(stands)


@pytest.mark.parametrize(
    ("points", "by_square", "also", "flag"),
    [
        (100, 1, 0, False),  # at least two images
        (100, 2, 0, True),
        (100, 3, 2, False),  # only one that gradients left
        (2000, 3, 0, False),  # 0.2 % of 2000 are 4
        (2000, 4, 0, True),
    ],
)
def test_square_needs_two_images_and_two_in_a_thousand(points, by_square, also, flag):
    (row,) = gradient_free_rows(square_verdicts(points, by_square, also))
    assert row["flag"] is flag
    assert row["value"] == (by_square - also) / points


def test_square_that_was_not_run_has_no_row():
    assert gradient_free_rows(verdicts([[1, 0], [1, 1]])) == []


def test_images_of_other_models_are_checked_like_square():
    stands = [[1, 1, 1, 0, -1], [1, 0, 0, 1, -1], [0, 0, 1, 0, -1]]
    rows = checks(gradient_free_rows(verdicts(stands, attacks=("apgd-ce", "square", "transfer"))))
    assert {name: (row["value"], row["flag"]) for name, row in rows.items()} == {
        "square_beyond_gradients": (0.4, True),
        "transfer_beyond_gradients": (0.4, True),  # the first two; the fourth fell to gradients too
    }
    assert "what broke another loss's model broke 2 of 5" in rows["transfer_beyond_gradients"]["message"]


def test_rising_with_eps():
    rows = checks(eps_rows([verdicts([[1, 1, 0, 0]], 0.2), verdicts([[1, 0, 0, 0]], 0.1), verdicts([[0] * 4], 0.3)]))
    assert set(rows) == {"rising_with_eps"}
    row = rows["rising_with_eps"]
    assert (row["flag"], row["value"], row["eps"]) == (True, 0.25, 0.2)
    assert "1 more of 4 images survive Linf 0.2 than 0.1" in row["message"]


def test_falling_with_eps_and_clean_at_zero():
    rows = checks(eps_rows([verdicts([[1, 1, -1]], 0.0), verdicts([[1, 0, -1]], 0.1)]))
    assert not rows["rising_with_eps"]["flag"]
    assert rows["rising_with_eps"]["eps"] == 0.1
    assert not rows["not_clean_at_zero"]["flag"]


def test_not_clean_at_zero():
    row = checks(eps_rows([verdicts([[1, 0, -1]], 0.0)]))["not_clean_at_zero"]
    assert row["flag"]
    assert row["value"] == pytest.approx(1 / 3)


@pytest.mark.parametrize(
    "several",
    [
        [],
        [verdicts([[1, 0]]), verdicts([[1, 0]], norm="L2")],
        [verdicts([[1, 0]]), verdicts([[1, 0, 1]])],
    ],
)
def test_verdicts_must_belong_together(several):
    with pytest.raises(InputError, match="same points and norm"):
        eps_rows(several)


def test_no_points():
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 3))
    empty = torch.zeros(0, 1, 8, 8), torch.zeros(0, dtype=torch.int64)
    assert health_rows(model, *empty, norm="Linf", eps=[0.1], num_classes=3, seed=0) == []
