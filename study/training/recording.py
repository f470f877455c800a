"""What is recorded of an epoch's steps: added up on the device, read once at the epoch's end."""

import torch
from torch import Tensor, nn

FLUSH_AT = 2**18
"""Numbers of kept logits from which they are reduced to sums; bounds the memory and saves work on small steps."""
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
"""Of the margins of an epoch's samples."""
BINS, WIDEST = 512, 1e4
"""Margins are counted in bins of equal width of asinh(margin), up to this margin each way: sums over ranks are exact,
and a quantile is known to within a twenty-fifth of its size (or 0.04)."""


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
        self.margins: list[Tensor] = []

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
        """Return the sums that add up over ranks, float64 (6 + BINS,).

        Σ loss, Σ gradient norm, active samples, Σ deviation of a sample's logits, samples, Σ share of logits with a
        gradient (over active samples), and how many samples' margins lie in each bin.
        """
        self._flush()
        steps = torch.stack((torch.stack(self.losses).float(), torch.stack(self.norms))).cpu().double().sum(1)
        sums = torch.stack(self.sums).cpu().double().sum(0)
        return torch.cat((steps, sums, torch.stack(self.margins).cpu().double().sum(0)))

    def _flush(self) -> None:
        if not self.kept:
            return
        logits, gradients, labels = (torch.cat(parts) for parts in zip(*self.kept, strict=True))
        counted = labels.ne(self.ignore_index)
        touched = gradients.ne(0)
        active = touched.any(1)
        spread = (_deviation(logits) * counted).sum()
        share = touched.float().mean(1).sum()
        self.sums.append(torch.stack((active.sum().float(), spread, counted.sum().float(), share)))
        self.margins.append(_histogram(_margins(logits, labels.where(counted, 0)), counted))
        self.kept, self.kept_numbers = [], 0


def _deviation(logits: Tensor) -> Tensor:
    """Return the standard deviation (ddof 0) over dimension 1; on maps two thirds of the time of `Tensor.std`."""
    centred = logits - logits.mean(1, keepdim=True)
    return centred.square_().mean(1).sqrt_()


def _margins(logits: Tensor, labels: Tensor) -> Tensor:
    """Return z_y − max_{j≠y} z_j: how far a sample's own logit is ahead of the best other one."""
    own = logits.gather(1, labels.unsqueeze(1))
    others = logits.scatter(1, labels.unsqueeze(1), -torch.inf)
    return own.squeeze(1) - others.amax(1)


def _histogram(margins: Tensor, counted: Tensor) -> Tensor:
    """Return how many counted margins lie in each bin, float32 (BINS,), without waiting for the device."""
    end = torch.asinh(torch.tensor(WIDEST))  # one number of the CPU's goes along with a kernel, and is not copied
    position = (torch.asinh(margins) / end + 1) * (BINS / 2)
    index = position.nan_to_num(0.0).clamp(0, BINS - 1).long().flatten()
    counts = torch.zeros(BINS, device=margins.device)
    return counts.index_add_(0, index, counted.flatten().float())


def margin_quantiles(counts: Tensor) -> dict[str, float]:
    """Return the quantiles of the margins from how many lie in each bin, linear within a bin; nan if there are none.

    Args:
        counts: float64 (BINS,).
    """
    total = float(counts.sum())
    names = [f"margin_q{round(100 * share):02d}" for share in QUANTILES]
    if not total:
        return dict.fromkeys(names, torch.nan)
    upto = counts.cumsum(0)
    wanted = torch.tensor(QUANTILES, dtype=torch.float64) * total
    bins = torch.searchsorted(upto, wanted).clamp(max=BINS - 1)
    inside = (wanted - (upto[bins] - counts[bins])) / counts[bins].clamp(min=1)
    position = (bins + inside.clamp(0, 1)) * 2 / BINS - 1
    end = torch.asinh(torch.tensor(WIDEST, dtype=torch.float64))
    return dict(zip(names, torch.sinh(position * end).tolist(), strict=True))
