"""What a training step costs with each loss: all of them take turns in one process, on the study's own network."""

import time
from statistics import median
from typing import TYPE_CHECKING, Any

from study.config import StudyConfig
from study.run import Key, RunDirectory
from study.spaces import loss_space
from study.tasks import get_task
from study.trial import failed_by, pixels, splits, start_network

if TYPE_CHECKING:
    from collections.abc import Callable

    from study.data.types import Source

ROUNDS, STEPS = 9, 5


def cost_key(config: StudyConfig) -> Key:
    """Return the cell of the measurement: a new one when losses were added."""
    return Key("cost", config.methods[0], config.losses[0], "", 0, 0, f"{len(config.losses)}-losses")


def measure_cost(key: Key, config: StudyConfig, source: "Source", run: RunDirectory, device: str) -> dict[str, Any]:
    """Time forward pass, loss, backward pass and optimiser's step; return the cell with a row for every loss.

    Each loss has a network of its own with the same weights and sees the same batch. A round gives every loss `STEPS`
    steps, and the order turns from round to round; the figure is the median over the rounds. A loss that raises has
    no row, and stands in `missing` with the reason.
    """
    data = splits(config, source, 0, final=False)
    batch = min(int(get_task(config.task).recipe(source)["batch_size"]), len(data.train))
    images = pixels(data.train.images[:batch]).to(device)
    steps: dict[str, Callable[[], None]] = {}
    failed: dict[str, dict[str, Any]] = {}
    spent: dict[str, list[float]] = {loss: [] for loss in config.losses}
    for number in range(ROUNDS + 1):
        first = number % len(config.losses)
        for loss in (*config.losses[first:], *config.losses[:first]):
            if loss in failed:
                continue
            try:
                if loss in steps:
                    spent[loss].append(_timed(steps[loss]))
                else:
                    steps[loss] = _stepper(config, data, loss, images, batch, device)
                    steps[loss]()  # the first one also fetches memory
            except Exception as error:
                failed[loss] = failed_by(error)
    if len(failed) == len(config.losses):
        return failed[config.losses[0]]
    per_epoch = -(-len(data.train) // batch)
    rows = [
        {"loss": loss, "step_seconds": median(values), "epoch_seconds": median(values) * per_epoch, "images": batch}
        for loss, values in spent.items()
        if loss not in failed
    ]
    return {"state": "complete", "steps": rows, "missing": {loss: cell["error"] for loss, cell in failed.items()}}


def _timed(step: "Callable[[], None]") -> float:
    """Return the seconds of a step, the mean of a few."""
    started = time.perf_counter()
    for _ in range(STEPS):
        step()
    return (time.perf_counter() - started) / STEPS


def _stepper(
    config: StudyConfig,
    data: Any,  # noqa: ANN401
    name: str,
    images: Any,  # noqa: ANN401
    batch: int,
    device: str,
) -> "Callable[[], None]":
    import torch

    from hem.registry import get_loss
    from study.data.types import IGNORED

    shared = {"ignore_index": IGNORED} if get_task(config.task).dense else {}
    loss = (
        get_loss(name).build(data.class_counts, **loss_space(name).literature(len(data.classes)), **shared).to(device)
    )
    network = start_network(config, data, name, seed=0).to(device).train()
    target = torch.tensor(data.train.labels[:batch], dtype=torch.long).to(device)
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    optimizer = torch.optim.SGD(trained, lr=1e-6, momentum=0.9, nesterov=True)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        loss(network(images), target).backward()
        optimizer.step()
        if device == "cuda":
            torch.cuda.synchronize()

    return step
