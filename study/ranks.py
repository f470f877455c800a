"""One training as several data-parallel ranks through Ray Train: the same loop, each rank its slice of every batch."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from study.config import Resources, StudyConfig
from study.run import RunDirectory
from study.trial import DEATHS_ALLOWED, Training, run_training

if TYPE_CHECKING:
    from study.data.types import Source

DRIVER_CPU = 0.01
"""What the process holds that starts a training of several ranks and waits for it; its ranks do with that much less."""


def train_ranks(
    training: Training, config: StudyConfig, source: "Source", run: RunDirectory, resources: Resources
) -> dict[str, Any]:
    """Train with several data-parallel ranks through Ray Train, and return the cell that rank 0 wrote.

    R ranks with batches of b/R give what one process with batches of b gives (batch normalisation apart).
    """
    import ray
    import ray.train
    from ray.train.torch import TorchTrainer

    done = run.read_cell(training.key)
    if done is not None:
        return done
    trainer = TorchTrainer(
        _rank,
        train_loop_config={
            "training": training.to_dict(),
            "config": config.to_dict(),
            "source": ray.put(source),
            "run": str(run.path),
            "timeout": resources.trial_timeout,
            "threads": max(1, int(resources.cpus_per_worker)),
        },
        scaling_config=ray.train.ScalingConfig(
            num_workers=resources.workers_per_trial,
            use_gpu=resources.gpus_per_worker > 0,
            resources_per_worker={
                "CPU": resources.cpus_per_worker - DRIVER_CPU,
                **({"GPU": resources.gpus_per_worker} if resources.gpus_per_worker else {}),
            },
        ),
        run_config=ray.train.RunConfig(
            name=training.key.name,
            storage_path=str(run.path / "tune" / "train"),
            failure_config=ray.train.FailureConfig(max_failures=DEATHS_ALLOWED),
        ),
    )
    trainer.fit()
    cell = run.read_cell(training.key)
    if cell is None:
        raise RuntimeError(f"{training.key}: the ranks ended without a cell")
    return cell


def _rank(values: Mapping[str, Any]) -> None:
    """One rank: the same training, its slice of every batch."""
    import ray
    import ray.train
    import ray.train.torch
    import torch

    torch.set_num_threads(values["threads"])
    context = ray.train.get_context()
    cell = run_training(
        Training.from_dict(values["training"]),
        StudyConfig.from_dict(values["config"]),
        ray.get(values["source"]),
        RunDirectory(Path(values["run"])),
        timeout=values["timeout"],
        device=str(ray.train.torch.get_device()),
        rank=context.get_world_rank(),
        world_size=context.get_world_size(),
    )
    if context.get_world_rank() and cell.get("reason") in ("error", "timeout"):
        # Rank 0 writes the cell, and would wait for this rank for ever: its failure has to end the group.
        raise RuntimeError(f"rank {context.get_world_rank()}: {cell['error']}")
