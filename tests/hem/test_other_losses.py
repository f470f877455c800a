"""The losses that HEM is compared with: numbers known beforehand, torch's own, and a plain second implementation."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch._subclasses.fake_tensor import FakeTensorMode

from hem import (
    CEDICELoss,
    ce_dice_loss,
    ce_loss,
    class_balanced_weights,
    class_margins,
    dice_loss,
    focal_loss,
    hem_loss,
    hem_margin,
    ldam_loss,
    ldam_margins,
    log_prior,
    logit_adjusted_loss,
    logitnorm_loss,
    mm_loss,
)
from tests.hem import independent
from tests.hem.test_hem_loss import NO_INDEX, draw, large_tensors, layouts

LOGITS = [[2.0, 1.5, 0.0, -1.0], [0.2, 0.5, 0.1, 0.4], [5.0, -1.0, 0.0, 1.0], [-0.5, 0.3, 1.2, 1.1]]
TARGET = [0, 0, 0, 3]
COUNTS = (5000, 1000, 200, 50)


def known():
    """(loss of logits and target, its value on LOGITS); the values were computed outside this package."""
    weights = class_balanced_weights(COUNTS)
    prior, margins = log_prior(COUNTS), ldam_margins(COUNTS)
    yield "ce", ce_loss, 0.780743720561697
    yield "mm", mm_loss, 0.325
    yield "hem_1", lambda z, y: hem_loss(z, y, 1.0), 0.9111111111111111
    yield "hem_0.5", lambda z, y: hem_loss(z, y, 0.5), 0.675
    yield "hem+", lambda z, y: hem_loss(z, y, class_margins(COUNTS)), 1.6892527130926087
    yield "logitnorm", logitnorm_loss, 3.1874562541635174
    yield "logit_adjusted", lambda z, y: logit_adjusted_loss(z, y, prior), 0.9852169457880464
    yield "ldam", lambda z, y: ldam_loss(30 * z, y, margins), 7.948011464627374
    yield "ce_balanced", lambda z, y: ce_loss(z, y, weight=weights), 1.0025342212657478
    yield "focal_2", focal_loss, 0.3573612025151345
    yield "focal_1", lambda z, y: focal_loss(z, y, 1.0), 0.517097190083798
    yield "dice", dice_loss, 0.35885137723013083
    yield (
        "ce_dice",
        ce_dice_loss,
        torch.nn.functional.cross_entropy(*map(torch.tensor, (LOGITS, TARGET))).item() + 0.35885137723013083,
    )


KNOWN = list(known())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("loss", "value"), [case[1:] for case in KNOWN], ids=[case[0] for case in KNOWN])
def test_known_numbers(loss, value, dtype):
    assert loss(torch.tensor(LOGITS, dtype=dtype), torch.tensor(TARGET)).item() == pytest.approx(value, rel=2e-6)


def test_known_numbers_per_sample():
    logits, target = torch.tensor(LOGITS), torch.tensor(TARGET)
    for margin, rows in ((1.0, [0.5, 1.1333333, 0.0, 1.1]), (0.5, [0.0, 0.75, 0.0, 0.6])):
        assert hem_loss(logits, target, margin, reduction="none").tolist() == pytest.approx(rows, abs=1e-6)
    rows = hem_loss(logits, target, class_margins(COUNTS), reduction="none")
    assert rows.tolist() == pytest.approx([0.0, 0.5662278, 0.0, 2.8122778], abs=1e-6)


def per_class(low, high, classes):
    return torch.linspace(low, high, classes, dtype=torch.float64)


PRIOR, MARGINS = per_class(-3.0, -0.2, 5), per_class(0.05, 0.5, 5)
# name, loss, its keyword arguments, the independent implementation of a sample, its arguments
CASES = [
    ("mm", mm_loss, {"margin": 0.7}, independent.mm_sample, (0.7,)),
    ("ce", ce_loss, {}, independent.cross_entropy_sample, ()),
    ("logitnorm", logitnorm_loss, {"tau": 0.3}, independent.logitnorm_sample, (0.3,)),
    (
        "logit_adjusted",
        logit_adjusted_loss,
        {"log_prior": PRIOR, "tau": 1.5},
        independent.logit_adjusted_sample,
        (PRIOR.tolist(), 1.5),
    ),
    ("ldam", ldam_loss, {"class_margins": MARGINS, "scale": 4.0}, independent.ldam_sample, (MARGINS.tolist(), 4.0)),
    ("focal", focal_loss, {"gamma": 1.7}, independent.focal_sample, (1.7,)),
]
IDS = [case[0] for case in CASES]
WEIGHT = per_class(0.5, 2.0, 5)


def agrees(loss, named, sample, arguments, logits, target, **shared):
    plain = {k: v.tolist() if isinstance(v, torch.Tensor) else v for k, v in shared.items()}
    value, rows = independent.mean(sample, logits, target, *arguments, **plain)
    assert loss(logits, target, **named, **shared).item() == pytest.approx(value, rel=1e-9, abs=1e-12)
    own_rows = loss(logits, target, **named, **shared, reduction="none")
    assert own_rows.shape == target.shape
    assert torch.allclose(own_rows, rows, rtol=1e-9, atol=1e-12)
    total = loss(logits, target, **named, **shared, reduction="sum")
    assert total.item() == pytest.approx(rows.sum().item(), rel=1e-9)


@pytest.mark.parametrize("shape", [(11,), (3, 5), (2, 3, 4)])
@pytest.mark.parametrize(("loss", "named", "sample", "arguments"), [case[1:] for case in CASES], ids=IDS)
def test_against_the_independent_implementation(loss, named, sample, arguments, shape):
    logits, target = draw(*shape, classes=5, dtype=torch.float64)
    agrees(loss, named, sample, arguments, logits, target)
    agrees(loss, named, sample, arguments, logits, target, weight=WEIGHT)
    logits, target = draw(*shape, classes=5, dtype=torch.float64, ignored=0.3)
    agrees(loss, named, sample, arguments, logits, target)
    agrees(loss, named, sample, arguments, logits, target, weight=WEIGHT)
    target = target.masked_fill(target == NO_INDEX, 255)
    agrees(loss, named, sample, arguments, logits, target, weight=WEIGHT, ignore_index=255)
    target = target.masked_fill(target == 255, 2)
    agrees(loss, named, sample, arguments, logits, target, weight=WEIGHT, ignore_index=2)


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("shape", [(50,), (2, 70), (5, 4, 9)])
@pytest.mark.parametrize("case", [CASES[0], CASES[2]], ids=["mm", "logitnorm"])
def test_blocks_and_layouts(case, shape):
    _, loss, named, sample, arguments = case
    for ignored in (0.0, 0.3):
        logits, target = draw(*shape, classes=5, dtype=torch.float64, ignored=ignored)
        for other in layouts(logits.detach()):
            agrees(loss, named, sample, arguments, other, target, weight=WEIGHT)
    gradients_of_blocks(lambda z, y: loss(z, y, **named, weight=WEIGHT), logits, target)


def gradients_of_blocks(loss, logits, target):
    """Assert that a loss in blocks has the gradient of its own finite differences, in every layout."""
    few, few_target = logits.detach()[:3].movedim(1, -1)[..., :5], target[:3]
    for other in layouts(few.movedim(-1, 1).contiguous()):
        assert torch.autograd.gradcheck(lambda z: loss(z, few_target), other.detach().requires_grad_(), fast_mode=True)


@pytest.mark.parametrize("smoothing", [0.1, 1.0])
def test_label_smoothing_is_torchs(smoothing):
    logits, target = draw(4, 6, classes=5, dtype=torch.float64, ignored=0.2)
    for weight in (None, WEIGHT):
        expected = F.cross_entropy(logits, target, weight, label_smoothing=smoothing)
        assert ce_loss(logits, target, smoothing, weight=weight).item() == pytest.approx(expected.item(), rel=1e-12)
    value, _ = independent.mean(independent.cross_entropy_sample, logits, target, smoothing)
    assert ce_loss(logits, target, smoothing).item() == pytest.approx(value, rel=1e-9)


def test_cross_entropy_is_torchs():
    for shape in ((7,), (2, 3, 4)):
        logits, target = draw(*shape, classes=5)
        assert ce_loss(logits, target).item() == F.cross_entropy(logits, target).item()


def test_mm_is_torchs():
    logits, target = draw(20, classes=5)
    for margin in (1.0, 0.3):
        expected = F.multi_margin_loss(logits, target, margin=margin)
        assert mm_loss(logits, target, margin).item() == pytest.approx(expected.item(), rel=1e-6)
        leaf, other = logits.detach().requires_grad_(), logits.detach().requires_grad_()
        mm_loss(leaf, target, margin).backward()
        F.multi_margin_loss(other, target, margin=margin).backward()
        assert torch.allclose(leaf.grad, other.grad, atol=1e-8)


@pytest.mark.parametrize("blocks", [False, True])
@pytest.mark.parametrize("shape", [(11,), (3, 5), (2, 8, 9)])
def test_dice_against_the_independent_implementation(shape, blocks, request):
    if blocks:
        request.getfixturevalue("small_blocks")
    for ignored in (0.0, 0.3):
        logits, target = draw(*shape, classes=5, dtype=torch.float64, ignored=ignored)
        for weight in (None, WEIGHT):
            own = None if weight is None else weight.tolist()
            value, by_class = independent.dice(logits, target, 0.5, own)
            for other in layouts(logits.detach()):
                assert dice_loss(other, target, 0.5, weight=weight).item() == pytest.approx(value, rel=1e-9)
                rows = dice_loss(other, target, 0.5, weight=weight, reduction="none")
                assert torch.allclose(rows, by_class, rtol=1e-9)
        gradients_of_blocks(lambda z, y: dice_loss(z, y, 0.5, weight=WEIGHT), logits, target)


@pytest.mark.parametrize("compiled", [False, True])
def test_dice_adds_up_a_million_positions(compiled):
    """One after the other in float32, each 0.9 would count 0.875 or 0.9375."""
    positions, p = 1 << 20, 0.9
    logits = torch.tensor([math.log(p / (1 - p)), 0.0]).view(1, 2, 1).expand(1, 2, positions).contiguous()
    loss = torch.compile(dice_loss, fullgraph=True, backend="aot_eager") if compiled else dice_loss
    first, _ = loss(logits, torch.zeros(1, positions, dtype=torch.int64), reduction="none").tolist()
    assert first == pytest.approx(1 - (2 * p * positions + 1) / ((p + 1) * positions + 1), rel=1e-5)


def test_dice_of_a_perfect_and_of_an_absent_class():
    logits = 100 * F.one_hot(torch.tensor([0, 1, 1]), 3).float()
    # Class 2 is neither there nor predicted: D = s / s.
    assert dice_loss(logits, torch.tensor([0, 1, 1])).item() == pytest.approx(0.0, abs=1e-6)
    # Nothing right: D = s/(1+1+s), s/(2+1+s), s/(0+1+s) with s = 1.
    expected = sum(1 - d for d in (1 / 3, 1 / 4, 1 / 2)) / 3
    assert dice_loss(logits, torch.tensor([1, 0, 2])).item() == pytest.approx(expected, rel=1e-6)


def test_ce_dice_is_the_sum_with_weights_and_ignored_pixels_in_both():
    logits, target = draw(2, 3, 4, classes=4)
    target[0, 0] = 255
    shared = {"weight": torch.tensor([1.0, 2.0, 0.5, 1.5]), "ignore_index": 255}
    expected = ce_loss(logits, target, **shared) + dice_loss(logits, target, 0.5, **shared)
    assert torch.equal(ce_dice_loss(logits, target, 0.5, **shared), expected)
    assert torch.equal(CEDICELoss(0.5, **shared)(logits, target), expected)
    with pytest.raises(ValueError, match="reduction: expected 'mean'"):
        ce_dice_loss(logits, target, reduction="none")


def test_dice_with_everything_ignored_is_zero():
    logits = torch.randn(2, 3, 4, requires_grad=True)
    loss = dice_loss(logits, torch.full((2, 4), NO_INDEX))
    loss.backward()
    assert loss.item() == 0.0
    assert logits.grad.abs().sum().item() == 0.0


@pytest.mark.parametrize(("loss", "named"), [case[1:3] for case in CASES], ids=IDS)
def test_nothing_to_average(loss, named):
    for shape in ((4,), (2, 3)):
        logits = torch.randn(shape[0], 5, *shape[1:], requires_grad=True)
        for weight in (None, WEIGHT):
            value = loss(logits, torch.full(shape, NO_INDEX), **named, weight=weight)
            value.backward()
            assert value.item() == 0.0
            assert logits.grad.abs().sum().item() == 0.0


def all_losses(classes):
    prior, margins = log_prior(range(1, classes + 1)), ldam_margins(range(1, classes + 1))
    return {
        "hem": hem_loss,
        "mm": mm_loss,
        "ce": ce_loss,
        "logitnorm": lambda z, y, **kw: logitnorm_loss(z, y, 0.3, **kw),
        "logit_adjusted": lambda z, y, **kw: logit_adjusted_loss(z, y, prior, **kw),
        "ldam": lambda z, y, **kw: ldam_loss(z, y, margins, 4.0, **kw),
        "focal": focal_loss,
        "dice": dice_loss,
    }


@pytest.mark.parametrize("name", all_losses(5))
def test_weights_that_are_all_zero(name):
    logits, target = draw(6, classes=5)
    loss = all_losses(5)[name](logits, target, weight=torch.zeros(5))
    loss.backward()
    assert loss.item() == 0.0
    assert logits.grad.abs().sum().item() == 0.0


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", all_losses(5))
def test_half_precision_is_computed_in_float32(name, dtype):
    loss = all_losses(5)[name]
    for shape in ((9,), (2, 3, 4)):
        logits, target = draw(*shape, classes=5, dtype=dtype, ignored=0.1)
        wide = logits.detach().float().requires_grad_()
        value, expected = loss(logits, target), loss(wide, target)
        value.backward()
        expected.backward()
        assert value.dtype is torch.float32
        assert value.item() == pytest.approx(expected.item(), rel=1e-6)
        assert logits.grad.dtype is dtype
        assert torch.allclose(logits.grad, wide.grad.to(dtype), rtol=1e-2, atol=1e-6)


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("name", ["logitnorm", "dice", "mm"])
def test_half_precision_in_blocks(name):
    test_half_precision_is_computed_in_float32(name, torch.bfloat16)


@pytest.mark.parametrize("name", all_losses(5))
def test_under_autocast(name):
    features, weight = torch.randn(16, 8), torch.randn(5, 8, requires_grad=True)
    target = torch.arange(16) % 5
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = F.linear(features, weight)
        loss = all_losses(5)[name](logits, target)
    assert loss.dtype is torch.float32
    assert loss.item() == pytest.approx(all_losses(5)[name](logits.detach().float(), target).item(), rel=1e-6)
    loss.backward()
    assert weight.grad.abs().sum() > 0
    wide = logits.detach().float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = all_losses(5)[name](wide, target)
    assert inside.dtype is torch.float32
    assert inside.item() == all_losses(5)[name](wide, target).item()


@pytest.mark.parametrize("name", all_losses(5))
def test_inference_mode(name):
    logits, target = draw(6, 2, classes=5)
    with torch.inference_mode():
        inside = all_losses(5)[name](logits, target).item()
    loss = all_losses(5)[name](logits, target)
    loss.backward()
    assert loss.item() == inside


@pytest.mark.parametrize("blocks", [False, True])
@pytest.mark.parametrize("name", all_losses(5))
def test_per_sample_losses_may_be_changed_in_place(name, blocks, request):
    if blocks:
        request.getfixturevalue("small_blocks")
    logits, target = draw(6, 2, classes=5)
    rows = all_losses(5)[name](logits, target, reduction="none")
    factor = torch.linspace(0.0, 2.0, rows.numel()).reshape(rows.shape)
    (expected,) = torch.autograd.grad((rows * factor).sum(), logits)
    rows = all_losses(5)[name](logits, target, reduction="none")
    rows.mul_(factor)
    rows.sum().backward()
    assert torch.equal(logits.grad, expected)


@pytest.mark.parametrize("name", all_losses(4))
def test_gradcheck(name):
    loss = all_losses(4)[name]
    weight = per_class(0.5, 2.0, 4)
    for shape in ((6,), (2, 3, 2)):
        logits, target = draw(*shape, classes=4, dtype=torch.float64, seed=5, ignored=0.2)
        assert torch.autograd.gradcheck(lambda z, y=target: loss(z, y), logits, fast_mode=True)
        for reduction in ("mean", "sum", "none"):
            assert torch.autograd.gradcheck(
                lambda z, y=target, r=reduction: loss(z, y, weight=weight, reduction=r), logits, fast_mode=True
            )


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0])
def test_focal_where_nothing_is_left_to_learn(gamma):
    logits = torch.tensor([[200.0, 0.0, -5.0]], requires_grad=True)
    loss = focal_loss(logits, torch.tensor([0]), gamma)
    loss.backward()
    assert loss.item() == 0.0
    assert logits.grad.abs().sum().item() == 0.0


@pytest.mark.parametrize("blocks", [False, True])
def test_logitnorm_of_zero_logits(blocks, request):
    if blocks:
        request.getfixturevalue("small_blocks")
    logits = torch.zeros(2, 4, requires_grad=True)
    loss = logitnorm_loss(logits, torch.tensor([1, 2]))
    loss.backward()
    assert loss.item() == pytest.approx(math.log(4))
    assert logits.grad.isfinite().all()


@pytest.mark.parametrize("blocks", [False, True])
def test_second_derivatives_are_refused_and_not_wrong(blocks, request):
    if blocks:
        request.getfixturevalue("small_blocks")
    logits, target = draw(4, classes=3)
    for loss in (logitnorm_loss, dice_loss):
        with pytest.raises(RuntimeError, match="no second derivative"):
            torch.autograd.grad(loss(logits, target), logits, create_graph=True)


@pytest.mark.parametrize("name", ["mm", "logitnorm", "dice"])
def test_dense_logits_are_never_copied(name):
    logits, target = draw(2, 96, 96, classes=32, ignored=0.1)
    assert large_tensors(all_losses(32)[name], logits, target) == (0, 1)


@pytest.mark.parametrize("name", ["ce", "logit_adjusted", "ldam", "focal"])
def test_dense_logits_are_copied_once_at_most(name):
    logits, target = draw(2, 96, 96, classes=32, ignored=0.1)
    torchs = sum(large_tensors(F.cross_entropy, logits, target))
    assert sum(large_tensors(all_losses(32)[name], logits, target)) <= torchs + 1


@pytest.mark.parametrize("name", all_losses(5))
def test_nothing_waits_for_the_device(name):
    """A tensor on the device "meta" has no values: whatever asks for one raises."""
    weight = torch.empty(5, device="meta")
    named = {"logit_adjusted": (logit_adjusted_loss, weight), "ldam": (ldam_loss, weight)}
    loss, *arguments = named.get(name, (all_losses(5)[name],))
    for shape in ((6,), (2, 3, 4)):
        logits = torch.empty(shape[0], 5, *shape[1:], device="meta", requires_grad=True)
        target = torch.empty(shape, dtype=torch.int64, device="meta")
        loss(logits, target, *arguments, weight=weight).backward()
        assert logits.grad.shape == logits.shape


@pytest.mark.parametrize("name", all_losses(5))
def test_tensors_without_content_go_through(name):
    """What estimates the memory of a training runs it on such tensors."""
    loss = all_losses(5)[name]
    with FakeTensorMode(allow_non_fake_inputs=True):
        logits, target = torch.empty(6, 5, 4, requires_grad=True), torch.empty(6, 4, dtype=torch.int64)
        loss(logits, target).backward()
        assert logits.grad.shape == logits.shape


def test_the_margin_of_the_reference_data():
    assert hem_margin(sum(COUNTS)) == pytest.approx(0.565685424949238)
