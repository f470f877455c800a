"""Class-incremental learning with any loss: naive fine-tuning (the floor), experience replay, joint training (a bound).

Every experience is a training of its own: the network goes on from the one before, the optimiser and the schedule of
the learning rate begin anew. The loss sees the classes that it has images of: the logits of others are left out, and no
margin, weight or prior is made for them.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from study.data.experiences import positions_of, reservoir
from study.methods.types import Epochs, Job, Running
from study.training import NonFiniteLoss, fit

if TYPE_CHECKING:
    from study.data.types import Images, Splits
    from study.training.loop import State

INITIAL = "initial"
Weights = dict[str, Tensor]


class SeenClasses(nn.Module):
    """A loss that sees some of the classes: logits (N, C) → loss of the columns (N, K), targets by their positions.

    Args:
        loss: of logits (N, K) and targets in [0, K).
        classes: indices of the K classes; a target of another class is an error of the caller.
        num_classes: C.
    """

    columns: Tensor
    positions: Tensor

    def __init__(self, loss: nn.Module, classes: tuple[int, ...], num_classes: int) -> None:
        super().__init__()
        self.loss = loss
        positions = torch.full((num_classes,), -1, dtype=torch.long)
        positions[list(classes)] = torch.arange(len(classes))
        self.register_buffer("columns", torch.tensor(classes), persistent=False)
        self.register_buffer("positions", positions, persistent=False)

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return the loss of the seen classes."""
        value: Tensor = self.loss(logits.index_select(1, self.columns), self.positions[target])
        return value

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401
        """Hand on what the loop asks a loss for: it has just what the loss inside has."""
        if name in ("process_group", "ignore_index", "set_class_weight", "margin"):
            return getattr(self.loss, name)
        return super().__getattr__(name)

    def __setattr__(self, name: str, value: Any) -> None:  # noqa: ANN401
        """Give the loss inside the process group that the loop sets."""
        if name == "process_group":
            self.loss.process_group = value
        else:
            super().__setattr__(name, value)


@dataclass
class _Progress:
    """What is carried from one experience to the next."""

    experience: int = 0
    memory: list[int] = field(default_factory=list)
    seen: int = 0
    kept: dict[str, Weights] = field(default_factory=dict)

    def state(self, inner: "State") -> dict[str, Any]:
        return {
            "experience": self.experience,
            "memory": torch.tensor(self.memory, dtype=torch.long),
            "seen": self.seen,
            "kept": {name: dict(weights) for name, weights in self.kept.items()},
            "fit": inner,
        }


def naive(job: Job) -> Running:
    """Train on one experience after the other, on its own images alone."""
    return _begin(job, job.data.experiences, memory_size=0)


def replay(job: Job) -> Running:
    """Train on each experience's images and a memory of earlier ones: half of every batch is remembered.

    The memory is a reservoir sample (Vitter 1985; Chaudhry et al. 2019) of `job.memory_size` images of all that have
    passed.
    """
    return _begin(job, job.data.experiences, memory_size=job.memory_size)


def joint(job: Job) -> Running:
    """Train on all experiences at once."""
    return _begin(job, (tuple(sorted(c for part in job.data.experiences for c in part)),), memory_size=0)


def first_counts(method: str, data: "Splits") -> tuple[float, ...]:
    """Return n_i (C,) of what a method's loss first trains on: 0 for classes that come in later experiences.

    Args:
        method: its name; any but `naive` and `replay` trains on all images from the beginning.
        data: what is trained on.
    """
    if method not in (naive.__name__, replay.__name__):
        return data.class_counts
    return tuple(n if c in data.experiences[0] else 0 for c, n in enumerate(data.class_counts))


def _begin(job: Job, parts: tuple[tuple[int, ...], ...], memory_size: int) -> Running:
    progress = _Progress()
    if job.state is not None:
        saved = job.state
        progress = _Progress(saved["experience"], saved["memory"].tolist(), saved["seen"], dict(saved["kept"]))
    running = Running(iter(()), _loss(job, _training(job, parts, progress)[0]), progress.kept)
    running.epochs = _experiences(job, parts, memory_size, progress, running)
    return running


def _training(job: Job, parts: tuple[tuple[int, ...], ...], progress: _Progress) -> "tuple[Images, int]":
    """Return what an experience trains on: its images, then those in memory; and how many those are."""
    train = job.data.train
    new = positions_of(train, parts[progress.experience])
    together = np.concatenate((new, np.array(progress.memory, dtype=np.int64)))
    return train.take(together), len(progress.memory)


def _loss(job: Job, images: "Images") -> SeenClasses:
    """Return the loss of the classes that there are images of, with their counts."""
    num_classes = len(job.data.classes)
    counts = images.counts(num_classes)
    classes = tuple(c for c in range(num_classes) if counts[c])
    return SeenClasses(job.build_loss([counts[c] for c in classes]), classes, num_classes)


def _experiences(
    job: Job, parts: tuple[tuple[int, ...], ...], memory_size: int, progress: _Progress, running: Running
) -> Epochs:
    inner = None if job.state is None else job.state["fit"]
    if inner is None and len(parts) > 1:
        progress.kept[INITIAL] = _copy(job.model)
    while progress.experience < len(parts):
        k = progress.experience
        images, remembered = _training(job, parts, progress)
        running.loss = _loss(job, images)
        epochs = fit(
            job.model,
            running.loss,
            images,
            job.data.validation,
            job.recipe,
            sampler=job.spec.sampler,
            seed=job.seed + k,
            state=inner,
            score=_score(job, parts, k),
            memory=remembered,
            **job.place,
        )
        before = k * job.recipe.epochs
        try:
            for metrics, get_state in epochs:
                number = before + int(metrics["epoch"])
                yield {**metrics, "epoch": number, "experience": k + 1}, _state(progress, get_state)
        except NonFiniteLoss as error:
            raise NonFiniteLoss(before + error.epoch, error.learning_rate) from error
        inner = None
        _go_on(job, parts, memory_size, progress)


def _state(progress: _Progress, get_state: "Callable[[], State]") -> "Callable[[], State]":
    return lambda: progress.state(get_state())


def _go_on(job: Job, parts: tuple[tuple[int, ...], ...], memory_size: int, progress: _Progress) -> None:
    """End an experience: keep the network as it is now, and let its images pass the memory."""
    k = progress.experience
    if k + 1 < len(parts):
        progress.kept[f"experience{k}"] = _copy(job.model)
        if memory_size:
            generator = np.random.default_rng([job.data_seed, k])
            passing = generator.permutation(positions_of(job.data.train, parts[k]))
            progress.memory = reservoir(progress.memory, progress.seen, passing, memory_size, generator)
            progress.seen += len(passing)
    progress.experience += 1


def _score(
    job: Job, parts: tuple[tuple[int, ...], ...], k: int
) -> Callable[[np.ndarray, np.ndarray], dict[str, float]]:
    """Return the score after experience k: the classes met so far compete, and each experience counts the same."""
    met = np.zeros(len(job.data.classes), dtype=bool)
    met[[c for part in parts[: k + 1] for c in part]] = True
    groups = [part for part in job.data.experiences if met[list(part)].all()]

    def score(logits: np.ndarray, labels: np.ndarray) -> dict[str, float]:
        right = np.where(met, logits, -np.inf).argmax(1) == labels
        shares = [float(right[np.isin(labels, part)].mean()) for part in groups]
        return {"acc": float(np.mean(shares)), "accuracy": float(right[met[labels]].mean())}

    return score


def _copy(model: nn.Module) -> Weights:
    return {name: value.detach().to("cpu", copy=True) for name, value in model.state_dict().items()}
