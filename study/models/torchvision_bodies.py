"""Networks of torchvision without their last layer: as they are, or in the form that the field gives small images.

In the form for small images the first layer keeps the resolution (ConvNeXt's halves it) and no pooling follows it:
ResNet: a 3x3 convolution with stride 1 and no max-pooling, so 32 pixels become 32, 16, 8, 4. DenseNet: the same, and
no norm before the first block (Huang et al. 2017, section 3). MobileNetV3 and EfficientNet: stride 1 in the first
convolution. ConvNeXt: patches of 2 x 2 in place of 4 x 4. All other layers are torchvision's.
"""

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from study.models.modern import CONVNEXT_LAYER_SCALE, convnext_stem

Shape = tuple[int, int, int]


def classifier_body(shape: Shape, network: str, small: bool) -> tuple[nn.Module, int]:
    """Return torchvision's classifier with its last layer left out, and the length of its features.

    Args:
        shape: (H, W, C) of the images.
        network: torchvision's name.
        small: whether in the form for small images.
    """
    return _FAMILIES[network.rstrip("0123456789")](network, shape[2], small)


def _make(network: str, **options: Any) -> Any:  # noqa: ANN401
    from torchvision.models import get_model

    return get_model(network, weights=None, num_classes=1, **options)


def _resnet(network: str, channels: int, small: bool) -> tuple[nn.Module, int]:
    body = _make(network)
    width = body.fc.in_features
    if small:
        body.conv1 = _fan_out(nn.Conv2d(channels, 64, 3, padding=1, bias=False))
        body.maxpool = nn.Identity()
    elif channels != 3:
        body.conv1 = _fan_out(nn.Conv2d(channels, 64, 7, 2, padding=3, bias=False))
    body.fc = nn.Identity()
    return body, width


def _vgg(network: str, channels: int, small: bool) -> tuple[nn.Module, int]:
    body = _make(network)
    if channels != 3:
        body.features[0] = _fan_out(nn.Conv2d(channels, 64, 3, padding=1))
    width = body.classifier[6].in_features
    body.classifier[6] = nn.Identity()
    return body, width


def small_vgg_body(shape: Shape) -> tuple[nn.Module, int]:
    """Return VGG-16's convolutions with batch norm, global average pooling in place of hidden layers, and D = 512.

    Five halvings: 32 pixels become one. The form that the field trains on CIFAR.
    """
    from torchvision.models.vgg import cfgs, make_layers

    layers = make_layers(cfgs["D"], batch_norm=True)
    if shape[2] != 3:
        layers[0] = nn.Conv2d(shape[2], 64, 3, padding=1)
    parts = (("features", layers), ("pool", nn.AdaptiveAvgPool2d(1)), ("flatten", nn.Flatten()))
    return nn.Sequential(OrderedDict(parts)), 512


def _densenet(network: str, channels: int, small: bool) -> tuple[nn.Module, int]:
    body = _make(network)
    width, stem = body.classifier.in_features, body.features.conv0.out_channels
    if small:
        body.features.conv0 = _fan_in(nn.Conv2d(channels, stem, 3, padding=1, bias=False))
        for name in ("norm0", "relu0", "pool0"):
            setattr(body.features, name, nn.Identity())
    elif channels != 3:
        body.features.conv0 = _fan_in(nn.Conv2d(channels, stem, 7, 2, padding=3, bias=False))
    body.classifier = nn.Identity()
    return body, width


def _mobile(network: str, channels: int, small: bool) -> tuple[nn.Module, int]:
    body = _make(network)
    stem, last = body.features[0], len(body.classifier) - 1
    if small or channels != 3:
        width = stem[0].out_channels
        stem[0] = _fan_out(nn.Conv2d(channels, width, 3, 1 if small else 2, padding=1, bias=False))
    features = body.classifier[last].in_features
    body.classifier[last] = nn.Identity()
    return body, features


def _convnext(network: str, channels: int, small: bool) -> tuple[nn.Module, int]:
    body = _make(network, **({"layer_scale": CONVNEXT_LAYER_SCALE} if small else {}))
    width = body.features[0][0].out_channels
    if small or channels != 3:
        body.features[0][0] = convnext_stem(channels, width, 2 if small else 4)
    features = body.classifier[2].in_features
    body.classifier[2] = nn.Identity()
    return body, features


_FAMILIES: dict[str, Callable[[str, int, bool], tuple[nn.Module, int]]] = {
    "resnet": _resnet,
    "vgg16_bn": _vgg,
    "densenet": _densenet,
    "mobilenet_v3_small": _mobile,
    "efficientnet_b": _mobile,
    "convnext_tiny": _convnext,
}


class Segmenter(nn.Module):
    """Backbone and all of the classifier but its last layer: from images (N, C, H, W) to maps (N, D, H / 8, W / 8).

    Args:
        backbone: torchvision's, which returns its maps under "out".
        classifier: torchvision's, with its last layer replaced by the identity.
    """

    def __init__(self, backbone: nn.Module, classifier: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone
        self.classifier = classifier

    def forward(self, images: Tensor) -> Tensor:
        """Return the feature maps."""
        out: Tensor = self.classifier(self.backbone(images)["out"])
        return out


class LiteSegmenter(nn.Module):
    """LR-ASPP (Howard et al. 2019, section 6.4) up to its two classifying layers, whose inputs stand side by side.

    Two 1x1 convolutions whose results are added are one 1x1 convolution of both inputs.

    Args:
        backbone: torchvision's, which returns maps under "low" (1/8 of the size) and "high" (1/16).
        classifier: torchvision's `LRASPPHead`.
    """

    def __init__(self, backbone: nn.Module, classifier: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone
        self.classifier = classifier

    def forward(self, images: Tensor) -> Tensor:
        """Return the feature maps (N, D, H / 8, W / 8)."""
        maps = self.backbone(images)
        low, high = maps["low"], maps["high"]
        weighted = self.classifier.cbr(high) * self.classifier.scale(high)
        return torch.cat((F.interpolate(weighted, size=low.shape[-2:], mode="bilinear", align_corners=False), low), 1)


def segmenter_body(shape: Shape, network: str) -> tuple[nn.Module, int]:
    """Return torchvision's segmentation network without its last layer and without auxiliary heads, and D.

    Args:
        shape: (H, W, C) of the images.
        network: torchvision's name.
    """
    from torchvision.models import get_model

    lite = network.startswith("lraspp")
    made = get_model(
        network, weights=None, weights_backbone=None, num_classes=1, **({} if lite else {"aux_loss": False})
    )
    if lite:
        if shape[2] != 3:
            made.backbone["0"][0] = _fan_out(nn.Conv2d(shape[2], 16, 3, 2, padding=1, bias=False))
        head = made.classifier
        features = head.high_classifier.in_channels + head.low_classifier.in_channels
        head.high_classifier, head.low_classifier = nn.Identity(), nn.Identity()
        return LiteSegmenter(made.backbone, head), features
    if shape[2] != 3:
        made.backbone.conv1 = _fan_out(nn.Conv2d(shape[2], 64, 7, 2, padding=3, bias=False))
    features = made.classifier[4].in_channels
    made.classifier[4] = nn.Identity()
    return Segmenter(made.backbone, made.classifier), features


def _fan_out(layer: nn.Conv2d) -> nn.Conv2d:
    """Initialise a layer as torchvision's ResNet, VGG, MobileNet and EfficientNet have it."""
    nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


def _fan_in(layer: nn.Conv2d) -> nn.Conv2d:
    """Initialise a layer as torchvision's DenseNet has it."""
    nn.init.kaiming_normal_(layer.weight)
    return layer
