"""The attack inside adversarial training: projected gradient ascent (Madry et al. 2018) on a choice of objectives.

An objective maps logits (N, C) and labels (N,) to one number; only the sign of its gradient with respect to each image
is used, so its scale does not matter.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hem.losses import HEMLoss, MMLoss
from study.probes.attack_losses import hem_untruncated, margin

Objective = Callable[[Tensor, Tensor], Tensor]


def pgd(
    model: nn.Module,
    images: Tensor,
    objective: Callable[[Tensor], Tensor],
    *,
    eps: float,
    step: float,
    steps: int,
    random_start: bool = True,
) -> Tensor:
    """Return images (N, C, H, W) in the Linf ball of radius `eps` and in [0, 1] that raise an objective.

    The network is in evaluation mode meanwhile, and no gradient of its weights is touched.

    Args:
        model: from images to logits.
        images: float (N, C, H, W) in [0, 1].
        objective: logits → one number to raise.
        eps: radius, in units of the pixel range.
        step: length of a step, in the same units.
        steps: number of steps, each a forward and a backward pass.
        random_start: begin at a uniformly random point of the ball, from torch's global generator.
    """
    low, high = (images - eps).clamp(min=0), (images + eps).clamp(max=1)
    noise = torch.empty_like(images).uniform_(-eps, eps) if random_start and eps else torch.zeros_like(images)
    moved = torch.minimum(torch.maximum(images + noise, low), high)
    with evaluating(model), torch.enable_grad():
        for _ in range(steps):
            moved = moved.detach().requires_grad_()
            (gradient,) = torch.autograd.grad(objective(model(moved).float()), moved)
            moved = torch.minimum(torch.maximum(moved.detach() + step * gradient.sign(), low), high)
    return moved.detach()


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Put a network into evaluation mode for a while, and each of its modules back into its own."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Return Σ_n CE."""
    return F.cross_entropy(logits, labels, reduction="sum")


def untruncated_margin(logits: Tensor, labels: Tensor) -> Tensor:
    """Return Σ_n max_{j ≠ y} z_j − z_y."""
    return margin(logits, labels).sum()


def shared(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the inner objective that is the same for every loss.

    Cross-entropy for every other sample of the batch, the untruncated margin for the rest: each alone is known to
    mislead (a large logit scale starves the first), and both for all would cost twice.
    """
    return cross_entropy(logits[::2], labels[::2]) + untruncated_margin(logits[1::2], labels[1::2])


def own(loss: nn.Module) -> Objective:
    """Return a loss's own objective without its cut at zero: a cleared margin has no gradient, and nothing would move.

    HEM: the mean of z_j − z_y over the classes j at or above their mean. MM: Σ_{j ≠ y} z_j − z_y. Other losses: as is.
    """
    if isinstance(loss, HEMLoss):
        return lambda logits, labels: hem_untruncated(logits, labels).sum()
    if isinstance(loss, MMLoss):
        return lambda logits, labels: (logits - logits.gather(1, labels[:, None])).sum()
    reduced = hasattr(loss, "process_group")  # over ranks: then one without images has to call it too
    return lambda logits, labels: loss(logits, labels) if len(labels) or reduced else logits.sum()
