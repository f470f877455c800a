"""Curves of the trainings, what they cost, and what other probes measured."""

import pandas as pd

from dashboards.blocks import (
    Block,
    Column,
    Facts,
    Panel,
    Picture,
    Section,
    Table,
    loss_cell,
    not_available,
    number_cell,
)
from dashboards.figures import training as figures
from dashboards.sections.common import measures_table, metric_name, missing_table
from dashboards.style import NOT_AVAILABLE, REFERENCE_LOSS, byte_size, duration, number
from dashboards.summary import View, in_order, pick, plural, summarise

SHOWN_PROBES = (
    "accuracy",
    "posthoc",
    "attack",
    "attack_best",
    "rejection",
    "shifted",
    "dar",
    "calibration",
    "corruption",
    "continual",
    "segmentation",
)
ACCURACY = "validation_accuracy"
ONE_EPOCH = "measured after one epoch only, and one point makes no line"


def objective_column(view: View) -> str:
    """Return the column of the epochs table that holds the search's objective."""
    stated = str(view.study.get("objective") or "")
    named = stated if stated.startswith("validation_") else f"validation_{stated}"
    known = [name for name in view.run.epochs.columns if name.startswith("validation_")]
    return named if named in known else (known[0] if known else named)


def drawn_column(view: View, epochs: pd.DataFrame) -> tuple[str, str]:
    """Return the validation column to draw by epoch, and what to say of it.

    It is the objective's, or validation accuracy where the objective is known of one epoch and accuracy of several:
    one point makes no line.
    """
    column = objective_column(view)
    if _epochs_with(epochs, column) != 1 or _epochs_with(epochs, ACCURACY) < 2:
        return column, ""
    told = f" The objective ({written(column)}) is measured after the last epoch only: shown is {written(ACCURACY)}."
    return ACCURACY, told


def written(column: str) -> str:
    """Return the name of a validation column for a reader: validation_robust_mean is "validation robust mean"."""
    return column.replace("_", " ")


def _epochs_with(epochs: pd.DataFrame, column: str) -> int:
    return int(epochs.dropna(subset=[column])["epoch"].nunique()) if column in epochs.columns else 0


def training_section(view: View) -> Section:
    """Show objective, active samples and classes, gradient norm, logit scale and learning rate by epoch."""
    title, rows = "Training curves", view.shown(view.run.epochs)
    column, told = drawn_column(view, rows)
    data = figures.training_data(rows, column)
    if not len(data):
        reason = missing_table(view, "epochs", f"arm {view.arm}")
        return Section("training", title, [not_available(reason)])
    if data["epoch"].nunique() < 2:
        return Section("training", title, [not_available(ONE_EPOCH)])
    picture = Picture(
        "training-figure",
        f"Arm {view.arm}, method {view.method}",
        [Panel("", figures.training_figure(data, column, view.losses))],
        "Mean over the retrainings of each winner, band from the smallest to the largest. Active samples: share that "
        "the loss still works on (a margin loss is done with a sample that clears its margin); active classes: share "
        "of the logits that an active sample pulls on. Gradient norm, logit scale and learning rate are on logarithmic "
        f"axes; each winner has its own learning rate.{told}",
        view.counts(rows, plural(len(rows.groupby(["loss", "replicate", "number"])), "training")),
        f"{written(column).capitalize()}, active share, gradient norm, logit scale and learning rate by epoch",
        wide=True,
    )
    return Section("training", title, [picture])


def cost_section(view: View) -> Section:
    """Show seconds per training by loss, the work of each stage, and the peak memory."""
    timing, study = view.run.timing, view.study
    rows = pick(timing, method=view.method)
    data, stages, alternate = figures.cost_data(rows), figures.stage_data(timing), figures.alternate_data(rows)
    by_step, by_nothing = "compare losses by the plain training step below", "they are no measure to compare losses by"
    compared = by_step if len(alternate) else by_nothing
    blocks: list[Block] = []
    if len(data):
        blocks.append(
            Picture(
                "cost-figure",
                "Seconds per training",
                [Panel("", figures.cost_figure(data, view.losses))],
                "Every training of search and confirmation as a point, in the box its middle half. Trainings ran side "
                f"by side, so their seconds depend on what else ran: {compared}.",
                view.counts(data, plural(len(data), "training")),
                "Seconds per training, one box a loss",
                wide=True,
                keyed=False,
            )
        )
        blocks.append(_cost_table(view, data))
    if len(alternate):
        blocks.append(_alternate_table(view, alternate))
    if len(stages):
        blocks.append(
            Picture(
                "stages-figure",
                "Work by stage",
                [Panel("", figures.stage_figure(stages))],
                "Seconds summed over all pieces of a stage, all losses together; with several processes the clock on "
                "the wall shows less.",
                view.counts(timing, plural(int(stages["pieces"].sum()), "piece") + " of work"),
                "Summed seconds of each stage",
                wide=True,
                keyed=False,
            )
        )
    if not blocks:
        blocks.append(not_available(missing_table(view, "timing", "trainings")))
    facts = [("peak memory of the command and what it started", byte_size(study.get("peak_memory_bytes")))]
    wall = dict(study.get("stages") or {})
    facts += [(f"{name}, on the wall", duration(seconds)) for name, seconds in wall.items()]
    if wall or study.get("peak_memory_bytes"):
        blocks.append(Facts("Memory and time", facts))
    return Section("cost", "Cost", blocks)


def _alternate_table(view: View, data: pd.DataFrame) -> Table:
    reference = pick(data, loss=REFERENCE_LOSS)
    rows = []
    for loss in in_order(data, "loss", view.losses):
        row = pick(data, loss=loss).iloc[0]
        ratio = row["step"] / reference["step"].iloc[0] if len(reference) else float("nan")
        times = [number_cell(number(1000 * row[name], 2), row[name]) for name in figures.MEASURED]
        rows.append([loss_cell(loss), *times, number_cell(f"×{number(ratio, 2)}", ratio)])
    columns = [
        Column("loss"),
        Column("ms per step", True, "forward, loss, backward and update of one batch; median"),
        Column("ms per epoch", True, "a step's time × steps of an epoch"),
        Column("to ce", True),
    ]
    caption = "Plain training step, all losses in turn in one process: the figures to compare losses by"
    return Table("alternate-table", caption, columns, rows, data)


def _cost_table(view: View, data: pd.DataFrame) -> Table:
    reference = pick(data, loss=REFERENCE_LOSS)["per_epoch"].median()
    rows = []
    for loss in in_order(data, "loss", view.losses):
        part = pick(data, loss=loss)
        middle, epoch = part["seconds"].median(), part["per_epoch"].median()
        ratio = epoch / reference
        rows.append(
            [
                loss_cell(loss),
                number_cell(str(len(part)), len(part)),
                number_cell(duration(middle), middle),
                number_cell(number(1000 * epoch, 1), epoch),
                number_cell(f"×{number(ratio, 2)}", ratio),
                number_cell(duration(part["seconds"].sum()), part["seconds"].sum()),
            ]
        )
    columns = [
        Column("loss"),
        Column("trainings", True),
        Column("median training", True),
        Column("ms per epoch", True, "median"),
        Column("to ce", True, "median seconds per epoch over cross-entropy's"),
        Column("sum", True),
    ]
    return Table("cost-table", "Cost by loss (search and confirmation)", columns, rows, data)


def other_section(view: View) -> Section | None:
    """Show the probes that have no section of their own, None if there are none."""
    rows = view.shown(view.run.evaluation)
    rows = rows[~rows["probe"].isin(SHOWN_PROBES)]
    if not len(rows):
        return None
    blocks: list[Block] = []
    for probe in in_order(rows, "probe", ()):
        summary = summarise(pick(rows, probe=probe))
        wide = summary["dataset"].nunique() * summary["slice"].nunique()
        measures = [(metric_name(name), {"metric": name}) for name in in_order(summary, "metric", ())]
        caption = f"{probe.capitalize()} (arm {view.arm}, method {view.method}). {view.counts(pick(rows, probe=probe))}"
        table = measures_table(
            f"other-{probe}", caption, summary, ["loss", "dataset", "slice"], measures, {"loss": view.losses}, wide > 6
        )
        blocks.append(table)
    return Section("other", "Other measurements", blocks or [not_available(NOT_AVAILABLE)])
