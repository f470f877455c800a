"""Is a confidence of 80 % right in 80 % of the cases?"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from dashboards.blocks import Panel
from dashboards.figures.base import canvas, hover, line, marker, named, rounded
from dashboards.style import NEUTRAL
from dashboards.summary import in_order, pick

BINS = 15


def reliability_data(curves: pd.DataFrame) -> pd.DataFrame:
    """Return confidence and accuracy by bin over all models of a loss: loss, slice, bin, x, y, n (images).

    Bin b of 15 holds confidences in (b/15, (b+1)/15]; x and y are means weighted by the number of images.
    """
    rows = pick(curves, kind="reliability").dropna(subset=["x", "y"])
    rows = rows[rows["n"] > 0]
    bins = (np.ceil(rows["x"].to_numpy() * BINS - 1e-9) - 1).clip(0, BINS - 1).astype(int)
    weighted = rows.assign(bin=bins, x=rows["x"] * rows["n"], y=rows["y"] * rows["n"])
    data = weighted.groupby(["loss", "slice", "bin"])[["x", "y", "n"]].sum().reset_index()
    return data.assign(x=data["x"] / data["n"], y=data["y"] / data["n"])


def reliability_panels(data: pd.DataFrame, losses: Sequence[str]) -> list[Panel]:
    """Draw one panel for raw and one for temperature-scaled confidences."""
    titles = {"raw": "raw", "scaled": "after temperature scaling"}
    panels = []
    for name in in_order(data, "slice", list(titles)):
        figure = canvas(400, x_title="confidence (%)", y_title="accuracy (%)")
        figure.add_trace(
            go.Scatter(
                x=[0, 100],
                y=[0, 100],
                mode="lines",
                line={"color": NEUTRAL, "width": 1, "dash": "dot"},
                hoverinfo="skip",
                showlegend=False,
                name="calibrated",
            )
        )
        rows = pick(data, slice=name)
        for loss in in_order(rows, "loss", losses):
            part = pick(rows, loss=loss)
            sizes = rounded(4 + 9 * np.sqrt(part["n"] / part["n"].max()), 3)
            figure.add_trace(
                go.Scatter(
                    x=rounded(100 * part["x"], 4),
                    y=rounded(100 * part["y"], 4),
                    customdata=[int(count) for count in part["n"]],
                    mode="lines+markers",
                    line=line(loss, 1.6),
                    marker={**marker(loss), "size": sizes},
                    hovertemplate=hover("confidence %{x:.1f} %, accuracy %{y:.1f} %, %{customdata} images"),
                    **named(loss),
                )
            )
        figure.update_xaxes(range=[-2, 102])
        figure.update_yaxes(range=[-2, 102])
        panels.append(Panel(titles.get(name, name), figure))
    return panels
