"""One search space per loss: the shared hyperparameters, then the loss's own, then the points that open the search."""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution

from search_spaces.losses import LOSS_SPACES, LossSpace
from search_spaces.shared import SHARED
from study.errors import InputError
from study.seeds import derive

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Point = dict[str, Any]


def loss_space(name: str) -> LossSpace:
    """Return a loss's own space: from the table, or from the ranges that a user's own loss declares.

    Raises:
        ValueError: no such loss, or one that declares itself wrongly.
    """
    if name in LOSS_SPACES:
        return LOSS_SPACES[name]
    from hem.registry import get_loss

    spec = get_loss(name)
    defaults = dict(spec.defaults or {})
    distributions = {name: _declared(*limits) for name, limits in (spec.ranges or {}).items()}
    return LossSpace(distributions, lambda num_classes: defaults, lambda num_samples: ())


def _declared(low: float, high: float, scale: str) -> BaseDistribution:
    """Return the distribution of a parameter that a user's loss declares; scale is "linear" or "log"."""
    return FloatDistribution(low, high, log=scale == "log")


def declared_ranges(loss: str) -> dict[str, dict[str, Any]]:
    """Return parameter → {low, high, scale} of a loss of one's own, as the record has them."""
    from hem.registry import get_loss

    ranges = get_loss(loss).ranges or {}
    return {name: {"low": low, "high": high, "scale": scale} for name, (low, high, scale) in ranges.items()}


def own_name(parameter: str) -> str:
    """Return the name of a loss's own parameter in a search, so that it cannot hide a shared one."""
    return f"loss.{parameter}"


def distributions(loss: str) -> dict[str, BaseDistribution]:
    """Return everything that is searched for a loss."""
    own = loss_space(loss).distributions
    return {**SHARED, **{own_name(name): value for name, value in own.items()}}


def split_point(point: Mapping[str, Any]) -> tuple[Point, Point]:
    """Split a point into the shared hyperparameters and the loss's own parameters, under their plain names."""
    shared = {k: v for k, v in point.items() if k in SHARED}
    own = {k.removeprefix("loss."): v for k, v in point.items() if k.startswith("loss.")}
    return shared, own


def opening(
    loss: str,
    recipe: Mapping[str, Any],
    *,
    seed: int,
    method: str,
    replicate: int,
    num_classes: int,
    num_samples: float,
    trials: int,
) -> list[tuple[str, Point]]:
    """Return the points that open a search, each with its source: first "literature", then the "shared" ones.

    The shared half is a scrambled Sobol sequence over `SHARED`, the same for every loss of a (seed, method, replicate).
    A loss's own parameters come from its `first_points` on the first two of them (a user's loss has none), then from a
    scrambled Halton sequence in bases from 3 on. Sobol's base is 2: a second sequence of it would go in step with the
    learning rate, and its further dimensions do so over the few points of a search.

    Args:
        loss: registry name.
        recipe: the literature recipe of the data set.
        seed: the study's seed.
        method: how the task trains.
        replicate: which replicate.
        num_classes: C.
        num_samples: S, the images that the loss first trains on.
        trials: how many trials the search has; half of them, rounded down, are shared points.
    """
    space = loss_space(loss)
    literature = {**{k: recipe[k] for k in SHARED}, **_named(space.literature(num_classes), space)}
    count = trials // 2
    shared = _sobol(SHARED, count, derive(seed, "shared", method, replicate))
    own = _halton(space.distributions, count, derive(seed, "own", method, replicate))
    first = [dict(point) for point in space.first_points(num_samples)]
    own = [first[i] if i < len(first) else own[i] for i in range(count)]
    points = [{**a, **_named(b, space)} for a, b in zip(shared, own, strict=True)]
    return [("literature", literature), *(("shared", point) for point in points)][:trials]


def near_edge(
    point: Mapping[str, Any], loss: str, own_ranges: Mapping[str, Any] | None = None, *, share: float = 0.05
) -> list[str]:
    """Return the parameters of a point within `share` of an end of their range (in log units where so searched).

    Args:
        point: parameter → value, as searched.
        loss: registry name.
        own_ranges: parameter → {low, high, scale} of a loss of one's own; None looks that up, which imports it.
        share: of the range's width.
    """
    flagged = []
    if ":" in loss and own_ranges is not None:
        try:
            declared = {own_name(name): _declared(**limits) for name, limits in own_ranges.items()}
        except (ValueError, TypeError) as error:
            raise InputError(f"the record's ranges of {loss} cannot be used: {error}") from error
        searched = {**SHARED, **declared}
    else:
        searched = distributions(loss)
    for name, distribution in searched.items():
        if not isinstance(distribution, FloatDistribution) or name not in point:
            continue
        low, high, value = (
            (math.log(x) if distribution.log else x) for x in (distribution.low, distribution.high, point[name])
        )
        # A loss parameter of zero (no label smoothing) is a natural end, not a range that was cut too short.
        natural = distribution.low == 0.0
        if (value - low < share * (high - low) and not natural) or high - value < share * (high - low):
            flagged.append(name)
    return flagged


def _named(parameters: Mapping[str, Any], space: LossSpace) -> Point:
    return {own_name(k): v for k, v in parameters.items() if k in space.distributions}


def _sobol(space: Mapping[str, BaseDistribution], count: int, seed: int) -> list[Point]:
    from scipy.stats import qmc

    exponent = max(0, (count - 1).bit_length())
    units = qmc.Sobol(len(space), scramble=True, rng=seed).random_base2(exponent)[:count]
    return _points(space, units)


def _halton(space: Mapping[str, BaseDistribution], count: int, seed: int) -> list[Point]:
    from scipy.stats import qmc

    units = qmc.Halton(1 + len(space), scramble=True, rng=seed).random(count)[:, 1:]  # its first base is 2
    return _points(space, units)


def _points(space: Mapping[str, BaseDistribution], units: "NDArray[np.float64]") -> list[Point]:
    return [{name: _scaled(d, float(u)) for (name, d), u in zip(space.items(), row, strict=True)} for row in units]


def _scaled(distribution: BaseDistribution, unit: float) -> Any:  # noqa: ANN401
    if isinstance(distribution, CategoricalDistribution):
        return distribution.choices[min(int(unit * len(distribution.choices)), len(distribution.choices) - 1)]
    if not isinstance(distribution, FloatDistribution):
        raise TypeError(f"expected a float or categorical distribution, got {distribution!r}")
    low, high = distribution.low, distribution.high
    value = low * (high / low) ** unit if distribution.log else low + unit * (high - low)
    return min(high, max(low, value))
