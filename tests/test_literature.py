"""`hem` and `search_spaces` may not know each other, and both state the literature's values: they must agree."""

import pytest
import torch

from hem.registry import LOSSES
from search_spaces.losses import LOSS_SPACES


def test_both_know_the_same_losses_and_parameters():
    assert set(LOSS_SPACES) == set(LOSSES)
    for name, space in LOSS_SPACES.items():
        assert set(space.distributions) == set(LOSSES[name].parameters) == set(space.literature(10))


@pytest.mark.parametrize("num_classes", [3, 10, 37, 100])
@pytest.mark.parametrize("name", sorted(LOSSES))
def test_a_loss_built_with_no_parameters_is_the_one_of_the_literature_point(name, num_classes):
    counts = tuple(range(5, 5 + num_classes))
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(32, num_classes, generator=generator)
    target = torch.randint(num_classes, (32,), generator=generator)
    plain = LOSSES[name].build(counts)
    stated = LOSSES[name].build(counts, **LOSS_SPACES[name].literature(num_classes))
    torch.testing.assert_close(plain(logits, target), stated(logits, target), rtol=1e-6, atol=0)
