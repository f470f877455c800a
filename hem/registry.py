"""Losses by name, with what each needs besides logits and target; and the way in for losses of one's own.

A loss of one's own is any ``torch.nn.Module`` class, named as ``package.module:Name``:

    class MyLoss(torch.nn.Module):
        defaults = {"q": 0.7}                    # literature values of its parameters
        ranges = {"q": (0.1, 1.0, "linear")}     # what may be searched: (low, high, "linear" or "log")

        def __init__(self, class_counts, q): ...           # training samples of each class, then the parameters
        def forward(self, logits, target): ...             # (N, C) and (N,) to one number

``head``, ``sampler`` and ``weight_schedule`` are optional class attributes with the values of ``LossSpec``; "drw" needs
a method ``set_class_weight(weight)``. An attribute ``ignore_index`` is set to the targets that are none; a loss without
one cannot be used where there are such. For several data-parallel ranks the mean over ranks of the returned value
should be the mean over the whole batch; a module with an attribute ``process_group`` is given theirs.
"""

import importlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from numbers import Real
from typing import Any, Protocol

import torch.distributed as dist
from torch import nn

from hem import losses
from hem.margins import class_balanced_weights

HEADS = ("linear", "cosine")
SAMPLERS = ("shuffle", "balanced")
WEIGHT_SCHEDULES = (None, "drw")
SCALES = ("linear", "log")
NOTHING_IGNORED = -100
Range = tuple[float, float, str]


class Build(Protocol):
    """Makes a loss module from the training set's class counts and the loss's own parameters."""

    def __call__(
        self,
        class_counts: Sequence[float],
        *,
        num_samples: float | None = None,
        ignore_index: int = -100,
        process_group: dist.ProcessGroup | None = None,
        **parameters: float,
    ) -> nn.Module:
        """Return the module; ``num_samples`` is S where it is not the sum of the class counts."""
        ...


@dataclass(frozen=True)
class LossSpec:
    """A loss and what it needs.

    Attributes:
        name: as the registry knows it.
        build: makes the module.
        parameters: names of its own parameters.
        head: "linear", or "cosine": logits = 30 · cosine of features and class weights.
        sampler: "shuffle", or "balanced": every class equally likely.
        weight_schedule: None, or "drw": class-balanced weights for the last fifth of the epochs.
        defaults: of a loss of one's own; None for those of this package.
        ranges: of a loss of one's own; None for those of this package.
    """

    name: str
    build: Build
    parameters: tuple[str, ...]
    head: str = "linear"
    sampler: str = "shuffle"
    weight_schedule: str | None = None
    defaults: Mapping[str, float] | None = None
    ranges: Mapping[str, Range] | None = None


def logitnorm_tau(num_classes: int) -> float:
    """Return LogitNorm's τ: 0.04 up to 10 classes, 0.0085 from 100 on (Wei et al. 2022), log-interpolated between.

    The interpolation is this package's own choice.
    """
    share = min(1.0, max(0.0, math.log10(num_classes / 10)))
    return float(0.04 ** (1.0 - share) * 0.0085**share)


Make = Callable[..., nn.Module]


def _spec(name: str, make: Make, *parameters: str, **needs: Any) -> LossSpec:  # noqa: ANN401
    """Return the spec of a loss whose module is ``make(class_counts, num_samples, parameters, shared)``."""

    def build(
        class_counts: Sequence[float],
        *,
        num_samples: float | None = None,
        ignore_index: int = -100,
        process_group: dist.ProcessGroup | None = None,
        **given: float,
    ) -> nn.Module:
        _check_names(name, given, parameters)
        counts = tuple(class_counts)
        # As Python numbers: 200 + 100 is 44 in uint8.
        samples = sum(map(float, counts)) if num_samples is None else num_samples
        return make(counts, samples, given, {"ignore_index": ignore_index, "process_group": process_group})

    return LossSpec(name, build, parameters, **needs)


def _balanced_ce(counts: Sequence[float], _: float, own: dict[str, Any], shared: dict[str, Any]) -> nn.Module:
    N = own.pop("N", 10_000.0)  # Cui et al.'s name: β = (N − 1) / N is even in N on a logarithmic scale, not in β
    if not 1.0 <= N < math.inf:
        raise ValueError(f"N: expected a finite number >= 1, got {N!r}")
    return losses.CELoss(**own, weight=class_balanced_weights(counts, (N - 1.0) / N), **shared)


_BUILT_IN = (
    _spec("ce", lambda n, s, own, shared: losses.CELoss(**own, **shared), "label_smoothing"),
    _spec("ce_balanced", _balanced_ce, "N", "label_smoothing"),
    _spec(
        "ce_resampled", lambda n, s, own, shared: losses.CELoss(**own, **shared), "label_smoothing", sampler="balanced"
    ),
    _spec("focal", lambda n, s, own, shared: losses.FocalLoss(**own, **shared), "gamma"),
    _spec("ldam", lambda n, s, own, shared: losses.LDAMLoss(n, **own, **shared), "max_margin", head="cosine"),
    _spec(
        "ldam_drw",
        lambda n, s, own, shared: losses.LDAMLoss(n, **own, **shared),
        "max_margin",
        head="cosine",
        weight_schedule="drw",
    ),
    _spec("logit_adjusted", lambda n, s, own, shared: losses.LogitAdjustedLoss(n, **own, **shared), "tau"),
    _spec(
        "logitnorm",
        lambda n, s, own, shared: losses.LogitNormLoss(**{"tau": logitnorm_tau(len(n)), **own}, **shared),
        "tau",
    ),
    _spec("dice", lambda n, s, own, shared: losses.DICELoss(**own, **shared), "smooth"),
    _spec("ce_dice", lambda n, s, own, shared: losses.CEDICELoss(**own, **shared), "smooth"),
    _spec("mm", lambda n, s, own, shared: losses.MMLoss(**own, **shared), "margin"),
    _spec("hem", lambda n, s, own, shared: losses.HEMLoss(num_samples=s, **own, **shared), "M"),
    _spec("hem+", lambda n, s, own, shared: losses.HEMLoss(class_counts=n, **own, **shared), "M"),
)
LOSSES: dict[str, LossSpec] = {spec.name: spec for spec in _BUILT_IN}
"""Name → loss."""


def get_loss(name: str) -> LossSpec:
    """Return a loss by its registry name, or one's own by ``package.module:Name``.

    Raises:
        ValueError: no such loss, or one that declares itself wrongly; the message says what was expected.
    """
    if ":" in name:
        return _own(name)
    if name not in LOSSES:
        raise ValueError(_not_among("loss", name, [*LOSSES, "package.module:Name"]))
    return LOSSES[name]


def _own(name: str) -> LossSpec:
    """Load a user's class and check what it declares."""
    module_name, _, attribute = name.partition(":")
    if module_name.startswith("."):
        raise ValueError(f"loss {name}: expected package.module:Name, the whole name of the module")
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise ValueError(f"loss {name}: cannot import {module_name!r} ({error}); is its folder on the path?") from error
    except ValueError as error:
        raise ValueError(f"loss {name}: expected package.module:Name ({error})") from error
    cls = getattr(module, attribute, None)
    if cls is None:
        known = [key for key, value in vars(module).items() if isinstance(value, type) and issubclass(value, nn.Module)]
        raise ValueError(_not_among(f"class in {module_name}", attribute, known))
    if not (isinstance(cls, type) and issubclass(cls, nn.Module)):
        raise ValueError(f"loss {name}: expected a subclass of torch.nn.Module, got {cls!r}")
    defaults, ranges = (_declared(name, part, getattr(cls, part, {})) for part in ("defaults", "ranges"))
    needs: dict[str, Any] = {
        part: getattr(cls, part, default)
        for part, default in (("head", "linear"), ("sampler", "shuffle"), ("weight_schedule", None))
    }
    for part, allowed in (("head", HEADS), ("sampler", SAMPLERS), ("weight_schedule", WEIGHT_SCHEDULES)):
        if needs[part] not in allowed:
            raise ValueError(
                f"loss {name}: {part}: expected one of {', '.join(map(repr, allowed))}, got {needs[part]!r}"
            )
    if needs["weight_schedule"] == "drw" and not callable(getattr(cls, "set_class_weight", None)):
        raise ValueError(f'loss {name}: weight_schedule "drw" needs a method set_class_weight(weight), and it has none')
    for parameter, value in ranges.items():
        _check_range(name, parameter, value, defaults)

    def build(
        class_counts: Sequence[float],
        *,
        num_samples: float | None = None,
        ignore_index: int = -100,
        process_group: dist.ProcessGroup | None = None,
        **given: float,
    ) -> nn.Module:
        _check_names(name, given, tuple(defaults))
        try:
            loss: nn.Module = cls(class_counts=tuple(class_counts), **{**defaults, **given})
        except TypeError as error:
            raise ValueError(f"loss {name}: {error}; it is called with class_counts and its defaults' names") from error
        if hasattr(loss, "process_group"):
            setattr(loss, "process_group", process_group)  # noqa: B010 - torch types a module's attributes as tensors
        if hasattr(loss, "ignore_index"):
            setattr(loss, "ignore_index", ignore_index)  # noqa: B010 - as above
        elif ignore_index != NOTHING_IGNORED:
            raise ValueError(
                f"loss {name}: targets of {ignore_index} are to be ignored, and the loss has no attribute ignore_index"
            )
        return loss

    return LossSpec(name, build, tuple(defaults), **needs, defaults=defaults, ranges=ranges)


def _declared(loss: str, part: str, value: Any) -> dict[str, Any]:  # noqa: ANN401
    if not isinstance(value, Mapping) or not all(isinstance(parameter, str) for parameter in value):
        raise ValueError(f"loss {loss}: {part}: expected a dict by parameter, got {value!r}")
    return dict(value)


def _check_range(loss: str, parameter: str, value: Any, defaults: Mapping[str, float]) -> None:  # noqa: ANN401
    if parameter not in defaults:
        raise ValueError(f"loss {loss}: ranges has {parameter!r}, but defaults has not; it has: {', '.join(defaults)}")
    try:
        low, high, scale = value
    except (TypeError, ValueError):
        raise ValueError(f"loss {loss}: range of {parameter}: expected (low, high, scale), got {value!r}") from None
    default = defaults[parameter]
    numbers = all(isinstance(number, Real) and math.isfinite(number) for number in (low, high, default))
    if scale not in SCALES or not numbers or not low <= default <= high or low == high or (scale == "log" and low <= 0):
        raise ValueError(
            f"loss {loss}: range of {parameter}: expected finite numbers low < high around the default {default!r} "
            f'and "linear" or "log" (low > 0), got {value!r}'
        )


def _check_names(loss: str, given: Mapping[str, float], known: Sequence[str]) -> None:
    for parameter in given:
        if parameter not in known:
            raise ValueError(_not_among(f"parameter of {loss}", parameter, known))


def _not_among(kind: str, given: str, known: Sequence[str]) -> str:
    lines = [f"unknown {kind}: {given!r}", f"known: {', '.join(sorted(known)) or 'none'}"]
    near = get_close_matches(given, known, n=1, cutoff=0.5)
    return "\n".join([*lines, f"did you mean {near[0]!r}?"] if near else lines)
