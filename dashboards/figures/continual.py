"""What is remembered while a network learns one experience after the other."""

from collections.abc import Sequence

import pandas as pd
import plotly.graph_objects as go

from dashboards.blocks import Panel
from dashboards.figures.base import band, canvas, counting, hover, line, marker, named, rounded
from dashboards.summary import in_order, pick, replicate_means

CLASS, TASK = "class-incremental", "task-incremental"
_ENTRY = r"^(?P<kind>\S+) after (?P<after>\d+) on (?P<on>\d+)$"


def matrix_data(evaluation: pd.DataFrame, kind: str) -> pd.DataFrame:
    """Return the accuracy matrix R of one kind: method, loss, replicate, after, on (from 1), value."""
    rows = replicate_means(pick(evaluation, probe="continual", dataset="test", metric="accuracy"))
    entries = rows["slice"].str.extract(_ENTRY)
    rows = rows.assign(**{name: entries[name] for name in ("kind", "after", "on")})
    rows = pick(rows.dropna(subset=["kind"]), kind=kind).astype({"after": int, "on": int})
    return rows[["method", "loss", "replicate", "after", "on", "value"]].reset_index(drop=True)


def matrix_panels(data: pd.DataFrame, losses: Sequence[str]) -> list[Panel]:
    """Draw the matrix of every loss, mean over replicates: rows are what was learnt last, columns what is asked."""
    panels = []
    for loss in in_order(data, "loss", losses):
        mean = pick(data, loss=loss).groupby(["after", "on"])["value"].mean().unstack("on")
        shares = [rounded(100 * mean.loc[after], 3) for after in mean.index]
        figure = canvas(252, x_title="accuracy on experience", y_title="after experience")
        figure.add_trace(
            go.Heatmap(
                x=[int(on) for on in mean.columns],
                y=[int(after) for after in mean.index],
                z=shares,
                zmin=0,
                zmax=100,
                colorscale="Cividis",
                showscale=False,
                xgap=2,
                ygap=2,
                texttemplate="%{z:.0f}",
                hoverongaps=False,
                hovertemplate="after %{y} on %{x}: %{z:.1f} %<extra></extra>",
            )
        )
        figure.update_xaxes(dtick=1, showgrid=False)
        figure.update_yaxes(dtick=1, autorange="reversed", showgrid=False)
        panels.append(Panel(loss, figure))
    return panels


def seen_data(data: pd.DataFrame) -> pd.DataFrame:
    """Return mean accuracy on the experiences met so far: loss, after, mean, low, high (over replicates), n."""
    met = data[data["on"] <= data["after"]]
    means = met.groupby(["loss", "replicate", "after"], sort=False)["value"].mean().reset_index()
    groups = means.groupby(["loss", "after"])["value"].agg(["mean", "min", "max", "count"]).reset_index()
    return groups.rename(columns={"min": "low", "max": "high", "count": "n"})


def seen_figure(data: pd.DataFrame, losses: Sequence[str]) -> go.Figure:
    """Draw mean accuracy on what was met so far, over the experiences."""
    shown = in_order(data, "loss", losses)
    figure = canvas(360, x_title="experiences learnt", y_title="accuracy on those met so far (%)")
    for loss in shown:
        rows = pick(data, loss=loss)
        x = [int(after) for after in rows["after"]]
        figure.add_trace(band(loss, x, rounded(100 * rows["low"]), rounded(100 * rows["high"]), len(shown)))
        figure.add_trace(
            go.Scatter(
                x=x,
                y=rounded(100 * rows["mean"]),
                mode="lines+markers",
                line=line(loss),
                marker=marker(loss, 8),
                hovertemplate=hover("after %{x}: %{y:.1f} %"),
                **named(loss),
            )
        )
    figure.update_xaxes(**counting(int(data["after"].max())))
    return figure
