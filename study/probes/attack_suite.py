"""The attacks by name: pyautoattack's, with AutoAttack's settings, and APGD on further losses.

What is done here and not in the library, and why:
- APGD leaves out the points that have fallen instead of following them to its last step.
- Targeted attacks get min(9, C − 1) target classes; with the library's 9 they fail below 10 classes. In quick mode it
  is min(3, C − 1): the three likeliest wrong classes, for a third of the time.
- Square's start pattern for L2 does not fit some small images (12, 14, 18, 19, 24 or fewer than 5 pixels): they are
  framed by black pixels which the model does not see.
- Square does not take the cross-entropy that it has no use for.
- FAB's projection for Linf is done without sorting (`fab_projection`): the same result in a quarter of the time.
- They search on the model with its batch norms folded into the convolutions, and more (`streamlined`): the same
  logits, sooner.
- A model whose output does not depend on its input at all gets a gradient of zero instead of an error from autograd.
- The library's messages go to a logger that prints nothing, unless a logger is given.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from pyautoattack import fab_base
from pyautoattack.autopgd_base import APGDAttack, APGDAttack_targeted
from pyautoattack.fab_pt import FABAttack_PT
from pyautoattack.square import SquareAttack
from torch import Tensor, nn
from torch.nn import functional

from study.probes import attack_losses
from study.probes.attack_losses import LossFunction
from study.probes.fab_projection import projection_linf
from study.probes.streamlined import streamlined

fab_base.projection_linf = projection_linf  # the library calls it by this name and has no other way to be given one

ITERATIONS = 100
TARGETS = 9
QUICK_TARGETS = 3
SQUARE_QUERIES = 5000
EXTRAS = ("apgd-margin", "apgd-hem", "apgd-hem-untruncated", "apgd-ce-x10", "apgd-ce-x100")
_SILENT = logging.Logger("silent attack", level=logging.CRITICAL + 1)


def attack_names(mode: str, num_classes: int) -> tuple[str, ...]:
    """Return the attacks of a mode in the order in which they are counted.

    Args:
        mode: "short", "quick", "standard" or "plus".
        num_classes: C. The targeted DLR loss needs 4 classes, the DLR loss 3.
    """
    if mode == "short":
        return ("apgd-ce",)
    if mode == "quick":
        return ("apgd-ce", "apgd-t") if num_classes >= 4 else ("apgd-ce", "fab")
    if mode == "standard":
        own = ("apgd-ce", "apgd-t", "fab-t", "square") if num_classes >= 4 else ("apgd-ce", "fab", "square")
        return (*own, *EXTRAS)
    plus = ("apgd-ce", "apgd-dlr", "fab", "square", "apgd-t", "fab-t")
    at_least = {"apgd-dlr": 3, "apgd-t": 4}
    return (*(name for name in plus if num_classes >= at_least.get(name, 2)), *EXTRAS)


class Logits(nn.Module):
    """The model as the attacks see it: float32 logits that are always part of the input's graph."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits (N, C) of images (N, channels, H, W)."""
        logits = self.model(images).float()
        if images.requires_grad and torch.is_grad_enabled() and not logits.requires_grad:
            logits = logits + 0 * images.flatten(1).sum(1, keepdim=True)
        return logits


class _AllFell(Exception):
    """Every point of the run is misclassified: there is nothing left to attack."""


class _Query:
    """Answers an attack's queries, asking the model only about the points that still stand.

    A point falls at the first query that succeeds (is misclassified, if nothing else is asked for); that image is
    kept. From then on its logits are those of that query, without a gradient.
    """

    def __init__(
        self, model: Callable[[Tensor], Tensor], target: Tensor, succeeds: Callable[[Tensor, Tensor], Tensor]
    ) -> None:
        self.model = model
        self.target = target
        self.succeeds = succeeds
        self.fell = torch.zeros_like(target, dtype=torch.bool)
        self.images: Tensor | None = None
        self.logits: Tensor | None = None

    def __call__(self, images: Tensor) -> Tensor:
        standing = ~self.fell
        if self.logits is None or self.images is None:
            logits = self.model(images)
            self.images = images.detach().clone()
        elif standing.all():
            logits = self.model(images)
        else:
            logits = self.logits.clone()
            logits[standing] = self.model(images[standing])
        falls = standing & self.succeeds(logits.detach(), self.target)
        self.images[falls] = images.detach()[falls]
        self.logits = logits.detach().clone()
        self.fell = self.fell | falls
        if self.fell.all():
            raise _AllFell
        return logits


def misclassified(logits: Tensor, target: Tensor) -> Tensor:
    """Return (N,) whether another class than the target has the largest logit."""
    return logits.argmax(1) != target


class _LeaveOutFallen:
    """Makes an APGD attack leave out the points that have fallen. All its queries lie inside the ball."""

    model: Any
    succeeds: Callable[[Tensor, Tensor], Tensor] = staticmethod(misclassified)

    def attack_single_run(self, x: Tensor, y: Tensor, x_init: Tensor | None = None) -> tuple[Any, ...]:
        """Return (best images, still correct, loss, adversarial images), as the library's method does."""
        whole, query = self.model, _Query(self.model, y, self.succeeds)
        self.model = query
        best, loss = x, torch.zeros_like(y, dtype=x.dtype)
        try:
            best, _, loss, _ = super().attack_single_run(x, y, x_init)  # type: ignore[misc]
        except _AllFell:
            pass  # the query holds the adversarial images; the library's own bookkeeping is not needed
        finally:
            self.model = whole
        return best, ~query.fell, loss, query.images


class APGD(_LeaveOutFallen, APGDAttack):
    """Auto-PGD (Croce and Hein 2020) on cross-entropy, DLR, or a given per-sample loss."""

    loss_function: LossFunction | None = None

    def dlr_loss(self, x: Tensor, y: Tensor) -> Tensor:
        """Return the given loss, or DLR. The name is the library's hook: loss="dlr" calls it with the logits."""
        return super().dlr_loss(x, y) if self.loss_function is None else self.loss_function(x, y)

    def run_on_all(self, x: Tensor, y: Tensor) -> Tensor:
        """Return an image for each of x, from one run that also attacks points which are misclassified already."""
        self.init_hyperparam(x)
        torch.manual_seed(self.seed)
        images: Tensor = self.attack_single_run(x.detach().clone(), y)[3]
        return images.detach()


class TargetedAPGD(_LeaveOutFallen, APGDAttack_targeted):
    """Auto-PGD on the targeted DLR loss."""


class Attack(Protocol):
    """What all attacks of the library offer."""

    def perturb(self, x: Tensor, y: Tensor) -> Tensor:
        """Return an adversarial image for each image of x that has one, else the image."""


@dataclass(frozen=True)
class Settings:
    """How to attack.

    Attributes:
        norm: "Linf" or "L2".
        eps: radius, on the scale of images in [0, 1].
        mode: as in `attack_names`.
        num_classes: C.
        hem_margin: μ of "apgd-hem", or one for each class (C,).
        iterations: steps of APGD and FAB.
        logger: gets the library's messages; None: nobody does.
    """

    norm: str
    eps: float
    mode: str
    num_classes: int
    hem_margin: float | Sequence[float]
    iterations: int = ITERATIONS
    logger: logging.Logger | None = None


class Suite:
    """The attacks on one model, by name.

    Args:
        model: raw logits, in eval mode, parameters without gradient.
        settings: how to attack; an ε of 0 only suits APGD.
    """

    def __init__(self, model: nn.Module, settings: Settings) -> None:
        self.model = Logits(model)
        self.settings = settings
        self.targets = min(QUICK_TARGETS if settings.mode == "quick" else TARGETS, settings.num_classes - 1)

    def run(self, name: str, images: Tensor, labels: Tensor, seed: int) -> Tensor:
        """Return for each image (N, channels, H, W) an adversarial one, or the image itself where none was found.

        The images are those that the model classifies correctly. The library seeds torch's global generator with
        `seed`; the caller keeps its own state safe.
        """
        with streamlined(self.model.model, images):
            return self.build(name, images.device, seed).perturb(images, labels).detach()

    def build(self, name: str, device: torch.device, seed: int) -> Attack:
        """Return the attack of that name, ready to run."""
        common = {"norm": self.settings.norm, "eps": self.settings.eps, "seed": seed, "device": device}
        if name.startswith("apgd-"):
            return self._targeted(common) if name == "apgd-t" else self._apgd(name, common)
        if name == "square":
            return PaddedSquare(self.model, n_queries=SQUARE_QUERIES, p_init=0.8, resc_schedule=False, **common)
        return self._fab(name, common)

    def run_on_all(
        self,
        images: Tensor,
        labels: Tensor,
        seed: int,
        loss: LossFunction,
        succeeds: Callable[[Tensor, Tensor], Tensor],
    ) -> Tensor:
        """Return an image for each one, from one APGD run on a loss with its own meaning of success."""
        common = {"norm": self.settings.norm, "eps": self.settings.eps, "seed": seed, "device": images.device}
        attack = self._apgd("apgd-own", common)
        attack.loss_function, attack.succeeds = loss, succeeds
        with streamlined(self.model.model, images):
            return attack.run_on_all(images, labels)

    def _fab(self, name: str, common: dict[str, Any]) -> Attack:
        """Return FAB, targeted or not. Where it stands in for the targeted attacks, it has 5 restarts as in plus."""
        mode, few_classes = self.settings.mode, self.settings.num_classes < 4
        many = name == "fab" and (mode == "plus" or (mode == "standard" and few_classes))
        return FABAttack_PT(
            self.model,
            n_iter=self.settings.iterations,
            n_restarts=5 if many else 1,
            targeted=name == "fab-t",
            n_target_classes=self.targets,
            **common,
        )

    def _steps(self) -> dict[str, Any]:
        """Return how APGD walks."""
        logger = self.settings.logger or _SILENT
        return {"n_iter": self.settings.iterations, "rho": 0.75, "eot_iter": 1, "logger": logger}

    def _targeted(self, common: dict[str, Any]) -> Attack:
        return TargetedAPGD(self.model, n_restarts=1, n_target_classes=self.targets, **common, **self._steps())

    def _apgd(self, name: str, common: dict[str, Any]) -> APGD:
        """Return the APGD attack of that name."""
        restarts = 5 if self.settings.mode == "plus" and name not in EXTRAS else 1
        loss = "ce" if name == "apgd-ce" else "dlr"
        attack = APGD(self.model, loss=loss, n_restarts=restarts, **common, **self._steps())
        attack.loss_function = self._loss(name)
        return attack

    def _loss(self, name: str) -> LossFunction | None:
        """Return what an extra attack maximises; None for the library's own losses."""
        if name == "apgd-hem":
            return attack_losses.hem(self.settings.hem_margin)
        losses = {
            "apgd-margin": attack_losses.margin,
            "apgd-hem-untruncated": attack_losses.hem_untruncated,
            "apgd-ce-x10": attack_losses.scaled_cross_entropy(10.0),
            "apgd-ce-x100": attack_losses.scaled_cross_entropy(100.0),
        }
        return losses.get(name)


def square_side(height: int, width: int) -> int:
    """Return the side of the smallest square that holds the image and that Square's L2 start pattern fits into."""
    side = max(height, width, 5)
    while not _pattern_fits(side):
        side += 1
    return side


def _pattern_fits(side: int) -> bool:
    """Tell whether tiles of side // 5 pixels, side // (side // 5) of them after the library's offset, stay inside."""
    tile = side // 5
    offset = (side - 5 * tile) // 2
    return tile == 1 or offset + (side // tile) * tile <= side


class PaddedSquare(SquareAttack):
    """Square attack (Andriushchenko et al. 2020) that also takes images which its L2 start pattern does not fit."""

    def margin_and_loss(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Return z_y − max_{j ≠ y} z_j of images twice: the margin is the loss. The library takes CE too, unused."""
        margin = -attack_losses.margin(self.predict(x), y)
        return margin, margin.clone()

    def perturb(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """Return adversarial images (N, channels, H, W) for x, or x where none was found."""
        height, width = x.shape[2:]
        side = square_side(height, width)
        if self.norm != "L2" or (height == width == side):
            return super().perturb(x, y)
        top, left = (side - height) // 2, (side - width) // 2
        frame = (left, side - width - left, top, side - height - top)
        whole = self.predict
        self.predict = lambda framed: whole(framed[:, :, top : top + height, left : left + width])
        try:
            framed = super().perturb(functional.pad(x, frame), y)
        finally:
            self.predict = whole
        return framed[:, :, top : top + height, left : left + width].clone()
