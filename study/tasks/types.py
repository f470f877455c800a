"""What a task is: its data, objective, primary endpoint, methods and probes, as one value."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from torch import nn

    from study.config import StudyConfig
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
class Cut:
    """Which of the many ways of cutting a data set is asked for."""

    split_seed: int
    """Which images go where."""
    order_seed: int
    """Which classes are head, known, or first."""
    final: bool
    """Whether for retraining and everything after it, where a task's protocol tells that from its search."""


@dataclass(frozen=True)
class Applies:
    """Whether a probe makes sense on a task."""

    answer: str
    """"yes", "restricted" or "no"."""
    note: str = ""

    def __bool__(self) -> bool:
        return self.answer != "no"


YES = Applies("yes")
PROBES = ("accuracy", "posthoc", "rejection", "calibration", "corruption", "attack", "continual", "segmentation")
"""Every probe, in the order of the table."""


@dataclass(frozen=True)
class Judging:
    """What a task's judge of a network in training may know."""

    config: "StudyConfig"
    data: "Splits"
    method: str
    seed: int
    """The same for every loss of a replicate."""
    device: str
    every_epoch: bool
    """Whether to judge after every epoch and not after the last one alone."""

    def due(self, epoch: int) -> bool:
        """Say whether the network is to be judged after this epoch, from 1."""
        return self.every_epoch or epoch == self.config.epochs


@dataclass(frozen=True)
class Task:
    """A task. Adding one is one file that makes such a value, and one line in the registry."""

    name: str
    endpoint: Endpoint
    objective: str
    """Default validation metric of the search."""
    objectives: tuple[str, ...]
    methods: tuple[str, ...]
    presets: Mapping[str, Mapping[str, Any]]
    recipe: Callable[["Source"], Mapping[str, Any]]
    """Data → literature recipe: the `default` arm and every search's first point."""
    split: Callable[["Source", "StudyConfig", Cut], "Splits"]
    """Data → training, validation and test images."""
    score: Callable[["np.ndarray", "np.ndarray"], dict[str, float]]
    """(validation logits, labels) → the metrics that `objectives` names, but for the judge's."""
    probes: Mapping[str, Applies]
    """Probe → whether it applies; a probe that is not named does not."""
    judge: "Callable[[Judging], Callable[[nn.Module, int], dict[str, float]]] | None" = None
    """What makes the function that judges a network in training by more than its logits."""
    selections: Mapping[str, str] = field(default_factory=dict)
    """Further arms: arm → the validation metric that chooses among the same trials."""
    excluded: frozenset[tuple[str, str]] = frozenset()
    """(method, loss) that make no sense together, or are another pair under a second name."""
    unusable: Mapping[str, str] = field(default_factory=dict)
    """Loss → why this task cannot use it."""
    dense: bool = False
    """Whether every pixel has a label, and a network gives logits for each."""
    radius: Callable[[str], float] | None = None
    """Name of a data set → Linf radius of the endpoint; None for tasks without attacks in them."""

    def applies(self, probe: str) -> Applies:
        """Return whether a probe makes sense here."""
        return self.probes.get(probe, Applies("no"))

    def training_eps(self, config: "StudyConfig") -> float:
        """Return the Linf radius at which defences train; 0 for tasks without attacks in them."""
        if config.training_eps is not None:
            return config.training_eps
        return self.radius(config.dataset) if self.radius is not None else 0.0

    def endpoint_on(self, dataset: str) -> Endpoint:
        """Return the endpoint on a data set: its radius depends on the kind of images."""
        if self.radius is None:
            return self.endpoint
        return replace(self.endpoint, slice=f"Linf-{self.radius(dataset):g}")
