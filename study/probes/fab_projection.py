"""FAB's projection on a hyperplane within the box [0, 1] (Croce and Hein 2020, eq. 5), for Linf, without sorting.

The library sorts every image's pixels in every step, which takes half of the attack's time. The radius that is looked
for is the root of a concave, piecewise linear function, which Newton's method reaches exactly within a few passes.
"""

import torch
from torch import Tensor

MOST_STEPS = 50
"""Newton ends by itself after five to ten; it cannot take more steps than there are pixels."""


def projection_linf(points: Tensor, normals: Tensor, offsets: Tensor) -> Tensor:
    """Return the smallest changes d (in Linf) that take points onto their hyperplanes and keep them in [0, 1].

    w · (x + d) = b, 0 ≤ x + d ≤ 1, ‖d‖∞ smallest. A pixel moves by min(r, what is left to the edge of the box) in the
    direction in which the gap |w · x − b| closes, so that r solves Σ |w_i| min(r, room_i) = gap. Where the box does not
    reach the hyperplane, all pixels with w_i ≠ 0 move to the edge.

    Args:
        points: x, (N, D), in [0, 1].
        normals: w, (N, D).
        offsets: b, (N,).
    """
    signed = torch.linalg.vecdot(normals, points) - offsets
    ways = normals.sign() * torch.where(signed < 0, 1.0, -1.0)[:, None]  # 1 up, −1 down, 0 not at all
    room = ways.clamp_min(0) - ways * points
    weight, gap = normals.abs(), signed.abs()
    tiny = torch.finfo(points.dtype).tiny
    radius = gap / weight.sum(1).clamp_min(tiny)
    free = torch.empty_like(room)
    for _ in range(MOST_STEPS):
        limit = radius[:, None]
        torch.gt(room, limit, out=free)  # in numbers at once: a mask of bool takes several times as long on a CPU
        slope = torch.linalg.vecdot(weight, free)
        closed = torch.linalg.vecdot(weight, torch.minimum(room, limit))
        step = torch.where(slope > 0, (gap - closed) / slope.clamp_min(tiny), 0).clamp_min(0)
        radius = radius + step
        if bool((step <= torch.finfo(points.dtype).eps * radius).all()):
            break
    beyond = torch.linalg.vecdot(weight, room) <= gap
    return ways * torch.minimum(room, radius.masked_fill(beyond, torch.inf)[:, None])
