"""Two newer networks at the size of small images: a ConvNeXt (Liu et al. 2022) and a vision transformer (2021).

Both are torchvision's, with narrower layers and a finer first layer.
"""

from torch import nn

from study.errors import InputError

CONVNEXT_WIDTHS, CONVNEXT_DEPTHS, CONVNEXT_STEM = (32, 64, 128), (2, 2, 2), 2
CONVNEXT_LAYER_SCALE = 1.0
"""Factor of what a block adds to its input at first; with the published 1e-6, for hundreds of epochs of AdamW, SGD
learns little in tens of epochs."""
VIT_PATCH, VIT_LAYERS, VIT_HEADS, VIT_WIDTH = 4, 4, 3, 96


def convnext_mini_body(channels: int) -> tuple[nn.Module, int]:
    """Return a ConvNeXt (arXiv 2201.03545) of 3 stages of 2 blocks, 32, 64 and 128 wide, and D = 128.

    The first layer takes patches of 2 x 2 pixels (published: 4 x 4), so that 28 x 28 pixels become 14, 7, 3.
    """
    from torchvision.models.convnext import CNBlockConfig, ConvNeXt

    widths = (*CONVNEXT_WIDTHS, None)
    blocks = [CNBlockConfig(widths[i] or 0, widths[i + 1], depth) for i, depth in enumerate(CONVNEXT_DEPTHS)]
    network = ConvNeXt(blocks, layer_scale=CONVNEXT_LAYER_SCALE, num_classes=1)
    stem = nn.Conv2d(channels, CONVNEXT_WIDTHS[0], CONVNEXT_STEM, stride=CONVNEXT_STEM)
    nn.init.trunc_normal_(stem.weight, std=0.02)
    if stem.bias is not None:
        nn.init.zeros_(stem.bias)
    network.features[0][0] = stem
    network.classifier[2] = nn.Identity()
    return network, CONVNEXT_WIDTHS[-1]


def vit_mini_body(shape: tuple[int, int, int]) -> tuple[nn.Module, int]:
    """Return a vision transformer (arXiv 2010.11929) of 4 layers, 3 heads, 96 wide, patches of 4 x 4, and D = 96.

    The feature vector is the class token's after the last norm.

    Raises:
        InputError: images that are not square, or whose side is no multiple of 4.
    """
    from torchvision.models import VisionTransformer

    height, width, channels = shape
    if height != width or height % VIT_PATCH:
        raise InputError(
            f"vit_mini: expected square images with a side that is a multiple of {VIT_PATCH}, given {height} x {width}"
        )
    network = VisionTransformer(
        image_size=height,
        patch_size=VIT_PATCH,
        num_layers=VIT_LAYERS,
        num_heads=VIT_HEADS,
        hidden_dim=VIT_WIDTH,
        mlp_dim=4 * VIT_WIDTH,
    )
    if channels != network.conv_proj.in_channels:
        network.conv_proj = nn.Conv2d(channels, VIT_WIDTH, VIT_PATCH, stride=VIT_PATCH)
    fan_in = channels * VIT_PATCH**2
    nn.init.trunc_normal_(network.conv_proj.weight, std=fan_in**-0.5)
    if network.conv_proj.bias is not None:
        nn.init.zeros_(network.conv_proj.bias)
    network.heads = nn.Identity()
    return network, VIT_WIDTH
