"""Margin losses (HEM and multi-class margin) with their gradient, without a copy of large logits.

    e_j = max(0, z_j − z_y + μ) for j ≠ y,  e_y = 0,  H = {j : e_j ≥ level and e_j > 0}

    HEM   level = mean_j e_j    ℓ = Σ_H e_j / |H|    ∂ℓ/∂z_j = 1/|H| on H,  −1 at y
    MM    level = 0             ℓ = Σ_H e_j / C      ∂ℓ/∂z_j = 1/C on H,    −|H|/C at y

"e_j ≥ level and e_j > 0" is one comparison, e_j ≥ max(level, smallest normal number of float32).
"""

import math
from functools import lru_cache
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.compiler import is_compiling

from hem._blocks import BLOCK, flat, pieces, scratch_like
from hem._fused import TINY, FusedRowErrors
from hem._inputs import Reduction, check_inputs, check_per_class, compute_dtype, split_target
from hem._reduce import reduce_rows


@lru_cache(maxsize=256)
def _number(value: float) -> Tensor:
    """Return a number as a tensor, once made: from a Python number every operation makes one, for half of its time."""
    return torch.tensor(value, dtype=torch.float32, device="cpu")


_TINY = _number(TINY)


class MeanErrors(torch.autograd.Function):
    """The mean loss in as few operations as possible, for a batch of one block and no class weights.

    The forward pass leaves the gradient behind, the backward pass multiplies it by a number.
    """

    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401
        logits: Tensor,
        index: Tensor,
        margin: float | Tensor,
        hard: bool,
        ignored: Tensor | None,
    ) -> Tensor:
        y = index.unsqueeze(1)
        shift = logits.gather(1, y)
        shift.sub_(margin.take(y) if isinstance(margin, Tensor) else _number(margin))
        difference = logits - shift
        if ignored is not None:
            difference.masked_fill_(ignored.unsqueeze(1), 0.0)
        e = difference.relu().scatter_(1, y, 0.0)
        if hard:
            # Adding the smallest number is max(·, smallest number) wherever it can be told.
            level = torch.addcdiv(_TINY, e.sum(1, True), _number(logits.shape[1]))
            errors = torch.ge(e, level, out=difference)
            count = errors.sum(1, True)
            # |H| times the number of samples in error; tiny where H is empty, to divide 0.
            scale = torch.addcmul(_TINY, count.sign().sum(), count)
        else:
            errors = torch.sign(e, out=difference)
            count = errors.sum(1, True)
            scale = _number(e.numel())
            if ignored is not None:
                scale = ignored.logical_not().sum().clamp_min_(1) * logits.shape[1]
        gradient = errors.scatter_(1, y, count.neg_()).div_(scale)
        ctx.save_for_backward(gradient)
        return e.mul_(gradient).sum()

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, None, None, None, None]:  # noqa: ANN401
        return ctx.saved_tensors[0] * upstream, None, None, None, None


class RowErrors(torch.autograd.Function):
    """Per-sample losses (N, ...) and |H| (N, ...), for logits of any size, dtype and layout.

    Nothing of the logits' size is kept: the backward pass compares them with the saved levels again.
    """

    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401
        logits: Tensor,
        index: Tensor,
        margin: float | Tensor,
        hard: bool,
    ) -> tuple[Tensor, Tensor]:
        z = flat(logits)
        height, classes, width = z.shape
        y = index.reshape(height, 1, width)
        margins = margin.reshape(y.shape) if isinstance(margin, Tensor) else margin
        dtype = compute_dtype(logits)
        shift, level = (y.new_empty(y.shape, dtype=dtype) for _ in range(2))
        # What is returned must be no view: autograd forbids to change a Function's views in place.
        own_count, own_total = (y.new_empty(index.shape, dtype=dtype) for _ in range(2))
        count, total = own_count.view(y.shape), own_total.view(y.shape)
        scratch: tuple[Tensor, Tensor] | None = None
        for piece in pieces(z):
            scratch = scratch or (scratch_like(z, piece, dtype), scratch_like(z, piece, dtype))
            work = (piece.first(scratch[0]), piece.first(scratch[1]))
            own = piece.of(margins) if isinstance(margins, Tensor) else margins
            rows = (piece.of(shift), piece.of(level), piece.of(count), piece.of(total))
            _fill(piece.of(z), piece.of(y), own, hard, work, rows)
        divisor = count.clamp_min(1.0) if hard else torch.full_like(count, classes)
        ctx.save_for_backward(logits, y, shift, level, count, divisor)
        ctx.mark_non_differentiable(own_count)
        total.div_(divisor)
        return own_total, own_count

    @staticmethod
    def backward(ctx: Any, upstream: Tensor, _: Tensor) -> tuple[Tensor, None, None, None]:  # noqa: ANN401
        if upstream.requires_grad:  # a second derivative is asked for: the loss is linear, its slope a constant
            slope = _slope(torch.ones_like(upstream), *ctx.saved_tensors)
            return slope * upstream.unsqueeze(1), None, None, None
        return _slope(upstream, *ctx.saved_tensors), None, None, None


def _fill(
    z: Tensor,
    y: Tensor,
    margin: float | Tensor,
    hard: bool,
    scratch: tuple[Tensor, Tensor],
    rows: tuple[Tensor, Tensor, Tensor, Tensor],
) -> None:
    """Compute one block: z (n, C, p) in; shift, level, count, total (n, 1, p) out."""
    e, errors = scratch
    shift, level, count, total = rows
    wide = z if z.dtype is e.dtype else e.copy_(z)
    torch.gather(wide, 1, y, out=shift).sub_(margin)
    # A tensor of zeros is scattered in half the time of a number.
    torch.sub(wide, shift, out=e).clamp_min_(0.0).scatter_(1, y, count.zero_())
    if hard:
        torch.sum(e, 1, keepdim=True, out=level).div_(z.shape[1]).clamp_min_(TINY)
    else:
        level.fill_(TINY)
    torch.ge(e, level, out=errors)
    torch.sum(errors, 1, keepdim=True, out=count)
    torch.sum(e.mul_(errors) if hard else e, 1, keepdim=True, out=total)


@torch.no_grad()
def _slope(
    upstream: Tensor, logits: Tensor, y: Tensor, shift: Tensor, level: Tensor, count: Tensor, divisor: Tensor
) -> Tensor:
    """Return the gradient of Σ upstream · ℓ by the logits, in their dtype and layout."""
    z = flat(logits)
    scale = upstream.reshape(y.shape)
    push = scale / divisor
    pull = (count / divisor).mul_(scale).neg_()
    gradient = torch.empty_like(z)
    narrow = z.dtype is not shift.dtype
    scratch: Tensor | None = None
    for piece in pieces(z):
        out = work = piece.of(gradient)
        if narrow:
            scratch = scratch_like(z, piece, shift.dtype) if scratch is None else scratch
            work = piece.first(scratch)
        torch.sub(piece.of(z), piece.of(shift), out=work).ge_(piece.of(level)).mul_(piece.of(push))
        work.scatter_(1, piece.of(y), piece.of(pull))
        if narrow:
            out.copy_(work)
    return gradient.view(logits.shape)


def small_mean(logits: Tensor, target: Tensor, margin: float | Tensor, hard: bool, ignore_index: int) -> Tensor | None:
    """Return the mean loss of a small batch with nothing ignored; None if it is no such batch, or if anything is wrong.

    Looks at as little as possible. ``gather`` refuses targets out of range, be they wrong or to be ignored, and targets
    larger than the logits in any dimension: with the right number of elements they have the right shape.
    """
    if not _is_small(logits) or target.dtype is not torch.int64 or not target.is_cpu or logits.dim() < 2:
        return None
    classes = logits.shape[1]
    if target.numel() * classes != logits.numel() or 0 <= ignore_index < classes:
        return None
    if isinstance(margin, Tensor):
        if margin.shape != (classes,) or not margin.is_floating_point():
            return None
    elif not 0.0 <= margin < math.inf:
        return None
    try:
        loss: Tensor = MeanErrors.apply(logits, target, margin, hard, None)
    except (IndexError, RuntimeError):
        return None
    return loss


def margin_loss(
    logits: Tensor,
    target: Tensor,
    margin: float | Tensor,
    hard: bool,
    weight: Tensor | None,
    ignore_index: int,
    reduction: Reduction,
    process_group: dist.ProcessGroup | None,
) -> Tensor:
    """Return HEM (hard) or MM for whatever ``small_mean`` does not do. Wrong arguments raise ValueError."""
    check_inputs(logits, target, weight, reduction)
    margin = _checked_margin(margin, logits.shape[1])
    index, valid = split_target(target, logits.shape[1], ignore_index)
    if valid is not None and weight is None and process_group is None and reduction == "mean" and _is_small(logits):
        loss: Tensor = MeanErrors.apply(logits, index, margin, hard, ~valid)
        return loss
    own_margin = margin.to(compute_dtype(logits))[index] if isinstance(margin, Tensor) else margin
    core = FusedRowErrors if is_compiling() else RowErrors
    rows, count = core.apply(logits, index, own_margin, hard)
    counted = valid
    if hard:
        counted = count > 0 if valid is None else (count > 0) & valid
    return reduce_rows(rows, index, valid, counted, weight, reduction, process_group)


def _is_small(logits: Tensor) -> bool:
    """Return whether ``MeanErrors`` is for these logits: float32 on the CPU, one block, and no compiler at work."""
    return (
        not is_compiling()  # before the size, which would become a condition of the compiled graph
        and logits.dtype is torch.float32
        and logits.is_cpu
        and 0 < logits.numel() <= BLOCK
        and type(logits) is Tensor
    )


def _checked_margin(margin: float | Tensor, num_classes: int) -> float | Tensor:
    """Return a margin, or class margins (C,) that carry no gradient; a 0-dim tensor is the margin of every class."""
    if isinstance(margin, Tensor):
        margin = margin.expand(num_classes) if margin.dim() == 0 else margin
        check_per_class("margin", margin, num_classes)
        return margin.detach()
    if not 0.0 <= margin < math.inf:
        raise ValueError(f"margin: expected a finite number >= 0 or a tensor of one a class, got {margin!r}")
    return margin
