"""A group of ranks: how Ray Train starts its processes, and how they meet.

`TorchTrainer` would do both, in half as much time again: it imports torch in the process that asks for the group and
in the one that watches over it too, and starts another for what a study has no use for.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ray.train
from ray.train.backend import Backend, BackendConfig
from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer

from study.config import Resources

if TYPE_CHECKING:
    import torch

DRIVER_CPU = 0.01
"""What the process holds that waits for a training of several ranks; the ranks do with that much less."""
MEETING_MINUTES = 30
"""So long a rank waits for the others before it takes them for lost."""
NOT_NEEDED = {"DatasetsCallback", "PlacementGroupCleanerCallback"}
"""Callbacks of Ray Train's that start a process each: one deals out data sets of Ray Data, and a study has none; the
other gives back what a lost group holds, as the post does, but only where Ray has its dashboard."""


class _Backend(Backend):
    share_cuda_visible_devices = True  # NCCL goes the short way between GPUs of a node only if a rank sees them all


class _BackendConfig(BackendConfig):
    @property
    def backend_cls(self) -> type[Backend]:
        return _Backend


class RankTrainer(DataParallelTrainer):
    """Runs a function in every rank of a group: Ray Train's trainer that needs torch in the ranks alone.

    `fit()` returns when the function has returned in all ranks.

    Args:
        function: called in every rank, with `values`.
        values: what it is called with; has the number of its group under "group", and the run's path under "run".
        resources: what a rank may use, and how many make a group.

    Raises:
        WorkerGroupError: by `fit()`, a rank failed or died.
        ControllerError: by `fit()`, the ranks could not be started.
    """

    def __init__(
        self, function: Callable[[Mapping[str, Any]], None], values: dict[str, Any], resources: Resources
    ) -> None:
        gpus = {"GPU": resources.gpus_per_worker} if resources.gpus_per_worker else {}
        super().__init__(
            function,
            train_loop_config=values,
            backend_config=_BackendConfig(),
            scaling_config=ray.train.ScalingConfig(
                num_workers=resources.workers_per_trial,
                use_gpu=bool(gpus),
                resources_per_worker={"CPU": resources.cpus_per_worker - DRIVER_CPU, **gpus},
            ),
            run_config=ray.train.RunConfig(
                name=f"group{values['group']}",
                storage_path=str(Path(values["run"]) / "tune" / "train"),
                failure_config=ray.train.FailureConfig(  # the post starts it again
                    max_failures=0, max_preemption_failures=0, controller_failure_limit=0
                ),
            ),
        )

    def _create_default_callbacks(self) -> list[Any]:
        return [one for one in super()._create_default_callbacks() if type(one).__name__ not in NOT_NEEDED]


@contextmanager
def met() -> "Iterator[tuple[int, int, torch.device]]":
    """Let a rank meet the others of its group in torch.distributed; give its rank, how many there are, its device."""
    import torch
    import torch.distributed as dist
    from ray.train.collective import broadcast_from_rank_zero
    from ray.train.torch import get_device

    context, device = ray.train.get_context(), get_device()
    rank, world_size = context.get_world_rank(), context.get_world_size()
    if device.type == "cuda":
        torch.cuda.set_device(device)
    store, limit = None, timedelta(minutes=MEETING_MINUTES)
    if rank == 0:
        here = ray.util.get_node_ip_address()
        store = dist.TCPStore(here, 0, is_master=True, timeout=limit, wait_for_workers=False)
    host, port = broadcast_from_rank_zero((store.host, store.port) if store else None)
    if store is None:
        store = dist.TCPStore(host, port, timeout=limit)
    backend = "nccl" if device.type == "cuda" else "gloo"
    dist.init_process_group(backend, store=store, rank=rank, world_size=world_size, timeout=limit)
    yield rank, world_size, device
    dist.destroy_process_group()
