"""Images that broke one model, tried on another: the attack that needs nothing of the model under attack."""

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from study.probes.attack import block_size, frozen, into_ball, norm_of

TRANSFER = "transfer"
CHANGE_TYPE = np.float16
"""Changes are kept as 16-bit numbers: 5e-5 of an ε of 0.1, taken back into the ball when they are used."""


def changes(adversarial: Tensor, images: Tensor, found: npt.NDArray[np.int64]) -> npt.NDArray[np.float16]:
    """Return what was added to the images at positions `found`, (n, channels, H, W)."""
    return (adversarial[found] - images.cpu()[found]).numpy().astype(CHANGE_TYPE)


def changed(images: Tensor, change: npt.NDArray[np.float16], norm: str, eps: float) -> Tensor:
    """Return images (n, channels, H, W) with a stored change, inside of the ball and of [0, 1].

    Args:
        images: the clean ones, float32 in [0, 1].
        change: what `changes` gave for them.
        norm: "Linf" or "L2".
        eps: radius.
    """
    added = torch.from_numpy(change.astype(np.float32)).to(images)
    if norm == "Linf":
        added = added.clamp(-eps, eps)
    else:
        size = norm_of(added, norm).clamp(min=1e-12)
        added = added * (eps / size).clamp(max=1)[:, None, None, None]
    return into_ball((images + added).clamp(0, 1), images, norm, eps, TRANSFER)


def fell(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    others: Iterable[tuple[npt.NDArray[np.int64], npt.NDArray[np.float16]]],
    norm: str,
    eps: float,
) -> npt.NDArray[np.bool_]:
    """Return (N,) whether a model misclassifies an image that broke one of the other models.

    Args:
        model: images (N, channels, H, W) in [0, 1] → logits (N, C).
        images: the clean images, on the model's device.
        labels: int64 (N,).
        others: of each other model the positions of the images that it fell on, and their changes.
        norm: "Linf" or "L2".
        eps: radius.
    """
    result = torch.zeros(len(images), dtype=torch.bool, device=images.device)
    size = block_size(images.shape[1:])
    with frozen(model), torch.no_grad():
        for found, change in others:
            for start in range(0, len(found), size):
                at = torch.from_numpy(found[start : start + size]).to(images.device)
                tried = changed(images[at], change[start : start + size], norm, eps)
                result[at] |= model(tried).argmax(1) != labels[at]
    return result.cpu().numpy()
