"""Networks with logits for every pixel: U-Net (Ronneberger et al. 2015, arXiv 1505.04597) and a small form of it."""

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from study.errors import InputError

WIDTHS = (16, 32, 64)
FEATURES = 16
MULTIPLE = 8
"""Height and width have to be multiples of this: the image is halved three times."""
UNET_WIDTHS = (64, 128, 256, 512, 1024)
UNET_MULTIPLE = 16


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


class UNet(nn.Module):
    """From images (N, C, H, W) to feature maps (N, 64, H, W): four halvings, and back through transposed convolutions.

    As published but for padding, which keeps the size of the maps, and batch norm after every convolution.

    Args:
        channels: C of the images.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.down = nn.ModuleList(_pair(before, after) for before, after in pairwise((channels, *UNET_WIDTHS)))
        upwards = tuple(pairwise(reversed(UNET_WIDTHS)))
        self.grow = nn.ModuleList(nn.ConvTranspose2d(before, after, 2, stride=2) for before, after in upwards)
        self.up = nn.ModuleList(_pair(2 * after, after) for _, after in upwards)

    def forward(self, images: Tensor) -> Tensor:
        """Return the feature maps."""
        x, before = self.down[0](images), []
        for layers in list(self.down)[1:]:
            before.append(x)
            x = layers(F.max_pool2d(x, 2))
        for grow, layers in zip(self.grow, self.up, strict=True):
            x = layers(torch.cat((before.pop(), grow(x)), 1))
        return x


def unet_small_body(shape: tuple[int, int, int]) -> tuple[nn.Module, int]:
    """Return the small body for images of a shape (H, W, C), and the features of a pixel, 16.

    Raises:
        InputError: sides that are not multiples of 8.
    """
    _check("unet_small", shape, MULTIPLE)
    return SmallUNet(shape[2]), FEATURES


def unet_body(shape: tuple[int, int, int]) -> tuple[nn.Module, int]:
    """Return the body for images of a shape (H, W, C), and the features of a pixel, 64.

    Raises:
        InputError: sides that are not multiples of 16.
    """
    _check("unet", shape, UNET_MULTIPLE)
    return UNet(shape[2]), UNET_WIDTHS[0]


def _check(name: str, shape: tuple[int, int, int], multiple: int) -> None:
    if shape[0] % multiple or shape[1] % multiple:
        raise InputError(
            f"{name}: expected sides that are multiples of {multiple}, given {shape[0]} x {shape[1]}; "
            "--image-size resizes the images"
        )


def _layer(before: int, after: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(before, after, 3, stride=stride, padding=1, bias=False), nn.BatchNorm2d(after), nn.ReLU(inplace=True)
    )


def _pair(before: int, after: int) -> nn.Sequential:
    return nn.Sequential(_layer(before, after), _layer(after, after))


def _double(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2.0, mode="nearest")
