"""The epoch loop: one network, one loss, one recipe, on one device or as one of several ranks.

    for metrics, get_state in fit(model, loss, train, validation, recipe, seed=0, device="cuda", score=score):
        ...

After every epoch it gives the metrics and a function that returns the state; `fit(..., state=state)` on a fresh model
and loss goes on after that epoch as if nothing had happened: on CPUs with the same bits.
"""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn

from study.errors import InputError
from study.training import parallel
from study.training.batches import DeviceData, LabelledImages, as_bytes, as_labels, batch_bounds, rank_bounds
from study.training.parallel import Regime, plain_regime
from study.training.prediction import outputs
from study.training.recipe import Recipe, learning_rate_at
from study.training.recording import BINS, EpochRecord, margin_quantiles

Metrics = dict[str, float]
State = dict[str, Any]
Score = Callable[[np.ndarray, np.ndarray], dict[str, float]]
Judge = Callable[[nn.Module, int], dict[str, float]]


class NonFiniteLoss(ArithmeticError):
    """Training diverged: the loss, its gradient or the logits are no longer finite numbers.

    Attributes:
        epoch: in which it was seen, from 1.
        learning_rate: of that epoch's last step.
    """

    def __init__(self, epoch: int, learning_rate: float) -> None:
        super().__init__(epoch, learning_rate)
        self.epoch = epoch
        self.learning_rate = learning_rate

    def __str__(self) -> str:
        return (
            f"training diverged in epoch {self.epoch} at learning rate {self.learning_rate:g}: "
            "the loss, its gradient or the logits are not finite; a lower learning rate may help"
        )


def fit(
    model: nn.Module,
    loss: nn.Module,
    train: LabelledImages,
    validation: LabelledImages | None,
    recipe: Recipe,
    *,
    sampler: str = "shuffle",
    class_weights_after: tuple[float, Tensor] | None = None,
    seed: int,
    device: torch.device | str = "cpu",
    state: State | None = None,
    rank: int = 0,
    world_size: int = 1,
    score: Score,
    regime: Regime = plain_regime,
    judge: Judge | None = None,
    memory: int = 0,
) -> Iterator[tuple[Metrics, Callable[[], State]]]:
    """Train a network; yield (metrics, get_state) after every epoch.

    The images lie on the device as uint8, with the padding of the augmentation; batches become float32 in [0, 1] there.
    Statistics are added up on the device and read once an epoch. A last small batch is used too; with batch norm a last
    batch of a single image (per rank) joins the one before.

    Metrics, by name:
        epoch: from 1.
        learning_rate: of the epoch's last step.
        train_loss: mean over the steps.
        active_share: share of the samples seen whose loss had a nonzero gradient with respect to their logits.
        active_classes: mean share of the C logits that had a nonzero gradient, over the active samples.
        gradient_norm: L2 norm of the gradient over all trained parameters, without weight decay; mean over the steps.
        logit_scale: standard deviation (ddof 0) of a sample's logits; mean over the samples seen.
        margin_q05, …_q25, …_q50, …_q75, …_q95: quantiles of z_y − max_{j≠y} z_j over the samples seen, to within a
            twenty-fifth of their size.
        seconds: wall clock, training and validation.
        validation_<name>: for each name that `score` or `judge` returns.

    get_state() gives tensors on the CPU and plain numbers, readable by `torch.load(weights_only=True)`: epoch, model,
    loss, optimizer, generator. It must be called before the next epoch is asked for.

    Args:
        model: from images (N, C, H, W) in [0, 1] to logits (N, C) or (N, C, H, W); trained in place, given unwrapped.
        loss: module of (logits, target). Its own trainable parameters are trained too, without weight decay.
        train: images uint8 (N, H, W, C) and labels int64 (N,), or (N, H, W) for one label a pixel.
        validation: the same, scored after every epoch; None for none.
        recipe: the training hyperparameters.
        sampler: "shuffle", or "balanced": N draws an epoch with replacement, every class equally likely.
        class_weights_after: (share, weights (C,)), deferred re-weighting (Cao et al. 2019): the first
            ceil(share · epochs) epochs have uniform class weights, the others these; share in [0, 1].
        seed: of order, augmentation and whatever is random in model and loss (dropout). Global random states are left
            as they were.
        device: where to train.
        state: what get_state() gave in an earlier run of the same arguments; training goes on after its epoch.
        rank: this process among the data-parallel ones; torch.distributed is initialised by the caller.
        world_size: number of ranks R. All get the same arguments, but for `rank` and `device`, and the same metrics.
        score: from logits float32 (N, C) and labels int64 (N,), numpy arrays, to named numbers; where every pixel has
            a label, from predicted classes (N, H, W) and labels (N, H, W).
        regime: one step's way from images to logits, see `parallel.Regime`.
        judge: called after every epoch with the network and the epoch, from 1, on every rank; gives named numbers, and
            leaves the network as it was.
        memory: the last so many images of `train` are a replay memory: an epoch is then 2 · (N − memory) draws, every
            other one from the memory (with replacement), so that each batch is half new and half remembered.

    Raises:
        InputError: arguments that do not fit each other; at once, not at the first epoch.
        NonFiniteLoss: at the end of an epoch in which training diverged.
    """
    device = torch.device(device)
    parallel.check_ranks(rank, world_size, recipe.batch_size)
    data = DeviceData(train, recipe.augmentation, sampler, device, memory)
    trainer = _Trainer(model, loss, data, recipe, class_weights_after, seed, device, rank, world_size, regime)
    held_out = None if validation is None else _HeldOut(validation, score)
    if state is not None:
        trainer.restore(state)
    return _epochs(trainer, held_out, judge)


def _epochs(
    trainer: "_Trainer", held_out: "_HeldOut | None", judge: Judge | None
) -> Iterator[tuple[Metrics, Callable[[], State]]]:
    with trainer.ranks_joined():
        while trainer.done < trainer.recipe.epochs:
            started = time.perf_counter()
            metrics = trainer.train_epoch()
            if held_out is not None:
                metrics |= held_out.metrics(trainer)
            if judge is not None:
                judged = judge(trainer.objective.model, trainer.done)
                metrics |= {f"validation_{name}": value for name, value in judged.items()}
            metrics["seconds"] = time.perf_counter() - started
            yield metrics, trainer.state_getter()


class _Trainer:
    """One training: what changes from step to step, and how to write it down and take it up again."""

    def __init__(
        self,
        model: nn.Module,
        loss: nn.Module,
        data: DeviceData,
        recipe: Recipe,
        class_weights_after: tuple[float, Tensor] | None,
        seed: int,
        device: torch.device,
        rank: int,
        world_size: int,
        regime: Regime,
    ) -> None:
        self.recipe, self.device, self.rank, self.world_size = recipe, device, rank, world_size
        self.data = data
        self.bounds = _bounds(data.draws, recipe, parallel.smallest_batch(model, device, world_size))
        self.loss = loss.to(device)
        self.ignore_index = getattr(loss, "ignore_index", -100)
        self.reweighting = _Reweighting(self.loss, class_weights_after, recipe.epochs, device)
        model = model.to(device=device, memory_format=torch.channels_last)
        self.objective = parallel.Objective(model, self.loss, device, world_size, regime)
        self.callable = parallel.wrap(self.objective, device)
        self.parameters = [p for p in self.objective.parameters() if p.requires_grad]
        self.optimizer = _optimizer(self.objective.model, self.loss, recipe, device)
        self.generator = torch.Generator().manual_seed(seed)
        self.done = 0

    def train_epoch(self) -> Metrics:
        """Train one epoch and return its metrics but for seconds and validation."""
        self.reweighting.before_epoch(self.done)
        draws = self.data.draw(self.generator)
        noise = int(torch.randint(2**62, (), generator=self.generator))
        self.objective.train()
        record, rate = EpochRecord(self.ignore_index), 0.0
        with _global_seed(noise + self.rank, self.device):
            for number, (start, stop) in enumerate(self.bounds):
                rate = learning_rate_at(self.recipe, self.done * len(self.bounds) + number, len(self.bounds))
                for group in self.optimizer.param_groups:
                    group["lr"] = rate
                first, last = rank_bounds(start, stop, self.rank, self.world_size)
                images, labels = self.data.batch(draws, first, last)
                self._drop_gradients()
                value, logits = self.callable(images, labels, stop - start)
                value.backward()
                record.add(value, logits, labels, [p.grad for p in self.parameters if p.grad is not None])
                self.optimizer.step()
        parallel.average_running_statistics(self.objective.model, self.world_size)
        self.done += 1
        return self._metrics(record, rate)

    def _drop_gradients(self) -> None:
        """What `zero_grad(set_to_none=True)` does, without its bookkeeping: 5 % of a small network's step.

        Called before a step, not after: while gradients lie at the heap's top, the C library does not give the memory
        below them back to the system, only to fetch it again, page by page, in the next step.
        """
        for parameter in self.parameters:
            parameter.grad = None

    def _metrics(self, record: EpochRecord, rate: float) -> Metrics:
        totals = parallel.sum_over_ranks(record.totals(), self.device, self.world_size)
        value, norm, active, spread, samples, share = totals[:-BINS].tolist()
        steps = len(self.bounds) * self.world_size
        if not all(math.isfinite(number) for number in (value, norm, spread)):
            raise NonFiniteLoss(self.done, rate)
        return {
            "epoch": self.done,
            "learning_rate": rate,
            "train_loss": value / steps,
            "active_share": active / samples if samples else math.nan,
            "active_classes": share / active if active else math.nan,
            "gradient_norm": norm / steps,
            "logit_scale": spread / samples if samples else math.nan,
            **margin_quantiles(totals[-BINS:]),
        }

    def state_getter(self) -> Callable[[], State]:
        """Return the function that copies the state after this epoch."""
        epoch = self.done

        def get_state() -> State:
            if self.done != epoch:
                raise RuntimeError(f"the state after epoch {epoch} was asked for after epoch {self.done}")
            return {
                "epoch": epoch,
                "model": _copy(self.objective.model.state_dict()),
                "loss": _copy(self.loss.state_dict()),
                "optimizer": _copy(self.optimizer.state_dict()),
                "generator": self.generator.get_state(),
            }

        return get_state

    def restore(self, state: State) -> None:
        """Take up training after the epoch whose state this is."""
        missing = {"epoch", "model", "loss", "optimizer", "generator"} - set(state)
        if missing or not 0 <= state["epoch"] <= self.recipe.epochs:
            raise InputError(
                f"state: expected what fit() gave after an epoch of 0 to {self.recipe.epochs}, "
                + (f"given one without {', '.join(sorted(missing))}" if missing else f"given epoch {state['epoch']}")
            )
        self.done = state["epoch"]
        if self.done:
            self.reweighting.before_epoch(self.done - 1)
        self.objective.model.load_state_dict(state["model"])
        self.loss.load_state_dict(state["loss"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.generator.set_state(state["generator"])

    @contextmanager
    def ranks_joined(self) -> Iterator[None]:
        """Let the loss sum its denominators over the ranks while this training runs."""
        if self.world_size == 1 or self.objective.scaled_here:
            yield
            return
        before, self.loss.process_group = self.loss.process_group, dist.group.WORLD
        try:
            yield
        finally:
            self.loss.process_group = before


class _Reweighting:
    """Deferred re-weighting: uniform class weights first, the given ones from an epoch on."""

    def __init__(self, loss: nn.Module, after: tuple[float, Tensor] | None, epochs: int, device: torch.device) -> None:
        self.loss = loss
        self.weights = None
        if after is None:
            return
        share, weights = after
        if not 0 <= share <= 1:
            raise InputError(f"class_weights_after: expected a share of the epochs in [0, 1], given {share!r}")
        if not callable(getattr(loss, "set_class_weight", None)):
            raise InputError(
                "class_weights_after: expected a loss that can be re-weighted, with a method "
                f"set_class_weight(weights), given {type(loss).__name__}, which has none"
            )
        self.weights = torch.as_tensor(weights, dtype=torch.float32, device=device)
        self.first = math.ceil(share * epochs - 1e-9)

    def before_epoch(self, index: int) -> None:
        """Set the class weights for the epoch with this index, from 0."""
        if self.weights is not None:
            self.loss.set_class_weight(self.weights if index >= self.first else None)


class _HeldOut:
    """Validation images, and what is asked of the network's answers to them."""

    def __init__(self, data: LabelledImages, score: Score) -> None:
        self.images = as_bytes(data.images)
        self.labels = as_labels(data.labels, len(self.images)).numpy()
        self.score = score

    def metrics(self, trainer: _Trainer) -> Metrics:
        count, ranks = len(self.images), trainer.world_size
        part = self.images[parallel.part_of_rank(count, trainer.rank, ranks)]
        found, _ = outputs(trainer.objective.model, part, trainer.device, maps_as_classes=True)
        found = parallel.gather_rows(found, count, trainer.device, ranks)
        wrong = found < 0 if found.ndim == 3 else ~found.isfinite()
        if bool(wrong.any()):
            raise NonFiniteLoss(trainer.done, trainer.optimizer.param_groups[0]["lr"])
        return {f"validation_{name}": value for name, value in self.score(found.numpy(), self.labels).items()}


def _bounds(count: int, recipe: Recipe, smallest: int) -> list[tuple[int, int]]:
    if count < smallest or recipe.batch_size < smallest:
        raise InputError(
            f"expected at least {smallest} training images and a batch_size of at least {smallest}"
            f"{' (batch norm needs two images a rank)' if smallest > 1 else ''}, "
            f"given {count} images and batch_size {recipe.batch_size}"
        )
    return batch_bounds(count, recipe.batch_size, smallest)


def _optimizer(model: nn.Module, loss: nn.Module, recipe: Recipe, device: torch.device) -> torch.optim.SGD:
    """Return SGD with Nesterov momentum: weight decay on all of the model's parameters, none on the loss's own."""
    groups = [{"params": [p for p in model.parameters() if p.requires_grad], "weight_decay": recipe.weight_decay}]
    own = [p for p in loss.parameters() if p.requires_grad]
    if own:
        groups.append({"params": own, "weight_decay": 0.0})
    return torch.optim.SGD(
        groups,
        lr=recipe.learning_rate,
        momentum=recipe.momentum,
        nesterov=recipe.momentum > 0,
        fused=device.type in ("cpu", "cuda") or None,
    )


@contextmanager
def _global_seed(seed: int, device: torch.device) -> Iterator[None]:
    """Seed the global generators (dropout draws from them) for a while, and put their states back."""
    cuda = device.type == "cuda"
    with torch.random.fork_rng(devices=[device] if cuda else []):
        torch.default_generator.manual_seed(seed)
        if cuda:
            with torch.cuda.device(device):
                torch.cuda.manual_seed(seed)
        yield


def _copy(tree: Any) -> Any:  # noqa: ANN401
    """Return a copy of nested dicts, lists and tuples whose tensors are copies on the CPU."""
    if isinstance(tree, Tensor):
        return tree.detach().to("cpu", copy=True)
    if isinstance(tree, dict):
        return {key: _copy(value) for key, value in tree.items()}
    if isinstance(tree, list | tuple):
        return type(tree)(_copy(value) for value in tree)
    return tree
