"""Accuracy on corrupted test images, by kind and severity."""

from collections.abc import Sequence

import pandas as pd
import plotly.graph_objects as go

from dashboards.figures.base import canvas, hover, line, marker, named, rounded
from dashboards.style import plotly_text
from dashboards.summary import in_order, pick, replicate_means

PART = r"^(?P<kind>[a-z_]+)-(?P<severity>\d)$"


def corruption_data(evaluation: pd.DataFrame) -> pd.DataFrame:
    """Return accuracy on each corruption that there is: loss, replicate, kind, severity (1 to 5), value."""
    rows = pick(evaluation, dataset="test", metric="accuracy")
    corrupt = replicate_means(pick(rows, probe="corruption")).dropna(subset=["value"])
    parts = corrupt["slice"].str.extract(PART)
    corrupt = corrupt.assign(kind=parts["kind"], severity=pd.to_numeric(parts["severity"])).dropna(subset=["kind"])
    data = corrupt[["loss", "replicate", "kind", "severity", "value"]]
    return data.astype({"severity": int}).reset_index(drop=True)


def severity_data(data: pd.DataFrame) -> pd.DataFrame:
    """Return accuracy by severity, each kind with the same weight: loss, severity, mean, low, high, n (replicates)."""
    means = data.groupby(["loss", "replicate", "severity"], sort=False)["value"].mean().reset_index()
    groups = means.groupby(["loss", "severity"])["value"].agg(["mean", "min", "max", "count"]).reset_index()
    return groups.rename(columns={"min": "low", "max": "high", "count": "n"})


def severity_figure(data: pd.DataFrame, losses: Sequence[str]) -> go.Figure:
    """Draw mean accuracy over the severities, one line a loss, bars from the smallest to the largest replicate."""
    figure = canvas(400, x_title="severity", y_title="accuracy, mean over kinds (%)")
    for loss in in_order(data, "loss", losses):
        rows = pick(data, loss=loss)
        figure.add_trace(
            go.Scatter(
                x=[int(severity) for severity in rows["severity"]],
                y=rounded(100 * rows["mean"]),
                error_y={
                    "type": "data",
                    "array": rounded(100 * (rows["high"] - rows["mean"])),
                    "arrayminus": rounded(100 * (rows["mean"] - rows["low"])),
                    "thickness": 1.2,
                    "width": 3,
                },
                mode="lines+markers",
                line=line(loss),
                marker=marker(loss, 8),
                hovertemplate=hover("severity %{x}: %{y:.1f} %"),
                **named(loss),
            )
        )
    figure.update_xaxes(dtick=1)
    return figure


def kind_data(data: pd.DataFrame) -> pd.DataFrame:
    """Return accuracy by kind, mean over severities: loss, kind, mean, sd (over replicates), n."""
    means = data.groupby(["loss", "kind", "replicate"], sort=False)["value"].mean().reset_index()
    groups = means.groupby(["loss", "kind"])["value"].agg(["mean", "std", "count"]).reset_index()
    return groups.rename(columns={"std": "sd", "count": "n"})


def kind_figure(data: pd.DataFrame, losses: Sequence[str]) -> go.Figure:
    """Draw a row a kind with a mark a loss, the kind that costs most on top."""
    kinds = list(data.groupby("kind")["mean"].mean().sort_values().index)
    figure = canvas(104 + 28 * len(kinds), x_title="accuracy, mean over severities (%)")
    for loss in in_order(data, "loss", losses):
        rows = pick(data, loss=loss)
        figure.add_trace(
            go.Scatter(
                x=rounded(100 * rows["mean"]),
                y=[kinds.index(kind) for kind in rows["kind"]],
                customdata=[kind.replace("_", " ") for kind in rows["kind"]],
                mode="markers",
                marker=marker(loss, 9),
                hovertemplate=hover("%{customdata}: %{x:.1f} %"),
                **named(loss),
            )
        )
    figure.update_yaxes(
        tickvals=list(range(len(kinds))),
        ticktext=[plotly_text(kind.replace("_", " ")) for kind in kinds],
        range=[len(kinds) - 0.4, -0.6],
    )
    return figure
