"""One training, from its description to its cell. No Ray here: `pool` runs it in one process, `ranks` in several.

A training ends in a cell, whatever happens: "complete", or "failed" with the reason. Its state is written into the run
from time to time, so a training whose process died goes on where it was.
"""

import platform
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from study.config import StudyConfig
from study.errors import CannotGoOn, InputError
from study.recent import Recent, image_bytes
from study.run import Key, RunDirectory, write_atomic
from study.seeds import derive
from study.tasks import get_task
from study.tasks.types import Cut, Judging
from study.watchdog import Watchdog, end_if_gpu_is_lost

if TYPE_CHECKING:
    import numpy as np
    import torch

    from study.data.types import Images, OutsideSet, Source, Splits
    from study.methods import Running
    from study.models.layers import Network

CHECKPOINT_SECONDS = 30.0
DEATHS_ALLOWED = 2


@dataclass(frozen=True)
class Training:
    """Everything that tells one training from another within a study."""

    key: Key
    recipe: Mapping[str, Any]
    """Arguments of `study.training.Recipe`."""
    loss_parameters: Mapping[str, float]
    seed: int
    keep_weights: bool = False
    source: str = ""
    """Where a trial's point came from: "literature", "shared" or "tpe"."""

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {**asdict(self), "key": asdict(self.key)}

    def described(self) -> dict[str, Any]:
        """Return what its cell says of it, whatever comes of it."""
        return {"training": {name: value for name, value in self.to_dict().items() if name != "key"}}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Training":
        """Return the training that `to_dict` came from."""
        return cls(**{**values, "key": Key(**values["key"])})


_SPLITS: "Recent[Splits]" = Recent()

FINAL_STAGES = ("confirm", "evaluate", "block", "attack")
"""Stages of retrained models; a task may cut the data anew for them."""


def splits(config: StudyConfig, source: "Source", replicate: int, *, final: bool) -> "Splits":
    """Return a replicate's training, validation and test images; kept in the process, see `study.recent`.

    Args:
        config: the study.
        source: the data set.
        replicate: which replicate.
        final: for retraining and everything after it, and not for the search.
    """
    cut = Cut(derive(config.seed, "split", replicate), derive(config.seed, "order", replicate), final)
    key = (source.fingerprint(), replace(config, losses=("ce",), methods=()), cut)
    return _SPLITS.get(
        key,
        lambda: get_task(config.task).split(source, config, cut),
        lambda data: image_bytes(_own_parts(data, source)),
    )


def _own_parts(data: "Splits", source: "Source") -> "list[Images | OutsideSet]":
    """Return the parts of a cut that are copies; an official test set is the source's own."""
    parts: list[Images | OutsideSet] = [data.train, data.validation]
    parts += [] if data.test is source.test else [data.test]
    return parts if data.unknown is None else [*parts, data.unknown]


def splits_of(key: Key, config: StudyConfig, source: "Source") -> "Splits":
    """Return the images that belong to a cell."""
    return splits(config, source, key.replicate, final=key.stage in FINAL_STAGES)


def build_network(config: StudyConfig, data: "Splits", loss: str, seed: int, *, normalised: bool = True) -> "Network":
    """Return the study's network for a loss (with the head it asks for), initialised from `seed`.

    Args:
        config: the study.
        data: the cut whose training images the network normalises by.
        loss: the loss's name.
        seed: of the initial weights.
        normalised: False for a network whose state is loaded next, mean and standard deviation with it: those of
            the training images are then not looked up.
    """
    from hem.registry import get_loss
    from study.data.preprocessing import channel_statistics
    from study.models.registry import build_model

    mean: float | tuple[float, ...] = 0.0
    std: float | tuple[float, ...] = 1.0
    if normalised:
        mean, std = channel_statistics(data.train)
    return build_model(
        config.model,
        shape=data.train.images.shape[1:],
        num_classes=len(data.classes),
        head=get_loss(loss).head,
        mean=mean,
        std=std,
        seed=seed,
    )


def start_network(config: StudyConfig, data: "Splits", loss: str, seed: int) -> "Network":
    """Return the network as a training begins with it: `build_network`, with the study's weights if it has any.

    Raises:
        InputError: the file of weights is not there, has changed, or does not fit.
    """
    from study.models import weights

    model = build_network(config, data, loss, seed)
    if config.weights is not None:
        path = Path(config.weights)
        weights.load(model, config.model, weights.read(path, config.weights_sha256), path, new_head=True)
    if config.freeze_body:
        model.freeze_body()
    return model


def pixels(images: "np.ndarray") -> "torch.Tensor":
    """Return uint8 images (N, H, W, C) as a network takes them: float32 (N, C, H, W) in [0, 1]."""
    import torch

    return torch.tensor(images).permute(0, 3, 1, 2).contiguous().float().div_(255)


def train(
    training: Training,
    config: StudyConfig,
    source: "Source",
    *,
    checkpoint: Path | None = None,
    device: str = "cpu",
    rank: int = 0,
    world_size: int = 1,
    timeout: float = 0.0,
    report: Callable[[dict[str, Any]], None] | None = None,
) -> dict[str, Any]:
    """Train once and return the cell's content; the trained network lies under "model" of rank 0's answer.

    Args:
        training: what to train.
        config: the study.
        source: the data set.
        checkpoint: where the state is kept while the training runs; None keeps none.
        device: where to train.
        rank: this process among the data-parallel ones.
        world_size: how many of them there are.
        timeout: seconds after which the training counts as failed; 0: never.
        report: called with every epoch's metrics.

    Raises:
        NonFiniteLoss: the training diverged.
        TimeoutError: it took longer than `timeout`.
    """
    import torch

    from study.training.parallel import same_over_ranks

    state, epochs, margins = _load(checkpoint, training)
    if not same_over_ranks(len(epochs), torch.device(device), world_size):  # one sees a file that another does not
        state, epochs, margins = None, [], []
    before = sum(epoch["seconds"] for epoch in epochs)
    model, running = _begin(training, config, source, state, device, rank, world_size)
    margins = _margin_range(running.loss, margins)
    started = saved = time.perf_counter()
    for metrics, get_state in running.epochs:
        epochs.append(metrics)
        margins = _margin_range(running.loss, margins)  # a continual learner's loss is another in every experience
        now = time.perf_counter()
        if report is not None:
            report(metrics)
        if timeout and now - started > timeout:
            raise TimeoutError(f"not finished after {timeout:g} s (--trial-timeout)")
        if checkpoint is not None and rank == 0 and now - saved > CHECKPOINT_SECONDS:
            _save(checkpoint, training, get_state(), epochs, margins)
            saved = now
    last = epochs[-1]
    return {
        "state": "complete",
        "objective": last[f"validation_{config.objective}"],
        "metrics": {k.removeprefix("validation_"): v for k, v in last.items() if k.startswith("validation_")},
        "epochs": epochs,
        "seconds": before,
        "images": len(splits_of(training.key, config, source).train) * config.epochs,
        "margin": margins or None,
        "model": model,
        "kept": running.kept,
    }


def _begin(
    training: Training,
    config: StudyConfig,
    source: "Source",
    state: dict[str, Any] | None,
    device: str,
    rank: int,
    world_size: int,
) -> "tuple[torch.nn.Module, Running]":
    """Return the network, and the training of it that begins or goes on."""
    from hem.registry import get_loss
    from study.data.types import IGNORED
    from study.methods import Job, get_method
    from study.training import Recipe

    key, task = training.key, get_task(config.task)
    data = splits_of(key, config, source)
    spec = get_loss(key.loss)
    model = start_network(config, data, key.loss, training.seed)
    shared = {"ignore_index": IGNORED} if task.dense else {}
    judge = None
    if task.judge is not None:
        seed = derive(config.seed, "judge", key.replicate)
        judge = task.judge(Judging(config, data, key.method, seed, device, _judged_often(key)))
    job = Job(
        model,
        lambda counts: spec.build(counts, **training.loss_parameters, **shared),
        spec,
        data,
        Recipe(**{**training.recipe, "epochs": config.epochs}),
        score=task.score,
        judge=judge,
        eps=task.training_eps(config),
        memory_size=config.memory,
        data_seed=derive(config.seed, "method", key.replicate),
        seed=training.seed,
        device=device,
        state=state,
        rank=rank,
        world_size=world_size,
    )
    return model, get_method(key.method)(job)


def _judged_often(key: Key) -> bool:
    """Say whether a training is judged after every epoch: where its best one is kept beside the last."""
    return key.stage == "confirm" and key.method not in ("plain", "drw")


def _margin_range(loss: "torch.nn.Module", before: list[float]) -> list[float]:
    """Return the smallest and the largest margin of a loss and of those `before`; [] if there are none."""
    import torch

    margin = getattr(loss, "margin", None)
    if not isinstance(margin, int | float | torch.Tensor):
        return before
    found = [*before, float(torch.as_tensor(margin).min()), float(torch.as_tensor(margin).max())]
    return [min(found), max(found)]


def _load(
    checkpoint: Path | None, training: Training
) -> tuple[dict[str, Any] | None, list[dict[str, float]], list[float]]:
    """Return the state, the epochs and the range of margins that a killed training left, if it was this one's."""
    import torch

    if checkpoint is None or not checkpoint.is_file():
        return None, [], []
    try:
        saved = torch.load(checkpoint, weights_only=True)
        if saved["training"] == repr(training):
            return saved["state"], saved["epochs"], saved.get("margins", [])
        return None, [], []
    except Exception as error:  # whatever torch trips over in a damaged file
        checkpoint.unlink(missing_ok=True)
        print(f"{checkpoint.name}: damaged ({type(error).__name__}); this training starts again")
        return None, [], []


def _save(
    checkpoint: Path,
    training: Training,
    state: Mapping[str, Any],
    epochs: list[dict[str, float]],
    margins: list[float],
) -> None:
    import io

    import torch

    buffer = io.BytesIO()
    torch.save({"training": repr(training), "state": dict(state), "epochs": epochs, "margins": margins}, buffer)
    write_atomic(checkpoint, buffer.getvalue())


def run_training(
    training: Training,
    config: StudyConfig,
    source: "Source",
    run: RunDirectory,
    *,
    timeout: float = 0.0,
    report: Callable[[dict[str, Any]], None] | None = None,
    **place: Any,  # noqa: ANN401
) -> dict[str, Any]:
    """Train, keep what is asked for, write the cell, and return it. A cell that is there already is returned as it is.

    Args:
        training: what to train.
        config: the study.
        source: the data set.
        run: where the cell goes.
        timeout: seconds after which the training counts as failed; 0: never.
        report: called with every epoch's metrics.
        **place: device, rank and world_size of `train`. Of several ranks the first writes the cell, but for the reason
            "error": whether that is the training's own or follows from the death of another rank it cannot know.
    """
    from study.training import NonFiniteLoss

    done = run.read_cell(training.key)
    if done is not None:
        return done
    rank = place.get("rank", 0)
    checkpoint = run.checkpoint(training.key)
    splits_of(training.key, config, source)  # cut before the clock starts: the first in a process takes a while
    started = time.perf_counter()
    described = training.described()
    with Watchdog(run, training.key, timeout, described):
        try:
            cell = train(training, config, source, checkpoint=checkpoint, timeout=timeout, report=report, **place)
        except NonFiniteLoss as error:
            cell = {"state": "failed", "reason": "diverged", "error": str(error)}
        except TimeoutError as error:
            cell = {"state": "failed", "reason": "timeout", "error": str(error)}
        except CannotGoOn:
            raise
        except InputError as error:
            cell = {"state": "failed", "reason": "input", "error": str(error)}
        except Exception as error:
            end_if_gpu_is_lost(str(place.get("device", "cpu")))
            cell = failed_by(error)
    cell["seconds"] = cell.get("seconds", 0.0) + time.perf_counter() - started  # and those of a process that was killed
    cell["place"] = {"node": platform.node(), "device": "cpu", "world_size": 1, **place}
    cell |= described
    model, kept = cell.pop("model", None), cell.pop("kept", {})
    alone = place.get("world_size", 1) == 1
    if rank == 0 and (alone or cell.get("reason") != "error"):  # with several ranks it may be that another has died
        if model is not None and training.keep_weights:
            save_weights(run.model(training.key), model, kept, training, config)
            cell["kept"] = sorted(kept)
        run.write_cell(training.key, cell)
        checkpoint.unlink(missing_ok=True)
    return cell


def failed_by(error: BaseException) -> dict[str, Any]:
    """Return a failed cell's content for an exception that nobody foresaw: its last line, and the whole traceback."""
    return {
        "state": "failed",
        "reason": "error",
        "error": f"{type(error).__name__}: {error}",
        "traceback": "".join(traceback.format_exception(error)),
    }


def failed_cell(described: Mapping[str, Any], failure: Mapping[str, Any]) -> dict[str, Any]:
    """Return the cell of what could not write one itself: `failure` has the reason and the error."""
    return {"state": "failed", "seconds": float("nan"), **failure, **described}


def save_weights(
    path: Path,
    model: "torch.nn.Module",
    kept: "Mapping[str, Mapping[str, torch.Tensor]]",
    training: Training,
    config: StudyConfig,
) -> None:
    """Write weights and what they belong to; `torch.load(path, weights_only=True)` reads them.

    Args:
        path: where to.
        model: the network after its last epoch, "weights" in the file.
        kept: further weights by name, "kept" in the file.
        training: what was trained.
        config: the study.
    """
    import io

    import torch

    buffer = io.BytesIO()
    torch.save(
        {
            "weights": {k: v.detach().cpu() for k, v in model.state_dict().items()},
            "kept": {name: dict(weights) for name, weights in kept.items()},
            "model": config.model,
            "task": config.task,
            "dataset": config.dataset,
            "loss": training.key.loss,
            "method": training.key.method,
            "arm": training.key.arm,
            "replicate": training.key.replicate,
            "recipe": dict(training.recipe),
            "loss_parameters": dict(training.loss_parameters),
            "seed": training.seed,
        },
        buffer,
    )
    write_atomic(path, buffer.getvalue())
