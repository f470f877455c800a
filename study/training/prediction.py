"""What a network says of images: logits, and features where they are asked for."""

import math

import numpy as np
import torch
from torch import Tensor, nn

from study.errors import InputError
from study.training.batches import as_bytes, to_unit_range

PREDICTION_BATCH = 256
PREDICTION_NUMBERS = PREDICTION_BATCH * 64 * 64 * 3
"""Numbers in the images that go through a network at a time: larger images go in smaller batches."""
SAME_LOGITS = 1e-3
"""Two ways of computing logits differ by rounding if by no more than this share of the largest."""


def predict(
    model: nn.Module,
    images: np.ndarray | Tensor,
    *,
    device: torch.device | str = "cpu",
    batch_size: int | None = None,
) -> np.ndarray:
    """Return the logits, float32 (N, C) or (N, C, H, W), of uint8 images (N, H, W, C).

    The network runs in evaluation mode and in float32, and is left on `device` in the mode that it was in.

    Raises:
        InputError: anything else than uint8 images, or a batch size below 1.
    """
    return outputs(model, as_bytes(images), torch.device(device), batch_size, with_features=False)[0].numpy()


def predict_with_features(
    model: nn.Module,
    images: np.ndarray | Tensor,
    *,
    device: torch.device | str = "cpu",
    batch_size: int | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Return (logits (N, C), features (N, D)), float32, of uint8 images (N, H, W, C); otherwise like `predict`.

    Args:
        model: a network with features() and head().
        images: uint8 (N, H, W, C).
        device: where to compute.
        batch_size: images at a time, at least 1; None: as many as `outputs` takes.
    """
    logits, features = outputs(model, as_bytes(images), torch.device(device), batch_size, with_features=True)
    return logits.numpy(), features.numpy()


def has_features(model: nn.Module, images: np.ndarray | Tensor, *, device: torch.device | str = "cpu") -> bool:
    """Say whether a network has features that its logits follow from: finite (N, D), and head(features(x)) = model(x).

    A network from elsewhere may call other things so, or do more between them than call one after the other.

    Args:
        model: any network.
        images: a few to try it with, uint8 (N, H, W, C).
        device: where to compute.
    """
    if not (hasattr(model, "features") and hasattr(model, "head")):
        return False
    expected = predict(model, images, device=device)
    try:
        logits, features = predict_with_features(model, images, device=device)
    except Exception:  # whatever a stranger's network does whose parts are not to be called so: that is the answer
        return False
    if features.ndim != 2 or logits.shape != expected.shape or not np.isfinite(features).all():
        return False
    return bool(np.abs(logits - expected).max() <= SAME_LOGITS * np.abs(expected).max())


def outputs(
    model: nn.Module,
    images: Tensor,
    device: torch.device,
    batch_size: int | None = None,
    *,
    with_features: bool = False,
    maps_as_classes: bool = False,
) -> tuple[Tensor, Tensor]:
    """Return logits and features (empty where they are not asked for) as float32 tensors on the CPU.

    Args:
        model: from images (N, C, H, W) in [0, 1] to logits; with features() and head() if `with_features`.
        images: uint8 tensor (N, H, W, C); N may be 0.
        device: where to compute.
        batch_size: images at a time, at least 1; None: `PREDICTION_BATCH`, or fewer if they are large.
        with_features: whether to return the features.
        maps_as_classes: whether logits of every pixel (N, C, H, W) are returned as the class of the largest, int16
            (N, H, W): a C-th of the memory. -1 stands in images with a logit that is not finite.
    """
    if batch_size is None:
        batch_size = max(1, min(PREDICTION_BATCH, PREDICTION_NUMBERS // max(1, math.prod(images.shape[1:]))))
    if batch_size < 1:
        raise InputError(f"batch_size: expected at least 1, given {batch_size}")
    was_training = model.training
    model.to(device).eval()
    logits, features = [], []
    with torch.inference_mode():
        for start in range(0, max(len(images), 1), batch_size):
            batch = to_unit_range(images[start : start + batch_size].to(device))
            if with_features:
                features.append(model.features(batch).float())
                logits.append(model.head(features[-1]).float())
            else:
                found = model(batch).float()
                logits.append(_classes(found) if maps_as_classes and found.ndim == 4 else found)
        outputs = torch.cat(logits).cpu(), torch.cat(features).cpu() if features else torch.empty(0)
    model.train(was_training)
    return outputs


def _classes(logits: Tensor) -> Tensor:
    """Return the class of each pixel's largest logit (N, H, W), -1 all over an image with one that is not finite."""
    finite = logits.isfinite().flatten(1).all(1)
    return torch.where(finite[:, None, None], logits.argmax(1), -1).to(torch.int16)
