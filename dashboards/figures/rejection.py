"""Telling known from unknown: ROC by out set, and the risk of what is accepted."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from dashboards.blocks import Panel
from dashboards.figures.base import canvas, hover, line, named, rounded
from dashboards.style import NEUTRAL, plotly_text
from dashboards.summary import in_order, pick

GROUPS = ("near", "far", "unrecognisable", "user")
GRID = np.linspace(0.0, 1.0, 61) ** 2


def mean_curves(curves: pd.DataFrame, kind: str) -> pd.DataFrame:
    """Return the mean curve over the models of a loss: loss, dataset, slice, x, y, n (replicates).

    Each curve is read at 61 places of x from 0 to 1, closer together near 0, by straight lines between its points; a
    place that a curve of the loss does not reach is left out, so that all places are means over the same models.
    """
    found = []
    rows = pick(curves, kind=kind).dropna(subset=["x", "y"])
    for (loss, dataset, score), part in rows.groupby(["loss", "dataset", "slice"], sort=False):
        read = [
            np.interp(GRID, one["x"].to_numpy(), one["y"].to_numpy(), left=np.nan, right=np.nan)
            for _, one in part.sort_values(["x", "y"]).groupby(["replicate", "seed"])
        ]
        mean = np.mean(read, axis=0)
        kept = ~np.isnan(mean)
        found.append(
            pd.DataFrame(
                {
                    "loss": loss,
                    "dataset": dataset,
                    "slice": score,
                    "x": GRID[kept],
                    "y": mean[kept],
                    "n": part["replicate"].nunique(),
                }
            )
        )
    columns = ["loss", "dataset", "slice", "x", "y", "n"]
    return pd.concat(found, ignore_index=True) if found else pd.DataFrame({name: [] for name in columns})


def roc_panels(data: pd.DataFrame, losses: Sequence[str], groups: Mapping[str, str]) -> list[Panel]:
    """Draw one ROC panel an out set, sets in the order of `GROUPS`.

    `data` are `mean_curves(curves, "roc")` at one score; x is the share of out samples accepted, y of known ones;
    `groups` gives the group of each set.
    """
    panels = []
    names = in_order(data, "dataset", [])
    for name in sorted(names, key=lambda name: (_place(groups.get(name)), name)):
        figure = canvas(320, x_title="out samples accepted (%)", y_title="known accepted (%)")
        _add_curves(figure, pick(data, dataset=name), losses, "%{y:.1f} % of known at %{x:.1f} % of out")
        figure.add_trace(_diagonal())
        figure.update_xaxes(range=[-1, 101])
        figure.update_yaxes(range=[-1, 101])
        group = groups.get(name)
        panels.append(Panel(f"{name} ({group})" if group else name, figure))
    return panels


def risk_figure(data: pd.DataFrame, losses: Sequence[str]) -> go.Figure:
    """Draw the share of errors among the accepted known samples over the share accepted."""
    figure = canvas(360, x_title="coverage: known samples accepted (%)", y_title="errors among them (%)")
    _add_curves(figure, data, losses, "%{y:.1f} % errors at %{x:.1f} % accepted")
    figure.update_xaxes(range=[-1, 101])
    figure.update_yaxes(rangemode="tozero")
    return figure


def _place(group: str | None) -> int:
    return GROUPS.index(group) if group in GROUPS else len(GROUPS)


def _diagonal() -> go.Scatter:
    return go.Scatter(
        x=[0, 100], y=[0, 100], mode="lines", line={"color": NEUTRAL, "width": 1, "dash": "dot"}, hoverinfo="skip",
        showlegend=False, name=plotly_text("chance"),
    )  # fmt: skip


def _add_curves(figure: go.Figure, data: pd.DataFrame, losses: Sequence[str], text: str) -> None:
    for loss in in_order(data, "loss", losses):
        rows = pick(data, loss=loss)
        figure.add_trace(
            go.Scatter(
                x=rounded(100 * rows["x"], 4),
                y=rounded(100 * rows["y"], 4),
                mode="lines",
                line=line(loss),
                hovertemplate=hover(text),
                **named(loss),
            )
        )
