"""Each loss's own parameters: what is searched, what the literature says, and where the shared search begins.

Two shared quasi-random points open every search. On them each loss takes its own parameters from `first_points`, a list
of the same length for every loss, so that no loss spends more trials on finding its scale than another.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from optuna.distributions import BaseDistribution, FloatDistribution

Parameters = Mapping[str, float]
M_RANGE = (2.0, 2e6)
"""Range of HEM's M; the margin is sqrt(M / S) for S training samples."""
FIRST_MARGINS = (0.2, 1.0)
"""Margins that the first two shared points begin training with, whatever S is. Where classes come in turn, S is that of
the first experience; later ones have another S, and so another margin."""


@dataclass(frozen=True)
class LossSpace:
    """A loss's own search space.

    Attributes:
        distributions: parameter → distribution.
        literature: number of classes → the published parameters.
        first_points: number of samples S that the loss first trains on → parameters on the first two shared points; for
            a user's own loss none, and they are quasi-random there too.
    """

    distributions: Mapping[str, BaseDistribution]
    literature: Callable[[int], Parameters]
    first_points: Callable[[float], tuple[Parameters, ...]]


def margin_to_m(margin: float, num_samples: float) -> float:
    """Return M = S·μ², clipped to the searched range.

    Args:
        margin: μ, in logit units.
        num_samples: S, the number of training samples.
    """
    low, high = M_RANGE
    return min(high, max(low, num_samples * margin**2))


def logitnorm_tau(num_classes: int) -> float:
    """Return LogitNorm's published temperature: 0.04 up to 10 classes, 0.0085 from 100 on, log-interpolated between.

    Wei et al. 2022 give the two ends; the interpolation is this project's.
    """
    share = min(1.0, max(0.0, math.log(num_classes / 10) / math.log(10)))
    return float(0.04 ** (1 - share) * 0.0085**share)


def _fixed(
    distributions: Mapping[str, BaseDistribution], literature: Parameters, first: Parameters, second: Parameters
) -> LossSpace:
    return LossSpace(distributions, lambda num_classes: literature, lambda num_samples: (first, second))


def _hem() -> LossSpace:
    return LossSpace(
        {"M": FloatDistribution(*M_RANGE, log=True)},
        lambda num_classes: {"M": 2000.0},
        lambda num_samples: (
            {"M": margin_to_m(FIRST_MARGINS[0], num_samples)},
            {"M": margin_to_m(FIRST_MARGINS[1], num_samples)},
        ),
    )


_SMOOTHING = FloatDistribution(0.0, 0.3)
_CE = _fixed(
    {"label_smoothing": _SMOOTHING}, {"label_smoothing": 0.0}, {"label_smoothing": 0.05}, {"label_smoothing": 0.1}
)
_LDAM = _fixed(
    {"max_margin": FloatDistribution(0.1, 1.0)}, {"max_margin": 0.5}, {"max_margin": 0.3}, {"max_margin": 0.8}
)
_DICE = _fixed({"smooth": FloatDistribution(0.01, 100.0, log=True)}, {"smooth": 1.0}, {"smooth": 0.1}, {"smooth": 10.0})

LOSS_SPACES: Mapping[str, LossSpace] = {
    "ce": _CE,
    "ce_balanced": _fixed(
        {"N": FloatDistribution(10.0, 1e5, log=True), "label_smoothing": _SMOOTHING},
        {"N": 1e4, "label_smoothing": 0.0},
        {"N": 1e3, "label_smoothing": 0.05},
        {"N": 1e2, "label_smoothing": 0.1},
    ),
    "ce_resampled": _CE,
    "focal": _fixed({"gamma": FloatDistribution(0.5, 5.0)}, {"gamma": 2.0}, {"gamma": 1.0}, {"gamma": 3.0}),
    "ldam": _LDAM,
    "ldam_drw": _LDAM,
    "logit_adjusted": _fixed({"tau": FloatDistribution(0.25, 3.0)}, {"tau": 1.0}, {"tau": 0.75}, {"tau": 1.5}),
    "logitnorm": LossSpace(
        {"tau": FloatDistribution(0.004, 0.4, log=True)},
        lambda num_classes: {"tau": logitnorm_tau(num_classes)},
        lambda num_samples: ({"tau": 0.02}, {"tau": 0.1}),
    ),
    "dice": _DICE,
    "ce_dice": _DICE,
    "mm": _fixed(
        {"margin": FloatDistribution(0.01, 10.0, log=True)}, {"margin": 1.0}, {"margin": 0.2}, {"margin": 3.0}
    ),
    "hem": _hem(),
    "hem+": _hem(),
}
"""Loss name → its own space."""
