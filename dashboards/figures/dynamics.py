"""When a lead appears, and how margins and gradients change while a network learns."""

from collections.abc import Sequence

import pandas as pd
import plotly.graph_objects as go

from dashboards.blocks import Panel
from dashboards.figures.base import (
    REFERENCE_LINE,
    band,
    canvas,
    counting,
    hover,
    line,
    log_axis,
    named,
    rounded,
    stack,
    thinned,
)
from dashboards.style import REFERENCE_LOSS, loss_style, translucent
from dashboards.summary import in_order, pick

RATE = "learning_rate"
QUANTILES = ("margin_q05", "margin_q25", "margin_q50", "margin_q75", "margin_q95")
#: The losses whose margins the page explains, where the run has them.
EXPLAINED = ("ce", "mm", "hem", "hem+")


def lead_data(epochs: pd.DataFrame, objective: str) -> pd.DataFrame:
    """Return the lead over cross-entropy by epoch: loss, epoch, mean, low, high (over replicates), n, learning_rate.

    The difference is taken within each replicate, of the mean over its retrainings.
    """
    columns = ["loss", "epoch", "mean", "low", "high", "n", RATE]
    if objective not in epochs.columns:
        return pd.DataFrame(columns=columns)
    means = epochs.groupby(["loss", "replicate", "epoch"])[[objective, RATE]].mean().reset_index()
    means = means.dropna(subset=[objective])
    reference = pick(means, loss=REFERENCE_LOSS)[["replicate", "epoch", objective]]
    both = means.merge(reference, on=["replicate", "epoch"], suffixes=("", "_reference"))
    both = both[both["loss"] != REFERENCE_LOSS]
    both = both.assign(lead=both[objective] - both[f"{objective}_reference"])
    groups = both.groupby(["loss", "epoch"]).agg(
        mean=("lead", "mean"),
        low=("lead", "min"),
        high=("lead", "max"),
        n=("replicate", "nunique"),
        rate=(RATE, "mean"),
    )
    return groups.reset_index().rename(columns={"rate": RATE})[columns]


def lead_figure(data: pd.DataFrame, losses: Sequence[str]) -> go.Figure:
    """Draw the lead over cross-entropy by epoch, in points, and below it the learning rate.

    The first fifth of the epochs does not set the scale: leads are largest where nothing is learnt yet.
    """
    shown = in_order(data, "loss", losses)
    figure = stack([0.72, 0.28], 470, 0.09, ["lead over ce on validation (points)", "learning rate"])
    figure.update_layout(margin={"t": 44})
    figure.update_annotations(x=0, xanchor="left", font={"size": 13})
    for loss in shown:
        rows = thinned(pick(data, loss=loss), 100)
        x = [int(epoch) for epoch in rows["epoch"]]
        low, high = rounded(100 * rows["low"]), rounded(100 * rows["high"])
        figure.add_trace(band(loss, x, low, high, len(shown)), row=1, col=1)
        for place, values, unit in ((1, 100 * rows["mean"], "points"), (2, rows[RATE], "")):
            figure.add_trace(
                go.Scatter(
                    x=x,
                    y=rounded(values),
                    mode="lines",
                    line=line(loss, 1.8),
                    hovertemplate=hover(f"epoch %{{x}}: %{{y:.3g}} {unit}"),
                    **named(loss, place == 1),
                ),
                row=place,
                col=1,
            )
    figure.add_hline(y=0, line=REFERENCE_LINE, row=1, col=1)
    settled = 100 * data[data["epoch"] > data["epoch"].max() / 5]["mean"]
    least, most = min(0.0, float(settled.min())), max(0.0, float(settled.max()))
    room = 0.4 * (most - least) or 1.0
    figure.update_yaxes(range=[least - room, most + room], row=1, col=1)
    positive = data[data[RATE] > 0][RATE]
    if len(positive):
        figure.update_yaxes(**log_axis(float(positive.min()), float(positive.max())), row=2, col=1)
    figure.update_xaxes(**counting(int(data["epoch"].max())))
    figure.update_xaxes(title_text="epoch", row=2, col=1)
    return figure


def margin_data(epochs: pd.DataFrame) -> pd.DataFrame:
    """Return the quantiles of the margins by epoch, mean over trainings: loss, epoch and a column for each."""
    present = [name for name in QUANTILES if name in epochs.columns]
    rows = epochs[epochs["loss"].isin(EXPLAINED)]
    if len(present) < len(QUANTILES) or not len(rows):
        return pd.DataFrame(columns=["loss", "epoch", *QUANTILES])
    return rows.groupby(["loss", "epoch"])[list(QUANTILES)].mean().dropna().reset_index()


def margin_panels(data: pd.DataFrame) -> list[Panel]:
    """Draw, for each explained loss, median, middle half and middle 90 % of the training samples' margins."""
    panels = []
    for loss in in_order(data, "loss", EXPLAINED):
        rows = thinned(pick(data, loss=loss), 100)
        x = [int(epoch) for epoch in rows["epoch"]]
        figure = canvas(300, x_title="epoch", y_title="margin")
        for low, high, strength in (("margin_q05", "margin_q95", 0.14), ("margin_q25", "margin_q75", 0.22)):
            figure.add_trace(
                go.Scatter(
                    x=[*x, *reversed(x)],
                    y=[*rounded(rows[high]), *reversed(rounded(rows[low]))],
                    fill="toself",
                    fillcolor=translucent(loss_style(loss).color, strength),
                    line={"width": 0},
                    mode="lines",
                    hoverinfo="skip",
                    **named(loss, first=False),
                )
            )
        figure.add_trace(
            go.Scatter(
                x=x,
                y=rounded(rows["margin_q50"]),
                mode="lines",
                line=line(loss),
                hovertemplate=hover("epoch %{x}: median %{y:.3g}"),
                **named(loss),
            )
        )
        figure.add_hline(y=0, line=REFERENCE_LINE)
        figure.update_xaxes(**counting(int(data["epoch"].max())))
        panels.append(Panel(loss, figure))
    return panels
