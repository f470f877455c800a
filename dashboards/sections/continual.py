"""Learning one experience after the other: what is known at the end, and what was forgotten."""

from dashboards.blocks import Block, Panel, Picture, Section, not_available
from dashboards.figures import continual as figures
from dashboards.sections.common import measures_table, missing_table
from dashboards.summary import View, pick, plural, summarise

_MEASURES = [("ACC", "acc"), ("forgetting", "forgetting"), ("BWT", "bwt"), ("FWT", "fwt")]


def continual_section(view: View) -> Section:
    """Show accuracy while experiences come, the accuracy matrix of every loss, ACC, forgetting and transfer."""
    title = "One experience after the other"
    evaluation = pick(view.run.evaluation, arm=view.arm, probe="continual", dataset="test")
    own = pick(evaluation, method=view.method)
    matrix = figures.matrix_data(own, figures.CLASS)
    if not len(matrix):
        return Section("continual", title, [not_available(missing_table(view, "evaluation", "probe continual"))])
    counts = view.counts(own, plural(int(matrix["on"].max()), "experience"))
    seen = figures.seen_data(matrix)
    blocks: list[Block] = [
        Picture(
            "seen-figure",
            f"Arm {view.arm}, method {view.method}",
            [Panel("", figures.seen_figure(seen, view.losses))],
            "Class-incremental: all classes met so far compete. The last point is ACC, the primary endpoint. Band: "
            "smallest to largest replicate.",
            counts,
            "Accuracy on the experiences met so far, one line a loss",
            wide=True,
        ),
        Picture(
            "matrix-figure",
            "Accuracy matrix R",
            figures.matrix_panels(matrix, view.losses),
            "Row i: after learning experience i; column j: accuracy (%) on the test images of experience j, "
            "class-incremental, mean over replicates. Down a column one sees an experience being forgotten.",
            counts,
            "Accuracy on each experience after each experience, one matrix a loss",
            keyed=False,
        ),
    ]
    summary = summarise(evaluation)
    for kind in (figures.CLASS, figures.TASK):
        part = pick(summary, slice=kind)
        blocks.append(
            measures_table(
                f"continual-{kind}",
                f"{kind.capitalize()} (arm {view.arm}); of forgetting, less is better",
                part,
                ["method", "loss"] if part["method"].nunique() > 1 else ["loss"],
                [(name, {"metric": metric}) for name, metric in _MEASURES],
                {"loss": view.losses, "method": view.methods},
            )
        )
    return Section("continual", title, blocks)
