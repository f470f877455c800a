"""What happens inside a training, and what it costs."""

from collections.abc import Sequence

import pandas as pd
import plotly.graph_objects as go

from dashboards.figures.base import (
    band,
    canvas,
    counting,
    hover,
    line,
    log_axis,
    marker,
    named,
    rounded,
    stack,
    thinned,
)
from dashboards.style import NEUTRAL, plotly_text, translucent
from dashboards.summary import in_order, pick

LEARNING_RATE = "learning_rate"
#: Column, heading, factor and type of axis of each row of the figure, from the top; the objective comes before them.
ROWS = (
    ("active_share", "active samples (%)", 100.0, "linear"),
    ("active_classes", "active classes (%)", 100.0, "linear"),
    ("gradient_norm", "gradient norm", 1.0, "log"),
    ("logit_scale", "logit scale", 1.0, "log"),
    (LEARNING_RATE, "learning rate", 1.0, "log"),
)
STAGES = ("search", "rescore", "confirm", "sweep", "evaluate", "attack", "cost")
#: Rows of the timing table that are measurements of the stage "cost", and no stages.
MEASURED = ("step", "epoch")


def training_data(epochs: pd.DataFrame, objective: str) -> pd.DataFrame:
    """Return the curves by epoch over the models of a loss: loss, quantity, epoch, mean, low, high, n (replicates).

    `epochs` holds one method and arm; `objective` is the validation column that the search maximises. Mean, smallest
    and largest are over all retrainings.
    """
    columns = [name for name in [objective, *(row[0] for row in ROWS)] if name in epochs.columns]
    keys = ["loss", "replicate", "number", "epoch"]
    long = epochs[[*keys, *columns]].melt(id_vars=keys, var_name="quantity", value_name="value")
    long = long.dropna(subset=["value"])
    data = long.groupby(["loss", "quantity", "epoch"]).agg(
        mean=("value", "mean"), low=("value", "min"), high=("value", "max"), n=("replicate", "nunique")
    )
    return data.reset_index()


def training_figure(data: pd.DataFrame, objective: str, losses: Sequence[str]) -> go.Figure:
    """Draw the rows that have data under each other over one axis of epochs, the learning rate last."""
    heading = objective.removeprefix("validation_").replace("_", " ")
    rows = [(objective, f"validation {heading} (%)", 100.0, "linear"), *ROWS]
    present = set(data["quantity"])
    rows = [row for row in rows if row[0] in present]
    heights = [2.0 if row[0] == objective else 1.0 for row in rows]
    figure = stack(heights, int(90 + 128 * sum(heights)), 0.045, [row[1] for row in rows])
    figure.update_layout(margin={"t": 44})
    figure.update_annotations(x=0, xanchor="left", font={"size": 13})
    for place, (quantity, _, factor, kind) in enumerate(rows, start=1):
        part = pick(data, quantity=quantity)
        shown = in_order(part, "loss", losses)
        for loss in shown:
            _add_line(figure, pick(part, loss=loss), loss, factor, place, len(shown))
        known = part[part["low"] > 0]
        if kind == "log" and len(known):
            figure.update_yaxes(**log_axis(float(known["low"].min()), float(known["high"].max())), row=place, col=1)
        else:
            figure.update_yaxes(nticks=6, row=place, col=1)
    figure.update_xaxes(**counting(int(data["epoch"].max())))
    figure.update_xaxes(title_text="epoch", row=len(rows), col=1)
    return figure


def _add_line(figure: go.Figure, rows: pd.DataFrame, loss: str, factor: float, place: int, among: int) -> None:
    rows = thinned(rows, 100)
    x = [int(epoch) for epoch in rows["epoch"]]
    low, high = rounded(factor * rows["low"], 4), rounded(factor * rows["high"], 4)
    figure.add_trace(band(loss, x, low, high, among), row=place, col=1)
    figure.add_trace(
        go.Scatter(
            x=x,
            y=rounded(factor * rows["mean"], 4),
            mode="lines",
            line=line(loss, 1.8),
            hovertemplate=hover("epoch %{x}: %{y:.4g}"),
            **named(loss, place == 1),
        ),
        row=place,
        col=1,
    )


def cost_data(timing: pd.DataFrame) -> pd.DataFrame:
    """Return the seconds of one training: loss, replicate, number, stage, seconds, per_epoch (search and confirm)."""
    rows = timing[timing["stage"].isin(("search", "confirm"))].dropna(subset=["seconds"])
    rows = rows.assign(per_epoch=rows["seconds"] / rows["epochs"].where(rows["epochs"] > 0))
    return rows[["loss", "replicate", "number", "stage", "seconds", "per_epoch", "images"]].reset_index(drop=True)


def cost_figure(data: pd.DataFrame, losses: Sequence[str]) -> go.Figure:
    """Draw the seconds of every training by loss as boxes with their points."""
    shown = in_order(data, "loss", losses)
    figure = canvas(104 + 38 * len(shown), x_title="seconds per training")
    for place, loss in enumerate(shown):
        seconds = rounded(pick(data, loss=loss)["seconds"], 4)
        look = marker(loss, 4)
        figure.add_trace(
            go.Box(
                x=seconds,
                y=[place] * len(seconds),
                orientation="h",
                boxpoints="all",
                jitter=0.5,
                pointpos=0,
                width=0.62,
                line={"width": 1.4, "color": look["color"]},
                fillcolor=translucent(look["color"], 0.14),
                marker={**look, "opacity": 0.5},
                hovertemplate=hover("%{x:.3g} s"),
                **named(loss),
            )
        )
    figure.update_xaxes(rangemode="tozero")
    figure.update_yaxes(
        tickvals=list(range(len(shown))),
        ticktext=[plotly_text(loss, 16) for loss in shown],
        range=[len(shown) - 0.4, -0.6],
        showgrid=False,
    )
    return figure


def alternate_data(timing: pd.DataFrame) -> pd.DataFrame:
    """Return seconds of a step and of an epoch by loss, measured alternately in one process: loss, step, epoch.

    A measure that is not there is nan.
    """
    rows = timing[timing["stage"].isin(MEASURED)]
    wide = rows.groupby(["loss", "stage"])["seconds"].median().unstack("stage").reindex(columns=list(MEASURED))
    return wide.reset_index()


def stage_data(timing: pd.DataFrame) -> pd.DataFrame:
    """Return the work of each stage: stage, seconds (sum over its pieces), pieces."""
    data = timing[~timing["stage"].isin(MEASURED)].groupby("stage")["seconds"].agg(["sum", "count"]).reset_index()
    data = data.rename(columns={"sum": "seconds", "count": "pieces"})
    return data.set_index("stage").loc[in_order(data, "stage", STAGES)].reset_index() if len(data) else data


def stage_figure(data: pd.DataFrame) -> go.Figure:
    """Draw the summed seconds of each stage."""
    figure = canvas(104 + 34 * len(data), x_title="seconds of work, summed over processes")
    figure.add_trace(
        go.Bar(
            x=rounded(data["seconds"]),
            y=[plotly_text(str(name)) for name in data["stage"]],
            orientation="h",
            marker={"color": translucent(NEUTRAL, 0.6)},
            customdata=[int(pieces) for pieces in data["pieces"]],
            hovertemplate="%{x:.4g} s in %{customdata} pieces<extra></extra>",
            name="seconds",
        )
    )
    figure.update_yaxes(type="category", autorange="reversed", showgrid=False)
    return figure
