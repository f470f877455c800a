"""Losses that misbehave, as a user's own may."""

import time

import torch
from torch import Tensor, nn


class _Misbehaves(nn.CrossEntropyLoss):
    """Cross-entropy for its first 5 steps of a training."""

    def __init__(self, class_counts: tuple[float, ...]) -> None:
        super().__init__()
        self.steps = 0

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        self.steps += self.training
        value: Tensor = super().forward(logits, target)
        return self.misbehave(value) if self.steps > 5 else value

    def misbehave(self, value: Tensor) -> Tensor:
        return value


class Hangs(_Misbehaves):
    """Never comes back."""

    def misbehave(self, value: Tensor) -> Tensor:
        while True:
            time.sleep(1)


class NotANumber(_Misbehaves):
    """Becomes NaN."""

    def misbehave(self, value: Tensor) -> Tensor:
        return value * float("nan")


class Raises(_Misbehaves):
    """Raises an exception."""

    def misbehave(self, value: Tensor) -> Tensor:
        raise ArithmeticError("no such number")


class Devours(_Misbehaves):
    """Holds on to more and more memory: 600 MB a step."""

    held: list[Tensor] = []  # noqa: RUF012  (shared on purpose: nothing may be given back)

    def misbehave(self, value: Tensor) -> Tensor:
        self.held.append(torch.ones(150_000_000))
        return value


class Slow(nn.CrossEntropyLoss):
    """Cross-entropy that takes a while, so that there is time to kill what computes it."""

    def __init__(self, class_counts: tuple[float, ...]) -> None:
        super().__init__()

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        if self.training:
            time.sleep(0.05)
        value: Tensor = super().forward(logits, target)
        return value
