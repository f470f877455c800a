"""When a lead appears, and why the losses' gradients behave as they do."""

from dashboards.blocks import Block, Note, Panel, Picture, Section, not_available
from dashboards.figures import dynamics as figures
from dashboards.sections.common import missing_table
from dashboards.sections.training import ONE_EPOCH, drawn_column, written
from dashboards.summary import View, plural

_ALGEBRA = (
    "Cross-entropy: ∂ℓ/∂z_j = p_j − [j = y]. Every class pulls on every sample, for ever; the pull fades as p_y goes "
    "to 1, and only growing logits can make it fade: the logit scale keeps rising.",
    "Multi-class margin: ∂ℓ/∂z_j = 1/C for each of the k classes within the margin, −k/C at y. A sample's gradient has "
    "length √(k + k²)/C: near 1 at first, √2/C when one class is left. It fades as classes are solved, and the mean "
    "over all samples fades once more as samples are done.",
    "HEM: ∂ℓ/∂z_j = 1/|H| for the classes H whose error is at least the mean, −1 at y. Its length √(1 + 1/|H|) lies "
    "between 1 and √2 however many classes are solved, and the mean is over the samples still in error only: a single "
    "hard sample pulls as strongly as a whole batch did. So the gradient norm does not fade, the learning rate has to; "
    "and a sample beyond its margin does not push the logits further apart.",
)


def lead_section(view: View) -> Section | None:
    """Show the lead over cross-entropy by epoch with the learning rate below; None for a run of one loss."""
    if len(view.losses) < 2:
        return None
    title, rows = "When does a lead appear?", view.shown(view.run.epochs)
    column, told = drawn_column(view, rows)
    data = figures.lead_data(rows, column)
    if not len(data):
        return Section("lead", title, [not_available(missing_table(view, "epochs", f"arm {view.arm} beside ce"))])
    if data["epoch"].nunique() < 2:
        return Section("lead", title, [not_available(ONE_EPOCH)])
    what = written(column) if told else f"the search's objective ({written(column)})"
    picture = Picture(
        "lead-figure",
        f"Arm {view.arm}, method {view.method}",
        [Panel("", figures.lead_figure(data, view.losses))],
        f"Difference to cross-entropy in {what}, within each replicate; band from the smallest to the largest "
        f"replicate.{told} Each winner has its own learning rate: a lead that only comes when the rate falls would be "
        "missed by stopping early. The scale fits the means after the first fifth. Exploratory: no verdict.",
        view.counts(rows, plural(len(rows.groupby(["loss", "replicate", "number"])), "training")),
        "Lead over cross-entropy by epoch, and the learning rate below it, one line a loss",
        wide=True,
    )
    return Section("lead", title, [picture])


def margins_section(view: View) -> Section:
    """Show how the training samples' margins spread by epoch, and the algebra behind it."""
    title, rows = "Gradients and margins", view.shown(view.run.epochs)
    data = figures.margin_data(rows)
    blocks: list[Block] = [Note(text) for text in _ALGEBRA]
    if not len(data):
        return Section("margins", title, [*blocks, not_available(missing_table(view, "epochs", "margins"))])
    if data["epoch"].nunique() < 2:
        return Section("margins", title, [*blocks, not_available(ONE_EPOCH)])
    shown = rows[rows["loss"].isin(figures.EXPLAINED)]
    picture = Picture(
        "margins-figure",
        "Margins of the training samples",
        figures.margin_panels(data),
        "Margin: z_y − max_{j≠y} z_j over the samples of an epoch; below 0 the sample is classified wrongly. Line: "
        "median; bands: the middle half and the middle 90 %; means over the retrainings of each winner. Each panel has "
        "its own scale. Active samples and classes, gradient norm and logit scale: see the training curves.",
        view.counts(shown, plural(len(shown.groupby(["loss", "replicate", "number"])), "training")),
        "Distribution of margins by epoch, one panel a loss",
        keyed=False,
    )
    return Section("margins", title, [picture, *blocks])
