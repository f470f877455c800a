"""A narrow ConvNeXt (Liu et al. 2022) and vision transformers (Dosovitskiy et al. 2021), of torchvision's parts."""

from torch import nn

from study.errors import InputError

CONVNEXT_WIDTHS, CONVNEXT_DEPTHS, CONVNEXT_STEM = (32, 64, 128), (2, 2, 2), 2
CONVNEXT_LAYER_SCALE = 1.0
"""Factor of what a block adds to its input at first; with the published 1e-6, for hundreds of epochs of AdamW, SGD
learns little in tens of epochs."""


def convnext_mini_body(shape: tuple[int, int, int]) -> tuple[nn.Module, int]:
    """Return a ConvNeXt (arXiv 2201.03545) of 3 stages of 2 blocks, 32, 64 and 128 wide, and D = 128.

    The first layer takes patches of 2 x 2 pixels (published: 4 x 4), so that 28 x 28 pixels become 14, 7, 3.
    """
    from torchvision.models.convnext import CNBlockConfig, ConvNeXt

    widths = (*CONVNEXT_WIDTHS, None)
    blocks = [CNBlockConfig(widths[i] or 0, widths[i + 1], depth) for i, depth in enumerate(CONVNEXT_DEPTHS)]
    network = ConvNeXt(blocks, layer_scale=CONVNEXT_LAYER_SCALE, num_classes=1)
    network.features[0][0] = convnext_stem(shape[2], CONVNEXT_WIDTHS[0], CONVNEXT_STEM)
    network.classifier[2] = nn.Identity()
    return network, CONVNEXT_WIDTHS[-1]


def convnext_stem(channels: int, width: int, patch: int) -> nn.Conv2d:
    """Return ConvNeXt's first layer: patches of `patch` x `patch` pixels, initialised as torchvision does."""
    stem = nn.Conv2d(channels, width, patch, stride=patch)
    nn.init.trunc_normal_(stem.weight, std=0.02)
    nn.init.zeros_(stem.bias)
    return stem


def vit_body(shape: tuple[int, int, int], patch: int, layers: int, heads: int, width: int) -> tuple[nn.Module, int]:
    """Return a vision transformer (arXiv 2010.11929), and D, its width.

    The feature vector is the class token's after the last norm. ViT-B/16: 12 layers, 12 heads, 768 wide. `vit_tiny` has
    DeiT-Ti's 12 layers, 3 heads and width of 192 (arXiv 2012.12877, table 1) on patches of 4 x 4.

    Args:
        shape: (H, W, C) of the images; the learnt positions belong to this size.
        patch: pixels a side of a token's patch.
        layers: number of blocks.
        heads: of the attention.
        width: of a token.

    Raises:
        InputError: images that are not square, or whose side is no multiple of the patch's.
    """
    from torchvision.models import VisionTransformer

    height, across, channels = shape
    if height != across or height % patch:
        raise InputError(
            "vision transformer: expected square images with a side that is a multiple of "
            f"{patch}, given {height} x {across}"
        )
    network = VisionTransformer(
        image_size=height, patch_size=patch, num_layers=layers, num_heads=heads, hidden_dim=width, mlp_dim=4 * width
    )
    if channels != network.conv_proj.in_channels:
        network.conv_proj = nn.Conv2d(channels, width, patch, stride=patch)
    nn.init.trunc_normal_(network.conv_proj.weight, std=(channels * patch**2) ** -0.5)
    nn.init.zeros_(network.conv_proj.bias)
    network.heads = nn.Identity()
    return network, width
