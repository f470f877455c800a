"""The networks by name: `build_model("resnet20", shape=(32, 32, 3), num_classes=10, seed=0)`."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from study.errors import InputError, unknown
from study.models.dense import build_dense_head, unet_small_body
from study.models.layers import Network, Normalise, build_head, initialise
from study.models.modern import convnext_mini_body, vit_mini_body
from study.models.resnet import resnet_body
from study.models.small import mlp_body, small_cnn_body

Shape = tuple[int, int, int]


@dataclass(frozen=True)
class ModelSpec:
    """How a network is built and what it can take.

    Attributes:
        name: the name in the registry.
        build_body: from the images' shape (H, W, C) to the body (normalised images to feature vectors (N, D)) and D.
        min_size: the smallest height and width that it accepts, in pixels.
        dense: whether it gives logits for every pixel, (N, C, H, W), and not for the image, (N, C).
        own_weights: whether the body comes with its initial weights; otherwise they are Kaiming's.
    """

    name: str
    build_body: Callable[[Shape], tuple[nn.Module, int]]
    min_size: int
    dense: bool = False
    own_weights: bool = False


MODELS = {
    spec.name: spec
    for spec in (
        ModelSpec("mlp", lambda shape: mlp_body(shape[0] * shape[1] * shape[2]), min_size=1),
        ModelSpec("small_cnn", lambda shape: small_cnn_body(shape[2]), min_size=8),
        ModelSpec("resnet20", lambda shape: resnet_body(shape[2], blocks_per_stage=3), min_size=8),
        ModelSpec("resnet32", lambda shape: resnet_body(shape[2], blocks_per_stage=5), min_size=8),
        ModelSpec("convnext_mini", lambda shape: convnext_mini_body(shape[2]), min_size=8, own_weights=True),
        ModelSpec("vit_mini", vit_mini_body, min_size=8, own_weights=True),
        ModelSpec("unet_small", unet_small_body, min_size=8, dense=True),
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
) -> Network:
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
    normalise = Normalise(shape[2], mean, std)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        body, num_features = spec.build_body(shape)
        if not spec.own_weights:
            initialise(body)
        classifier = (build_dense_head if spec.dense else build_head)(head, num_features, num_classes)
        initialise(classifier)
    return Network(normalise, body, classifier)


def _check_shape(spec: ModelSpec, shape: Shape) -> None:
    if len(shape) != 3 or shape[2] not in (1, 3):
        raise InputError(f"shape of the images: expected (H, W, C) with 1 or 3 channels, given {tuple(shape)}")
    if min(shape[:2]) < spec.min_size:
        fitting = [other.name for other in MODELS.values() if other.min_size <= min(shape[:2])]
        raise InputError(
            f"{spec.name}: expected images of at least {spec.min_size} x {spec.min_size} pixels, "
            f"given {shape[0]} x {shape[1]}; networks for this size: {', '.join(fitting) or 'none'}"
        )
