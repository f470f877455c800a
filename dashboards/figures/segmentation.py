"""Intersection over union, class by class."""

from collections.abc import Sequence

import pandas as pd
import plotly.graph_objects as go

from dashboards.figures.base import canvas, hover, marker, named, rounded
from dashboards.style import plotly_text
from dashboards.summary import in_order, pick, summarise

CLASS = "class:"


def iou_data(evaluation: pd.DataFrame) -> pd.DataFrame:
    """Return IoU by class: loss, name, mean, sd, n (replicates); classes that are nowhere are left out."""
    rows = pick(evaluation, probe="segmentation", dataset="test", metric="iou")
    data = summarise(rows[rows["slice"].str.startswith(CLASS)]).dropna(subset=["mean"])
    return data.assign(name=data["slice"].str.removeprefix(CLASS))[["loss", "name", "mean", "sd", "n"]]


def iou_figure(data: pd.DataFrame, losses: Sequence[str], classes: Sequence[str]) -> go.Figure:
    """Draw a row a class with a mark ± sd a loss."""
    names, shown = in_order(data, "name", classes), in_order(data, "loss", losses)
    figure = canvas(104 + (14 + 6 * len(shown)) * len(names), x_title="IoU (%)")
    for index, loss in enumerate(shown):
        rows = pick(data, loss=loss)
        shift = (index - (len(shown) - 1) / 2) * 0.7 / max(len(shown), 1)
        figure.add_trace(
            go.Scatter(
                x=rounded(100 * rows["mean"]),
                y=[names.index(name) + shift for name in rows["name"]],
                error_x={"type": "data", "array": rounded(100 * rows["sd"].fillna(0)), "thickness": 1.2, "width": 2},
                customdata=[plotly_text(name) for name in rows["name"]],
                mode="markers",
                marker=marker(loss, 7),
                hovertemplate=hover("%{customdata}: %{x:.1f} %"),
                **named(loss),
            )
        )
    figure.update_yaxes(
        tickvals=list(range(len(names))),
        ticktext=[plotly_text(name, 20) for name in names],
        range=[len(names) - 0.4, -0.6],
        showgrid=False,
    )
    return figure
