"""Data-parallel training: R ranks with batch b / R each give the weights that one process with batch b gives.

Losses whose mean has a denominator that depends on the data (active samples, Σ of class weights) have an attribute
`process_group`; with it they return R · local sum / (denominator summed over the ranks), so that the average of the
gradients over the ranks is the gradient of the global mean. The mean of any other loss is taken to be over the images
and is scaled by R · (local images) / (global images).

Batch norm sees only a rank's own images on CPUs and is synchronised over the ranks on GPUs.
"""

import inspect
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parallel import DistributedDataParallel

from study.errors import InputError

_SYNC_BUFFERS = "forward_sync_buffers"
"""Copies rank 0's running statistics to all at every step: not needed beside `average_running_statistics`."""
if _SYNC_BUFFERS not in inspect.signature(DistributedDataParallel).parameters:
    _SYNC_BUFFERS = "broadcast_buffers"  # its name in earlier versions of torch


Regime = Callable[[nn.Module, nn.Module, Tensor, Tensor], tuple[Tensor, Tensor | None]]
"""(network, loss, images, labels) → (logits, extra): one step's way from images to logits. The loss of the step is
loss(logits, labels), plus `extra` if there is one: a mean over this rank's images. A regime may attack the images or
add others; torch's global generators, if it draws from them, are seeded for each epoch and rank."""


def plain_regime(model: nn.Module, loss: nn.Module, images: Tensor, labels: Tensor) -> tuple[Tensor, None]:
    """Return the network's logits of the images as they are."""
    return model(images), None


class Objective(nn.Module):
    """Model and loss as one module: data-parallel training averages the gradients of both.

    Args:
        model: from images to logits.
        loss: from (logits, labels) to one number.
        device: on GPUs that compute in bfloat16 (compute capability 8.0 and above) the model runs under autocast in it;
            the loss is computed in float32 everywhere.
        world_size: number of ranks R.
        regime: one step's way from images to logits.
    """

    def __init__(
        self,
        model: nn.Module,
        loss: nn.Module,
        device: torch.device,
        world_size: int,
        regime: Regime = plain_regime,
    ) -> None:
        super().__init__()
        self.regime = regime
        self.model = model
        self.loss = loss
        self.world_size = world_size
        self.scaled_here = world_size > 1 and not hasattr(loss, "process_group")
        self.low_precision = device.type == "cuda" and torch.cuda.get_device_capability(device) >= (8, 0)

    def forward(self, images: Tensor, labels: Tensor, global_images: int) -> tuple[Tensor, Tensor]:
        """Return the loss and the logits, which keep their gradient after backward().

        Args:
            images: this rank's images (n, C, H, W); n may be 0 when there are several ranks.
            labels: their labels (n,) or (n, H, W).
            global_images: images in this step over all ranks.
        """
        with self._precision():
            logits, extra = self.regime(self.model, self.loss, images, labels)
        logits = logits.float()
        logits.retain_grad()
        share = self.world_size * len(images) / global_images
        if self.scaled_here and len(images) == 0:
            unused = [parameter.sum() for parameter in self.loss.parameters() if parameter.requires_grad]
            value = 0.0 * (logits.sum() + sum(unused))
        else:
            value = self.loss(logits, labels) * share if self.scaled_here else self.loss(logits, labels)
        return (value if extra is None else value + share * extra), logits

    def _precision(self) -> AbstractContextManager[None]:
        return torch.autocast("cuda", dtype=torch.bfloat16) if self.low_precision else nullcontext()


def check_ranks(rank: int, world_size: int, batch_size: int) -> None:
    """Raise InputError unless this process is rank `rank` of `world_size` and every rank gets images."""
    if not 0 <= rank < world_size:
        raise InputError(f"rank: expected 0 to world_size - 1 = {world_size - 1}, given {rank}")
    if world_size == 1:
        return
    if not dist.is_initialized() or (dist.get_rank(), dist.get_world_size()) != (rank, world_size):
        raise InputError(f"expected torch.distributed to be initialised with rank {rank} of {world_size}")
    if batch_size < world_size:
        raise InputError(f"batch_size: expected at least one image a rank, {world_size}, given {batch_size}")


def smallest_batch(model: nn.Module, device: torch.device, world_size: int) -> int:
    """Return how many images, over all ranks, the model needs to be trained on: batch norm needs two at a time."""
    if not any(isinstance(module, _BatchNorm) for module in model.modules()):
        return 1
    return 2 if device.type == "cuda" else 2 * world_size


def wrap(objective: Objective, device: torch.device) -> nn.Module:
    """Return the module to call in training: the objective itself, or its data-parallel form for several ranks."""
    if objective.world_size == 1:
        return objective
    if device.type == "cuda":
        objective.model = nn.SyncBatchNorm.convert_sync_batchnorm(objective.model)
    return DistributedDataParallel(
        objective,
        device_ids=[device] if device.type == "cuda" else None,
        gradient_as_bucket_view=True,
        **{_SYNC_BUFFERS: False},
    )


def average_running_statistics(model: nn.Module, world_size: int) -> None:
    """Give all ranks the mean of their batch norms' running means and variances."""
    if world_size == 1:
        return
    statistics = [
        statistic
        for module in model.modules()
        if isinstance(module, _BatchNorm) and module.track_running_stats
        for statistic in (module.running_mean, module.running_var)
    ]
    if not statistics:
        return
    together = torch.cat(statistics)  # ranks meet once, not twice a layer
    dist.all_reduce(together)
    for statistic, mean in zip(statistics, together.div_(world_size).split([len(s) for s in statistics]), strict=True):
        statistic.copy_(mean)


def sum_over_ranks(values: Tensor, device: torch.device, world_size: int) -> Tensor:
    """Return the sum of a tensor over the ranks, on the CPU."""
    if world_size == 1:
        return values.cpu()
    total = values.to(device, copy=True)
    dist.all_reduce(total)
    return total.cpu()


def same_over_ranks(value: int, device: torch.device, world_size: int) -> bool:
    """Say whether all ranks give the same number."""
    if world_size == 1:
        return True
    both = torch.tensor([value, -value], device=device)
    dist.all_reduce(both, dist.ReduceOp.MAX)
    return int(both[0]) == -int(both[1])


def part_of_rank(count: int, rank: int, world_size: int) -> slice:
    """Return the rows that a rank takes of `count`: ceil(count / R) each, the last ranks what is left."""
    size = -(-count // world_size)
    return slice(rank * size, min((rank + 1) * size, count))


def gather_rows(rows: Tensor, count: int, device: torch.device, world_size: int) -> Tensor:
    """Return all `count` rows on the CPU of every rank, from each rank's `part_of_rank`."""
    if world_size == 1:
        return rows.cpu()
    padded = torch.zeros(-(-count // world_size), *rows.shape[1:], device=device)  # in float32: gloo knows no int16
    padded[: len(rows)] = rows.to(device)
    parts = [torch.empty_like(padded) for _ in range(world_size)]
    dist.all_gather(parts, padded)
    return torch.cat(parts)[:count].cpu()
