import json
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from hem import hem_loss
from hem._margin_rows import MeanErrors, RowErrors
from tests.hem import independent

REFERENCE = json.loads((Path(__file__).parent / "hem_reference.json").read_text())
IDS = [case["name"] for case in REFERENCE]
NO_INDEX = -100


def draw(*shape, classes, seed=0, scale=1.5, ignored=0.0, dtype=torch.float32):
    """Logits (N, C, ...) and a target with a share of ignored samples."""
    generator = torch.Generator().manual_seed(seed)
    logits = scale * torch.randn(shape[0], classes, *shape[1:], generator=generator)
    target = torch.randint(0, classes, shape, generator=generator)
    target[torch.rand(shape, generator=generator) < ignored] = NO_INDEX
    return logits.to(dtype).requires_grad_(), target


def value_and_gradient(logits, *arguments, **named):
    logits = logits.detach().requires_grad_()
    loss = hem_loss(logits, *arguments, **named)
    loss.sum().backward()
    return loss.detach(), logits.grad


def agrees(logits, target, margin, **named):
    """Assert that value, per-sample losses and gradient are those of the independent implementation."""
    plain = {k: v.tolist() if isinstance(v, torch.Tensor) else v for k, v in named.items()}
    own = margin.tolist() if isinstance(margin, torch.Tensor) else margin
    expected, expected_rows, expected_gradient = independent.hem(logits, target, own, **plain)
    loss, gradient = value_and_gradient(logits, target, margin, **named)
    rows = hem_loss(logits, target, margin, reduction="none", **named)
    tolerance = 1e-9 if logits.dtype is torch.float64 else 2e-6
    assert loss.item() == pytest.approx(expected, rel=tolerance, abs=tolerance)
    assert torch.allclose(rows, expected_rows.to(rows.dtype), rtol=tolerance, atol=tolerance)
    assert torch.allclose(gradient, expected_gradient.to(gradient.dtype), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("case", REFERENCE, ids=IDS)
def test_reference_cases(case, dtype):
    logits = torch.tensor(case["logits"], dtype=dtype, requires_grad=True)
    margin = torch.tensor(case["margin"], dtype=dtype) if isinstance(case["margin"], list) else case["margin"]
    target = torch.tensor(case["target"])
    ignore = NO_INDEX if case["ignore_index"] is None else case["ignore_index"]
    loss, gradient = value_and_gradient(logits, target, margin, ignore_index=ignore)
    rows = hem_loss(logits, target, margin, ignore_index=ignore, reduction="none")
    tolerance = 1e-12 if dtype is torch.float64 else 1e-6
    assert loss.item() == pytest.approx(case["loss"], rel=tolerance, abs=tolerance)
    assert torch.allclose(rows, torch.tensor(case["per_sample"], dtype=dtype), rtol=tolerance, atol=tolerance)
    assert torch.allclose(gradient, torch.tensor(case["grad"], dtype=dtype), rtol=tolerance, atol=tolerance)
    assert int((rows > 0).sum()) == case["active"]


def test_by_hand():
    # e = (0, 1, 2, 0): mean 0.75, H = {1, 2}, loss 1.5. The second leads by 3 > 0.5: the mean is over one sample.
    logits = torch.tensor([[1.0, 1.5, 2.5, -9.0], [0.0, 0.0, 0.0, 3.0]], requires_grad=True)
    loss, gradient = value_and_gradient(logits, torch.tensor([0, 3]), 0.5)
    assert loss.item() == 1.5
    assert gradient.tolist() == [[-1.0, 0.5, 0.5, 0.0], [0.0, 0.0, 0.0, 0.0]]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_an_error_equal_to_the_mean_is_hard(dtype):
    # e = (0, 1, 2, 1) and e = (0, 1, 2): the mean is 1, and the ones are not below it.
    for row, hard in (([0.0, 0.0, 1.0, 0.0], 3), ([0.0, 0.0, 1.0], 2)):
        logits = torch.tensor([row], dtype=dtype)
        loss, gradient = value_and_gradient(logits, torch.tensor([0]), 1.0)
        assert loss.item() == pytest.approx((hard + 1) / hard)
        assert int((gradient > 0).sum()) == hard


@pytest.mark.parametrize("margin", [0.0, 0.3, torch.full((6,), 0.3)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_all_separated(margin, dtype):
    target = torch.tensor([0, 3, 5])
    logits = F.one_hot(target, 6).to(dtype)
    loss, gradient = value_and_gradient(logits, target, margin)
    assert loss.item() == 0.0
    assert gradient.abs().sum().item() == 0.0


def test_exactly_at_the_margin_is_done():
    logits = torch.tensor([[1.0, 0.5, -1.0]], requires_grad=True)
    assert value_and_gradient(logits, torch.tensor([0]), 0.5)[0].item() == 0.0


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_all_ignored(dtype):
    logits = torch.randn(4, 3, dtype=dtype)
    loss, gradient = value_and_gradient(logits, torch.full((4,), NO_INDEX), 0.2)
    assert loss.item() == 0.0
    assert gradient.abs().sum().item() == 0.0


def test_an_empty_batch():
    loss, gradient = value_and_gradient(torch.empty(0, 3), torch.empty(0, dtype=torch.int64), 0.2)
    assert loss.item() == 0.0
    assert gradient.shape == (0, 3)


def test_what_ignored_samples_hold_does_not_matter():
    logits, target = draw(8, classes=4, ignored=0.4)
    changed = torch.where((target == NO_INDEX).unsqueeze(1), torch.nan, logits.detach())
    loss, gradient = value_and_gradient(logits, target)
    other_loss, other_gradient = value_and_gradient(changed, target)
    assert loss == other_loss
    assert torch.equal(gradient, other_gradient)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_nan_is_not_hidden(dtype):
    logits, target = draw(4, classes=3, dtype=dtype)
    broken = logits.detach().clone()
    broken[1, 2] = torch.nan
    assert hem_loss(broken, target).isnan()


def test_two_classes_are_the_binary_margin_loss():
    logits, target = draw(64, classes=2)
    sign = 2.0 * target - 1.0
    errors = (0.7 - sign * (logits[:, 1] - logits[:, 0])).clamp_min(0.0)
    assert hem_loss(logits, target, 0.7).item() == pytest.approx((errors.sum() / (errors > 0).sum()).item())


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shape", [(17,), (3, 5), (2, 3, 4)])
def test_against_the_independent_implementation(shape, dtype, seed):
    logits, target = draw(*shape, classes=6, seed=seed, dtype=dtype)
    agrees(logits, target, 0.8)
    agrees(logits, target, torch.linspace(0.1, 2.0, 6, dtype=dtype))
    agrees(logits, target, 0.8, weight=torch.linspace(0.5, 2.0, 6, dtype=dtype))
    logits, target = draw(*shape, classes=6, seed=seed, dtype=dtype, ignored=0.3)
    agrees(logits, target, 0.8)
    agrees(logits, target, torch.linspace(0.1, 2.0, 6, dtype=dtype), weight=torch.linspace(0.5, 2.0, 6, dtype=dtype))


def layouts(logits):
    """The same logits in several memory layouts."""
    yield logits
    yield logits.movedim(1, -1).contiguous().movedim(-1, 1)
    yield logits.transpose(0, -1).contiguous().transpose(0, -1)
    yield torch.stack((logits, logits), -1)[..., 0]


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("ignored", [0.0, 0.3])
@pytest.mark.parametrize("shape", [(50,), (2, 70), (5, 4, 9), (2, 3, 5, 7)])
def test_blocks_and_layouts(shape, ignored):
    logits, target = draw(*shape, classes=5, ignored=ignored)
    for other in layouts(logits.detach()):
        agrees(other, target, 0.8)
        agrees(other, target, torch.linspace(0.1, 2.0, 5), weight=torch.linspace(0.5, 2.0, 5))


def test_a_large_map_has_the_gradient_of_its_parts():
    logits, target = draw(3, 90, 80, classes=31, ignored=0.1)
    assert logits.numel() > 1 << 18
    loss, gradient = value_and_gradient(logits, target)
    rows = hem_loss(logits.detach().double(), target, reduction="none")
    active = int((rows > 0).sum())
    assert loss.item() == pytest.approx((rows.sum() / active).item(), rel=1e-6)
    part = logits.detach()[1:2, :, 40:44, 10:14].double()
    part_target = target[1:2, 40:44, 10:14]
    _, _, expected = independent.hem(part, part_target, 0.2)
    own = int((rows[1:2, 40:44, 10:14] > 0).sum())
    assert torch.allclose(gradient[1:2, :, 40:44, 10:14].double() * active, expected * own, atol=1e-6)


@pytest.mark.parametrize("factor", [0.25, 3.0, 1000.0])
def test_scaling(factor):
    logits, target = draw(32, classes=7, dtype=torch.float64)
    for margin in (0.5, torch.linspace(0.1, 1.0, 7, dtype=torch.float64)):
        one, gradient = value_and_gradient(logits, target, margin)
        other, other_gradient = value_and_gradient(factor * logits, target, factor * margin)
        assert other.item() == pytest.approx(factor * one.item())
        assert torch.allclose(other_gradient, gradient)


def test_equal_class_margins_are_one_margin():
    logits, target = draw(32, classes=7)
    expected = value_and_gradient(logits, target, 0.25)
    for margin in (torch.full((7,), 0.25), torch.tensor(0.25), torch.full((7,), 0.25, dtype=torch.float64)):
        for value, other in zip(value_and_gradient(logits, target, margin), expected, strict=True):
            assert torch.allclose(value, other, rtol=1e-6)


def test_the_margin_gets_no_gradient():
    logits, target = draw(8, classes=3)
    margin = torch.full((3,), 0.5, requires_grad=True)
    hem_loss(logits, target, margin).backward()
    assert margin.grad is None


def test_sum_and_none():
    logits, target = draw(6, 4, classes=3, ignored=0.2)
    rows, gradient = value_and_gradient(logits, target, 0.5, reduction="none")
    total, total_gradient = value_and_gradient(logits, target, 0.5, reduction="sum")
    assert rows.shape == target.shape
    assert torch.equal(rows == 0, (rows == 0) | (target == NO_INDEX))
    assert total.item() == pytest.approx(rows.sum().item())
    assert torch.equal(gradient, total_gradient)
    per_sample = torch.rand(target.shape)
    leaf = logits.detach().requires_grad_()
    (hem_loss(leaf, target, 0.5, reduction="none") * per_sample).sum().backward()
    assert torch.allclose(leaf.grad, gradient * per_sample.unsqueeze(1))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("shape", [(33,), (2, 5, 6)])
def test_half_precision_is_computed_in_float32(shape, dtype):
    logits, target = draw(*shape, classes=5, dtype=dtype, ignored=0.1)
    loss, gradient = value_and_gradient(logits, target, 0.3)
    wide, wide_gradient = value_and_gradient(logits.float(), target, 0.3)
    assert loss.dtype is torch.float32
    assert gradient.dtype is dtype
    assert loss.item() == pytest.approx(wide.item(), rel=1e-6)
    assert torch.allclose(gradient, wide_gradient.to(dtype), rtol=1e-2, atol=1e-6)


@pytest.mark.usefixtures("small_blocks")
def test_half_precision_in_blocks():
    test_half_precision_is_computed_in_float32((2, 9, 8), torch.float16)


def test_under_autocast():
    features, weight = torch.randn(16, 8), torch.randn(5, 8, requires_grad=True)
    target = torch.arange(16) % 5
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = F.linear(features, weight)
        loss = hem_loss(logits, target, 0.5)
    assert logits.dtype is torch.bfloat16
    assert loss.dtype is torch.float32
    assert loss.item() == pytest.approx(hem_loss(logits.detach().float(), target, 0.5).item(), rel=1e-6)
    loss.backward()
    assert weight.grad.dtype is torch.float32
    assert weight.grad.abs().sum() > 0


def test_gradcheck():
    # Kinks are where an error is 0 or equal to the mean: random numbers stay clear of them.
    logits, target = draw(6, classes=5, dtype=torch.float64, seed=3)
    margins = torch.linspace(0.2, 1.0, 5, dtype=torch.float64)
    weight = torch.linspace(0.5, 2.0, 5, dtype=torch.float64)
    for reduction in ("mean", "sum", "none"):
        assert torch.autograd.gradcheck(lambda z, r=reduction: hem_loss(z, target, 0.7, reduction=r), logits)
        assert torch.autograd.gradcheck(
            lambda z, r=reduction: hem_loss(z, target, margins, weight=weight, reduction=r), logits
        )
    dense, dense_target = draw(2, 3, 2, classes=4, dtype=torch.float64, ignored=0.2)
    assert torch.autograd.gradcheck(lambda z: hem_loss(z, dense_target, 0.7), dense)


@pytest.mark.parametrize("hard", [True, False])
def test_gradcheck_of_the_short_way(hard):
    """Float32 alone takes it from ``hem_loss``; its operations are good for float64 too."""
    logits, target = draw(6, classes=5, dtype=torch.float64, seed=3)
    margins = torch.linspace(0.2, 1.0, 5, dtype=torch.float64)
    for margin in (0.75, margins):
        assert torch.autograd.gradcheck(lambda z, m=margin: MeanErrors.apply(z, target, m, hard, None), logits)
        rows, count = RowErrors.apply(logits, target, margins[target] if margin is margins else margin, hard)
        expected = rows.sum() / (count > 0).sum() if hard else rows.mean()
        assert MeanErrors.apply(logits, target, margin, hard, None).item() == pytest.approx(expected.item(), rel=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_second_derivatives_are_zero(dtype):
    logits, target = draw(6, classes=5, dtype=dtype)
    (gradient,) = torch.autograd.grad(hem_loss(logits, target, 0.7) ** 2, logits, create_graph=True)
    first = torch.autograd.grad(hem_loss(logits, target, 0.7), logits)[0]
    (second,) = torch.autograd.grad((gradient * first).sum(), logits)
    # d/dz (2 L g) · g = 2 g (g · g), as g is a constant.
    assert torch.allclose(second, 2 * first * (first * first).sum())


def test_backward_twice_through_one_graph():
    for logits, target in (draw(6, classes=5), draw(6, 3, classes=5, ignored=0.2)):
        loss = hem_loss(logits, target)
        loss.backward(retain_graph=True)
        once = logits.grad.clone()
        loss.backward()
        assert torch.allclose(logits.grad, 2 * once)


class Storages(TorchDispatchMode):
    """Counts the new tensors that are at least as large as the logits."""

    def __init__(self, *known):
        super().__init__()
        self.size = known[0].numel() * known[0].element_size()
        self.seen = {tensor.untyped_storage().data_ptr() for tensor in known}
        self.kept = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, tuple | list) else [result]:
            if isinstance(tensor, torch.Tensor) and tensor.untyped_storage().nbytes() >= self.size:
                if tensor.untyped_storage().data_ptr() not in self.seen:
                    self.seen.add(tensor.untyped_storage().data_ptr())
                    self.kept.append(tensor)  # so that its address is not used again
        return result


def large_tensors(loss, logits, target):
    """How many tensors of the logits' size a loss makes: in the forward pass, and in the backward pass."""
    with Storages(logits, target) as forward:
        value = loss(logits, target)
    with Storages(logits, target) as backward:
        value.backward()
    return len(forward.kept), len(backward.kept)


def test_dense_logits_are_never_copied():
    logits, target = draw(2, 96, 96, classes=32, ignored=0.1)
    assert logits.numel() > 1 << 18
    assert large_tensors(hem_loss, logits, target) == (0, 1)
    assert sum(large_tensors(F.cross_entropy, logits, target)) >= 3


@pytest.mark.parametrize("shape", [(5,), (2, 3, 4)])
def test_nothing_waits_for_the_device(shape):
    """A tensor on the device "meta" has no values: whatever asks for one raises."""
    logits = torch.empty(shape[0], 4, *shape[1:], device="meta", requires_grad=True)
    target = torch.empty(shape, dtype=torch.int64, device="meta")
    hem_loss(logits, target, 0.2).backward()
    hem_loss(logits, target, torch.empty(4, device="meta"), weight=torch.empty(4, device="meta")).backward()
    assert logits.grad.shape == logits.shape
