"""The look of a loss drawn small: line and marker for legends and tables, as the figures draw them."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from dashboards.style import LossStyle, loss_style

_DASHES: Mapping[str, str] = {
    "solid": "none",
    "dash": "5 3",
    "dot": "1.5 2.5",
    "dashdot": "6 2 1.5 2",
    "longdash": "8 3",
    "longdashdot": "8 2 1.5 2",
}
#: Corners and turn (in parts of a full turn) of the markers that are regular polygons.
_POLYGONS: Mapping[str, tuple[int, float]] = {
    "circle": (24, 0.0),
    "pentagon": (5, 0.75),
    "hexagon": (6, 0.75),
    "square": (4, 0.125),
    "diamond": (4, 0.0),
    "triangle-up": (3, 0.75),
    "triangle-down": (3, 0.25),
    "triangle-left": (3, 0.5),
    "triangle-right": (3, 0.0),
}
#: Corners of the others, in a square from -1 to 1.
_SHAPES: Mapping[str, Sequence[tuple[float, float]]] = {
    "cross": [
        *[(-0.35, -1), (0.35, -1), (0.35, -0.35), (1, -0.35), (1, 0.35), (0.35, 0.35)],
        *[(0.35, 1), (-0.35, 1), (-0.35, 0.35), (-1, 0.35), (-1, -0.35), (-0.35, -0.35)],
    ],
    "x": [
        *[(-0.5, -1), (0, -0.5), (0.5, -1), (1, -0.5), (0.5, 0), (1, 0.5)],
        *[(0.5, 1), (0, 0.5), (-0.5, 1), (-1, 0.5), (-0.5, 0), (-1, -0.5)],
    ],
    "hourglass": [(-1, -1), (1, -1), (-1, 1), (1, 1)],
    "bowtie": [(-1, -1), (-1, 1), (1, -1), (1, 1)],
}


def _outline(style: LossStyle) -> str:
    """Return the marker's corners as SVG polygon points around (14, 7)."""
    symbol = style.symbol.removesuffix("-open")
    corners: Iterable[tuple[float, float]]
    if symbol in _POLYGONS:
        count, turn = _POLYGONS[symbol]
        corners = [_on_circle(index / count + turn) for index in range(count)]
    elif symbol in _SHAPES:
        corners = _SHAPES[symbol]
    else:
        spikes = 5 if symbol == "star" else 4
        corners = [_on_circle(index / (2 * spikes) + 0.75, 0.45 if index % 2 else 1.0) for index in range(2 * spikes)]
    return " ".join(f"{14 + 5.2 * x:.2f},{7 + 5.2 * y:.2f}" for x, y in corners)


def _on_circle(turn: float, radius: float = 1.0) -> tuple[float, float]:
    return radius * math.cos(2 * math.pi * turn), radius * math.sin(2 * math.pi * turn)


@dataclass(frozen=True)
class Swatch:
    """The look of a loss as SVG parts: a dashed line and a marker's outline in a box of 28 x 14."""

    color: str
    dashes: str
    outline: str
    filled: bool

    @staticmethod
    def of(name: str) -> "Swatch":
        """Return the swatch of a loss."""
        style = loss_style(name)
        return Swatch(style.color, _DASHES[style.dash], _outline(style), not style.symbol.endswith("-open"))
