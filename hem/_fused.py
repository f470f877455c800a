"""The losses' cores in a few operations on whole tensors: for a compiler, which fuses them, and for small batches.

Each function computes what its counterpart in ``_margin_rows`` and ``_softmax_rows`` computes block by block. The
backward passes start again from the logits and from tensors with one number a sample, so that a compiler keeps nothing
of the logits' size in between.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from hem._inputs import compute_dtype

TINY = torch.finfo(torch.float32).tiny
NORM_OFFSET = 1e-7
# Up to so many logits an operation costs what it costs to call it, and the passes over them next to nothing.
FEW = 1 << 14


def few_operations(logits: Tensor) -> bool:
    """Return whether this module is the faster one: a compiler is at work, or the batch is small."""
    return torch.compiler.is_compiling() or logits.numel() <= FEW


def addition_dtype(logits: Tensor) -> torch.dtype:
    """Return the dtype in which to add up one number a sample, by class.

    ``scatter_add`` and ``index_add`` add one after the other: in float32 a sum of 1 million rounds what is added to
    multiples of 0.0625, and ones go no further than 16.8 million. Small batches are far from that, and Apple's devices
    have no float64.
    """
    small = not torch.compiler.is_compiling() and logits.numel() <= FEW
    return compute_dtype(logits) if small or logits.device.type == "mps" else torch.float64


def refuse_second_derivatives() -> None:
    """Raise RuntimeError in a backward pass with create_graph=True, whose result would be taken for a constant."""
    if torch.is_grad_enabled() and not torch.compiler.is_compiling():
        raise RuntimeError("this loss has no second derivative here; its gradient was asked for with create_graph=True")


def at_target(logits: Tensor, index: Tensor) -> Tensor:
    """Return the one-hot mask (N, C, ...) of class indices (N, ...); fused with its user it is never stored."""
    numbers = torch.arange(logits.shape[1], dtype=torch.int32, device=logits.device)
    return index.to(torch.int32).unsqueeze(1) == numbers.view(-1, *[1] * (logits.dim() - 2))


def per_class(values: Tensor, logits: Tensor) -> Tensor:
    """View (C,) as (C, 1, ...), to go with logits (N, C, ...)."""
    return values.view(-1, *[1] * (logits.dim() - 2))


class FusedRowErrors(torch.autograd.Function):
    """``RowErrors``: per-sample HEM (hard) or MM losses (N, ...) and the number of errors |H| (N, ...)."""

    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401
        logits: Tensor,
        index: Tensor,
        margin: float | Tensor,
        hard: bool,
    ) -> tuple[Tensor, Tensor]:
        z = logits.to(compute_dtype(logits))
        shift = z.gather(1, index.unsqueeze(1)) - (margin.unsqueeze(1) if isinstance(margin, Tensor) else margin)
        e = torch.where(at_target(z, index), 0.0, (z - shift).clamp_min(0.0))
        level = e.sum(1, keepdim=True).div(z.shape[1]).clamp_min(TINY) if hard else torch.full_like(shift, TINY)
        errors = torch.where(e >= level, 1.0, 0.0)
        count = errors.sum(1)
        divisor = count.clamp_min(1.0) if hard else torch.full_like(count, z.shape[1])
        ctx.save_for_backward(logits, index, shift, level, count, 1.0 / divisor)
        ctx.mark_non_differentiable(count)
        return (e * errors).sum(1) / divisor, count  # a product: NaN · 0 is NaN

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor, _: Tensor) -> tuple[Tensor, None, None, None]:  # noqa: ANN401
        logits, index, shift, level, count, share = ctx.saved_tensors
        z = logits.to(shift.dtype)
        # 1 where z − shift ≥ level, else 0. A comparison would tempt the compiler to store its result.
        errors = ((z - shift - level) * torch.finfo(z.dtype).max + 1.0).clamp(0.0, 1.0)
        push = (upstream * share).unsqueeze(1)
        pull = push * -count.unsqueeze(1)
        # What nothing pushes gets its pull, which is 0, everywhere: nan in an ignored sample times 0 would be nan.
        still = at_target(z, index) | (push == 0.0)
        return torch.where(still, pull, errors * push).to(logits.dtype), None, None, None


class FusedNormalisedRows(torch.autograd.Function):
    """``NormalisedRows``: per-sample −log softmax(s z)_y with s = 1 / (τ (‖z‖₂ + 1e-7))."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, index: Tensor, tau: float) -> Tensor:  # noqa: ANN401
        z = logits.to(compute_dtype(logits))
        norm = (z * z).sum(1, keepdim=True).sqrt()
        scale = 1.0 / (tau * (norm + NORM_OFFSET))
        log_sum = torch.logsumexp(z * scale, 1, keepdim=True)
        ctx.save_for_backward(logits, index, norm, scale, log_sum)
        return log_sum.squeeze(1) - (z.gather(1, index.unsqueeze(1)) * scale).squeeze(1)  # no view, see ``RowErrors``

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, None, None]:  # noqa: ANN401
        refuse_second_derivatives()
        logits, index, norm, scale, log_sum = ctx.saved_tensors
        z = logits.to(norm.dtype)
        p = (z * scale - log_sum).exp()
        d = torch.where(at_target(z, index), p - 1.0, p) * upstream.unsqueeze(1)
        inner_scale = torch.where(norm > 0.0, scale / ((norm + NORM_OFFSET) * norm), 0.0)  # (d·z) is 0 where n is
        inner = (d * z).sum(1, keepdim=True) * inner_scale
        return (d * scale - z * inner).to(logits.dtype), None, None


class FusedClassSums(torch.autograd.Function):
    """``ClassSums``: Σ p_c and Σ p_c y_c over the valid samples, (2, C), with p = softmax(z)."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, index: Tensor, valid: Tensor | None) -> Tensor:  # noqa: ANN401
        z = logits.to(compute_dtype(logits))
        log_sum = torch.logsumexp(z, 1, keepdim=True)
        if valid is not None:  # p = exp(z − inf) = 0
            log_sum = log_sum.masked_fill(~valid.unsqueeze(1), torch.inf)
        ctx.save_for_backward(logits, index, log_sum)
        of_target = (z.gather(1, index.unsqueeze(1)) - log_sum).exp()
        both = z.new_zeros(z.shape[1], dtype=addition_dtype(logits))
        both = both.index_add(0, index.reshape(-1), of_target.reshape(-1).to(both.dtype)).to(z.dtype)
        return torch.stack(((z - log_sum).exp().sum([dim for dim in range(z.dim()) if dim != 1]), both))

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, None, None]:  # noqa: ANN401
        refuse_second_derivatives()
        logits, index, log_sum = ctx.saved_tensors
        z = logits.to(log_sum.dtype)
        p = (z - log_sum).exp()
        by_sum, by_target = per_class(upstream[0], z), per_class(upstream[1], z)
        weighted = p * torch.where(at_target(z, index), by_sum + by_target, by_sum)
        return (weighted - p * weighted.sum(1, keepdim=True)).to(logits.dtype), None, None
