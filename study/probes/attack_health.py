"""Rows of health.parquet: signs that a robust accuracy cannot be taken at its word.

norm, eps, check, value, flag, message. A flag is no proof: it says where to look.
"""

from collections.abc import Sequence
from typing import TypedDict

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from study.errors import InputError
from study.probes import attack_losses
from study.probes.attack import (
    block_seed,
    block_size,
    check_ball,
    check_points,
    clean_logits,
    frozen,
    own_randomness,
    short_attack,
)
from study.probes.attack_losses import LossFunction
from study.probes.attack_suite import Logits
from study.probes.attack_verdicts import (
    GRADIENT_FREE,
    Verdicts,
    check_verdicts,
    fallen_before,
    robust,
    verdicts_to_arrays,
)
from study.probes.rows import NOT_AVAILABLE

RANDOM_TOLERANCE = 1e-6
SOFTMAX_TOLERANCE = 1e-5


class HealthRow(TypedDict):
    """One check of one attacked model."""

    norm: str
    eps: float
    check: str
    value: float
    flag: bool
    message: str


def _row(norm: str, eps: float, check: str, value: float, flag: bool, message: str) -> HealthRow:
    """Return a row with plain types."""
    return HealthRow(norm=norm, eps=float(eps), check=check, value=float(value), flag=bool(flag), message=message)


def health_rows(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    norm: str,
    eps: Sequence[float],
    num_classes: int,
    seed: int,
    verdicts: Sequence[Verdicts] = (),
) -> list[HealthRow]:
    """Return all checks of one model and norm: its outputs and gradients, fresh short attacks, and Square.

    Args:
        model: as in `attack.attack`.
        images: as in `attack.attack`.
        labels: as in `attack.attack`.
        norm: "Linf" or "L2".
        eps: the radii of the fresh short attacks; 0 is added.
        num_classes: C.
        seed: at least 0.
        verdicts: stored verdicts of the model under this norm, one a radius, for the check of Square.
    """
    rows = model_rows(model, images, labels, norm=norm, num_classes=num_classes, seed=seed)
    fresh = [
        verdicts_to_arrays(
            short_attack(model, images, labels, norm=norm, eps=radius, num_classes=num_classes, seed=seed)
        )
        for radius in sorted({0.0, *eps})
    ]
    rows += eps_rows(fresh)
    for arrays in verdicts:
        rows += gradient_free_rows(arrays)
    return rows


def model_rows(
    model: nn.Module, images: Tensor, labels: Tensor, *, norm: str, num_classes: int, seed: int
) -> list[HealthRow]:
    """Return the checks of a model on clean images; eps is 0.

    zero_gradient_ce and zero_gradient_margin: the share of images at which every entry of the gradient of CE (of the
    untruncated margin) with respect to the image is zero or below float32's smallest normal number; flagged above 0.
    random_outputs: the largest difference of two forward passes, relative to the logits' norm; flagged above 1e-6.
    softmax_outputs: the share of rows that lie in [0, 1] and sum to 1, within 1e-5; flagged if it is all of them.

    Arguments as in `attack.attack`; raises as there.
    """
    check_ball(norm, 0.0)
    check_points(images, labels, num_classes)
    if not len(images):
        return []
    with frozen(model), own_randomness():
        torch.manual_seed(block_seed(seed, 0))
        logits, again = (_forward(model, images, num_classes) for _ in range(2))
        ce = _zero_gradients(model, images, labels, _cross_entropy)
        margin = _zero_gradients(model, images, labels, attack_losses.margin)
    difference = (logits - again).norm(dim=1) / logits.norm(dim=1).clamp(min=1e-10)
    simplex = (logits >= -SOFTMAX_TOLERANCE).all(1) & (logits <= 1 + SOFTMAX_TOLERANCE).all(1)
    simplex &= (logits.sum(1) - 1).abs() < SOFTMAX_TOLERANCE
    return [
        _row(norm, 0.0, *_gradient_check("zero_gradient_ce", ce, "cross-entropy")),
        _row(norm, 0.0, *_gradient_check("zero_gradient_margin", margin, "the margin loss")),
        _row(norm, 0.0, *_random_check(float(difference.max()))),
        _row(norm, 0.0, *_softmax_check(float(simplex.float().mean()))),
    ]


def _forward(model: nn.Module, images: Tensor, num_classes: int) -> Tensor:
    """Return float64 logits (N, C) on the CPU."""
    size = block_size(images.shape[1:])
    return torch.cat([clean_logits(model, part, num_classes).double().cpu() for part in images.split(size)])


def _cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """Return CE of each sample (N,)."""
    return functional.cross_entropy(logits, target, reduction="none")


def _zero_gradients(model: nn.Module, images: Tensor, labels: Tensor, loss: LossFunction) -> float:
    """Return the share of images whose input gradient is zero or denormal everywhere."""
    wrapped, zero, size = Logits(model), 0, block_size(images.shape[1:])
    for part, target in zip(images.split(size), labels.split(size), strict=True):
        inputs = part.detach().clone().requires_grad_()
        with torch.enable_grad():
            (gradient,) = torch.autograd.grad(loss(wrapped(inputs), target).sum(), inputs)
        zero += int((gradient.abs().flatten(1).amax(1) < torch.finfo(torch.float32).tiny).sum())
    return zero / len(images)


def _gradient_check(check: str, share: float, loss: str) -> tuple[str, float, bool, str]:
    """Return check, value, flag and message for a share of images without a gradient."""
    if share > 0:
        return check, share, True, f"{share:.1%} of the images have no gradient of {loss}: attacks that follow it stop"
    return check, share, False, f"every image has a gradient of {loss}"


def _random_check(difference: float) -> tuple[str, float, bool, str]:
    """Return check, value, flag and message for the difference of two forward passes."""
    random = difference > RANDOM_TOLERANCE
    message = "two forward passes differ: the model draws random numbers, so the attacks chase a moving target"
    return "random_outputs", difference, random, message if random else "two forward passes agree"


def _softmax_check(share: float) -> tuple[str, float, bool, str]:
    """Return check, value, flag and message for the share of rows that look like probabilities."""
    message = "all outputs look like probabilities: the attacks need raw logits"
    return "softmax_outputs", share, share == 1, message if share == 1 else "the outputs are not probabilities"


def gradient_free_rows(arrays: Verdicts) -> list[HealthRow]:
    """Return the checks of the attacks that need no gradient, those that were run: Square, and other models' images.

    square_beyond_gradients, transfer_beyond_gradients: the share of points that it broke and that no gradient attack
    broke; flagged at two points or 0.2 % of all, whichever is more.

    Args:
        arrays: as `verdicts_to_arrays` gives them.
    """
    norm, eps = check_verdicts(arrays)
    names = [str(name) for name in arrays["attacks"]]
    free = np.array([name in GRADIENT_FREE for name in names])
    gradients_left = arrays["clean"] & ~fallen_before(arrays) & (arrays["stands"][~free] != 0).all(0)
    n = len(arrays["clean"])
    rows = []
    for name, who in GRADIENT_FREE.items():
        if name not in names:
            continue
        broken = int((gradients_left & (arrays["stands"][names.index(name)] == 0)).sum())
        flag = broken >= max(2, 0.002 * n)
        message = f"{who} broke {broken} of {n} images that no gradient attack broke"
        message += ": the gradients hide something" if flag else ""
        share = broken / n if n else NOT_AVAILABLE
        rows.append(_row(norm, eps, f"{name}_beyond_gradients", share, flag, message))
    return rows


def eps_rows(verdicts: Sequence[Verdicts]) -> list[HealthRow]:
    """Return the checks over several radii of one norm, each attacked afresh.

    rising_with_eps: the largest rise of robust accuracy from one radius to the next larger one; flagged above 0, since
    the larger ball holds all of the smaller one. The row's eps is the radius it rose at (the largest, if it never did).
    not_clean_at_zero: the share of points that are correct on the clean image and wrong after an attack of radius 0;
    only where a radius is 0; flagged above 0.

    Args:
        verdicts: as `verdicts_to_arrays` gives them, of the same points and norm; at least one.

    Raises:
        InputError: no verdicts, several norms, or different numbers of points.
    """
    checked = sorted(((*check_verdicts(arrays), arrays) for arrays in verdicts), key=lambda item: item[1])
    if not checked or len({norm for norm, _, _ in checked}) > 1 or len({len(a["clean"]) for _, _, a in checked}) > 1:
        raise InputError(
            "verdicts: expected one a radius, of the same points and norm, got "
            + (", ".join(f"{len(a['clean'])} points of {norm} {eps:g}" for norm, eps, a in checked) or "none")
        )
    norm, n = checked[0][0], len(checked[0][2]["clean"])
    if not n:
        return []
    counts = [int(robust(arrays).sum()) for _, _, arrays in checked]
    rises = np.diff(counts)
    at = int(rises.argmax()) if len(rises) and rises.max() > 0 else len(checked) - 2
    rise = max(0, int(rises.max())) if len(rises) else 0
    message = (
        f"no rise over {len(checked)} radii"
        if not rise
        else (
            f"{rise} more of {n} images survive {norm} {checked[at + 1][1]:g} than {checked[at][1]:g}, "
            "a ball that holds the smaller one: the attack is weaker than it could be"
        )
    )
    result = [_row(norm, checked[at + 1][1], "rising_with_eps", rise / n, rise > 0, message)]
    if checked[0][1] == 0:
        lost = int((checked[0][2]["clean"] & ~robust(checked[0][2])).sum())
        message = "an attack of radius 0 changes nothing"
        if lost:
            message = f"{lost} of {n} images are correct, yet wrong after an attack of radius 0: the outputs vary"
        result.append(_row(norm, 0.0, "not_clean_at_zero", lost / n, lost > 0, message))
    return result
