"""A convolution of grey images whose gradient with respect to them is a matrix product.

On a CPU the library's own backward pass of a convolution with one input channel takes several times as long as its
forward pass: it is made for many channels, of which it uses one.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional


class _ByProduct(torch.autograd.Function):
    """∂/∂x of w ∗ x + b: each output pixel's gradient times the kernel, added up where the kernels overlap."""

    @staticmethod
    def forward(ctx: Any, images: Tensor, convolution: nn.Conv2d) -> Tensor:  # noqa: ANN401
        ctx.convolution, ctx.shape = convolution, images.shape
        return convolution(images)  # type: ignore[no-any-return]

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:  # noqa: ANN401
        module: nn.Conv2d = ctx.convolution
        patches = module.weight.flatten(1).t() @ gradient.flatten(2)  # (N, kernel pixels, output pixels)
        kernel, dilation, padding, stride = module.kernel_size, module.dilation, module.padding, module.stride
        whole = functional.fold(patches, ctx.shape[2:], kernel, dilation, padding, stride)  # type: ignore[arg-type]
        return whole, None


class GreyConvolution(nn.Module):
    """`torch.nn.Conv2d` of one input channel: the same output, the gradient of the images, none of the weights.

    Args:
        convolution: one that `fits`, its weights without gradient.
    """

    def __init__(self, convolution: nn.Conv2d) -> None:
        super().__init__()
        self.convolution = convolution

    @staticmethod
    def fits(convolution: nn.Conv2d, device: torch.device) -> bool:
        """Say whether a convolution has one input channel, pads with zeros, if at all, and runs on a CPU."""
        plain = convolution.padding_mode == "zeros" and not isinstance(convolution.padding, str)
        return device.type == "cpu" and convolution.in_channels == 1 and plain

    def forward(self, images: Tensor) -> Tensor:
        """Return the maps (N, out_channels, H', W') of images (N, 1, H, W)."""
        result: Tensor = _ByProduct.apply(images, self.convolution)
        return result
