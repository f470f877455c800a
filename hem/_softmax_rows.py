"""LogitNorm's per-sample losses and DICE's class sums with their gradients, without a copy of large logits.

Both need a softmax in either direction; it is computed again in the backward pass, block by block, and never stored.
"""

from typing import Any

import torch
from torch import Tensor

from hem._blocks import flat, pieces, scratch_like
from hem._fused import NORM_OFFSET, addition_dtype, refuse_second_derivatives
from hem._inputs import compute_dtype


class NormalisedRows(torch.autograd.Function):
    """Per-sample −log softmax(s z)_y with s = 1 / (τ (‖z‖₂ + 1e-7)).

    With p = softmax(s z), d = p − 1_y and n = ‖z‖₂: ∂/∂z = s d − z (d·z) s / (n (n + 1e-7)).
    """

    @staticmethod
    def forward(ctx: Any, logits: Tensor, index: Tensor, tau: float) -> Tensor:  # noqa: ANN401
        z = flat(logits)
        y = index.reshape(z.shape[0], 1, z.shape[2])
        dtype = compute_dtype(logits)
        norm, log_sum = (y.new_empty(y.shape, dtype=dtype) for _ in range(2))
        own_rows = y.new_empty(index.shape, dtype=dtype)  # to return no view, see ``RowErrors``
        rows = own_rows.view(y.shape)
        scratch: tuple[Tensor, Tensor] | None = None
        for piece in pieces(z):
            scratch = scratch or (scratch_like(z, piece, dtype), scratch_like(z, piece, dtype))
            u = piece.first(scratch[0]).copy_(piece.of(z))
            square = torch.mul(u, u, out=piece.first(scratch[1]))
            own_norm = torch.sum(square, 1, keepdim=True, out=piece.of(norm)).sqrt_()
            u.div_((own_norm + NORM_OFFSET).mul_(tau))
            torch.neg(u.gather(1, piece.of(y)), out=piece.of(rows)).add_(_softmax_(u, piece.of(log_sum), False))
        ctx.save_for_backward(logits, y, norm, log_sum)
        ctx.tau = tau
        return own_rows

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, None, None]:  # noqa: ANN401
        refuse_second_derivatives()
        logits, y, norm, log_sum = ctx.saved_tensors
        z = flat(logits)
        weight = upstream.reshape(y.shape).to(norm.dtype)
        scale = (norm + NORM_OFFSET).mul_(ctx.tau).reciprocal_()
        inner_scale = torch.where(norm > 0.0, scale / ((norm + NORM_OFFSET) * norm), 0.0)  # (d·z) is 0 where n is
        gradient = torch.empty_like(z)
        scratch: tuple[Tensor, Tensor] | None = None
        for piece in pieces(z):
            scratch = scratch or (scratch_like(z, piece, norm.dtype), scratch_like(z, piece, norm.dtype))
            d, product = piece.first(scratch[0]), piece.first(scratch[1])
            own_z, own_weight = piece.of(z), piece.of(weight)
            torch.mul(own_z, piece.of(scale), out=d).sub_(piece.of(log_sum)).exp_().mul_(own_weight)
            d.scatter_add_(1, piece.of(y), -own_weight)
            inner = torch.mul(d, own_z, out=product).sum(1, keepdim=True).mul_(piece.of(inner_scale))
            torch.mul(own_z, inner, out=product)
            torch.sub(d.mul_(piece.of(scale)), product, out=piece.of(gradient))
        return gradient.view(logits.shape), None, None


class ClassSums(torch.autograd.Function):
    """Σ p_c and Σ p_c y_c over samples, (2, C), with p = softmax(z) and y one-hot; samples that are not valid left out.

    With a, b the upstream gradients of the two sums and q = a + b 1_y: ∂/∂z = p ⊙ (q − Σ_c p_c q_c).
    """

    @staticmethod
    def forward(ctx: Any, logits: Tensor, index: Tensor, valid: Tensor | None) -> Tensor:  # noqa: ANN401
        z = flat(logits)
        y = index.reshape(z.shape[0], 1, z.shape[2])
        keep = None if valid is None else valid.reshape(y.shape)
        dtype = compute_dtype(logits)
        log_sum = y.new_empty(y.shape, dtype=dtype)
        predicted = y.new_zeros(z.shape[1], dtype=dtype)
        both = y.new_zeros(z.shape[1], dtype=addition_dtype(logits))
        scratch: Tensor | None = None
        for piece in pieces(z):
            scratch = scratch_like(z, piece, dtype) if scratch is None else scratch
            p = piece.first(scratch).copy_(piece.of(z))
            _softmax_(p, piece.of(log_sum), True)
            if keep is not None:
                p.mul_(piece.of(keep).to(dtype))
            predicted.add_(p.sum((0, 2)))
            both.scatter_add_(0, piece.of(y).reshape(-1), p.gather(1, piece.of(y)).reshape(-1).to(both.dtype))
        ctx.save_for_backward(logits, y, log_sum, *(() if keep is None else (keep,)))
        return torch.stack((predicted, both.to(dtype)))

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, None, None]:  # noqa: ANN401
        refuse_second_derivatives()
        logits, y, log_sum, *rest = ctx.saved_tensors
        z = flat(logits)
        by_sum = upstream[0].view(1, -1, 1)
        by_target = upstream[1][y]
        if rest:
            log_sum = log_sum.masked_fill(~rest[0], torch.inf)  # p = exp(z − inf) = 0: no gradient where ignored
        gradient = torch.empty_like(z)
        scratch: tuple[Tensor, Tensor] | None = None
        for piece in pieces(z):
            scratch = scratch or (scratch_like(z, piece, log_sum.dtype), scratch_like(z, piece, log_sum.dtype))
            p = torch.sub(piece.of(z), piece.of(log_sum), out=piece.first(scratch[0])).exp_()
            at_target = p.gather(1, piece.of(y)).mul_(piece.of(by_target))
            weighted = torch.mul(p, by_sum, out=piece.first(scratch[1])).scatter_add_(1, piece.of(y), at_target)
            inner = weighted.sum(1, keepdim=True)
            torch.sub(weighted, p.mul_(inner), out=piece.of(gradient))
        return gradient.view(logits.shape), None, None


def _softmax_(u: Tensor, log_sum: Tensor, divide: bool) -> Tensor:
    """Fill ``log_sum`` (n, 1, p) with log Σ_c exp(u_c) and return it; replace u (n, C, p) by its softmax if asked."""
    largest = u.amax(1, keepdim=True)
    torch.sum(u.sub_(largest).exp_(), 1, keepdim=True, out=log_sum)
    if divide:
        u.div_(log_sum)
    return log_sum.log_().add_(largest)
