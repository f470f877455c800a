"""Numbers as a reader meets them: shares in points of a hundred with one decimal, a minus sign, no false zero."""

from collections.abc import Sequence
from math import isnan

from study.comparison.replicates import is_share
from study.statistics import Paired


def amount(value: float, metric: str, *, points: bool = False, signed: bool = False) -> str:
    """Return a value of a metric with its unit: "71.2 %", "+0.8 points" for shares; three decimals for others.

    Args:
        value: in the metric's own unit (shares in [0, 1]).
        metric: its name.
        points: a difference, so points and not per cent.
        signed: with a plus sign where it is not negative.
    """
    if isnan(value):
        return "n/a"
    number = _number(value, metric, signed)
    return f"{number} {'points' if points else '%'}" if is_share(metric) else number


def difference(test: Paired, metric: str) -> str:
    """Return "+0.8 points [−2.1, 3.7]", without the bracket where there is no interval."""
    words = amount(test.difference, metric, points=True, signed=True)
    if isnan(test.low):
        return words
    return f"{words} [{_number(test.low, metric, False)}, {_number(test.high, metric, False)}]"


def p_value(p: float) -> str:
    """Return "p = 0.41", "p = 0.041", "p < 0.001", "no p-value"."""
    if isnan(p):
        return "no p-value"
    if p < 0.001:
        return "p < 0.001"
    return f"p = {p:.3f}" if p < 0.1 else f"p = {p:.2f}"


def names(losses: Sequence[str]) -> str:
    """Return "a", "a and b", "a, b and c"."""
    return " and ".join([", ".join(losses[:-1]), losses[-1]]) if len(losses) > 1 else "".join(losses)


def searches(n: int) -> str:
    """Return "one search", "2 searches"."""
    return "one search" if n == 1 else f"{n} searches"


def replicates(n: int) -> str:
    """Return "1 replicate", "3 replicates"."""
    return f"{n} replicate{'' if n == 1 else 's'}"


def _number(value: float, metric: str, signed: bool) -> str:
    text = f"{100 * value:.1f}" if is_share(metric) else f"{value:.3f}"
    if not float(text):
        return text.lstrip("-")
    return f"+{text}" if signed and value > 0 else text.replace("-", "−")
