"""Work through large logits piece by piece, so that the passes over a piece find it in the processor's cache."""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

# Elements a thread: 1 MiB of float32, about what a core's second-level cache holds.
BLOCK = 1 << 18


class Piece(NamedTuple):
    """Where a block lies in tensors of shape (N, C, P) and (N, 1, P)."""

    rows: slice
    columns: slice

    def of(self, tensor: Tensor) -> Tensor:
        """Return this piece of a tensor, all classes of it."""
        return tensor[self.rows, :, self.columns]

    def first(self, scratch: Tensor) -> Tensor:
        """Return the part of a scratch tensor, as large as the largest block, that this block needs."""
        height, width = self.rows.stop - self.rows.start, self.columns.stop - self.columns.start
        if scratch.shape[0] == height and scratch.shape[2] == width:
            return scratch
        return scratch[:height, :, :width]


def block_size() -> int:
    """Return the number of elements in a block: what the threads of this process hold in cache together."""
    return BLOCK * torch.get_num_threads()


def flat(logits: Tensor) -> Tensor:
    """View logits (N, C) or (N, C, d1, ...) as (N, C, P), in their own memory layout wherever a view exists."""
    return logits.flatten(2) if logits.dim() > 2 else logits.unsqueeze(2)


def pieces(logits: Tensor) -> Iterator[Piece]:
    """Cut logits (N, C, P) into pieces of whole classes: blocks on the CPU, a single piece on any other device."""
    height, classes, width = logits.shape
    if logits.numel() == 0:
        return
    size = block_size()
    if logits.device.type != "cpu" or logits.numel() <= size:
        yield Piece(slice(0, height), slice(0, width))
        return
    tall = max(size // (classes * width), 1)
    # Even parts, a multiple of 16 columns each: whole cache lines.
    wide = -(-width // -(-classes * width // size)) if classes * width > size else width
    wide = min(-(-wide // 16) * 16, width)
    for top in range(0, height, tall):
        for left in range(0, width, wide):
            yield Piece(slice(top, min(top + tall, height)), slice(left, min(left + wide, width)))


def scratch_like(logits: Tensor, piece: Piece, dtype: torch.dtype) -> Tensor:
    """Return memory for one block of logits (N, C, P), laid out as they are."""
    return torch.empty_like(piece.of(logits), dtype=dtype)
