"""The verdict, the claims, the arms and the forest: who leads, by how much, and how sure that is."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pandas as pd

from dashboards.blocks import (
    Block,
    Cell,
    Column,
    Facts,
    Note,
    Panel,
    Picture,
    Section,
    Table,
    Whisker,
    badge_cell,
    loss_cell,
    not_available,
    number_cell,
    text_cell,
)
from dashboards.figures import comparison as figures
from dashboards.sections.common import missing_table
from dashboards.style import (
    REFERENCE_LOSS,
    change,
    interval,
    is_share,
    measure,
    missing,
    number,
    points,
    probability,
    unit,
    with_sd,
)
from dashboards.summary import Endpoint, View, at_endpoint, in_order, pick

NO_INTERVALS = " Intervals: n/a, there are too few replicates."

USUAL_TEST = "two-sided paired t test"
"""The reason that needs no column of its own: it is the heading of p."""


def verdict_section(view: View) -> Section:
    """Say who leads on the primary endpoint, and show the losses side by side."""
    verdict, primary = view.run.verdict, view.primary
    blocks: list[Block] = []
    if not verdict:
        blocks.append(not_available("not compared yet (the run has no verdict.json)"))
    if primary:
        rows = pick(at_endpoint(view.run.comparison, primary), method=primary.method, arm=primary.arm)
        if len(rows):
            blocks.append(_losses_table(view, rows, primary))
        if verdict.get("best_set"):
            blocks.append(Note(f"Best set (not told apart from the best): {', '.join(map(str, verdict['best_set']))}."))
        blocks.append(_endpoint_facts(view, primary))
    for note in verdict.get("notes") or ():
        blocks.append(Note(str(note)))
    return Section("verdict", "Verdict", blocks, str(verdict.get("headline") or ""), str(verdict.get("status") or ""))


def _losses_table(view: View, rows: pd.DataFrame, primary: Endpoint) -> Table:
    best = {str(name) for name in view.run.verdict.get("best_set") or ()}
    rows = rows.sort_values("mean", ascending=not primary.higher_is_better, kind="stable")
    scale = Whisker.scale(list(rows["difference_low"]), list(rows["difference_high"]))
    primary_only = rows["role"] == "primary"
    unjudged = primary_only & (rows["verdict"] == "")
    withheld = bool((unjudged & rows["difference_low"].notna()).any())
    # Without a verdict no p is shown; tables of earlier versions have one there.
    rows = rows.assign(p=rows["p"].mask(unjudged))
    tested = withheld or bool((primary_only & (rows["p"].notna() | rows["p_holm"].notna())).any())
    corrected = not rows.loc[primary_only, "p"].equals(rows.loc[primary_only, "p_holm"])
    shown = (["p"] + ["p_holm"] * corrected) * tested
    test = USUAL_TEST if (rows["reason"] == USUAL_TEST).any() else "which test: see reason"
    judged = bool((primary_only & (rows["verdict"] != "")).any())
    reasons = not rows["reason"].isin(["", USUAL_TEST]).all()
    in_points = " (points)" if is_share(primary.metric) else ""
    columns = [
        Column("loss"),
        Column(primary.label + unit(primary.metric), True, "mean ± sd (ddof 1) over replicates"),
        Column("difference to ce" + in_points, True, "mean of the paired differences, 95 % interval"),
        Column("interval", hint="the interval drawn; the line is zero difference"),
        Column("n", True, "replicates"),
        Column("best set"),
        *([Column("p", True, test)] if "p" in shown else []),
        *([Column("p (Holm)", True, "adjusted for the number of tasks")] if "p_holm" in shown else []),
        *([Column("verdict")] if judged else []),
        Column("smallest detectable" + in_points, True, "smallest difference that this n could have shown"),
        *([Column("reason")] if reasons else []),
    ]
    table = []
    for _, row in rows.iterrows():
        cells = _losses_row(row, primary, best, scale, shown, judged)
        table.append([*cells, *([text_cell(row["reason"], "prose")] if reasons else [])])
    caption = f"Losses by {primary.label}, best first (arm {primary.arm}, method {primary.method})"
    return Table("losses", caption, columns, table, rows)


def _losses_row(
    row: "pd.Series[Any]",
    primary: Endpoint,
    best: set[str],
    scale: tuple[float, float] | None,
    p_values: Sequence[str],
    judged: bool,
) -> list[Cell]:
    loss, metric, is_primary = str(row["loss"]), primary.metric, row["role"] == "primary"
    low, high = row["difference_low"], row["difference_high"]
    cells = [loss_cell(loss), number_cell(with_sd(row["mean"], row["sd"], metric), row["mean"])]
    if loss == REFERENCE_LOSS:
        cells += [Cell("reference", None, "missing"), Cell("", None)]
    else:
        written = change(row["difference"], metric)
        if not missing(low):
            written += f" {interval(low, high, metric)}"
        cells.append(number_cell(written, row["difference"]))
        whisker = Whisker.of(loss, low, row["difference"], high, scale)
        cells.append(Cell("", None, "whisker", whisker=whisker) if whisker else text_cell(""))
    cells.append(number_cell(number(row["n"], 0), row["n"]))
    cells.append(Cell("✓ best set", 0.0, "yes") if loss in best else Cell("", 1.0))
    cells += [_p_cell(row, name) if is_primary else Cell("", None) for name in p_values]
    if judged:
        cells.append(badge_cell(str(row["verdict"])) if is_primary and row["verdict"] else Cell("", None))
    cells.append(number_cell(measure(row["smallest_detectable"], metric), row["smallest_detectable"]))
    return cells


def _p_cell(row: "pd.Series[Any]", name: str) -> Cell:
    cell = number_cell(probability(row[name]), row[name])
    return replace(cell, hint=str(row["reason"])) if missing(row[name]) else cell


def _endpoint_facts(view: View, primary: Endpoint) -> Facts:
    verdict = view.run.verdict
    items = [
        ("primary endpoint", f"{primary.label} ({'higher' if primary.higher_is_better else 'lower'} is better)"),
        ("measured on", f"{primary.dataset}, {primary.slice}: {primary.metric} of probe {primary.probe}"),
        ("arm, method", f"{primary.arm}, {primary.method}"),
    ]
    if verdict.get("lead_variant"):
        items.append(("HEM stands for", str(verdict["lead_variant"])))
    return Facts("What was decided beforehand", items)


def claims_section(view: View) -> Section:
    """Show what was claimed and what this run says about it."""
    claims = [claim for claim in view.run.verdict.get("claims") or () if isinstance(claim, dict)]
    if not claims:
        return Section("claims", "Claims", [not_available("this run decides none of the claims")])
    return Section("claims", "Claims", [claims_table(claims)])


def claims_table(claims: Sequence[Mapping[str, Any]]) -> Table:
    """Return the table of claims: what was said, what was found, and how sure that is."""
    rows = []
    several = len({claim.get("claim") for claim in claims}) < len(claims)  # runs of one task make the same claims
    for claim in claims:
        written = points(claim.get("difference"))
        if not missing(claim.get("low")):
            written += f" {interval(claim.get('low'), claim.get('high'), 'accuracy')}"
        rows.append(
            [
                text_cell(claim.get("claim"), "prose"),
                *([text_cell(claim.get("run"), "prose")] if several else []),
                loss_cell(str(claim.get("loss"))),
                text_cell(claim.get("versus")),
                number_cell(written, claim.get("difference")),
                number_cell(probability(claim.get("p_holm")), claim.get("p_holm")),
                badge_cell(str(claim.get("verdict") or "")),
                text_cell(claim.get("reason"), "prose"),
            ]
        )
    columns = [
        Column("claim"),
        *([Column("run")] if several else []),
        Column("loss"),
        Column("versus"),
        Column("difference (points)", True, "95 % interval"),
        Column("p (Holm)", True),
        Column("verdict"),
        Column("reason"),
    ]
    return Table("claims-table", "What was claimed, and what was found", columns, rows, pd.DataFrame(claims))


def arms_section(view: View) -> Section:
    """Show the arms side by side on the primary endpoint."""
    primary = view.primary
    data = figures.arms_data(view.run.comparison, primary) if primary else pd.DataFrame()
    if primary is None or not len(data):
        return Section("arms", "Arms side by side", [not_available(missing_table(view, "comparison", "the endpoint"))])
    rows, arms = [], in_order(data, "arm", view.arms)
    for loss in in_order(data, "loss", view.losses):
        cells = [loss_cell(loss)]
        for arm in arms:
            found = pick(data, loss=loss, arm=arm)
            row = found.iloc[0] if len(found) else pd.Series({"mean": None, "sd": None})
            cells.append(number_cell(with_sd(row["mean"], row["sd"], primary.metric), row["mean"]))
        rows.append(cells)
    columns = [Column("loss"), *(Column(f"{arm}{unit(primary.metric)}", True, "mean ± sd") for arm in arms)]
    picture = Picture(
        "arms-figure",
        primary.label,
        [Panel("", figures.arms_figure(data, primary, view.losses, view.arms))],
        "Each mark is the mean of a loss in an arm, with the 95 % interval of the mean; a line joins one loss's arms. "
        "Default: literature recipe and parameters. Drop-in: cross-entropy's tuned recipe, only the loss changed. "
        "Tuned: the loss's own search." + ("" if data["low"].notna().any() else NO_INTERVALS),
        view.counts(data),
        f"{primary.label} of {len(rows)} losses in the arms {', '.join(arms)}",
        wide=True,
    )
    table = Table("arms-table", f"{primary.label} by arm", columns, rows, data)
    return Section("arms", "Arms side by side", [picture, table])


def forest_section(view: View) -> Section:
    """Show the differences to CE with their intervals, by arm, and by method where there are several."""
    title, primary = "Difference to cross-entropy", view.primary
    data = figures.forest_data(view.run.comparison, primary) if primary else pd.DataFrame()
    if primary is None or not len(data):
        return Section("forest", title, [not_available(missing_table(view, "comparison", "differences to ce"))])
    better = "right" if primary.higher_is_better else "left"
    reading = (
        "Each mark is the mean paired difference to cross-entropy in the same replicates, with its 95 % interval; "
        f"{better} of the dashed line is better. The grey bar is the smallest difference that this number of "
        "replicates could have shown."
    )
    if not data["difference_low"].notna().any():
        reading += NO_INTERVALS
    blocks: list[Block] = []
    own = pick(data, method=primary.method)
    if len(own):
        panels = figures.forest_panels(own, primary, view.losses, ["arm", *view.arms])
        alt = f"Forest plot of the differences to cross-entropy in {primary.label}, by arm"
        blocks.append(Picture("forest-figure", "By arm", panels, reading, view.counts(own), alt, keyed=False))
    methods = pick(data, arm=primary.arm)
    if methods["method"].nunique() > 1:
        panels = figures.forest_panels(methods, primary, view.losses, ["method", *view.methods])
        alt = f"Forest plot of the differences to cross-entropy in {primary.label}, by training method"
        heading = f"By method (arm {primary.arm})"
        blocks.append(Picture("methods-figure", heading, panels, reading, view.counts(methods), alt, keyed=False))
    return Section("forest", title, blocks)
