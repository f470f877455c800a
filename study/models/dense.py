"""A network that gives logits for every pixel: a small U-Net (Ronneberger et al. 2015) and its heads."""

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from study.errors import InputError, unknown
from study.models.layers import COSINE_SCALE, HEADS

WIDTHS = (16, 32, 64)
FEATURES = 16
MULTIPLE = 8
"""Height and width have to be multiples of this: the image is halved three times."""


class SmallUNet(nn.Module):
    """From images (N, C, H, W) to feature maps (N, 16, H, W): three halvings, and back with what was there before.

    Args:
        channels: C of the images.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        sizes = (channels, *WIDTHS)
        self.down = nn.ModuleList(
            nn.Sequential(_layer(before, after, stride=2), _layer(after, after)) for before, after in pairwise(sizes)
        )
        self.up = nn.ModuleList((_layer(WIDTHS[2] + WIDTHS[1], WIDTHS[1]), _layer(WIDTHS[1] + WIDTHS[0], WIDTHS[0])))
        self.last = _layer(WIDTHS[0] + channels, FEATURES)

    def forward(self, images: Tensor) -> Tensor:
        """Return the feature maps."""
        half = self.down[0](images)
        quarter = self.down[1](half)
        x = self.up[0](torch.cat((_double(self.down[2](quarter)), quarter), 1))
        x = self.up[1](torch.cat((_double(x), half), 1))
        out: Tensor = self.last(torch.cat((_double(x), images), 1))
        return out


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


def unet_small_body(shape: tuple[int, int, int]) -> tuple[nn.Module, int]:
    """Return the body for images of a shape (H, W, C), and the features of a pixel.

    Raises:
        InputError: sides that are not multiples of 8.
    """
    if shape[0] % MULTIPLE or shape[1] % MULTIPLE:
        raise InputError(
            f"unet_small: expected sides that are multiples of {MULTIPLE}, given {shape[0]} x {shape[1]}; "
            f"--image-size resizes the images"
        )
    return SmallUNet(shape[2]), FEATURES


def build_dense_head(kind: str, num_features: int, num_classes: int) -> nn.Module:
    """Return a head for every pixel: "linear" (weights and bias) or "cosine" (30 · cos, no bias).

    Raises:
        InputError: an unknown kind of head.
    """
    if kind not in HEADS:
        raise unknown("head", kind, HEADS)
    return nn.Conv2d(num_features, num_classes, 1) if kind == "linear" else DenseCosineHead(num_features, num_classes)


def _layer(before: int, after: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(before, after, 3, stride=stride, padding=1, bias=False), nn.BatchNorm2d(after), nn.ReLU(inplace=True)
    )


def _double(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2.0, mode="nearest")
