"""Accuracy under attack against the strength ε of the attack."""

from collections.abc import Sequence

import pandas as pd
import plotly.graph_objects as go

from dashboards.blocks import Panel
from dashboards.figures.base import canvas, hover, line, marker, named, rounded
from dashboards.summary import in_order, pick, replicate_means, summarise

KEYS = ["method", "loss", "arm", "norm", "eps"]
WORST = "robust_accuracy"
BEST = "attack_best"
LOW, HIGH, CLEAN = f"{WORST}_low", f"{WORST}_high", "clean_accuracy"


def attack_rows(evaluation: pd.DataFrame) -> pd.DataFrame:
    """Return the summary of the probe "attack" with its slice "<norm>-<eps>" read: keys, metric, mean, sd, n.

    Rows whose slice is not of that form are left out.
    """
    rows = _radii(summarise(pick(evaluation, probe="attack")))
    return rows[[*KEYS, "metric", "mean", "sd", "n"]].reset_index(drop=True)


def best_epoch_data(evaluation: pd.DataFrame) -> pd.DataFrame:
    """Return robust accuracy after the last and the best epoch: keys, last, best, difference (best − last), n.

    Means over the replicates that have both, which n counts.
    """
    worst = _radii(replicate_means(pick(evaluation, metric=WORST)))
    last, best = (
        pick(worst, probe=probe).rename(columns={"value": name})[[*KEYS, "replicate", name]]
        for probe, name in (("attack", "last"), (BEST, "best"))
    )
    both = last.merge(best, on=[*KEYS, "replicate"]).dropna(subset=["last", "best"])
    data = both.groupby(KEYS, sort=False).agg(last=("last", "mean"), best=("best", "mean"), n=("replicate", "count"))
    return data.assign(difference=data["best"] - data["last"]).reset_index()


def _radii(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the rows whose slice is "<norm>-<eps>", with both as columns."""
    parts = rows["slice"].str.extract(r"^(?P<norm>.+?)-(?P<eps>\d+(?:\.\d+)?(?:[eE][-+]?\d+)?)$")
    return rows.assign(norm=parts["norm"], eps=pd.to_numeric(parts["eps"])).dropna(subset=["norm"])


def eps_data(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the robust accuracy by ε: keys, mean, sd, n, low, high (means over models of the Wilson limits).

    `rows` are those of `attack_rows`. The clean accuracy of each norm stands at ε = 0, without limits.
    """
    worst = pick(rows, metric=WORST)
    for metric, name in ((LOW, "low"), (HIGH, "high")):
        limit = pick(rows, metric=metric)[[*KEYS, "mean"]].rename(columns={"mean": name})
        worst = worst.merge(limit, on=KEYS, how="left")
    clean = pick(rows, metric=CLEAN).groupby(["method", "loss", "arm", "norm"], sort=False).first().reset_index()
    clean = clean.assign(eps=0.0, low=float("nan"), high=float("nan"))
    data = pd.concat([frame for frame in (clean, worst) if len(frame)] or [worst])
    columns = [*KEYS, "mean", "sd", "n", "low", "high"]
    return data.sort_values(["norm", "eps"], kind="stable")[columns].reset_index(drop=True)


def eps_panels(data: pd.DataFrame, losses: Sequence[str], methods: Sequence[str]) -> list[Panel]:
    """Draw one panel a method and norm: robust accuracy over ε with the Wilson bars."""
    panels = []
    several = data["method"].nunique() > 1
    for method in in_order(data, "method", methods):
        for norm in in_order(pick(data, method=method), "norm", ("Linf", "L2")):
            rows = pick(data, method=method, norm=norm)
            panels.append(Panel(f"{norm}, method {method}" if several else norm, _eps_figure(rows, losses, norm)))
    return panels


def _eps_figure(data: pd.DataFrame, losses: Sequence[str], norm: str) -> go.Figure:
    figure = canvas(380, x_title=f"ε ({'ℓ∞' if norm == 'Linf' else 'ℓ2' if norm == 'L2' else 'norm'})")
    shown = in_order(data, "loss", losses)
    step = float(data["eps"].max()) / 60 / max(len(shown), 1)
    for index, loss in enumerate(shown):
        rows = pick(data, loss=loss)
        shift = (index - (len(shown) - 1) / 2) * step
        figure.add_trace(
            go.Scatter(
                x=rounded(eps + shift if eps else 0.0 for eps in rows["eps"]),
                y=rounded(100 * rows["mean"]),
                error_y={
                    "type": "data",
                    "symmetric": False,
                    "array": rounded(100 * (rows["high"] - rows["mean"]).clip(lower=0).fillna(0)),
                    "arrayminus": rounded(100 * (rows["mean"] - rows["low"]).clip(lower=0).fillna(0)),
                    "thickness": 1.3,
                    "width": 3,
                },
                customdata=rounded(rows["eps"]),
                mode="lines+markers",
                line=line(loss),
                marker=marker(loss, 8),
                hovertemplate=hover("ε = %{customdata}: %{y:.1f} %"),
                **named(loss),
            )
        )
    figure.update_yaxes(title_text="robust accuracy (%)", rangemode="tozero")
    return figure
