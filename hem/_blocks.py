"""Work through large logits piece by piece, so that the passes over a piece find it in the processor's cache."""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

# Elements a thread: 1 MiB of float32, about what a core's second-level cache holds.
BLOCK = 1 << 18


class Piece(NamedTuple):
    """Where a block lies in tensors of shape (N, C, P) and (N, 1, P): its first row and column, and their numbers."""

    top: int
    left: int
    height: int
    width: int

    def of(self, tensor: Tensor) -> Tensor:
        """Return this piece of a tensor, all classes of it."""
        rows = tensor.narrow(0, self.top, self.height)
        return rows if self.width == tensor.shape[2] else rows.narrow(2, self.left, self.width)

    def first(self, scratch: Tensor) -> Tensor:
        """Return the part of a scratch tensor, made for the first and largest block, that this block needs."""
        rows = scratch if self.height == scratch.shape[0] else scratch.narrow(0, 0, self.height)
        return rows if self.width == scratch.shape[2] else rows.narrow(2, 0, self.width)


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
        yield Piece(0, 0, height, width)
        return
    tall = max(size // (classes * width), 1)
    # Even parts, whole cache lines: a multiple of 16 columns each.
    parts = max(round(classes * width / size), 1)
    wide = min(-(-width // parts // 16) * 16, width)
    for top in range(0, height, tall):
        for left in range(0, width, wide):
            yield Piece(top, left, min(tall, height - top), min(wide, width - left))


def scratch_like(logits: Tensor, piece: Piece, dtype: torch.dtype) -> Tensor:
    """Return memory for one block of logits (N, C, P), laid out as they are."""
    return torch.empty_like(piece.of(logits), dtype=dtype)
