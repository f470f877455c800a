"""A rank: one of the processes of a group, which meet and train together until there is nothing more to train."""

import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ray
import ray.train
from ray.train.backend import Backend, BackendConfig

from study.config import StudyConfig
from study.errors import CannotGoOn
from study.run import RunDirectory
from study.trial import Training, run_training

if TYPE_CHECKING:
    import torch

LOST_AFTER = timedelta(minutes=30)
"""So long a rank waits for the others, when they meet and at every exchange, before it takes them for lost."""


class _Backend(Backend):
    share_cuda_visible_devices = True  # NCCL goes the short way between GPUs of a node only if a rank sees them all


class RankBackend(BackendConfig):
    """Leaves it to the ranks to meet, and shows each all GPUs of its node that the group has."""

    @property
    def backend_cls(self) -> type[Backend]:
        """The part of it that runs in the ranks."""
        return _Backend


def run_rank(values: Mapping[str, Any]) -> None:
    """Do what a rank does: the same trainings as the others of its group, of every batch its slice.

    Args:
        values: "config", "source", "run", "timeout" and "threads" of the study; "post", where trainings are taken from;
            "group" and "attempt", which group this is and how often it was started before.
    """
    from ray.train.collective import barrier, broadcast_from_rank_zero

    post, group, source = values["post"], values["group"], ray.get(values["source"])
    with _met(values["threads"]) as (rank, world_size, device):
        while True:
            barrier()  # all are done with what was before
            taken = ray.get(post.take.remote(group, values["attempt"])) if rank == 0 else None
            taken = broadcast_from_rank_zero(taken)
            if taken is None:
                return
            try:
                cell = run_training(
                    Training.from_dict(taken),
                    StudyConfig.from_dict(values["config"]),
                    source,
                    RunDirectory(Path(values["run"])),
                    timeout=values["timeout"],
                    device=str(device),
                    rank=rank,
                    world_size=world_size,
                )
            except CannotGoOn as error:
                ray.get(post.stop.remote(str(error)))
                raise
            if cell["state"] == "failed" and cell["reason"] != "diverged":
                # The others may not have failed, and would wait for this one for ever: its failure ends the group.
                ray.get(post.failed.remote(group, values["attempt"], rank, cell))
                raise RuntimeError(cell["error"])


@contextmanager
def _met(threads: int) -> "Iterator[tuple[int, int, torch.device]]":
    """Let a rank meet the others of its group in torch.distributed; give (rank, number of ranks, device).

    A rank that waits for the others longer than `LOST_AFTER` ends its process, and with it the group.

    Args:
        threads: how many threads the rank computes with.
    """
    too_long = threading.Timer(LOST_AFTER.total_seconds(), os._exit, (os.EX_TEMPFAIL,))
    too_long.daemon = True
    too_long.start()
    import torch
    import torch.distributed as dist
    from ray.train.collective import broadcast_from_rank_zero
    from ray.train.torch import get_device

    torch.set_num_threads(threads)
    context, device = ray.train.get_context(), get_device()
    rank, world_size = context.get_world_rank(), context.get_world_size()
    if device.type == "cuda":
        torch.cuda.set_device(device)
    store = None
    if rank == 0:
        here = ray.util.get_node_ip_address()
        store = dist.TCPStore(here, 0, is_master=True, timeout=LOST_AFTER, wait_for_workers=False)
    host, port = broadcast_from_rank_zero((store.host, store.port) if store else None)
    if store is None:
        store = dist.TCPStore(host, port, timeout=LOST_AFTER)
    backend = "nccl" if device.type == "cuda" else "gloo"
    dist.init_process_group(backend, store=store, rank=rank, world_size=world_size, timeout=LOST_AFTER)
    too_long.cancel()
    yield rank, world_size, device
    dist.destroy_process_group()
