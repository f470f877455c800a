"""What a study is (`StudyConfig`, recorded whole beside every result) and what it runs on (`Resources`, which is not).

Everything that could change a number stands in `StudyConfig`; a resumed run takes it from its own record. `Resources`
may differ from one resumption to the next.
"""

from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, fields, replace
from typing import Any

from search_spaces.losses import LOSS_SPACES
from study.errors import InputError, unknown
from study.radii import named
from study.shape import MAYBE, Shape, mismatch

PRESET_NAMES = ("smoke", "quick", "full", "paper")
ATTACK_MODES = ("none", "quick", "standard", "plus")
ARMS = ("default", "dropin", "tuned")
"""Arms of every task; a task may have more that choose among the same trials by another validation metric."""


MOST = {"replicates": 1000, "seeds": 1000, "epochs": 100_000, "trials": 1_000_000, "image_size": 2048}
"""More than anybody has the time, or the memory, for: a slip of the keyboard is refused and not begun."""
SHAPES: Mapping[Any, Shape] = {
    str: str,
    int: int,
    bool: bool,
    tuple[str, ...]: [str],
    tuple[float, ...]: [float],
    float | None: MAYBE,
    int | None: (None, int),
    str | None: (None, str),
}
"""Type of a field of `StudyConfig` → what JSON may hold in its place."""


def _at_least(name: str, value: float, low: float) -> None:
    if not value >= low:
        raise InputError(f"{name}: expected a number ≥ {low:g}, got {value!r}")


@dataclass(frozen=True)
class StudyConfig:
    """One study: a task on a data set with a network, several losses, and a budget that is the same for all of them."""

    task: str
    preset: str
    dataset: str
    model: str
    losses: tuple[str, ...]
    methods: tuple[str, ...]
    objective: str
    """Validation metric of the search's last epoch."""
    trials: int
    """Trials per loss, over all replicates."""
    replicates: int
    """Independent (search seed, split seed, class order)."""
    seeds: int
    """Retrainings of each winner, with fresh seeds."""
    epochs: int
    rescored: int
    """So many of a search's best trials are scored again with a fresh seed before one is named."""
    sweep: int
    """Points a side of the margin × learning-rate map around hem's winners; 0: none."""
    attacks: str
    eps: tuple[float, ...]
    """Linf radii in units of the pixel range [0, 1]."""
    l2_eps: tuple[float, ...]
    """L2 radii in the same units."""
    attack_points: int
    """Test images under attack; 0: all of them."""
    attack_replicates: int
    """Replicates whose tuned models are attacked."""
    imbalance_ratio: float | None
    """ρ = n_max / n_min of the long tail; None: the data as they are."""
    ood_sets: tuple[str, ...]
    """Outside sets of the user's own, besides the built-in ones."""
    seed: int
    held_out: int | None = None
    """Classes that a model of task rejection never sees; None: four tenths of them."""
    training_eps: float | None = None
    """Linf radius at which defences train; None: the endpoint's, or there are none."""
    corruption_points: int = 0
    """Test images under each corruption; 0: all of them."""
    experiences: int = 0
    """Experiences that a continual learner's classes come in; 0 for other tasks."""
    memory: int = 0
    """Images in a replay buffer."""
    scenes: int = 0
    """Training scenes of segmentation; half as many for test, a quarter for validation."""
    image_size: int = 0
    """Height and width in pixels that all images get; 0: the data's own, or what the data set's kind has for it."""
    resplit: bool = False
    """Official test images join the others, and every replicate cuts its own test part."""
    weights: str | None = None
    """File of the weights that every training begins with; None: new ones."""
    weights_sha256: str = ""
    """Fingerprint of that file."""
    freeze_body: bool = False
    """Whether the head alone is trained."""
    planned_seconds: float | None = None
    """If a first training takes far longer than this, the trials are lowered for all losses alike."""

    def __post_init__(self) -> None:
        for name, low in (("replicates", 1), ("seeds", 1), ("epochs", 1), ("rescored", 1), ("seed", 0)):
            _at_least(f"--{name}", getattr(self, name), low)
        for name, high in MOST.items():
            if getattr(self, name) > high:
                raise InputError(
                    f"--{name.replace('_', '-')}: expected a number ≤ {high}, got {getattr(self, name)!r:.60}"
                )
        if self.trials < 2 * self.replicates:
            raise InputError(
                f"--trials: {self.trials} per loss over {self.replicates} replicates: fewer than 2 trials a search\n"
                f"allowed: at least {2 * self.replicates}, or fewer --replicates"
            )
        if self.trials % self.replicates:
            raise InputError(
                f"--trials: {self.trials} per loss cannot be divided equally over {self.replicates} replicates\n"
                f"allowed: multiples of {self.replicates}, as {self.trials // self.replicates * self.replicates}"
            )
        if self.attacks not in ATTACK_MODES:
            raise unknown("--attacks", self.attacks, ATTACK_MODES)
        for eps in self.eps:
            if not 0 <= eps <= 1:
                raise InputError(f"--eps: expected radii in the pixel range [0, 1], got {eps:g}")
        if self.training_eps is not None and not 0 < self.training_eps <= 1:
            raise InputError(f"training_eps: expected a radius above 0 and at most 1, got {self.training_eps:g}")
        for eps in self.l2_eps:
            if not 0 <= eps < float("inf"):
                raise InputError(f"--eps: expected L2 radii of at least 0, got {eps:g}")
        called = [f"{norm} {named(eps)}" for norm, eps in dict.fromkeys(self.radii)]
        if len(set(called)) < len(called):
            twice = next(name for name in called if called.count(name) > 1)
            raise InputError(f"--eps: expected radii that differ in their first six digits, got {twice} twice")
        if self.attacks != "none" and not self.radii:
            raise InputError("--eps: expected at least one radius, got none; or ask for --attacks none")
        _at_least("--attack-points", self.attack_points, 0)
        _at_least("--image-size", self.image_size, 8 if self.image_size else 0)
        self._check_task()
        if self.freeze_body and self.weights is None:
            raise InputError("--freeze-body keeps the body of given weights\nallowed: --weights PATH with it")
        if self.imbalance_ratio is not None:
            _at_least("--imbalance-ratio", self.imbalance_ratio, 1)
        for name in ("losses", "methods", "ood_sets"):
            values = getattr(self, name)
            if len(set(values)) != len(values):
                raise InputError(f"--{name.replace('_', '-')}: each name once, got {' '.join(values)}")
        if not self.losses:
            raise InputError("--losses: expected at least one loss")
        for loss in self.losses:
            if ":" not in loss and loss not in LOSS_SPACES:
                raise unknown("loss", loss, [*LOSS_SPACES, "package.module:Name"])

    def _check_task(self) -> None:
        """Refuse a loss that the task cannot use."""
        from study.tasks import get_task

        task = get_task(self.task)
        if self.held_out is not None and self.task != "rejection":
            raise InputError(f"--held-out belongs to task rejection, got task {self.task}")
        for loss in self.losses:
            if loss in task.unusable:
                usable = [name for name in LOSS_SPACES if name not in task.unusable]
                raise InputError(
                    f"--losses: task {task.name} cannot use {loss}: {task.unusable[loss]}\nallowed: {', '.join(usable)}"
                )

    @property
    def arms(self) -> tuple[str, ...]:
        """The study's arms: `dropin` needs cross-entropy's search, a task may add some of its own."""
        from study.tasks import get_task

        usual = ARMS if "ce" in self.losses else tuple(arm for arm in ARMS if arm != "dropin")
        return (*usual, *get_task(self.task).selections)

    def selection(self, arm: str) -> str:
        """Return the validation metric by which an arm chooses among the trials of a search."""
        from study.tasks import get_task

        return get_task(self.task).selections.get(arm, self.objective)

    @property
    def trials_per_search(self) -> int:
        """Trials of one (method, loss, replicate)."""
        return self.trials // self.replicates

    @property
    def pairs(self) -> tuple[tuple[str, str], ...]:
        """Every (method, loss) of the study."""
        from study.tasks import get_task

        excluded = get_task(self.task).excluded
        return tuple((m, loss) for m in self.methods for loss in self.losses if (m, loss) not in excluded)

    @property
    def radii(self) -> tuple[tuple[str, float], ...]:
        """(norm, ε) of every attack."""
        return (*(("Linf", eps) for eps in self.eps), *(("L2", eps) for eps in self.l2_eps))

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "StudyConfig":
        """Return the config that `to_dict` (through JSON) came from."""
        known = {field.name for field in fields(cls)}
        extra = sorted(set(values) - known)
        if extra:
            raise InputError(f"the run's configuration has fields this version does not know: {', '.join(extra)}")
        needed = {f"{f.name}{'?' * (f.default is not MISSING)}": SHAPES[f.type] for f in fields(cls)}
        wrong = mismatch(dict(values), needed, "config")
        if wrong:
            raise InputError(f"the run's configuration cannot be used: {wrong}")
        return cls(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()})


DRIVER_CPU = 0.01
"""What the process holds that waits for a training of several ranks; the ranks do with that much less."""


@dataclass(frozen=True)
class Resources:
    """What the study runs on."""

    address: str | None = None
    """Ray cluster: an address, or "auto"; None starts a local one."""
    max_concurrent: int = 0
    """Trainings at a time; 0: as many as the cluster has room for."""
    cpus_per_trial: float = 1.0
    gpus_per_trial: float = 0.0
    """A part of one GPU, as 0.25, puts so many trainings on each; Ray counts, and does not divide its memory."""
    workers_per_trial: int = 1
    """Data-parallel ranks of one training, through Ray Train."""
    cpus_per_worker: float = 1.0
    gpus_per_worker: float = 0.0
    trial_timeout: float = 0.0
    """Seconds after which a training counts as failed; 0: never."""
    node_timeout: float = 600.0
    """Seconds to wait for a node when none that is left has room for a training."""
    verbose: bool = False

    def __post_init__(self) -> None:
        for name in ("max_concurrent", "gpus_per_trial", "gpus_per_worker", "trial_timeout", "node_timeout"):
            _at_least(f"--{name.replace('_', '-')}", getattr(self, name), 0)
        for name in ("cpus_per_trial", "cpus_per_worker"):
            if not DRIVER_CPU < getattr(self, name) < float("inf"):
                raise InputError(
                    f"--{name.replace('_', '-')}: expected a finite number above {DRIVER_CPU}, "
                    f"got {getattr(self, name):g}"
                )
        for name in ("gpus_per_trial", "gpus_per_worker"):
            amount = getattr(self, name)
            if amount > 1:
                raise InputError(
                    f"--{name.replace('_', '-')}: {amount:g} GPUs cannot be given, as a process computes on one\n"
                    "allowed: 1, or a part of one GPU, as 0.25 for four trainings on each; a training on several GPUs "
                    "has several workers: --workers-per-trial 2 --gpus-per-worker 1"
                )
        _at_least("--workers-per-trial", self.workers_per_trial, 1)
        several = self.workers_per_trial > 1
        if several and 0 < self.gpus_per_worker < 1:
            raise InputError(
                f"--gpus-per-worker: with {self.gpus_per_worker:g} several workers of a training lie on one GPU, "
                "and cannot meet there (NCCL)\n"
                "allowed: 1; or trainings of one worker that share a GPU, as --gpus-per-trial 0.25"
            )
        if several and self.gpus_per_trial:
            raise InputError("--gpus-per-trial is for trainings of one worker\nallowed: --gpus-per-worker")
        if several and self.cpus_per_trial != 1.0:
            raise InputError("--cpus-per-trial is for trainings of one worker\nallowed: --cpus-per-worker")
        if not several and (self.gpus_per_worker or self.cpus_per_worker != 1.0):
            raise InputError(
                "--cpus-per-worker and --gpus-per-worker are for several workers: give --workers-per-trial too"
            )

    @property
    def per_training(self) -> dict[str, float]:
        """CPUs and GPUs that one training holds."""
        if self.workers_per_trial > 1:
            n = self.workers_per_trial
            return {"CPU": n * self.cpus_per_worker, "GPU": n * self.gpus_per_worker}
        return {"CPU": self.cpus_per_trial, "GPU": self.gpus_per_trial}

    def per_worker(self) -> "Resources":
        """Return the same for work of one process each, with what one worker of a training has."""
        if self.workers_per_trial == 1:
            return self
        here = {"cpus_per_trial": self.cpus_per_worker, "gpus_per_trial": self.gpus_per_worker}
        return replace(self, workers_per_trial=1, cpus_per_worker=1.0, gpus_per_worker=0.0, **here)
