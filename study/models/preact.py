"""Residual networks with batch norm and ReLU before each convolution: PreAct-ResNet and Wide ResNet.

He et al. 2016 (arXiv 1603.05027) and Zagoruyko and Komodakis 2016 (arXiv 1605.07146, without dropout).
"""

from torch import Tensor, nn
from torch.nn import functional as F


class PreActBlock(nn.Module):
    """Norm, ReLU, 3x3 convolution, twice; where the shape changes, the shortcut is a 1x1 convolution after ReLU.

    Args:
        width_in: channels of the input.
        width: channels of the output.
        stride: 1, or 2 to halve the image.
    """

    def __init__(self, width_in: int, width: int, stride: int) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(width_in)
        self.conv1 = nn.Conv2d(width_in, width, 3, stride, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        changes = stride > 1 or width_in != width
        self.shortcut = nn.Conv2d(width_in, width, 1, stride, bias=False) if changes else None

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, width, H / stride, W / stride) for x (N, width_in, H, W)."""
        active = F.relu(self.norm1(x), inplace=True)
        out = self.conv2(F.relu(self.norm2(self.conv1(active)), inplace=True))
        return out + (x if self.shortcut is None else self.shortcut(active))


def preact_body(
    shape: tuple[int, int, int], stem: int, widths: tuple[int, ...], blocks_per_stage: int = 2
) -> tuple[nn.Module, int]:
    """Return the network up to its feature vectors, and their length, the last width.

    A 3x3 convolution, stages of blocks (all but the first begin with stride 2), batch norm and ReLU, global average
    pooling.

    Args:
        shape: (H, W, C) of the images.
        stem: channels of the first convolution; 64 for PreAct-ResNet-18, 16 for Wide ResNets.
        widths: channels of the stages; (64, 128, 256, 512) for PreAct-ResNet-18, (16k, 32k, 64k) for WRN-d-k.
        blocks_per_stage: 2 for PreAct-ResNet-18, (d - 4) / 6 for WRN-d-k.
    """
    layers: list[nn.Module] = [nn.Conv2d(shape[2], stem, 3, padding=1, bias=False)]
    width_in = stem
    for stage, width in enumerate(widths):
        for block in range(blocks_per_stage):
            layers.append(PreActBlock(width_in, width, 2 if block == 0 and stage > 0 else 1))
            width_in = width
    layers += [nn.BatchNorm2d(width_in), nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return nn.Sequential(*layers), width_in
