"""The loss of one's own that the examples show, taken through the registry as a study takes it."""

import pytest
import torch
from torch import nn

from hem import get_loss


def test_generalised_cross_entropy_by_hand():
    spec = get_loss("examples.own_loss:GeneralisedCE")
    logits = torch.tensor([[0.0, 0.0], [0.0, 100.0]])
    # p_y = 1/2 and 0: (1 − 0.5^q) / q and 1 / q.
    for q in (0.5, 1.0):
        loss = spec.build((3, 4), q=q)
        expected = ((1 - 0.5**q) / q + 1 / q) / 2
        assert loss(logits, torch.tensor([0, 0])).item() == pytest.approx(expected, rel=1e-6)


def test_it_trains_a_network():
    torch.manual_seed(0)
    inputs, target = torch.randn(60, 5), torch.arange(60) % 3
    inputs[torch.arange(60), target] += 3.0
    model = nn.Linear(5, 3)
    spec = get_loss("examples.own_loss:GeneralisedCE")
    loss = spec.build((20, 20, 20), **spec.defaults)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    values = []
    for _ in range(50):
        optimizer.zero_grad()
        value = loss(model(inputs), target)
        value.backward()
        optimizer.step()
        values.append(value.item())
    assert values[-1] < 0.5 * values[0]
    assert (model(inputs).argmax(1) == target).float().mean() > 0.9
