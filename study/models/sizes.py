"""How large a network is: its parameters, and the multiply-adds of one image through it. Nothing is computed for it."""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from study.models.layers import build_head
from study.models.registry import ModelSpec, Shape


@dataclass(frozen=True)
class Size:
    """A network's size for images of a shape and a number of classes."""

    name: str
    shape: Shape
    num_classes: int
    parameters: int
    """Trainable numbers, the linear head's included."""
    multiply_adds: int
    """Of convolutions, linear layers and attention, for one image."""


def size(spec: ModelSpec, shape: Shape | None = None, num_classes: int | None = None) -> Size:
    """Return a network's size with a linear head.

    The network is built from tensors without content, so that this takes no memory and next to no time.

    Args:
        spec: of `MODELS`.
        shape: (H, W, C) of the images; None for what is usual for the network.
        num_classes: number of logits; None for what is usual.

    Raises:
        InputError: a shape that the network cannot take.
    """
    shape, classes = shape or spec.usual[0], num_classes or spec.usual[1]
    with torch.device("meta"):
        body, num_features = spec.build_body(shape)
        network = nn.Sequential(body, build_head("linear", num_features, classes, dense=spec.dense))
        images = torch.empty(2, shape[2], shape[0], shape[1])
    with FlopCounterMode(display=False) as counter:
        network(images)
    parameters = sum(parameter.numel() for parameter in network.parameters())
    return Size(spec.name, shape, classes, parameters, counter.get_total_flops() // 2 // len(images))


def markdown(specs: Iterable[ModelSpec]) -> str:
    """Return the table of networks' sizes as markdown."""
    lines = ["| network | images | classes | parameters | multiply-adds |", "|---|---|---:|---:|---:|"]
    for spec in specs:
        found = size(spec)
        height, width, channels = found.shape
        lines.append(
            f"| `{found.name}` | {height}x{width}x{channels} | {found.num_classes} | {found.parameters:,} "
            f"| {found.multiply_adds / 1e6:,.1f} M |"
        )
    return "\n".join(lines)
