"""Attacks on a trained classifier: AutoAttack (Croce and Hein 2020) and more, with a verdict for every point.

    result = attack(model, images, labels, norm="Linf", eps=0.1, num_classes=10, seed=0)
    numpy.savez(path, **verdicts_to_arrays(result))
    rows = rows_from_verdicts(numpy.load(path))

Modes:
    quick     APGD-CE and APGD-T (targeted DLR, the three likeliest wrong classes), both on every point that is correct
              on the clean image; below 4 classes APGD-CE and FAB. Takes the worse of the two for each point: an upper
              bound of the robust accuracy.
    standard  APGD-CE, APGD-T, FAB-T, Square (below 4 classes APGD-CE, FAB, Square), and for every model APGD on the
              untruncated margin max_j z_j − z_y, on HEM's own loss as trained and untruncated, and on CE with the
              logits times 10 and 100. The worst case over all.
    plus      AutoAttack's plus version (APGD-CE and APGD-DLR with 5 restarts, FAB with 5, Square, APGD-T, FAB-T; those
              that the number of classes allows) and the same extras.
Every attack of standard and plus runs on the points that all gradient attacks before it left; what Square breaks is
given to the later ones too, so that it is known what Square alone could break.
"""

import logging
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from study.errors import InputError, unknown
from study.probes.attack_suite import Settings, Suite, attack_names
from study.probes.attack_verdicts import (
    GRADIENT_FREE,
    AttackResult,
    figure_name,
    rows_from_verdicts,
    verdicts_to_arrays,
)

NORMS = ("Linf", "L2")
MODES = ("quick", "standard", "plus")
BLOCK = 500
"""Points attacked at once: two cores share a thousand of them, and what few stand in the end still fill a core."""
BLOCK_NUMBERS = BLOCK * 64 * 64 * 3
"""Numbers in the images of a block: larger images come in smaller blocks."""
HEM_MARGIN = 0.2
SHORT_ITERATIONS = 20
BALL_TOLERANCE = 1e-6


class LeftBall(RuntimeError):
    """An attack returned an image outside of the ball around the clean one, or outside of [0, 1]."""


def attack(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    norm: str,
    eps: float,
    mode: str = "quick",
    num_classes: int,
    seed: int,
    hem_margin: float | Sequence[float] = HEM_MARGIN,
    block: int | None = None,
    broken: npt.NDArray[np.bool_] | None = None,
    logger: logging.Logger | None = None,
) -> AttackResult:
    """Attack a classifier and return a verdict for every point.

    The model runs in eval mode with its parameters' gradients off, and is given back as it was; so are the states of
    torch's and numpy's global generators. The same seed gives the same verdicts. eps = 0 attacks nothing: robust is
    clean.

    Args:
        model: images (N, channels, H, W) in [0, 1] → raw logits (N, C); normalisation is a layer of the model.
        images: float32 (N, channels, H, W) in [0, 1], on the model's device.
        labels: int64 (N,), in [0, C).
        norm: "Linf" or "L2".
        eps: radius of the ball, at least 0, on the scale of images in [0, 1].
        mode: "quick", "standard" or "plus" (see the module).
        num_classes: C, at least 2.
        seed: at least 0; every block of points gets its own from it.
        hem_margin: μ of the attack on HEM's own loss, or one for each class (C,).
        block: points attacked at once; None: `block_size` of the images.
        broken: (N,) points that fell within a smaller ball of the same norm, which this one holds: they are not
            attacked again and count as fallen. None for none.
        logger: gets the library's messages; None keeps it silent.

    Raises:
        InputError: an unknown norm or mode, images outside [0, 1], labels that do not fit, dense or non-finite outputs.
        LeftBall: an attack left the ball or [0, 1].
    """
    if mode not in MODES:
        raise unknown("mode of attack", mode, MODES)
    check_margin(hem_margin, num_classes)
    settings = Settings(norm, eps, mode, num_classes, hem_margin, logger=logger)
    size = block_size(images.shape[1:]) if block is None else block
    return _attack(model, images, labels, settings, size, seed, broken)


def short_attack(
    model: nn.Module, images: Tensor, labels: Tensor, *, norm: str, eps: float, num_classes: int, seed: int
) -> AttackResult:
    """Return the verdicts of APGD-CE with 20 steps: a check of the model, not a figure.

    Unlike `attack` it also runs at eps = 0. Arguments as there.
    """
    settings = Settings(norm, eps, "short", num_classes, HEM_MARGIN, iterations=SHORT_ITERATIONS)
    return _attack(model, images, labels, settings, block_size(images.shape[1:]), seed)


def _attack(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    settings: Settings,
    block: int,
    seed: int,
    broken: npt.NDArray[np.bool_] | None = None,
) -> AttackResult:
    """Check the input, run the attacks block by block, and put the verdicts together."""
    check_ball(settings.norm, settings.eps)
    check_points(images, labels, settings.num_classes)
    if block < 1:
        raise InputError(f"block: expected at least 1 point, got {block}")
    fallen = np.zeros(len(images), dtype=np.bool_) if broken is None else np.asarray(broken)
    if fallen.shape != (len(images),) or fallen.dtype != np.bool_:
        raise InputError(f"broken: expected bool ({len(images)},), got {fallen.dtype} {fallen.shape}")
    names = attack_names(settings.mode, settings.num_classes)
    clean = np.zeros(len(images), dtype=np.bool_)
    stands = np.full((len(names), len(images)), -1, dtype=np.int8)
    adversarial = images.detach().cpu().clone()
    with frozen(model), own_randomness():
        suite = Suite(model, settings)
        for number, start in enumerate(range(0, len(images), block)):
            part = slice(start, start + block)
            points = _Block(suite, images[part].detach(), labels[part], block_seed(seed, number))
            clean[part] = points.clean.cpu().numpy()
            stands[:, part] = points.attack(names, torch.tensor(fallen[part], device=images.device))
            adversarial[part] = points.adversarial.cpu()
    return AttackResult(
        norm=settings.norm,
        eps=float(settings.eps),
        mode=settings.mode,
        num_classes=settings.num_classes,
        seed=seed,
        attacks=names,
        clean=clean,
        carried=clean & fallen,
        stands=stands,
        adversarial=adversarial,
    )


class _Block:
    """Points that are attacked together: their clean verdicts, and what is left of them."""

    def __init__(self, suite: Suite, images: Tensor, labels: Tensor, seed: int) -> None:
        torch.manual_seed(seed)
        self.suite = suite
        self.images = images
        self.labels = labels
        self.seed = seed
        self.clean = clean_logits(suite.model, images, suite.settings.num_classes).argmax(1) == labels
        self.adversarial = images.clone()
        self.unbroken = self.clean.clone()

    def attack(self, names: Sequence[str], fallen: Tensor) -> npt.NDArray[np.int8]:
        """Run the attacks one after the other; return 1, 0 or −1 for each attack and point, (A, N).

        `fallen` (N,) are points that are known to fall and are left out.
        """
        stands = np.full((len(names), len(self.images)), -1, dtype=np.int8)
        settings, to_attack = self.suite.settings, self.clean & ~fallen
        if settings.eps == 0 and settings.mode != "short":
            stands[:, to_attack.cpu().numpy()] = 1
            return stands
        for k, name in enumerate(names):
            index = to_attack.nonzero()[:, 0]
            if not len(index):
                break
            fell = index[~self._survives(name, index)]
            stands[k, index.cpu().numpy()] = 1
            stands[k, fell.cpu().numpy()] = 0
            if settings.mode != "quick" and name not in GRADIENT_FREE:
                to_attack[fell] = False
        return stands

    def _survives(self, name: str, index: Tensor) -> Tensor:
        """Run one attack on the points of `index`; return which of them are still correct, keep what broke the others.

        The first image that broke a point is kept. Outputs that are not finite count as broken.
        """
        clean, labels = self.images[index], self.labels[index]
        found = self.suite.run(name, clean, labels, self.seed)
        found = into_ball(found, clean, self.suite.settings.norm, self.suite.settings.eps, name)
        with torch.no_grad():
            logits = self.suite.model(found)
        survives = (logits.argmax(1) == labels) & logits.isfinite().all(1)
        first = ~survives & self.unbroken[index]
        self.adversarial[index[first]] = found[first]
        self.unbroken[index[first]] = False
        return survives


def into_ball(found: Tensor, clean: Tensor, norm: str, eps: float, name: str) -> Tensor:
    """Return the images with what rounding put outside of the ball taken back.

    Args:
        found: adversarial images (N, channels, H, W).
        clean: the clean ones.
        norm: "Linf" or "L2".
        eps: radius.
        name: the attack's, for the message.

    Raises:
        LeftBall: more than rounding (1e-6 plus 1e-4 of ε) outside of the ball or of [0, 1], or not a number.
    """
    if not len(found):
        return found
    delta = found.double() - clean.double()
    size = norm_of(delta, norm)
    allowed = eps * (1 + 1e-4) + BALL_TOLERANCE
    low, high = float(found.min()), float(found.max())
    if not (float(size.max()) <= allowed and low >= -BALL_TOLERANCE and high <= 1 + BALL_TOLERANCE):
        raise LeftBall(
            f"{name}: expected images in [0, 1] within {norm} {eps:g} of the clean ones, "
            f"got {float(size.max()):g} away and values {low:g} to {high:g}"
        )
    if norm == "Linf":
        delta = delta.clamp(-eps, eps)
    else:
        delta = delta * (eps / size.clamp(min=max(eps, torch.finfo(size.dtype).tiny)))[:, None, None, None]
    return (clean.double() + delta).clamp(0, 1).float()


def norm_of(delta: Tensor, norm: str) -> Tensor:
    """Return the norm (N,) of perturbations (N, channels, H, W); norm is "Linf" or "L2"."""
    return torch.linalg.vector_norm(delta.flatten(1), ord=math.inf if norm == "Linf" else 2, dim=1)


def clean_logits(model: nn.Module, images: Tensor, num_classes: int) -> Tensor:
    """Return the logits (N, C) of images.

    Raises:
        InputError: outputs that are dense, of another number of classes, or not finite.
    """
    with torch.no_grad():
        logits = model(images)
    if logits.ndim > 2:
        raise InputError(
            f"model: expected one row of logits an image, (N, {num_classes}), got shape {tuple(logits.shape)}. "
            "The attacks count an image as broken when its one class changes; dense outputs (N, C, H, W) have a class "
            "at every pixel, so neither that verdict nor the losses are defined for them"
        )
    if logits.shape != (len(images), num_classes):
        raise InputError(f"model: expected logits ({len(images)}, {num_classes}), got shape {tuple(logits.shape)}")
    if not logits.isfinite().all():
        raise InputError("model: expected finite logits, got nan or infinite ones on clean images")
    return logits


def check_ball(norm: str, eps: float) -> None:
    """Raise InputError unless the norm is known and eps is a finite number of at least 0."""
    if norm not in NORMS:
        raise unknown("norm", norm, NORMS)
    if not (math.isfinite(eps) and eps >= 0):
        raise InputError(f"eps: expected a finite radius of at least 0 for images in [0, 1], got {eps}")


def check_margin(hem_margin: float | Sequence[float], num_classes: int) -> None:
    """Raise InputError unless the margin is a positive number, or one for each class."""
    margins = np.atleast_1d(np.asarray(hem_margin, dtype=np.float64))
    if margins.shape not in ((1,), (num_classes,)) or not (np.isfinite(margins) & (margins > 0)).all():
        raise InputError(
            f"hem_margin: expected a positive number, or one for each of {num_classes} classes, got {hem_margin}"
        )


def check_points(images: Tensor, labels: Tensor, num_classes: int) -> None:
    """Raise InputError unless images are float32 (N, channels, H, W) in [0, 1] and labels int64 (N,) in [0, C)."""
    if num_classes < 2:
        raise InputError(f"num_classes: expected at least 2, got {num_classes}")
    if images.ndim != 4 or images.dtype != torch.float32:
        raise InputError(f"images: expected float32 (N, C, H, W), got {images.dtype} of shape {tuple(images.shape)}")
    if images.numel() and not (float(images.min()) >= 0 and float(images.max()) <= 1):
        raise InputError(
            f"images: expected values in [0, 1] (normalisation is a layer of the model), "
            f"got {float(images.min()):g} to {float(images.max()):g}"
        )
    if labels.shape != (len(images),) or labels.dtype != torch.int64:
        raise InputError(f"labels: expected int64 ({len(images)},), got {labels.dtype} of shape {tuple(labels.shape)}")
    if labels.numel() and not (int(labels.min()) >= 0 and int(labels.max()) < num_classes):
        raise InputError(f"labels: expected 0 to {num_classes - 1}, got {int(labels.min())} to {int(labels.max())}")


def block_size(shape: Sequence[int]) -> int:
    """Return how many images of this shape (channels, height and width in any order) are attacked at once."""
    return max(1, min(BLOCK, BLOCK_NUMBERS // math.prod(shape)))


def block_seed(seed: int, number: int) -> int:
    """Return the seed of a block of points."""
    return int(np.random.SeedSequence((seed, number)).generate_state(1)[0])


@contextmanager
def frozen(model: nn.Module) -> Iterator[None]:
    """Put the model in eval mode with its parameters' gradients off; afterwards every module is as it was."""
    training = [(module, module.training) for module in model.modules()]
    wanted = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    model.eval()
    for parameter, _ in wanted:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for module, was in training:
            module.training = was
        for parameter, was in wanted:
            parameter.requires_grad_(was)


@contextmanager
def own_randomness() -> Iterator[None]:
    """Give torch's (CPU and CUDA) and numpy's global generators their states back afterwards."""
    numpy_state = np.random.get_state()
    devices = list(range(torch.cuda.device_count())) if torch.cuda.is_initialized() else []
    try:
        with torch.random.fork_rng(devices=devices):
            yield
    finally:
        np.random.set_state(numpy_state)


__all__ = [
    "MODES",
    "NORMS",
    "AttackResult",
    "LeftBall",
    "attack",
    "figure_name",
    "rows_from_verdicts",
    "short_attack",
    "verdicts_to_arrays",
]
