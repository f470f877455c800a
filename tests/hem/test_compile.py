"""Inside torch.compile: one graph, the same numbers."""

import pytest
import torch

from hem import HEMLoss, hem_loss, mm_loss
from tests.hem.test_hem_loss import draw
from tests.hem.test_other_losses import all_losses


@pytest.fixture(autouse=True)
def fresh_compiler():
    torch.compiler.reset()
    yield
    torch.compiler.reset()


def same(loss, logits, target):
    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")
    eager, other = logits.detach().requires_grad_(), logits.detach().requires_grad_()
    expected, value = loss(eager, target), compiled(other, target)
    expected.sum().backward()
    value.sum().backward()
    assert torch.allclose(value, expected, rtol=1e-5, atol=1e-6)
    assert other.grad.dtype is logits.dtype
    assert torch.allclose(other.grad, eager.grad, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", all_losses(4))
def test_one_graph_with_the_numbers_of_eager_mode(name):
    loss, weight = all_losses(4)[name], torch.linspace(0.5, 2.0, 4)
    same(lambda z, y: loss(z, y, weight=weight), *draw(5, 3, 4, classes=4, ignored=0.2))


def test_hem_plus_in_half_precision():
    margin = torch.linspace(0.2, 1.0, 4)
    same(lambda z, y: hem_loss(z, y, margin), *draw(6, 5, classes=4, dtype=torch.bfloat16))


def test_a_training_step_with_the_module():
    torch.manual_seed(0)
    model, loss = torch.nn.Linear(6, 4), HEMLoss(class_counts=[50, 20, 10, 5])
    inputs, target = torch.randn(8, 6), torch.arange(8) % 4

    def step(x, y):
        return loss(model(x), y)

    compiled = torch.compile(step, fullgraph=True, backend="aot_eager")
    assert compiled(inputs, target).item() == pytest.approx(step(inputs, target).item(), rel=1e-6)


def test_ties_and_separated_samples():
    logits = torch.tensor([[0.0, 0.0, 1.0, 0.0], [9.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]])
    same(lambda z, y: hem_loss(z, y, 1.0, reduction="none"), logits, torch.tensor([0, 0, 2]))


@pytest.mark.parametrize("loss", [hem_loss, mm_loss])
def test_what_is_not_finite_is_not_hidden(loss):
    """Row by row: nan and inf at a wrong class and at the right one, and -inf at both, give what eager mode gives."""
    broken = torch.tensor([torch.nan, torch.inf, -torch.inf]).repeat(2)
    logits = draw(7, classes=4)[0].detach()
    logits[torch.arange(6), torch.tensor([1, 1, 1, 0, 0, 0])] = broken
    target = torch.zeros(7, dtype=torch.int64)
    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")
    rows = compiled(logits, target, 0.5, reduction="none")
    assert rows.isnan().tolist() == [True, False, False, True, False, False, False]
    assert rows.isinf().tolist() == [False, True, False, False, False, True, False]
    assert torch.allclose(rows, loss(logits, target, 0.5, reduction="none"), equal_nan=True)
    assert compiled(logits, target, 0.5).isnan()
    assert compiled(logits[2:3], target[2:3], 0.5).isfinite()


@pytest.mark.parametrize("loss", [hem_loss, mm_loss])
def test_what_ignored_samples_hold_does_not_matter(loss):
    logits, target = draw(7, classes=4)
    logits, target[:3] = logits.detach(), -100
    logits[0, 1], logits[1, 1], logits[2, 0] = torch.nan, torch.inf, -torch.inf
    same(lambda z, y: loss(z, y, 0.5), logits, target)


def test_shapes_may_change():
    compiled = torch.compile(hem_loss, fullgraph=True, dynamic=True, backend="aot_eager")
    for number in (4, 7, 9):
        logits, target = draw(number, 3, classes=5, seed=number)
        assert compiled(logits, target).item() == pytest.approx(hem_loss(logits, target).item(), rel=1e-6)


@pytest.mark.parametrize("name", all_losses(4))
def test_exported_for_a_batch_of_any_size(name):
    module = torch.nn.Module()
    module.forward = all_losses(4)[name]
    batch = torch.export.Dim("batch")
    logits, target = draw(5, classes=4)
    program = torch.export.export(module, (logits.detach(), target), dynamic_shapes=({0: batch}, {0: batch}))
    for number in (2, 70_000):
        logits, target = draw(number, classes=4, seed=number)
        value = program.module()(logits.detach(), target)
        assert value.item() == pytest.approx(all_losses(4)[name](logits, target).item(), rel=1e-5)
