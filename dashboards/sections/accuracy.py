"""Accuracy by class and by group of classes, and after post-hoc logit adjustment."""

import pandas as pd

from dashboards.blocks import Block, Column, Note, Panel, Picture, Section, Table, loss_cell, not_available, number_cell
from dashboards.figures import accuracy as figures
from dashboards.sections.common import Measure, end_notes, measures_table, metric_name, missing_table
from dashboards.style import number, points, significant, with_sd
from dashboards.summary import View, in_order, pick, plural, summarise


def classes_section(view: View) -> Section:
    """Show accuracy; where class sizes differ, also from the head to the tail of the classes and by groups of them."""
    rows, ranks = view.shown(view.run.evaluation), figures.class_ranks(view.data)
    level = bool(view.data.get("splits")) and not len(ranks)
    title = "Accuracy" if level else "From head to tail"
    data, groups = figures.class_data(rows, ranks), figures.group_data(rows)
    blocks: list[Block] = []
    if len(data):
        picture = Picture(
            "classes-figure",
            "Accuracy by class",
            [Panel("", figures.class_figure(data, view.losses))],
            f"Classes from most to fewest training images (grey bars). {_marks(ranks)}",
            view.counts(rows[rows["slice"].str.startswith(figures.CLASS)], plural(data["rank"].nunique(), "class")),
            "Test accuracy by class, ordered by the number of training images, one line a loss",
            wide=True,
        )
        blocks.append(picture)
    elif not level and len(rows) and rows["slice"].str.startswith(figures.CLASS).any():
        blocks.append(Note("By class: n/a — study.json states no class counts that differ."))
    if len(groups) and not level:
        places = ", ".join(in_order(groups, "slice", figures.GROUPS))
        blocks.append(
            Picture(
                "groups-figure",
                "Accuracy by group of classes",
                [Panel("", figures.group_figure(groups, view.losses))],
                "Mean ± sd over the replicates on the classes with many, medium and few training images. A group with "
                "no class is left out.",
                view.counts(rows[rows["slice"].isin(figures.GROUPS)]),
                f"Test accuracy on the groups {places}, one mark a loss",
                wide=True,
            )
        )
    summary = summarise(pick(view.shown(view.run.evaluation), probe="accuracy", dataset="test"))
    summary = summary[~summary["slice"].str.startswith(figures.CLASS)]
    if len(summary):
        measures: list[Measure] = [
            (metric_name(metric), {"slice": "all", "metric": metric}) for metric in ("accuracy", "balanced_accuracy")
        ]
        measures += [] if level else [(name, {"slice": name, "metric": "accuracy"}) for name in figures.GROUPS]
        caption = f"Test accuracy (arm {view.arm}, method {view.method})"
        blocks.append(measures_table("accuracy-table", caption, summary, ["loss"], measures, {"loss": view.losses}))
    reason = missing_table(view, "evaluation", "probe accuracy")
    return Section("classes", title, blocks or [not_available(reason)])


def _marks(ranks: pd.DataFrame) -> str:
    """Say what a mark is the mean of: data that keep their own imbalance have one order of classes, a cut tail many."""
    if (ranks.groupby("rank")["name"].nunique() > 1).any():
        return (
            "The order of classes is another one in every replicate, so each mark is the mean over the classes of one "
            "rank."
        )
    return "Each mark is one class, and the mean over the replicates."


def posthoc_section(view: View) -> Section:
    """Show post-hoc logit adjustment beside the raw balanced accuracy."""
    title, rows = "Post-hoc logit adjustment", view.shown(view.run.evaluation)
    data = figures.posthoc_data(rows)
    if not len(data):
        return Section("posthoc", title, [not_available(missing_table(view, "evaluation", "probe posthoc"))])
    picture = Picture(
        "posthoc-figure",
        "",
        [Panel("", figures.posthoc_figure(data, view.losses))],
        "Hollow: balanced accuracy of the model as trained. Filled: the same model after subtracting τ T log π from "
        "its logits, the temperature T fitted and then τ chosen on validation (T = 1 where none is stated). "
        "The adjustment is free, so a loss should be compared with it in mind.",
        view.counts(pick(rows, probe="posthoc")),
        "Balanced accuracy of every loss before and after post-hoc logit adjustment",
        wide=True,
        keyed=False,
    )
    table = []
    for loss in in_order(data, "loss", view.losses):
        row = pick(data, loss=loss).iloc[0]
        table.append(
            [
                loss_cell(loss),
                number_cell(with_sd(row["raw"], row["raw_sd"], "accuracy"), row["raw"]),
                number_cell(with_sd(row["posthoc"], row["posthoc_sd"], "accuracy"), row["posthoc"]),
                number_cell(points(row["gain"]), row["gain"]),
                number_cell(number(row["tau"], 2), row["tau"]),
                number_cell(significant(row["temperature"]), row["temperature"]),
                number_cell(str(row["n"]), row["n"]),
            ]
        )
    columns = [
        Column("loss"),
        Column("raw (%)", True, "mean ± sd over replicates"),
        Column("post-hoc (%)", True, "mean ± sd over replicates"),
        Column("gain (points)", True),
        Column("τ", True, "mean over the models, in units of T"),
        Column("T", True, "mean over the models"),
        Column("n", True, "replicates"),
    ]
    caption = f"Balanced accuracy, raw and adjusted (arm {view.arm}, method {view.method})"
    ends = end_notes(
        pick(rows, probe="posthoc"),
        "tau_at_end",
        "τ is an end of its range, 0 to 2. At 0 the logits stay as they are; at 2 a larger one might be better still.",
    )
    return Section("posthoc", title, [picture, Table("posthoc-table", caption, columns, table, data), *ends])
