"""Residual networks for small images (He et al. 2016, arXiv 1512.03385, section 4.2)."""

from torch import Tensor, nn
from torch.nn import functional as F


class BasicBlock(nn.Module):
    """Two 3x3 convolutions with batch norm, and a shortcut without parameters (option A).

    Where the width grows, the shortcut takes every second pixel and pads the new channels with zeros, half of them
    before and half after the old ones.

    Args:
        width_in: channels of the input.
        width: channels of the output.
        stride: 1, or 2 to halve the image.
    """

    def __init__(self, width_in: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width_in, width, 3, stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(width)
        self.stride = stride
        self.new_channels = width - width_in

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, width, H / stride, W / stride) for x (N, width_in, H, W)."""
        out = F.relu(self.norm1(self.conv1(x)), inplace=True)
        out = self.norm2(self.conv2(out))
        return F.relu(out + self._shortcut(x), inplace=True)

    def _shortcut(self, x: Tensor) -> Tensor:
        if self.stride > 1:
            x = x[:, :, :: self.stride, :: self.stride]
        if self.new_channels:
            before = self.new_channels // 2
            x = F.pad(x, (0, 0, 0, 0, before, self.new_channels - before))
        return x


def resnet_body(shape: tuple[int, int, int], blocks_per_stage: int) -> tuple[nn.Module, int]:
    """Return the network up to its feature vectors, and their length 64.

    A 3x3 convolution with 16 channels, three stages of 16, 32 and 64 channels with n blocks each (the last two begin
    with stride 2), global average pooling: 6n + 2 layers with the head.

    Args:
        shape: (H, W, C) of the images.
        blocks_per_stage: n; 3 for ResNet-20, 5 for ResNet-32.
    """
    layers: list[nn.Module] = [
        nn.Conv2d(shape[2], 16, 3, padding=1, bias=False),
        nn.BatchNorm2d(16),
        nn.ReLU(inplace=True),
    ]
    width_in = 16
    for width in (16, 32, 64):
        for block in range(blocks_per_stage):
            stride = 2 if block == 0 and width > 16 else 1
            layers.append(BasicBlock(width_in, width, stride))
            width_in = width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten()), width_in
