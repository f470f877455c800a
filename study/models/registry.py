"""The networks by name: `build_model("resnet20", shape=(32, 32, 3), num_classes=10, seed=0)`.

A bare name is the form for small images, of 8 to about 64 pixels a side; a name with `_imagenet` is torchvision's
network as published, for images of 64 pixels and more. Torch is imported when a network is built, not before: the names
stand in `--help`.
"""

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from study.errors import InputError, unknown

if TYPE_CHECKING:
    from torch import nn

    from study.models.layers import Network

Shape = tuple[int, int, int]
SMALL, IMAGENET, DENSE = ((32, 32, 3), 10), ((224, 224, 3), 1000), ((512, 512, 3), 21)
"""(shape (H, W, C), classes) of CIFAR-10, ImageNet and PASCAL VOC, at which `python -m study.models` states sizes."""


@dataclass(frozen=True)
class ModelSpec:
    """How a network is built and what it can take.

    Attributes:
        name: the name in the registry.
        builder: "module.function" of `study.models`: from the images' shape (H, W, C) and `arguments` to the body
            (normalised images to feature vectors (N, D), or maps (N, D, h, w)) and D.
        arguments: what tells networks of one builder apart.
        min_size: the smallest height and width that it accepts, in pixels.
        dense: whether it gives logits for every pixel, (N, C, H, W), and not for the image, (N, C).
        own_weights: whether the body comes with its initial weights; otherwise they are Kaiming's.
        torchvision_head: where the body is torchvision's module: the names of the classifying layers in torchvision's
            own state dict. Several of them are one layer here, on their inputs side by side.
        usual: the shape and number of classes at which sizes are stated.
    """

    name: str
    builder: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    min_size: int = 8
    dense: bool = False
    own_weights: bool = False
    torchvision_head: tuple[str, ...] = ()
    usual: tuple[Shape, int] = SMALL

    def build_body(self, shape: Shape) -> "tuple[nn.Module, int]":
        """Return the body for images of a shape (H, W, C), and the length D of its features.

        Raises:
            InputError: a shape that it cannot take.
        """
        module, _, function = self.builder.rpartition(".")
        body: tuple[nn.Module, int] = getattr(importlib.import_module(f"study.models.{module}"), function)(
            shape, **self.arguments
        )
        return body


def _resnet(depth: int) -> ModelSpec:
    return ModelSpec(f"resnet{depth}", "resnet.resnet_body", {"blocks_per_stage": (depth - 2) // 6})


def _wide(depth: int, widening: int) -> ModelSpec:
    widths = (16 * widening, 32 * widening, 64 * widening)
    arguments = {"stem": 16, "widths": widths, "blocks_per_stage": (depth - 4) // 6}
    return ModelSpec(f"wrn_{depth}_{widening}", "preact.preact_body", arguments)


def _torchvision(name: str, head: str, smallest: int = 8) -> ModelSpec:
    large = name.endswith("_imagenet")
    return ModelSpec(
        name,
        "torchvision_bodies.classifier_body",
        {"network": name.removesuffix("_imagenet"), "small": not large},
        min_size=64 if large else smallest,
        own_weights=True,
        torchvision_head=(head,),
        usual=IMAGENET if large else SMALL,
    )


def _segmenter(name: str, network: str, *head: str) -> ModelSpec:
    return ModelSpec(
        name,
        "torchvision_bodies.segmenter_body",
        {"network": network},
        min_size=32,
        dense=True,
        own_weights=True,
        torchvision_head=head,
        usual=DENSE,
    )


MODELS = {
    spec.name: spec
    for spec in (
        ModelSpec("mlp", "small.mlp_body", min_size=1),
        ModelSpec("small_cnn", "small.small_cnn_body"),
        *(_resnet(depth) for depth in (8, 20, 32, 44, 56)),
        *(_torchvision(f"resnet{depth}", "fc") for depth in (18, 34, 50)),
        ModelSpec("preact_resnet18", "preact.preact_body", {"stem": 64, "widths": (64, 128, 256, 512)}),
        *(_wide(depth, widening) for depth, widening in ((16, 4), (28, 10), (40, 2))),
        ModelSpec("vgg16_bn", "torchvision_bodies.small_vgg_body", min_size=32),
        _torchvision("densenet121", "classifier"),
        _torchvision("mobilenet_v3_small", "classifier.3"),
        _torchvision("efficientnet_b0", "classifier.1"),
        _torchvision("convnext_tiny", "classifier.2", smallest=16),
        ModelSpec("convnext_mini", "modern.convnext_mini_body", own_weights=True),
        ModelSpec(
            "vit_tiny", "modern.vit_body", {"patch": 4, "layers": 12, "heads": 3, "width": 192}, own_weights=True
        ),
        ModelSpec("vit_mini", "modern.vit_body", {"patch": 4, "layers": 4, "heads": 3, "width": 96}, own_weights=True),
        *(_torchvision(f"resnet{depth}_imagenet", "fc") for depth in (18, 34, 50)),
        _torchvision("vgg16_bn_imagenet", "classifier.6"),
        _torchvision("densenet121_imagenet", "classifier"),
        _torchvision("mobilenet_v3_small_imagenet", "classifier.3"),
        _torchvision("efficientnet_b0_imagenet", "classifier.1"),
        _torchvision("convnext_tiny_imagenet", "classifier.2"),
        ModelSpec(
            "vit_b_16",
            "modern.vit_body",
            {"patch": 16, "layers": 12, "heads": 12, "width": 768},
            min_size=64,
            own_weights=True,
            torchvision_head=("heads.head",),
            usual=IMAGENET,
        ),
        ModelSpec("unet_small", "dense.unet_small_body", dense=True, usual=((64, 64, 3), 11)),
        ModelSpec("unet", "dense.unet_body", min_size=16, dense=True, usual=DENSE),
        _segmenter("fcn_resnet50", "fcn_resnet50", "classifier.4"),
        _segmenter("deeplabv3_resnet50", "deeplabv3_resnet50", "classifier.4"),
        _segmenter(
            "lraspp_mobilenet_v3",
            "lraspp_mobilenet_v3_large",
            "classifier.high_classifier",
            "classifier.low_classifier",
        ),
    )
}


def build_model(
    name: str,
    *,
    shape: Shape,
    num_classes: int,
    head: str = "linear",
    mean: float | Sequence[float] = 0.0,
    std: float | Sequence[float] = 1.0,
    seed: int,
) -> "Network":
    """Return a freshly initialised network for float images (N, C, H, W) in [0, 1].

    The same arguments give the same weights, and no global random state is changed. The body's weights depend neither
    on the head nor on the number of classes.

    Args:
        name: of `MODELS`.
        shape: (H, W, C) of the images; C is 1 or 3.
        num_classes: number of logits, at least 2.
        head: "linear" (weights and bias) or "cosine" (30 · cosine of features and class weights).
        mean: subtracted from the images, one number or one per channel.
        std: divides the images, one number or one per channel, > 0.
        seed: of the initial weights.

    Raises:
        InputError: an unknown name or head, a shape that the network cannot take, or unusable numbers.
    """
    if name not in MODELS:
        raise unknown("model", name, MODELS)
    spec = MODELS[name]
    _check_shape(spec, shape)
    if num_classes < 2:
        raise InputError(f"num_classes: expected at least 2, given {num_classes}")
    import torch

    from study.models.layers import Network, Normalise, build_head, initialise

    normalise = Normalise(shape[2], mean, std)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        body, num_features = spec.build_body(shape)
        if not spec.own_weights:
            initialise(body)
        classifier = build_head(head, num_features, num_classes, dense=spec.dense)
        initialise(classifier)
    return Network(normalise, body, classifier)


def _check_shape(spec: ModelSpec, shape: Shape) -> None:
    if len(shape) != 3 or shape[2] not in (1, 3):
        raise InputError(f"shape of the images: expected (H, W, C) with 1 or 3 channels, given {tuple(shape)}")
    if min(shape[:2]) < spec.min_size:
        fitting = [o.name for o in MODELS.values() if o.min_size <= min(shape[:2]) and o.dense == spec.dense]
        raise InputError(
            f"{spec.name}: expected images of at least {spec.min_size} x {spec.min_size} pixels, "
            f"given {shape[0]} x {shape[1]}; networks for this size: {', '.join(fitting) or 'none'}"
        )
