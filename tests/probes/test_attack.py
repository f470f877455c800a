"""The attack as a whole: against exact answers, and the promises of its docstring."""

import io
import logging
import math

import numpy as np
import pytest
import torch
from torch import nn

from study.errors import InputError
from study.probes.attack import LeftBall, attack, into_ball, norm_of, short_attack
from study.probes.attack_suite import EXTRAS
from study.probes.attack_verdicts import rows_from_verdicts, verdicts_to_arrays


def exact_linf(model, images, labels, eps):
    """The smallest margin z_y − z_j of a linear model over the ball and [0, 1], exactly: each pixel goes to its end."""
    weight, bias = model[1].weight.detach().double(), model[1].bias.detach().double()
    x = images.flatten(1).double()
    low, high = (x - eps).clamp(0, 1), (x + eps).clamp(0, 1)
    towards = weight[None] - weight[labels][:, None]  # (N, C, D)
    worst = torch.where(towards > 0, high[:, None], low[:, None])
    gain = (towards * worst).sum(2) + bias[None] - bias[labels][:, None]
    gain.scatter_(1, labels[:, None], -math.inf)
    return -gain.amax(1).numpy()


@pytest.mark.parametrize(("eps", "mode", "points"), [(0.03, "quick", 100), (0.1, "quick", 100), (0.1, "standard", 12)])
def test_linear_model_against_the_exact_answer(linear_digits, eps, mode, points):
    model, images, labels = linear_digits.take(points)
    margin = exact_linf(model, images, labels, eps)
    robust = attack(model, images, labels, norm="Linf", eps=eps, mode=mode, num_classes=10, seed=0).robust
    rounding = 1e-5  # of float32 logits
    assert 0.1 < np.mean(margin > 0) < 0.95
    assert robust[margin > rounding].all(), "a provably robust point was broken"
    assert np.mean(robust) <= np.mean(margin > 0) + 0.02


def exact_l2(model, images, labels, eps):
    """The same for the L2 ball: the best step is λ t cut at the box, with the λ at which its length is ε."""
    weight, bias = model[1].weight.detach().double(), model[1].bias.detach().double()
    x = images.flatten(1).double()[:, None]
    towards = weight[None] - weight[labels][:, None]
    low, high = torch.zeros(towards.shape[:2]).double(), torch.full(towards.shape[:2], 1e6).double()
    for _ in range(100):
        middle = (low + high) / 2
        too_long = torch.clamp(x + middle[..., None] * towards, 0, 1).sub(x).norm(dim=2) > eps
        low, high = torch.where(too_long, low, middle), torch.where(too_long, middle, high)
    worst = torch.clamp(x + low[..., None] * towards, 0, 1)
    gain = (towards * worst).sum(2) + bias[None] - bias[labels][:, None]
    gain.scatter_(1, labels[:, None], -math.inf)
    return -gain.amax(1).numpy()


def test_linear_model_in_l2_against_the_exact_answer(linear_digits):
    model, images, labels = linear_digits.take(60)
    margin = exact_l2(model, images, labels, 0.5)
    robust = attack(model, images, labels, norm="L2", eps=0.5, num_classes=10, seed=0).robust
    assert 0.1 < np.mean(margin > 0) < 0.95
    assert robust[margin > 1e-5].all(), "a provably robust point was broken"
    assert robust.mean() <= np.mean(margin > 0) + 0.02


@pytest.mark.usefixtures("short_square")
def test_all_modes_stay_in_the_ball_and_break_what_they_say(mlp_digits):
    for norm, eps, mode, points in (
        ("Linf", 0.1, "quick", 30),
        ("L2", 0.7, "quick", 30),
        ("Linf", 0.1, "standard", 8),
        ("L2", 0.7, "standard", 8),
    ):
        model, images, labels = mlp_digits.take(points)
        result = attack(model, images, labels, norm=norm, eps=eps, mode=mode, num_classes=10, seed=0)
        found = result.adversarial
        assert float(norm_of(found.double() - images.double(), norm).max()) <= eps + 1e-6
        assert 0 <= float(found.min())
        assert float(found.max()) <= 1
        with torch.no_grad():
            after = (model(found).argmax(1) == labels).numpy()
        np.testing.assert_array_equal(after, result.robust)
        unbroken = result.robust | ~result.clean
        assert torch.equal(found[unbroken], images[unbroken])
        assert 0 < result.robust.mean() < 1


def test_accuracy_falls_with_eps_and_is_clean_at_zero(mlp_digits):
    model, images, labels = mlp_digits.take(100)
    results = [
        attack(model, images, labels, norm="Linf", eps=e, num_classes=10, seed=0) for e in (0, 0.02, 0.05, 0.1, 0.3)
    ]
    shares = [r.robust.mean() for r in results]
    with torch.no_grad():
        clean = (model(images).argmax(1) == labels).numpy()
    for result in results:
        np.testing.assert_array_equal(result.clean, clean)
    np.testing.assert_array_equal(results[0].robust, clean)
    assert torch.equal(results[0].adversarial, images)
    assert shares == sorted(shares, reverse=True)
    assert shares[0] - shares[-1] > 0.5
    assert results[0].figure == "upper bound"


def test_what_a_smaller_ball_broke_is_broken_and_not_attacked_again(mlp_digits):
    model, images, labels = mlp_digits.take(40)
    common = {"norm": "Linf", "num_classes": 10, "seed": 0}
    small = attack(model, images, labels, eps=0.03, **common)
    broken = small.clean & ~small.robust
    assert 0 < broken.sum() < small.clean.sum()
    large = attack(model, images, labels, eps=0.08, broken=broken | ~small.clean, **common)
    assert np.array_equal(large.carried, broken)
    assert (large.stands[:, broken] == -1).all()
    assert not large.robust[broken].any()
    assert (large.stands[:, small.robust] != -1).all()
    values = {row["metric"]: row["value"] for row in rows_from_verdicts(verdicts_to_arrays(large))}
    assert values["robust_accuracy"] == np.mean(large.robust) <= np.mean(small.robust)
    assert values["robust_accuracy.apgd-ce"] <= np.mean(small.robust)
    with pytest.raises(InputError, match=r"broken: expected bool \(40,\)"):
        attack(model, images, labels, eps=0.08, broken=broken[:3], **common)


def test_the_same_seed_gives_the_same_verdicts_and_images(mlp_digits):
    model, images, labels = mlp_digits.take(40)
    first, again, other = (
        attack(model, images, labels, norm="Linf", eps=0.08, num_classes=10, seed=seed, block=15) for seed in (3, 3, 4)
    )
    np.testing.assert_array_equal(first.stands, again.stands)
    assert torch.equal(first.adversarial, again.adversarial)
    assert not torch.equal(first.adversarial, other.adversarial)


def test_a_block_does_not_depend_on_the_blocks_after_it(mlp_digits):
    model, images, labels = mlp_digits.take(40)
    whole = attack(model, images, labels, norm="Linf", eps=0.08, num_classes=10, seed=0, block=20)
    half = attack(model, images[:20], labels[:20], norm="Linf", eps=0.08, num_classes=10, seed=0, block=20)
    np.testing.assert_array_equal(whole.stands[:, :20], half.stands)


def test_each_block_starts_from_a_random_place_of_its_own(mlp_digits):
    model, images, labels = mlp_digits.take(20)
    twice = attack(
        model, images.repeat(2, 1, 1, 1), labels.repeat(2), norm="Linf", eps=0.08, num_classes=10, seed=0, block=20
    )
    assert not torch.equal(twice.adversarial[:20], twice.adversarial[20:])


@pytest.mark.parametrize("classes", [2, 3, 4])
@pytest.mark.parametrize("norm", ["Linf", "L2"])
def test_few_classes(few_class_digits, classes, norm):
    model, images, labels = few_class_digits[classes].take(40)
    eps = {"Linf": 0.2, "L2": 1.5}[norm]
    result = attack(model, images, labels, norm=norm, eps=eps, num_classes=classes, seed=0)
    assert result.attacks == (("apgd-ce", "apgd-t") if classes == 4 else ("apgd-ce", "fab"))
    assert result.clean.mean() > 0.9
    assert result.robust.mean() < result.clean.mean()


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("mode", ["standard", "plus"])
@pytest.mark.usefixtures("short_square")
def test_few_classes_in_the_long_modes(few_class_digits, classes, mode):
    model, images, labels = few_class_digits[classes].take(5)
    result = attack(model, images, labels, norm="Linf", eps=0.2, mode=mode, num_classes=classes, seed=0)
    assert "square" in result.attacks
    assert result.attacks[-len(EXTRAS) :] == EXTRAS
    assert result.figure == "worst case over all attacks"
    quick = attack(model, images, labels, norm="Linf", eps=0.2, num_classes=classes, seed=0)
    assert result.robust.sum() <= quick.robust.sum()


@pytest.mark.usefixtures("short_square")
def test_extra_attacks_see_through_a_large_logit_scale(linear_digits):
    model, images, labels = linear_digits.take(20)

    class Scaled(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = model

        def forward(self, x):
            return 1e5 * self.inner(x)

    eps = 0.1
    margin = exact_linf(model, images, labels, eps)
    result = attack(Scaled(), images, labels, norm="Linf", eps=eps, mode="standard", num_classes=10, seed=0)
    table = {r["metric"]: r["value"] for r in rows_from_verdicts(verdicts_to_arrays(result))}
    assert table["robust_accuracy.apgd-ce"] > np.mean(margin > 0) + 0.1  # its gradient is zero: it cannot move
    assert table["robust_accuracy"] <= np.mean(margin > 0) + 0.02
    assert result.robust[margin > 1e-5].all()


@pytest.mark.usefixtures("short_square")
def test_square_is_given_what_gradients_left_and_later_attacks_what_square_broke(mlp_digits):
    model, images, labels = mlp_digits.take(10)
    result = attack(model, images, labels, norm="Linf", eps=0.1, mode="standard", num_classes=10, seed=0)
    standing = result.clean.copy()
    for name, row in zip(result.attacks, result.stands, strict=True):
        np.testing.assert_array_equal(row >= 0, standing)
        if name != "square":
            standing &= row != 0


class Fussy(nn.Module):
    """Dropout and batch norm in different states, and a frozen layer."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.BatchNorm1d(16), nn.Dropout(0.5))
        self.head = nn.Linear(16, 10)
        self.train()
        self.body[2].eval()
        self.head.weight.requires_grad_(False)
        self.head.bias.grad = torch.ones(10)

    def forward(self, x):
        return self.head(self.body(x))


def test_the_model_and_the_global_generators_are_given_back_as_they_were(mlp_digits):
    _, images, labels = mlp_digits.take(20)
    model = Fussy()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    torch.manual_seed(5)
    np.random.seed(5)
    expected = torch.rand(3), np.random.rand(3)
    torch.manual_seed(5)
    np.random.seed(5)
    for mode in ("quick", "standard"):
        attack(model, images[:6], labels[:6], norm="Linf", eps=0.1, mode=mode, num_classes=10, seed=0)
    assert torch.equal(torch.rand(3), expected[0])
    np.testing.assert_array_equal(np.random.rand(3), expected[1])
    assert [m.training for m in model.modules()] == [True, True, True, True, False, True, True]
    assert [p.requires_grad for p in model.parameters()] == [True] * 4 + [False, True]
    assert [p.grad is None for p in model.parameters()] == [True] * 5 + [False]
    assert torch.equal(model.head.bias.grad, torch.ones(10))
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())


def test_the_model_is_given_back_after_an_error(mlp_digits):
    _, images, labels = mlp_digits.take(4)
    model = Fussy()
    with pytest.raises(InputError):
        attack(model, images, labels % 3, norm="Linf", eps=0.1, num_classes=3, seed=0)
    assert model.training
    assert model.head.bias.requires_grad


class Detached(nn.Module):
    """A model that autograd cannot see through."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        with torch.no_grad():
            return self.inner(x)


def test_a_model_without_any_gradient_is_attacked_in_silence(few_class_digits, capfd):
    inner, images, labels = few_class_digits[2].take(8)
    settings = {"norm": "Linf", "eps": 0.3, "num_classes": 2, "seed": 0}
    result = attack(Detached(inner), images, labels, mode="standard", **settings)
    assert (result.stands[result.attacks.index("square")] == 0).any()
    assert capfd.readouterr() == ("", "")


def test_a_logger_gets_the_librarys_messages(few_class_digits, caplog):
    inner, images, labels = few_class_digits[4].take(2)
    logger = logging.getLogger("tests.probes")
    attack(Detached(inner), images, labels, norm="Linf", eps=0.1, num_classes=4, seed=0, logger=logger)
    assert {record.name for record in caplog.records} == {"tests.probes"}
    assert "zero gradient" in caplog.text


def test_no_points():
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 3))
    empty = torch.zeros(0, 1, 8, 8)
    result = attack(model, empty, torch.zeros(0, dtype=torch.int64), norm="Linf", eps=0.1, num_classes=3, seed=0)
    table = rows_from_verdicts(verdicts_to_arrays(result))
    assert {r["n"] for r in table} == {0}
    assert all(math.isnan(r["value"]) for r in table)


def test_short_attack_also_runs_at_zero(mlp_digits):
    model, images, labels = mlp_digits.take(20)
    result = short_attack(model, images, labels, norm="Linf", eps=0.0, num_classes=10, seed=0)
    np.testing.assert_array_equal(result.robust, result.clean)
    assert result.attacks == ("apgd-ce",)


def test_dense_outputs_are_refused():
    images, labels = torch.rand(2, 1, 8, 8), torch.zeros(2, dtype=torch.int64)
    with pytest.raises(InputError, match=r"dense outputs \(N, C, H, W\) have a class at every pixel"):
        attack(nn.Conv2d(1, 3, 1), images, labels, norm="Linf", eps=0.1, num_classes=3, seed=0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"norm": "L1"}, "unknown norm: 'L1'"),
        ({"mode": "standart"}, "did you mean 'standard'"),
        ({"eps": -0.1}, "at least 0"),
        ({"eps": math.nan}, "finite radius"),
        ({"num_classes": 1}, "at least 2"),
        ({"num_classes": 5}, r"expected logits \(2, 5\), got shape \(2, 3\)"),
        ({"images": torch.full((2, 1, 8, 8), 255.0)}, r"in \[0, 1\].*got 255 to 255"),
        ({"images": torch.rand(2, 64)}, "float32"),
        ({"images": torch.rand(2, 1, 8, 8).double()}, "float32"),
        ({"images": torch.full((2, 1, 8, 8), math.nan)}, r"in \[0, 1\]"),
        ({"labels": torch.tensor([0, 3])}, "0 to 2"),
        ({"labels": torch.tensor([0])}, "int64"),
        ({"hem_margin": [0.1, 0.2]}, "one for each of 3 classes"),
        ({"hem_margin": 0.0}, "positive"),
        ({"block": 0}, "at least 1 point"),
    ],
)
def test_errors(change, message):
    arguments = {"images": torch.rand(2, 1, 8, 8), "labels": torch.tensor([0, 1]), "norm": "Linf", "eps": 0.1}
    arguments |= {"num_classes": 3, "seed": 0} | change
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 3))
    with pytest.raises(InputError, match=message):
        attack(model, arguments.pop("images"), arguments.pop("labels"), **arguments)


def test_logits_that_are_not_finite_are_refused():
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 3))
    nn.init.constant_(model[1].weight, math.inf)
    with pytest.raises(InputError, match="finite logits"):
        attack(model, torch.rand(2, 1, 8, 8), torch.tensor([0, 1]), norm="Linf", eps=0.1, num_classes=3, seed=0)


@pytest.mark.parametrize("norm", ["Linf", "L2"])
def test_into_ball_takes_rounding_back_and_refuses_more(norm):
    clean = torch.full((2, 1, 8, 8), 0.5)
    direction = torch.zeros_like(clean)
    direction[:, :, 0, 0] = 1.0
    slightly = into_ball(clean + (0.1 + 5e-7) * direction, clean, norm, 0.1, "x")
    assert float(norm_of(slightly.double() - clean.double(), norm).max()) <= 0.1 + 3e-8
    bright = into_ball(clean + (0.5 + 5e-7) * direction, clean, norm, 0.6, "x")
    assert float(bright.max()) == 1.0, "what rounding put beyond white is white"
    inside = clean + 0.05 * direction
    assert torch.allclose(into_ball(inside, clean, norm, 0.1, "x"), inside, atol=1e-7)
    with pytest.raises(LeftBall, match="x: expected images in"):
        into_ball(clean + 0.11 * direction, clean, norm, 0.1, "x")
    with pytest.raises(LeftBall, match="nan"):
        into_ball(clean * math.nan, clean, norm, 0.1, "x")
    with pytest.raises(LeftBall, match="values"):
        into_ball(clean + 0.6 * direction, clean, norm, 1.0, "x")


def test_verdicts_survive_the_file(mlp_digits):
    model, images, labels = mlp_digits.take(30)
    result = attack(model, images, labels, norm="Linf", eps=0.05, num_classes=10, seed=0)
    arrays = verdicts_to_arrays(result)
    file = io.BytesIO()
    np.savez(file, **arrays)
    file.seek(0)
    with np.load(file, allow_pickle=False) as stored:
        assert rows_from_verdicts(dict(stored)) == rows_from_verdicts(arrays)


def test_a_model_in_training_mode_is_attacked_in_eval_mode(mlp_digits):
    _, images, labels = mlp_digits.take(30)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 10), nn.BatchNorm1d(10), nn.Dropout(0.5))
    model[2].running_mean += torch.linspace(-1, 1, 10)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    model.eval()
    with torch.no_grad():
        expected = (model(images).argmax(1) == labels).numpy()
    model.train()
    with torch.no_grad():
        other = (torch.nn.functional.batch_norm(model[1](images.flatten(1)), None, None, training=True)).argmax(1)
    assert not np.array_equal((other == labels).numpy(), expected), "the two modes can be told apart"
    result = attack(model, images, labels, norm="Linf", eps=0.01, num_classes=10, seed=0)
    np.testing.assert_array_equal(result.clean, expected)
    assert model.training
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]), name
