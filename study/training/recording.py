"""What is recorded of an epoch's steps: added up on the device, read once at the epoch's end."""

import torch
from torch import Tensor, nn

FLUSH_AT = 2**18
"""Numbers of kept logits from which they are reduced to sums; bounds the memory and saves work on small steps."""


class EpochRecord:
    """The sums of an epoch's statistics.

    Args:
        ignore_index: label of samples (or pixels) that do not count.
    """

    def __init__(self, ignore_index: int) -> None:
        self.ignore_index = ignore_index
        self.losses: list[Tensor] = []
        self.norms: list[Tensor] = []
        self.kept: list[tuple[Tensor, Tensor, Tensor]] = []
        self.kept_numbers = 0
        self.sums: list[Tensor] = []

    def add(self, loss: Tensor, logits: Tensor, labels: Tensor, gradients: list[Tensor]) -> None:
        """Record a step between backward() and the optimiser's step; nothing waits for the device.

        Args:
            loss: the step's loss, one number.
            logits: (n, C) or (n, C, H, W), float32, with their gradient in `.grad`.
            labels: (n,) or (n, H, W).
            gradients: of all trained parameters.
        """
        self.losses.append(loss.detach())
        self.norms.append(nn.utils.get_total_norm(gradients, foreach=True))
        self.kept.append((logits.detach(), logits.grad, labels))
        self.kept_numbers += logits.numel()
        if self.kept_numbers >= FLUSH_AT:
            self._flush()

    def totals(self) -> Tensor:
        """Return Σ loss, Σ gradient norm, active samples, Σ deviation of a sample's logits, samples: float64 (5,)."""
        self._flush()
        steps = torch.stack((torch.stack(self.losses).float(), torch.stack(self.norms))).cpu().double().sum(1)
        return torch.cat((steps, torch.stack(self.sums).cpu().double().sum(0)))

    def _flush(self) -> None:
        if not self.kept:
            return
        logits, gradients, labels = (torch.cat(parts) for parts in zip(*self.kept, strict=True))
        counted = labels.ne(self.ignore_index)
        active = gradients.any(1).sum()
        spread = (logits.std(1, correction=0) * counted).sum()
        self.sums.append(torch.stack((active.float(), spread, counted.sum().float())))
        self.kept, self.kept_numbers = [], 0
