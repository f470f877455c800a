"""What all figures share: the empty canvas, axes, and the look of a loss's marks.

Colours of text, grid and axes are not set here: the page sets them for its light and dark theme.
"""

import math
from collections.abc import Iterable, Sequence
from typing import Any

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from dashboards.style import NEUTRAL, loss_style, plotly_text, translucent

#: Height of the strip above the axes where the panel's heading and the buttons stand, in CSS pixels.
STRIP = 32
REFERENCE_LINE = {"color": NEUTRAL, "width": 1.2, "dash": "dash"}


def canvas(height: int, x_title: str = "", y_title: str = "") -> go.Figure:
    """Return an empty figure of a height in CSS pixels that fills the width that it is given."""
    return go.Figure(layout={**layout(height), "xaxis": axis(x_title), "yaxis": axis(y_title)})


def stack(heights: Sequence[float], height: int, spacing: float, titles: Sequence[str] | None = None) -> go.Figure:
    """Return an empty figure of rows over one x axis, the rows' heights in the given proportion."""
    figure = make_subplots(
        rows=len(heights),
        cols=1,
        shared_xaxes=True,
        row_heights=list(heights),
        vertical_spacing=spacing,
        subplot_titles=titles,
    )
    figure.update_layout(**layout(height))
    figure.update_xaxes(**axis(""))
    figure.update_yaxes(**axis(""))
    return figure


def layout(height: int) -> dict[str, Any]:
    """Return the layout that all figures share."""
    return {
        "template": go.layout.Template(),
        "height": height,
        "autosize": True,
        "showlegend": False,
        "hovermode": "closest",
        "font": {"size": 13},
        "margin": {"l": 8, "r": 14, "t": STRIP, "b": 8},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
    }


def axis(title: str) -> dict[str, Any]:
    """Return the settings of an axis; the title is text of this package, never a user's name."""
    return {
        "title": {"text": title, "standoff": 8, "font": {"size": 13}},
        "automargin": True,
        "zeroline": False,
        "showline": False,
        "showgrid": True,
        "gridwidth": 1,
        "ticks": "",
        "tickfont": {"size": 12},
    }


def line(loss: str, width: float = 2.0) -> dict[str, Any]:
    """Return the line of a loss."""
    style = loss_style(loss)
    return {"color": style.color, "width": width, "dash": style.dash}


def marker(loss: str, size: float = 9.0) -> dict[str, Any]:
    """Return the marker of a loss."""
    style = loss_style(loss)
    return {"color": style.color, "symbol": style.symbol, "size": size, "line": {"width": 1.2, "color": style.color}}


def named(loss: str, first: bool = True) -> dict[str, Any]:
    """Return the legend's part of a trace: one entry a loss, switched on and off together."""
    return {"name": plotly_text(loss), "legendgroup": loss, "showlegend": first}


def hover(text: str) -> str:
    """Return the template of a mark's label: the loss's name over a text with %{x}, %{y} or %{customdata} in it."""
    return f"<b>%{{fullData.name}}</b><br>{text}<extra></extra>"


def band(
    loss: str, x: Sequence[float], low: Sequence[float | None], high: Sequence[float | None], among: int
) -> go.Scatter:
    """Return a translucent band between two lines, the fainter the more losses it is drawn among."""
    return go.Scatter(
        x=[*x, *reversed(x)],
        y=[*high, *reversed(low)],
        fill="toself",
        fillcolor=translucent(loss_style(loss).color, min(0.12, 0.6 / among)),
        line={"width": 0},
        mode="lines",
        hoverinfo="skip",
        **named(loss, first=False),
    )


def counting(last: int) -> dict[str, Any]:
    """Return the ticks of an axis of whole numbers from 1 to `last`."""
    return {"dtick": 1} if last <= 20 else {"tickformat": "d"}


def log_axis(low: float, high: float) -> dict[str, Any]:
    """Return a logarithmic axis with ticks that can be read: 1, 2, 5 over less than 1.5 decades, else the decades."""
    steps = (1, 2, 5) if math.log10(high / low) < 1.5 else (1,)
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    decades = range(first, last + 1, max(1, (last - first) // 4))
    ticks = [step * 10.0**decade for decade in decades for step in steps]
    return {"type": "log", "tickvals": ticks, "ticktext": [f"{tick:g}" for tick in ticks]}


def thinned(rows: pd.DataFrame, most: int) -> pd.DataFrame:
    """Return every k-th row and the last, so that at most `most` + 1 are left (the page stays small)."""
    step = -(-len(rows) // most)
    return rows if step <= 1 else pd.concat([rows.iloc[:-1:step], rows.iloc[-1:]])


def stepped(x: Sequence[float], y: Sequence[float | None]) -> tuple[list[float], list[float | None]]:
    """Return the corners of a line that keeps each value until the next place."""
    return [place for place in x for _ in (0, 1)][1:], [value for value in y for _ in (0, 1)][:-1]


def rounded(values: Iterable[Any], digits: int = 5) -> list[float | None]:
    """Return numbers with few significant digits (the page stays small); what is missing is None."""
    return [None if value != value else float(f"{float(value):.{digits}g}") for value in values]
