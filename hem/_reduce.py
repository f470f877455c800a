"""Means over samples, and over the samples of several ranks."""

from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor

from hem._inputs import Reduction, split_target


def reduce_rows(
    rows: Tensor,
    index: Tensor,
    valid: Tensor | None,
    counted: Tensor | None,
    weight: Tensor | None,
    reduction: Reduction,
    process_group: dist.ProcessGroup | None,
) -> Tensor:
    """Reduce per-sample losses.

    Args:
        rows: (N, ...) losses, not yet multiplied by class weights; anything where not valid.
        index: (N, ...) classes.
        valid: (N, ...) bool, False where the loss is 0; None for True.
        counted: (N, ...) bool, the samples of the mean's denominator; None for all.
        weight: (C,) class weights, or None.
        reduction: "mean" divides by the number (or the weight) of the counted samples, "sum" and "none" by nothing.
        process_group: ranks that share one mean, see ``shared_mean``.
    """
    if valid is not None:
        rows = torch.where(valid, rows, 0.0)
    own_weight = None if weight is None else weight.to(rows.dtype)[index]
    if own_weight is not None:
        rows = rows * own_weight
    if reduction == "none":
        return rows
    if reduction == "sum":
        return rows.sum()
    return shared_mean(rows.sum(), _denominator(index, counted, own_weight, rows.dtype), process_group)


def cross_entropy(
    logits: Tensor,
    target: Tensor,
    weight: Tensor | None,
    ignore_index: int,
    reduction: Reduction,
    process_group: dist.ProcessGroup | None,
    label_smoothing: float = 0.0,
) -> Tensor:
    """Return torch's cross-entropy with a mean that is 0 without a sample and may be shared by ranks."""
    index, valid = split_target(target, logits.shape[1], ignore_index)
    weight = None if weight is None else weight.to(logits.dtype)
    if reduction == "mean" and (weight is not None or valid is not None or process_group is not None):
        total = F.cross_entropy(
            logits, target, weight, ignore_index=ignore_index, reduction="sum", label_smoothing=label_smoothing
        )
        own_weight = None if weight is None else weight[index]
        return shared_mean(total, _denominator(index, valid, own_weight, total.dtype), process_group)
    return F.cross_entropy(
        logits, target, weight, ignore_index=ignore_index, reduction=reduction, label_smoothing=label_smoothing
    )


def _denominator(index: Tensor, counted: Tensor | None, own_weight: Tensor | None, dtype: torch.dtype) -> Tensor:
    """Return the number of counted samples, or the sum of their class weights."""
    if own_weight is None:
        if counted is None:
            return torch.full((), index.numel(), dtype=dtype, device=index.device)
        return counted.sum(dtype=dtype)
    return own_weight.sum() if counted is None else torch.where(counted, own_weight, 0.0).sum()


def shared_mean(total: Tensor, denominator: Tensor, process_group: dist.ProcessGroup | None) -> Tensor:
    """Return total / denominator, 0 where the denominator is 0.

    With the R ranks of a process group: R · total / Σ_ranks denominator. DistributedDataParallel averages gradients
    over ranks, so the average over ranks is what one process with all the samples would have got.
    """
    if process_group is not None:
        denominator = denominator.clone()
        dist.all_reduce(denominator, group=process_group)
        total = total * dist.get_world_size(process_group)
    return total / denominator.clamp_min(torch.finfo(total.dtype).tiny)


class _SumOverRanks(torch.autograd.Function):
    """Sum over ranks; the gradient is summed over ranks as well, as each of them used the sum."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, group: dist.ProcessGroup) -> Tensor:  # noqa: ANN401
        ctx.group = group
        total = values.clone()
        dist.all_reduce(total, group=group)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:  # noqa: ANN401
        total = gradient.clone()
        dist.all_reduce(total, group=ctx.group)
        return total, None


def sum_over_ranks(
    values: tuple[Tensor, Tensor, Tensor], process_group: dist.ProcessGroup | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Return each of three tensors of one shape summed over the ranks of a group, differentiably, in one exchange."""
    if process_group is None:
        return values
    first, second, third = _SumOverRanks.apply(torch.stack(values), process_group).unbind()
    return first, second, third
