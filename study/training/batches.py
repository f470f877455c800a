"""A data set that lies on the training device as uint8, and the batches drawn from it.

What is random (order, shifts, mirroring) is drawn for the whole epoch from one explicit generator, the same on every
rank; a batch is then a few indexed copies on the device, without work per image and without waiting for the device.
"""

from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from study.errors import InputError, unknown

SAMPLERS = ("shuffle", "balanced")


class LabelledImages(Protocol):
    """Anything with images, uint8 (N, H, W, C), and labels, int64 (N,) or (N, H, W): arrays or tensors."""

    @property
    def images(self) -> np.ndarray | Tensor:
        """uint8 (N, H, W, C)."""

    @property
    def labels(self) -> np.ndarray | Tensor:
        """int64 (N,), or (N, H, W) for one label a pixel."""


class Draws(NamedTuple):
    """One epoch's random choices, one entry for each image drawn, on the training device."""

    image: Tensor
    """int64 (S,): which image."""
    down: Tensor | None
    """int64 (S,) in 0 … 2 · reach: first row of the window into the padded image; None without augmentation."""
    right: Tensor | None
    """int64 (S,) in 0 … 2 · reach: first column of it."""
    mirrored: Tensor | None
    """bool (S,): mirrored left to right; None where nothing is mirrored."""


def as_bytes(images: np.ndarray | Tensor) -> Tensor:
    """Return images as a uint8 tensor (N, H, W, C), without a copy where that is possible.

    Raises:
        InputError: anything else than uint8 (N, H, W, C) with 1 or 3 channels.
    """
    if not isinstance(images, np.ndarray | Tensor) or images.ndim != 4 or images.shape[3] not in (1, 3):
        shape = tuple(images.shape) if isinstance(images, np.ndarray | Tensor) else type(images).__name__
        raise InputError(f"images: expected uint8 (N, H, W, C) with 1 or 3 channels, given {shape}")
    if str(images.dtype).removeprefix("torch.") != "uint8":
        raise InputError(f"images: expected uint8, 0 to 255, given {images.dtype}")
    return _as_tensor(images)


def to_unit_range(images: Tensor) -> Tensor:
    """Return uint8 images (N, H, W, C) as float32 (N, C, H, W) in [0, 1], laid out channels last."""
    return images.permute(0, 3, 1, 2).to(torch.float32).div_(255)


def reach_of(augmentation: str, height: int, width: int) -> int:
    """Return by how many pixels an augmentation moves images of this size at most, each way.

    "none": 0. "shift": 2, below 16 pixels 1. "crop_flip": 4, below 32 pixels an eighth of the shorter side, at least 1.
    """
    side = min(height, width)
    return {"none": 0, "shift": 2 if side >= 16 else 1, "crop_flip": max(1, min(4, side // 8))}[augmentation]


def draw_order(labels: Tensor, sampler: str, generator: Generator, memory: int = 0) -> Tensor:
    """Return the indices (N,) of one epoch's N draws; with a memory of m images 2 (N − m).

    "shuffle": every image once. "balanced": with replacement, P(image i) = 1 / (C · n_{y_i}): all of the C classes that
    are present are equally likely, and so are the images within a class.

    Args:
        labels: int64 (N,) on the CPU; N at least 1.
        sampler: "shuffle" or "balanced".
        generator: of the CPU.
        memory: so many of the last images are drawn in every other place, with replacement; each of the others once.
    """
    if memory:
        new = torch.randperm(len(labels) - memory, generator=generator)
        old = torch.randint(len(labels) - memory, len(labels), (len(new),), generator=generator)
        return torch.stack((new, old), 1).flatten()
    if sampler == "shuffle":
        return torch.randperm(len(labels), generator=generator)
    by_class = labels.argsort(stable=True)
    counts = torch.bincount(labels)
    counts = counts[counts > 0]
    first = counts.cumsum(0) - counts
    drawn = torch.randint(len(counts), (len(labels),), generator=generator)
    within = torch.rand(len(labels), generator=generator, dtype=torch.float64) * counts[drawn]
    return by_class[first[drawn] + within.long()]


def batch_bounds(count: int, batch_size: int, smallest: int) -> list[tuple[int, int]]:
    """Return (start, stop) of one epoch's batches; a last batch of fewer than `smallest` joins the one before.

    Args:
        count: images drawn in an epoch.
        batch_size: images a batch, over all ranks.
        smallest: the least number of images that the network can be trained on at once.
    """
    bounds = [(start, min(start + batch_size, count)) for start in range(0, count, batch_size)]
    if len(bounds) > 1 and bounds[-1][1] - bounds[-1][0] < smallest:
        bounds[-2:] = [(bounds[-2][0], count)]
    return bounds


def rank_bounds(start: int, stop: int, rank: int, world_size: int) -> tuple[int, int]:
    """Return the part of a global batch that a rank takes, as `torch.tensor_split` cuts it.

    The first (stop − start) mod R ranks take one image more than the others; with fewer images than ranks the last take
    none.
    """
    size, more = divmod(stop - start, world_size)
    first = start + rank * size + min(rank, more)
    return first, first + size + (rank < more)


class DeviceData:
    """Labelled images on the training device.

    Args:
        data: images and labels.
        augmentation: "none", "shift" or "crop_flip" (`study.recipe.Recipe`).
        sampler: "shuffle" or "balanced".
        device: where batches are needed; the images stay there, with their padding, as uint8.
        memory: how many of the last images are a replay memory (`draw_order`).

    Raises:
        InputError: unusable images or labels, an unknown sampler, a memory that leaves no image or comes with sampling
            by class, or labels per pixel together with augmentation or sampling by class.
    """

    def __init__(
        self, data: LabelledImages, augmentation: str, sampler: str, device: torch.device, memory: int = 0
    ) -> None:
        if sampler not in SAMPLERS:
            raise unknown("sampler", sampler, SAMPLERS)
        images = as_bytes(data.images)
        self.cpu_labels = as_labels(data.labels, len(images))
        if self.cpu_labels.ndim > 1 and (augmentation, sampler) != ("none", "shuffle"):
            raise InputError(
                "labels per pixel: expected augmentation 'none' and sampler 'shuffle', "
                f"given {augmentation!r} and {sampler!r}"
            )
        if not 0 <= memory < max(len(images), 1) or (memory and sampler != "shuffle"):
            raise InputError(
                f"memory: expected 0 to {len(images) - 1} images, and with any of them sampler 'shuffle', "
                f"given {memory} and {sampler!r}"
            )
        self.sampler, self.memory = sampler, memory
        self.mirror = augmentation == "crop_flip"
        self.labels = self.cpu_labels.to(device)
        self.reach = reach_of(augmentation, images.shape[1], images.shape[2])
        self.images = images.to(device)
        if self.reach:
            self.images = _windows(self.images, self.reach)

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.cpu_labels)

    @property
    def draws(self) -> int:
        """Images drawn in an epoch."""
        return 2 * (len(self) - self.memory) if self.memory else len(self)

    def draw(self, generator: Generator) -> Draws:
        """Draw one epoch's order and augmentation from a generator of the CPU."""
        count, device = self.draws, self.labels.device
        index = draw_order(self.cpu_labels, self.sampler, generator, self.memory)
        down = right = mirrored = None
        if self.reach:
            down, right = torch.randint(2 * self.reach + 1, (2, count), generator=generator).to(device)
        if self.mirror:
            mirrored = torch.randint(2, (count,), generator=generator).to(device, torch.bool)
        return Draws(index.to(device), down, right, mirrored)

    def batch(self, draws: Draws, start: int, stop: int) -> tuple[Tensor, Tensor]:
        """Return images float32 (n, C, H, W) in [0, 1] and labels (n,) of the draws from `start` to before `stop`."""
        index = draws.image[start:stop]
        if draws.down is None or draws.right is None:
            images = self.images.index_select(0, index)
        else:
            images = self.images[index, draws.down[start:stop], draws.right[start:stop]]
        if draws.mirrored is not None:
            images = torch.where(draws.mirrored[start:stop, None, None, None], images.flip(2), images)
        return to_unit_range(images), self.labels.index_select(0, index).long()


def as_labels(labels: np.ndarray | Tensor, count: int) -> Tensor:
    """Return labels as an int64 tensor (N,), or an int64 or int16 one (N, H, W), on the CPU.

    Raises:
        InputError: labels that are not whole numbers, or not one (or one map) an image.
    """
    tensor = _as_tensor(labels)
    if tensor.is_floating_point() or tensor.ndim not in (1, 3) or len(tensor) != count:
        raise InputError(
            f"labels: expected whole numbers, ({count},) or ({count}, H, W), given {tensor.dtype} {tuple(tensor.shape)}"
        )
    small = tensor.ndim == 3 and tensor.dtype == torch.int16
    return tensor.to("cpu", torch.int16 if small else torch.int64)


def _windows(images: Tensor, reach: int) -> Tensor:
    """Return every window (N, 2r + 1, 2r + 1, H, W, C) into the images padded by r zeros: a view of the padded copy."""
    _, height, width, _ = images.shape
    padded = F.pad(images, (0, 0, reach, reach, reach, reach))
    return padded.unfold(1, height, 1).unfold(2, width, 1).permute(0, 1, 2, 4, 5, 3)


def _as_tensor(values: np.ndarray | Tensor) -> Tensor:
    """Return a tensor; arrays that cannot be written to are copied, as tensors have no such state."""
    if isinstance(values, Tensor):
        return values
    return torch.from_numpy(values if values.flags.writeable else values.copy())
