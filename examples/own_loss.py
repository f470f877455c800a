"""A loss of one's own, compared with cross-entropy under equal conditions.

    python -m study.tune --task imbalanced --losses ce examples.own_loss:GeneralisedCE

All that a study needs is a ``torch.nn.Module`` class with ``defaults`` and ``ranges`` of its parameters and a
constructor that takes the training set's class counts (here unused) and those parameters: see ``hem.registry``.
"""

from collections.abc import Sequence
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class GeneralisedCE(nn.Module):
    """Generalised cross-entropy ℓ = (1 − p_y^q) / q, p = softmax(z), the mean over samples: logits (N, C) to a scalar.

    q → 0 is cross-entropy, q = 1 is the mean absolute error. Zhang and Sabuncu, arXiv 1805.07836, equation 6, q = 0.7.
    """

    defaults: ClassVar = {"q": 0.7}
    ranges: ClassVar = {"q": (0.1, 1.0, "linear")}

    def __init__(self, class_counts: Sequence[int], q: float) -> None:
        super().__init__()
        self.q = q

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return the mean loss of logits (N, C) and target (N)."""
        log_p = -F.cross_entropy(logits, target, reduction="none")
        return ((1 - torch.exp(self.q * log_p)) / self.q).mean()
