"""Accuracy from the head to the tail of the classes, by groups of classes, and after post-hoc logit adjustment."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from dashboards.figures.base import canvas, counting, hover, line, marker, named, rounded, stack
from dashboards.style import NEUTRAL, plotly_text, translucent
from dashboards.summary import in_order, pick, replicate_means, summarise

GROUPS = ("many", "medium", "few")
CLASS = "class:"
TAIL = 1.5


def class_ranks(data: Mapping[str, Any]) -> pd.DataFrame:
    """Return the rank of every class by training count in every replicate: replicate, rank, name, n_train.

    `data` is the "data" part of study.json. Rank 0 has the most training images; class_order decides between equal
    counts. Nothing is returned where the counts of a replicate are not stated, or where the largest class has less than
    `TAIL` times the images of the smallest.
    """
    rows = []
    for split in data.get("splits") or ():
        counts = list(split.get("class_counts") or ())
        names = [str(name) for name in split.get("classes") or data.get("classes") or range(len(counts))]
        order = [int(index) for index in split.get("class_order") or range(len(counts))]
        if len(names) != len(counts) or sorted(order) != list(range(len(counts))) or max(counts) < TAIL * min(counts):
            continue
        for rank, index in enumerate(sorted(order, key=lambda index: -counts[index])):
            rows.append((int(split["replicate"]), rank, names[index], int(counts[index])))
    return pd.DataFrame(rows, columns=["replicate", "rank", "name", "n_train"])


def class_data(evaluation: pd.DataFrame, ranks: pd.DataFrame) -> pd.DataFrame:
    """Return accuracy by rank of the class: loss, rank, accuracy (mean), low, high (over replicates), n_train, names.

    The order of classes is another one in each replicate, so the mean is over classes of one rank, not of one name.
    """
    rows = pick(evaluation, probe="accuracy", dataset="test", metric="accuracy")
    rows = replicate_means(rows[rows["slice"].str.startswith(CLASS)])
    rows = rows.assign(name=rows["slice"].str.removeprefix(CLASS)).merge(ranks, on=["replicate", "name"])
    groups = rows.groupby(["loss", "rank"], sort=True)
    data = groups.agg(
        accuracy=("value", "mean"),
        low=("value", "min"),
        high=("value", "max"),
        n_train=("n_train", "mean"),
        names=("name", lambda names: ", ".join(dict.fromkeys(names))),
        n=("replicate", "nunique"),
    )
    return data.reset_index()


def class_figure(data: pd.DataFrame, losses: Sequence[str]) -> go.Figure:
    """Draw accuracy over the rank of the class, and below it the number of training images."""
    figure = stack([0.76, 0.24], 460, spacing=0.05)
    for loss in in_order(data, "loss", losses):
        rows = pick(data, loss=loss)
        figure.add_trace(
            go.Scatter(
                x=[rank + 1 for rank in rows["rank"]],
                y=rounded(100 * rows["accuracy"]),
                customdata=[
                    [plotly_text(names, 60), 100 * low, 100 * high]
                    for names, low, high in zip(rows["names"], rows["low"], rows["high"], strict=True)
                ],
                mode="lines+markers",
                line=line(loss),
                marker=marker(loss, 8),
                hovertemplate=hover(
                    "%{y:.1f} % (%{customdata[1]:.1f} to %{customdata[2]:.1f})<br>class %{customdata[0]}"
                ),
                **named(loss),
            ),
            row=1,
            col=1,
        )
    counts = data.groupby("rank")["n_train"].mean()
    figure.add_trace(
        go.Bar(
            x=[int(str(rank)) + 1 for rank in counts.index],
            y=rounded(counts),
            marker={"color": translucent(NEUTRAL, 0.55)},
            hovertemplate="%{y:.0f} training images<extra></extra>",
            name="training images",
            showlegend=False,
        ),
        row=2,
        col=1,
    )
    figure.update_yaxes(title_text="accuracy (%)", row=1, col=1)
    figure.update_yaxes(title_text="images", row=2, col=1, nticks=4, rangemode="tozero")
    last = int(data["rank"].max()) + 1 if len(data) else 1
    figure.update_xaxes(showgrid=False, range=[0.4, last + 0.6])
    figure.update_xaxes(title_text="class, from head (1) to tail", row=2, col=1, **counting(last))
    return figure


def group_data(evaluation: pd.DataFrame, probe: str = "accuracy") -> pd.DataFrame:
    """Return accuracy on many, medium and few: loss, slice, mean, sd, n. Groups with no class are left out."""
    rows = pick(evaluation, probe=probe, dataset="test", metric="accuracy")
    data = summarise(rows[rows["slice"].isin(GROUPS)]).dropna(subset=["mean"])
    return data[["loss", "slice", "mean", "sd", "n"]].reset_index(drop=True)


def group_figure(data: pd.DataFrame, losses: Sequence[str]) -> go.Figure:
    """Draw mean ± sd on many, medium and few, the losses side by side."""
    figure, places, shown = canvas(380, y_title="accuracy (%)"), in_order(data, "slice", GROUPS), []
    shown = in_order(data, "loss", losses)
    for index, loss in enumerate(shown):
        rows = pick(data, loss=loss)
        shift = (index - (len(shown) - 1) / 2) * 0.62 / max(len(shown), 1)
        figure.add_trace(
            go.Scatter(
                x=[places.index(name) + shift for name in rows["slice"]],
                y=rounded(100 * rows["mean"]),
                error_y={"type": "data", "array": rounded(100 * rows["sd"].fillna(0)), "thickness": 1.4, "width": 3},
                customdata=list(rows["slice"]),
                mode="markers",
                marker=marker(loss),
                hovertemplate=hover("%{customdata}: %{y:.1f} %"),
                **named(loss),
            )
        )
    figure.update_xaxes(
        tickvals=list(range(len(places))),
        ticktext=places,
        range=[-0.5, len(places) - 0.5],
        showgrid=False,
        tickfont={"size": 14},
    )
    return figure


def posthoc_data(evaluation: pd.DataFrame) -> pd.DataFrame:
    """Return balanced accuracy raw and after post-hoc adjustment.

    Columns loss, raw, posthoc, sds, gain, gain_sd, tau, temperature (nan where none is stated), n. The gain is paired:
    it is taken within each replicate, then averaged.
    """
    keys = ["loss", "replicate"]
    overall = replicate_means(pick(evaluation, dataset="test", slice="all"))
    wide = pick(overall, metric="balanced_accuracy", probe="accuracy")[[*keys, "value"]].rename(
        columns={"value": "raw"}
    )
    after = pick(overall, metric="balanced_accuracy", probe="posthoc")[[*keys, "value"]]
    wide = wide.merge(after.rename(columns={"value": "posthoc"}), on=keys)
    for metric in ("tau", "temperature"):
        fitted = pick(overall, metric=metric, probe="posthoc")[[*keys, "value"]]
        wide = wide.merge(fitted.rename(columns={"value": metric}), on=keys, how="left")
    wide["gain"] = wide["posthoc"] - wide["raw"]
    data = wide.groupby("loss", sort=False).agg(
        raw=("raw", "mean"),
        raw_sd=("raw", "std"),
        posthoc=("posthoc", "mean"),
        posthoc_sd=("posthoc", "std"),
        gain=("gain", "mean"),
        gain_sd=("gain", "std"),
        tau=("tau", "mean"),
        temperature=("temperature", "mean"),
        n=("replicate", "nunique"),
    )
    return data.reset_index()


def posthoc_figure(data: pd.DataFrame, losses: Sequence[str]) -> go.Figure:
    """Draw each loss as a step from its raw value (hollow) to its adjusted one (filled)."""
    shown = in_order(data, "loss", losses)
    figure = canvas(104 + 34 * len(shown), x_title="balanced accuracy (%)")
    for place, loss in enumerate(shown):
        row = pick(data, loss=loss).iloc[0]
        look = marker(loss, 11)
        hollow = {**look, "symbol": look["symbol"].removesuffix("-open") + "-open"}
        filled = {**look, "symbol": look["symbol"].removesuffix("-open")}
        for name, kind, first in (("raw", hollow, False), ("posthoc", filled, True)):
            figure.add_trace(
                go.Scatter(
                    x=rounded([100 * row[name]]),
                    y=[place],
                    mode="markers",
                    marker=kind,
                    hovertemplate=hover(("raw" if name == "raw" else "post-hoc") + ": %{x:.1f} %"),
                    **named(loss, first),
                )
            )
        figure.add_trace(
            go.Scatter(
                x=rounded([100 * row["raw"], 100 * row["posthoc"]]),
                y=[place, place],
                mode="lines",
                line={"color": look["color"], "width": 2},
                hoverinfo="skip",
                **named(loss, False),
            )
        )
    figure.update_yaxes(
        tickvals=list(range(len(shown))),
        ticktext=[plotly_text(loss, 16) for loss in shown],
        range=[len(shown) - 0.4, -0.6],
        showgrid=False,
    )
    return figure
