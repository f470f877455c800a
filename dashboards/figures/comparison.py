"""Arms side by side, and the forest of differences to cross-entropy."""

from collections.abc import Sequence

import pandas as pd
import plotly.graph_objects as go

from dashboards.blocks import Panel
from dashboards.figures.base import REFERENCE_LINE, canvas, hover, line, marker, named, rounded
from dashboards.style import NEUTRAL, REFERENCE_LOSS, is_share, plotly_text, translucent
from dashboards.summary import Endpoint, at_endpoint, in_order, pick

DIFFERENCES = ["difference", "difference_low", "difference_high", "smallest_detectable"]


def scale_of(metric: str) -> float:
    """Return what a value of the metric is multiplied by in a figure: 100 for shares (percent, points), else 1."""
    return 100.0 if is_share(metric) else 1.0


def arms_data(comparison: pd.DataFrame, endpoint: Endpoint) -> pd.DataFrame:
    """Return the endpoint's mean and 95 % interval by loss and arm, for the endpoint's method: fractions."""
    rows = pick(at_endpoint(comparison, endpoint), method=endpoint.method)
    return rows[["loss", "arm", "mean", "low", "high", "sd", "n"]].reset_index(drop=True)


def arms_figure(data: pd.DataFrame, endpoint: Endpoint, losses: Sequence[str], arms: Sequence[str]) -> go.Figure:
    """Draw the endpoint of every loss over the arms, the losses side by side within an arm."""
    scale, shown, places = scale_of(endpoint.metric), in_order(data, "loss", losses), in_order(data, "arm", arms)
    figure = canvas(420, y_title="%" if is_share(endpoint.metric) else "")
    for index, loss in enumerate(shown):
        rows = pick(data, loss=loss).set_index("arm").reindex(places).dropna(subset=["mean"])
        if is_share(endpoint.metric):
            rows = rows.assign(low=rows["low"].clip(lower=0), high=rows["high"].clip(upper=1))
        shift = (index - (len(shown) - 1) / 2) * 0.62 / max(len(shown), 1)
        figure.add_trace(
            go.Scatter(
                x=[places.index(str(arm)) + shift for arm in rows.index],
                y=rounded(scale * rows["mean"]),
                error_y={
                    "type": "data",
                    "symmetric": False,
                    "array": rounded(scale * (rows["high"] - rows["mean"])),
                    "arrayminus": rounded(scale * (rows["mean"] - rows["low"])),
                    "thickness": 1.4,
                    "width": 3,
                },
                customdata=[plotly_text(str(arm)) for arm in rows.index],
                mode="lines+markers",
                line={**line(loss, 1.0)},
                marker=marker(loss),
                hovertemplate=hover("%{customdata}: %{y:.1f}" if scale == 100 else "%{customdata}: %{y:.4g}"),
                **named(loss),
            )
        )
    figure.update_xaxes(
        tickvals=list(range(len(places))),
        ticktext=[plotly_text(arm) for arm in places],
        range=[-0.5, len(places) - 0.5],
        showgrid=False,
        tickfont={"size": 14},
    )
    return figure


def forest_data(comparison: pd.DataFrame, endpoint: Endpoint) -> pd.DataFrame:
    """Return the differences to CE at an endpoint by method, loss and arm (fractions); CE itself is left out."""
    rows = at_endpoint(comparison, endpoint)
    rows = rows[(rows["loss"] != REFERENCE_LOSS) & rows["difference"].notna()]
    return rows[["method", "loss", "arm", "n", *DIFFERENCES]].reset_index(drop=True)


def forest_panels(data: pd.DataFrame, endpoint: Endpoint, losses: Sequence[str], by: Sequence[str]) -> list[Panel]:
    """Draw one forest a value of `by[0]` (the column), in the order of `by[1:]`, all on one scale."""
    column, *order = by
    scale = scale_of(endpoint.metric)
    ends = scale * pd.concat([data["difference_low"], data["difference_high"], data["difference"]]).dropna()
    least = scale * float(data["smallest_detectable"].max())
    least = min(least, 1.5 * max([abs(end) for end in ends])) if least == least else 0.0
    left, right = min([*ends, -least]), max([*ends, least])
    room = 0.05 * (right - left) or 1.0
    panels = []
    for value in in_order(data, column, order):
        figure = forest_figure(pick(data, **{column: value}), scale, losses)
        figure.update_xaxes(range=[left - room, right + room])
        panels.append(Panel(value, figure))
    return panels


def forest_figure(rows: pd.DataFrame, scale: float, losses: Sequence[str]) -> go.Figure:
    """Draw the difference to CE of every loss with its interval, and as a bar the smallest that could be shown.

    `rows` has loss and `DIFFERENCES`, one row a loss.
    """
    shown = in_order(rows, "loss", losses)
    figure = canvas(104 + 34 * len(shown), x_title="difference to ce" + (" (points)" if scale == 100 else ""))
    for place, loss in enumerate(shown):
        row = pick(rows, loss=loss).iloc[0]
        difference, low, high, least = (scale * float(row[name]) for name in DIFFERENCES)
        if least == least:
            figure.add_shape(
                type="rect",
                x0=-least,
                x1=least,
                y0=place - 0.22,
                y1=place + 0.22,
                fillcolor=translucent(NEUTRAL, 0.16),
                line={"width": 0},
                layer="below",
            )
        ends = f"[{low:+.2f}, {high:+.2f}]" if low == low else "interval n/a"
        figure.add_trace(
            go.Scatter(
                x=rounded([difference]),
                y=[place],
                error_x={
                    "type": "data",
                    "symmetric": False,
                    "array": rounded([high - difference]),
                    "arrayminus": rounded([difference - low]),
                    "thickness": 2,
                    "width": 5,
                },
                mode="markers",
                marker=marker(loss, 11),
                hovertemplate=hover(f"%{{x:+.2f}} {ends}"),
                **named(loss),
            )
        )
    figure.add_vline(x=0, line=REFERENCE_LINE)
    figure.update_yaxes(
        tickvals=list(range(len(shown))),
        ticktext=[plotly_text(loss, 16) for loss in shown],
        range=[len(shown) - 0.4, -0.6],
        showgrid=False,
    )
    return figure
