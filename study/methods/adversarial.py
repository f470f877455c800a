"""Adversarial training around any loss: PGD, one-step and TRADES, with the same or with the loss's own inner attack.

The inner attack raises the same for every loss under `pgd` and `fast` (cross-entropy and the untruncated margin) and
under `trades` (as TRADES is defined, the divergence from the clean prediction); under `…_own` it raises the loss's own
objective. Nothing else differs between a method and its `…_own`: neither radius nor steps.
"""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from study.methods.inner_attack import cross_entropy, evaluating, own, pgd, shared, untruncated_margin
from study.methods.plain import weights_of_loss
from study.methods.types import Epochs, Job, Running
from study.run import BEST
from study.training import fit
from study.training.batches import as_bytes, to_unit_range

if TYPE_CHECKING:
    from study.data.types import Images
    from study.training.loop import Judge
    from study.training.parallel import Regime

STEPS, STEP = 7, 0.25
"""PGD inside training: steps, and the length of one in units of ε (Madry et al. 2018: 7 steps of 2/255 at 8/255)."""
FAST_STEP = 1.25
"""One step of 1.25 ε from a random start (Wong et al. 2020)."""
BETA = 6.0
"""Weight of TRADES' second term (Zhang et al. 2019)."""
JUDGED = "validation_robust_accuracy"


def adversarial(attack: str, *, own_objective: bool) -> Callable[[Job], Running]:
    """Return a method.

    Args:
        attack: "pgd", "fast" or "trades".
        own_objective: whether the inner attack raises the loss's own objective and not the one that all share.
    """

    def begin(job: Job) -> Running:
        loss = job.build_loss(job.data.class_counts)
        epochs = fit(
            job.model,
            loss,
            job.data.train,
            job.data.validation,
            job.recipe,
            sampler=job.spec.sampler,
            class_weights_after=weights_of_loss(job),
            seed=job.seed,
            state=None if job.state is None else job.state["fit"],
            score=job.score,
            judge=job.judge,
            regime=_regime(attack, job.eps, own_objective),
            **job.place,
        )
        running = Running(epochs, loss)
        running.epochs = _keep_best(epochs, job, running.kept)
        return running

    return begin


def _regime(attack: str, eps: float, own_objective: bool) -> "Regime":
    step, steps = (FAST_STEP * eps, 1) if attack == "fast" else (STEP * eps, STEPS)

    def attacked(model: nn.Module, loss: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        objective = own(loss) if own_objective else shared
        return pgd(model, images, lambda z: objective(z, labels), eps=eps, step=step, steps=steps)

    def on_attacked(model: nn.Module, loss: nn.Module, images: Tensor, labels: Tensor) -> tuple[Tensor, None]:
        return model(attacked(model, loss, images, labels)), None

    def trades(model: nn.Module, loss: nn.Module, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        # A rank without images takes the same passes: others wait for it in synchronised batch norm and in the loss.
        if own_objective:
            moved = attacked(model, loss, images, labels)
        else:
            moved = pgd(model, images, away_from(model, images), eps=eps, step=step, steps=steps)
        clean = model(images)
        return clean, BETA * divergence(clean, model(moved))

    return trades if attack == "trades" else on_attacked


def divergence(clean: Tensor, moved: Tensor) -> Tensor:
    """Return the mean over samples of KL(softmax clean ‖ softmax moved) of logits (N, C); 0 of none."""
    target = F.log_softmax(clean.float(), 1)
    total = F.kl_div(F.log_softmax(moved.float(), 1), target, reduction="sum", log_target=True)
    return total / max(1, len(clean))


def away_from(model: nn.Module, images: Tensor) -> Callable[[Tensor], Tensor]:
    """Return TRADES' inner objective: divergence from what the network, in evaluation mode, says of clean images."""
    with evaluating(model), torch.no_grad():
        clean = model(images).float()
    return lambda logits: divergence(clean, logits)


def _keep_best(epochs: Epochs, job: Job, kept: dict[str, dict[str, Tensor]]) -> Epochs:
    """Pass epochs on; keep the weights of the first one with the best validation accuracy under attack, if known."""
    best = -1.0
    if job.state is not None:
        best = float(job.state["best"])
        kept.update(job.state["kept"])
    for metrics, get_state in epochs:
        if metrics.get(JUDGED, -1.0) > best:
            best = metrics[JUDGED]
            kept[BEST] = {name: value.detach().to("cpu", copy=True) for name, value in job.model.state_dict().items()}
        yield metrics, _with(get_state, best, kept)


def _with(get_state: Callable[[], dict[str, Any]], best: float, kept: dict[str, Any]) -> Callable[[], dict[str, Any]]:
    return lambda: {"fit": get_state(), "best": best, "kept": {name: dict(value) for name, value in kept.items()}}


def robust_judge(
    validation: "Images",
    eps: float,
    *,
    seed: int,
    device: str,
    points: int,
    steps: int,
    every: Callable[[int], bool],
) -> "Judge":
    """Return the judge that attacks some validation images with two short PGDs, on cross-entropy and on the margin.

    It gives `robust_accuracy`, the share that stays right under both, and `robust_mean`, the mean of that and of the
    accuracy on the same images as they are. The attacks start at the images themselves, so nothing is random.

    Args:
        validation: images to draw from.
        eps: Linf radius, in units of the pixel range.
        seed: which images.
        device: where the network is.
        points: how many images at most.
        steps: of each attack, 2.5 ε / steps long.
        every: epoch (from 1) → whether to judge after it.
    """
    chosen = np.sort(np.random.default_rng(seed).permutation(len(validation))[:points])
    images = to_unit_range(as_bytes(validation.images[chosen])).to(device)
    labels = torch.tensor(validation.labels[chosen]).to(device)

    def judge(model: nn.Module, epoch: int) -> dict[str, float]:
        if not every(epoch):
            return {}
        right = list(_right_after(model, images, labels, eps, steps))
        robust = torch.stack(right).all(0).float().mean().item()
        return {"robust_accuracy": robust, "robust_mean": (right[0].float().mean().item() + robust) / 2}

    return judge


def _right_after(model: nn.Module, images: Tensor, labels: Tensor, eps: float, steps: int) -> Iterator[Tensor]:
    """Yield (N,) which images are classified correctly as they are, and after each of the two attacks."""
    step = 2.5 * eps / steps
    tried = [images]
    for objective in (cross_entropy, untruncated_margin):
        tried.append(
            pgd(
                model,
                images,
                lambda z, objective=objective: objective(z, labels),
                eps=eps,
                step=step,
                steps=steps,
                random_start=False,
            )
        )
    with evaluating(model), torch.no_grad():
        for batch in tried:
            yield model(batch).argmax(1) == labels
