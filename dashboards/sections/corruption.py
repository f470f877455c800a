"""Accuracy on corrupted test images."""

from dashboards.blocks import Column, Panel, Picture, Section, Table, loss_cell, not_available, number_cell
from dashboards.figures import corruption as figures
from dashboards.sections.common import images_behind, missing_table
from dashboards.style import percent, with_sd
from dashboards.summary import View, in_order, pick, plural


def corruption_section(view: View) -> Section:
    """Show accuracy by severity and by kind of corruption, and both as a table."""
    title, rows = "Corrupted images", pick(view.shown(view.run.evaluation), probe="corruption")
    data = figures.corruption_data(rows)
    if not len(data):
        small = "no corruption is defined for images of this size" if len(rows) else ""
        return Section("corruption", title, [not_available(small or missing_table(view, "evaluation", title.lower()))])
    by_kind = figures.kind_data(data)
    measured = rows[rows["slice"].str.fullmatch(figures.PART) & rows["value"].notna()]
    images = images_behind(measured, "test images under each, for every model")
    about = plural(by_kind["kind"].nunique(), "kind") + " of corruption" + (f", {images}" if images else "")
    counts = view.counts(data, about)
    absent = sorted(
        set(rows["slice"].str.extract(r"^([a-z_]+)-1$")[0].dropna()) - set(by_kind["kind"]),
    )
    reading = (
        "The common corruptions at severity 1 to 5; bars from the smallest to the largest replicate. Every loss is "
        "shown the same corrupted images, drawn once from a seed. "
    )
    if absent:
        reading += f"n/a for images of this kind: {', '.join(kind.replace('_', ' ') for kind in absent)}."
    picture = Picture(
        "corruption-figure",
        f"Arm {view.arm}, method {view.method}",
        [
            Panel("by severity", figures.severity_figure(figures.severity_data(data), view.losses)),
            Panel("by kind", figures.kind_figure(by_kind, view.losses)),
        ],
        reading,
        counts,
        "Accuracy on corrupted test images by severity and by kind, one mark a loss",
    )
    losses = in_order(by_kind, "loss", view.losses)
    kinds = sorted(by_kind["kind"].unique())
    table = []
    for loss in losses:
        means = data[data["loss"] == loss].groupby("replicate")["value"].mean()
        cells = [number_cell(with_sd(means.mean(), means.std(), "accuracy"), means.mean())]
        own = by_kind[by_kind["loss"] == loss].set_index("kind")["mean"]
        cells += [number_cell(percent(own[kind]), own[kind]) for kind in kinds]
        table.append([loss_cell(loss), *cells])
    columns = [
        Column("loss"),
        Column("all (%)", True, "mean ± sd over replicates"),
        *(Column(kind.replace("_", " "), True, "%, mean over severities and replicates") for kind in kinds),
    ]
    caption = f"Accuracy on corrupted images (arm {view.arm}, method {view.method}): {about}"
    return Section("corruption", title, [picture, Table("corruption-table", caption, columns, table, data, True)])
