"""What every network here is made of: input normalisation, the two kinds of head, and the features/head split."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from study.errors import InputError, unknown

COSINE_SCALE = 30.0
"""The factor s on the cosines of a normalised head (Cao et al. 2019, arXiv 1906.07413: s = 30)."""

HEADS = ("linear", "cosine")


class Normalise(nn.Module):
    """(x - mean) / std per channel, as a layer: attacks and probes give the network images in [0, 1].

    Args:
        channels: number of channels C of the images.
        mean: one number, or one per channel, in units of the [0, 1] images.
        std: one number, or one per channel, each > 0, in the same units.

    Raises:
        InputError: the wrong number of values, a value that is not finite, or a std that is not positive.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, channels: int, mean: float | Sequence[float], std: float | Sequence[float]) -> None:
        super().__init__()
        self.register_buffer("mean", _per_channel("mean", mean, channels))
        self.register_buffer("std", _per_channel("std", std, channels))
        if not bool((self.std > 0).all()):
            raise InputError(f"std: expected numbers above 0, given {self.std.flatten().tolist()}")

    def forward(self, images: Tensor) -> Tensor:
        """Normalise images (N, C, H, W)."""
        return (images - self.mean) / self.std


class CosineHead(nn.Module):
    """Normalised classification head: z_c = 30 · cos(features, w_c) (Cao et al. 2019, LDAM's head with s = 30).

    Args:
        num_features: D, the length of a feature vector.
        num_classes: C.
    """

    def __init__(self, num_features: int, num_classes: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(num_classes, num_features))
        nn.init.kaiming_normal_(self.weight)

    def forward(self, features: Tensor) -> Tensor:
        """Return logits (N, C) in [-30, 30] for features (N, D)."""
        return COSINE_SCALE * F.linear(F.normalize(features), F.normalize(self.weight))


class DenseCosineHead(nn.Module):
    """Normalised head for maps: z_c = 30 · cos(features of the pixel, w_c).

    Args:
        num_features: D.
        num_classes: C.
    """

    def __init__(self, num_features: int, num_classes: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(num_classes, num_features))
        nn.init.kaiming_normal_(self.weight)

    def forward(self, features: Tensor) -> Tensor:
        """Return logits (N, C, H, W) in [-30, 30] for features (N, D, H, W)."""
        weight = F.normalize(self.weight)[:, :, None, None]
        return COSINE_SCALE * F.conv2d(F.normalize(features, dim=1), weight)


class Network(nn.Module):
    """A classifier z = head(features(x)) for images x (N, C, H, W) in [0, 1].

    Maps of logits that are smaller than the images are interpolated to their size, bilinearly, as torchvision does.

    Under autocast the head still runs in float32: from 8 on, bfloat16 has steps of 1/16, coarser than many a margin.

    Args:
        normalise: the first layer.
        body: from normalised images (N, C, H, W) to feature vectors (N, D) or maps (N, D, h, w).
        head: from features to logits (N, num_classes) or (N, num_classes, h, w).
    """

    def __init__(self, normalise: Normalise, body: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.normalise = normalise
        self.body = body
        self.head = head
        self.frozen = False

    def features(self, images: Tensor) -> Tensor:
        """Return the features (N, D) or (N, D, h, w) that the head sees."""
        return self.body(self.normalise(images))

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits (N, num_classes), or (N, num_classes, H, W) of a dense network."""
        features = self.features(images)
        if not torch.is_autocast_enabled(images.device.type):
            return _to_size(self.head(features), images)
        with torch.autocast(images.device.type, enabled=False):
            return _to_size(self.head(features.float()), images)

    def freeze_body(self) -> None:
        """Train the head alone: no gradient for the body, and its batch norms and dropout stay in evaluation mode."""
        self.frozen = True
        self.body.requires_grad_(False)
        self.body.eval()

    def train(self, mode: bool = True) -> "Network":
        """Set the mode, but leave a frozen body in evaluation mode."""
        super().train(mode)
        if self.frozen:
            self.body.eval()
        return self


def build_head(kind: str, num_features: int, num_classes: int, *, dense: bool = False) -> nn.Module:
    """Return a "linear" head (weights and bias) or a "cosine" one (30 · cos, no bias).

    Args:
        kind: "linear" or "cosine".
        num_features: D.
        num_classes: C.
        dense: whether for maps (N, D, h, w) and not for vectors (N, D).

    Raises:
        InputError: an unknown kind of head.
    """
    if kind not in HEADS:
        raise unknown("head", kind, HEADS)
    if dense:
        linear: nn.Module = nn.Conv2d(num_features, num_classes, 1)
        return linear if kind == "linear" else DenseCosineHead(num_features, num_classes)
    return nn.Linear(num_features, num_classes) if kind == "linear" else CosineHead(num_features, num_classes)


def initialise(network: nn.Module) -> None:
    """Draw all convolution and linear weights from Kaiming's normal distribution and set their biases to 0.

    He et al. 2015 (arXiv 1502.01852, eq. 10): std = sqrt(2 / fan_in). Batch norm keeps scale 1 and shift 0.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def _to_size(logits: Tensor, images: Tensor) -> Tensor:
    size = images.shape[-2:]
    if logits.ndim != 4 or logits.shape[-2:] == size:
        return logits
    return F.interpolate(logits, size=size, mode="bilinear", align_corners=False)


def _per_channel(name: str, value: float | Sequence[float], channels: int) -> Tensor:
    values = torch.as_tensor(value, dtype=torch.float32).flatten()
    if values.numel() == 1:
        values = values.expand(channels)
    if values.numel() != channels or not all(math.isfinite(number) for number in values.tolist()):
        raise InputError(
            f"{name}: expected one finite number, or {channels} (one per channel), given {values.tolist()}"
        )
    return values.reshape(1, channels, 1, 1).clone()
