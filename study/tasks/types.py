"""What a task is: its data, objective, primary endpoint and methods, as one value."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    from study.data.types import Source, Splits


@dataclass(frozen=True)
class Endpoint:
    """The one number a task is decided by, declared before anything is trained."""

    probe: str
    dataset: str
    slice: str
    metric: str
    method: str
    label: str
    higher_is_better: bool = True
    arm: str = "tuned"
    kind: str = "superiority"
    """"superiority" (two-sided paired t) or "equivalence" (two one-sided tests at `delta`)."""
    delta: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return asdict(self)


@dataclass(frozen=True)
class Task:
    """A task. Adding one is one file that makes such a value, and one line in the registry."""

    name: str
    endpoint: Endpoint
    objective: str
    """Default validation metric of the search."""
    objectives: tuple[str, ...]
    methods: tuple[str, ...]
    lead_variant: str
    """The HEM variant that stands in the confirmatory family."""
    excluded: frozenset[tuple[str, str]]
    """(method, loss) that make no sense together, or are another pair under a second name."""
    presets: Mapping[str, Mapping[str, Any]]
    recipe: Callable[["Source"], Mapping[str, Any]]
    """Data → literature recipe: the `default` arm and every search's first point."""
    split: Callable[["Source", float | None, int, int], "Splits"]
    """(data, imbalance ratio, split seed, order seed) → training, validation and test images."""
    score: Callable[["np.ndarray", "np.ndarray"], dict[str, float]]
    """(validation logits, labels) → the metrics that `objectives` names."""
