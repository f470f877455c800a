"""How the search went: best so far, what was tried, and how the margin and the learning rate trade off."""

import math
from collections.abc import Sequence

import pandas as pd
import plotly.graph_objects as go

from dashboards.blocks import Panel
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
    stepped,
    thinned,
)
from dashboards.style import NEUTRAL, loss_style, significant, translucent
from dashboards.summary import in_order, pick

RANDOM_BELOW = 20
WINNER = "#d55e00"
LEARNING_RATE = "param.learning_rate"


def trials_per_search(trials: pd.DataFrame) -> int:
    """Return the largest number of trials of one search (method, loss, replicate)."""
    return int(trials.groupby(["method", "loss", "replicate"]).size().max()) if len(trials) else 0


def history_data(trials: pd.DataFrame) -> pd.DataFrame:
    """Return the best objective so far by trial: loss, number (from 0 in each search), mean, low, high, n (replicates).

    A failed trial leaves the best so far as it was; a number that not every replicate of the loss has reached is left
    out, so that a line never moves because a replicate ended.
    """
    rows = trials.sort_values("number").assign(objective=trials["objective"].where(trials["state"] == "complete"))
    rows["number"] = rows.groupby(["loss", "replicate"]).cumcount()
    rows["best"] = rows.groupby(["loss", "replicate"])["objective"].cummax()
    rows["best"] = rows.groupby(["loss", "replicate"])["best"].ffill()
    data = rows.groupby(["loss", "number"]).agg(
        mean=("best", "mean"), low=("best", "min"), high=("best", "max"), n=("best", "count")
    )
    data = data.reset_index()
    replicates = trials.groupby("loss")["replicate"].nunique()
    return data[data["n"] == data["loss"].map(replicates)].reset_index(drop=True)


def without_history(trials: pd.DataFrame) -> dict[str, str]:
    """Return the losses that `history_data` has no row of, each with the reason."""
    missing: dict[str, str] = {}
    for loss in sorted(set(trials["loss"]) - set(history_data(trials)["loss"])):
        own = pick(trials, loss=loss)
        finished = set(pick(own, state="complete")["replicate"])
        lost = [str(replicate) for replicate in sorted(set(own["replicate"]) - finished)]
        missing[loss] = (
            f"no trial of replicate{'s' * (len(lost) > 1)} {', '.join(lost)} finished"
            if lost
            else "a replicate ended before another had its first finished trial"
        )
    return missing


def history_floor(data: pd.DataFrame) -> float:
    """Return the lowest value worth showing: the worst of any loss after a fifth of the trials (a fraction).

    One bad first trial would otherwise press all that matters into the top of the figure.
    """
    return float(data[data["number"] >= 0.2 * data["number"].max()]["low"].min())


def history_figure(data: pd.DataFrame, losses: Sequence[str]) -> go.Figure:
    """Draw the best objective so far against the trial's number, with a band over the replicates."""
    figure = canvas(400, x_title="trials of a search so far", y_title="best objective so far (%)")
    shown = in_order(data, "loss", losses)
    for loss in shown:
        rows = pick(data, loss=loss)
        x = [int(number) + 1 for number in rows["number"]]
        places, low = stepped(x, rounded(100 * rows["low"]))
        figure.add_trace(band(loss, places, low, stepped(x, rounded(100 * rows["high"]))[1], len(shown)))
        figure.add_trace(
            go.Scatter(
                x=x,
                y=rounded(100 * rows["mean"]),
                mode="lines",
                line={**line(loss), "shape": "hv"},
                hovertemplate=hover("after %{x} trials: %{y:.1f} %"),
                **named(loss),
            )
        )
    floor, top = 100 * history_floor(data), 100 * float(data["high"].max())
    room = 0.06 * (top - floor) or 1.0
    figure.update_yaxes(range=[floor - room, top + room])
    figure.update_xaxes(**counting(int(data["number"].max()) + 1))
    return figure


def tried_data(trials: pd.DataFrame, parameter: str = LEARNING_RATE) -> pd.DataFrame:
    """Return the complete trials with the parameter: loss, replicate, number, value, objective, source, selected."""
    if parameter not in trials.columns:
        return pd.DataFrame({name: [] for name in ("loss", "value", "objective", "selected")})
    rows = trials[trials["state"] == "complete"]
    rows = rows.assign(value=pd.to_numeric(rows[parameter], errors="coerce")).dropna(subset=["value", "objective"])
    columns = ["loss", "replicate", "number", "value", "objective", "source", "selected"]
    return rows[columns].reset_index(drop=True)


def tried_panels(data: pd.DataFrame, losses: Sequence[str], title: str = "learning rate") -> list[Panel]:
    """Draw one panel a loss: objective over the tried values, the trials of the other losses in grey behind."""
    panels = []
    smallest_largest = float(data["value"].min()), float(data["value"].max())
    x_range = [math.log10(smallest_largest[0]) - 0.1, math.log10(smallest_largest[1]) + 0.1]
    low, high = 100 * float(data["objective"].min()), 100 * float(data["objective"].max())
    room = 0.06 * (high - low) or 1.0
    for loss in in_order(data, "loss", losses):
        figure = canvas(270, x_title=title, y_title="objective (%)")
        others, own = thinned(data[data["loss"] != loss], 500), pick(data, loss=loss)
        figure.add_trace(
            go.Scatter(
                x=rounded(others["value"], 4),
                y=rounded(100 * others["objective"], 4),
                mode="markers",
                marker={"color": translucent(NEUTRAL, 0.28), "size": 4},
                hoverinfo="skip",
                showlegend=False,
                name="other losses",
            )
        )
        tried, winners = pick(own, selected=False), pick(own, selected=True)
        figure.add_trace(_tried(loss, tried, {**marker(loss, 6), "opacity": 0.75}, first=not len(winners)))
        ring = {**marker(loss, 14), "symbol": "circle-open", "line": {"width": 2.4, "color": loss_style(loss).color}}
        figure.add_trace(_tried(loss, winners, ring, first=bool(len(winners))))
        figure.add_trace(_tried(loss, winners, marker(loss, 6), first=False))
        figure.update_xaxes(**log_axis(*smallest_largest), range=x_range)
        figure.update_yaxes(range=[low - room, high + room])
        panels.append(Panel(loss, figure))
    return panels


def _tried(loss: str, rows: pd.DataFrame, look: dict[str, object], first: bool) -> go.Scatter:
    return go.Scatter(
        x=rounded(rows["value"], 4),
        y=rounded(100 * rows["objective"], 4),
        customdata=[
            [int(replicate), int(number)] for replicate, number in zip(rows["replicate"], rows["number"], strict=True)
        ],
        mode="markers",
        marker=look,
        hovertemplate=hover("%{x:.3g}: %{y:.1f} %<br>replicate %{customdata[0]}, trial %{customdata[1]}"),
        **named(loss, first),
    )


def sensitivity_data(sensitivity: pd.DataFrame) -> pd.DataFrame:
    """Return the mean objective around the winner: loss, parameter, two factors, objective, failed (count), n.

    A loss with no parameter of its own has the factor 1. The factors are relative to each replicate's winner, so the
    mean is over like places, not like values; the (geometric) means of the values themselves are in parameter_value,
    learning_rate and margin.
    """
    rows = sensitivity.assign(
        objective=sensitivity["objective"].where(sensitivity["state"] == "complete"),
        parameter_factor=sensitivity["parameter_factor"].fillna(1.0),
        failed=(sensitivity["state"] != "complete").astype(int),
    )
    keys = ["loss", "parameter", "parameter_factor", "learning_rate_factor"]
    data = rows.groupby(keys).agg(
        objective=("objective", "mean"),
        failed=("failed", "sum"),
        n=("replicate", "nunique"),
        parameter_value=("parameter_value", _geometric),
        learning_rate=("learning_rate", _geometric),
        margin=("margin", _geometric),
    )
    return data.reset_index()


def sensitivity_panels(data: pd.DataFrame, losses: Sequence[str]) -> list[Panel]:
    """Draw one map a loss: the loss's own parameter by the learning rate, one scale of colours for all."""
    panels = []
    low, high = 100 * data["objective"].min(), 100 * data["objective"].max()
    for loss in in_order(data, "loss", losses):
        rows = pick(data, loss=loss)
        down, across = sorted(rows["parameter_factor"].unique()), sorted(rows["learning_rate_factor"].unique())
        grid = [
            [_map_cell(pick(rows, parameter_factor=first, learning_rate_factor=second)) for second in across]
            for first in down
        ]
        figure = canvas(350, x_title="learning rate ÷ winner's", y_title="margin parameter ÷ winner's")
        figure.add_trace(
            go.Heatmap(
                x=[f"×{significant(factor)}" for factor in across],
                y=[f"×{significant(factor)}" for factor in down],
                z=[rounded(cell[0] for cell in line_) for line_ in grid],
                text=[[cell[1] for cell in line_] for line_ in grid],
                customdata=[[cell[2] for cell in line_] for line_ in grid],
                texttemplate="%{text}",
                textfont={"size": 12},
                hovertemplate="%{customdata}<extra></extra>",
                hoverongaps=False,
                colorscale="Cividis",
                zmin=low,
                zmax=high,
                xgap=2,
                ygap=2,
                showscale=False,
            )
        )
        if 1.0 in across and 1.0 in down:
            figure.add_shape(
                type="rect", line={"color": WINNER, "width": 2.5}, **_around(across.index(1), down.index(1))
            )
        figure.update_xaxes(type="category", showgrid=False)
        figure.update_yaxes(type="category", showgrid=False)
        panels.append(Panel(f"{loss} ({', '.join(rows['parameter'].unique())})", figure))
    return panels


def _around(column: int, row: int) -> dict[str, float]:
    return {"x0": column - 0.5, "x1": column + 0.5, "y0": row - 0.5, "y1": row + 0.5}


def _map_cell(place: pd.DataFrame) -> tuple[float, str, str]:
    """Return colour value, text and hover text of one place of the map, given its row (none: it was not tried)."""
    if not len(place):
        return math.nan, "", "not tried"
    row = place.iloc[0]
    value = 100 * float(row["objective"])
    where = (
        f"parameter {significant(row['parameter_value'])}, learning rate {significant(row['learning_rate'])}, "
        f"margin {significant(row['margin'])}"
    )
    failures = f"<br>{int(row['failed'])} failed" if row["failed"] else ""
    if value != value:
        return value, "failed", f"failed<br>{where}"
    return value, f"{value:.1f}" + ("*" if row["failed"] else ""), f"{value:.1f} %<br>{where}{failures}"


def _geometric(values: "pd.Series[float]") -> float:
    known = [value for value in values if value == value and value > 0]
    return math.exp(sum(map(math.log, known)) / len(known)) if known else math.nan
