"""What the extra attacks maximise: per-sample losses (N,) of raw logits (N, C), finite and with a gradient everywhere.

Cross-entropy alone misleads for losses that change the scale of the logits: at a large scale its gradient underflows,
at a small one it follows all wrong classes at once. None of the losses here but `hem` stops at a margin.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional

LossFunction = Callable[[Tensor, Tensor], Tensor]


def margin(logits: Tensor, target: Tensor) -> Tensor:
    """Return max_{j ≠ y} z_j − z_y, untruncated: its gradient does not depend on how far the sample is from error."""
    others = logits.scatter(1, target[:, None], -torch.inf)
    return others.amax(1) - logits.gather(1, target[:, None])[:, 0]


def scaled_cross_entropy(scale: float) -> LossFunction:
    """Return the function CE(scale · z, y)."""

    def loss(logits: Tensor, target: Tensor) -> Tensor:
        return functional.cross_entropy(scale * logits, target, reduction="none")

    return loss


def hem(hem_margin: float | Sequence[float]) -> LossFunction:
    """Return HEM's own loss, as trained: zero, and without a gradient, once a sample clears the margin.

    Args:
        hem_margin: μ, or one for each class (C,), looked up at the true class.
    """
    from hem.functional import hem_loss

    def loss(logits: Tensor, target: Tensor) -> Tensor:
        mu = hem_margin if isinstance(hem_margin, int | float) else torch.as_tensor(hem_margin).to(logits)
        return hem_loss(logits, target, mu, reduction="none")

    return loss


def hem_untruncated(logits: Tensor, target: Tensor) -> Tensor:
    """Return HEM without the cut at zero: the mean of d_j over H, d_j = z_j − z_y, H = {j ≠ y: d_j >= mean d}.

    The mean is over j ≠ y, so H is never empty. The margin would only add a constant, so there is none.
    """
    difference = logits - logits.gather(1, target[:, None])
    wrong = torch.ones_like(logits, dtype=torch.bool).scatter(1, target[:, None], False)
    threshold = difference.detach().sum(1, keepdim=True) / (logits.shape[1] - 1)  # d_y = 0 adds nothing
    # In exact arithmetic the largest d_j reaches the mean; after rounding it may miss it, if all are equal.
    largest = difference.detach().masked_fill(~wrong, -torch.inf).amax(1, keepdim=True)
    hard = wrong & (difference.detach() >= torch.minimum(threshold, largest))
    return (difference * hard).sum(1) / hard.sum(1)
