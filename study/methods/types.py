"""What a method gets and what it gives: one training with a loss that the method does not know."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from hem.registry import LossSpec
from study.training.loop import Judge, Metrics, Score, State
from study.training.recipe import Recipe

if TYPE_CHECKING:
    from study.data.types import Splits

Epochs = Iterator[tuple[Metrics, Callable[[], State]]]


@dataclass(frozen=True)
class Job:
    """One training, as a method sees it."""

    model: nn.Module
    """Freshly initialised, from images in [0, 1] to logits."""
    build_loss: Callable[[Sequence[float]], nn.Module]
    """Training samples of each class that the loss sees → the loss with this training's parameters."""
    spec: LossSpec
    data: "Splits"
    recipe: Recipe
    score: Score
    """(validation logits, labels) → named numbers."""
    judge: Judge | None = None
    """(network, epoch) → more named numbers on validation data."""
    eps: float = 0.0
    """Linf radius of adversarial training, in units of the pixel range [0, 1]."""
    memory_size: int = 0
    """Images in a replay buffer."""
    data_seed: int = 0
    """Seed of data that a method brings along: the same for every loss of a replicate."""
    seed: int = 0
    device: str = "cpu"
    state: State | None = None
    """What get_state() gave in an earlier run of the same job."""
    rank: int = 0
    world_size: int = 1

    @property
    def place(self) -> dict[str, Any]:
        """Where the training runs: arguments of `fit`."""
        return {"device": self.device, "rank": self.rank, "world_size": self.world_size}


@dataclass
class Running:
    """A training under way."""

    epochs: Epochs
    """Yields (metrics, get_state) after every epoch; the network is trained while it is consumed."""
    loss: nn.Module
    kept: dict[str, dict[str, Tensor]] = field(default_factory=dict)
    """Further weights by name, as "experience0" or "best", on the CPU; filled while `epochs` is consumed."""
