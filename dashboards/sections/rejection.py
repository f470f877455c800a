"""Telling known from unknown, and how far confidences can be trusted."""

import pandas as pd

from dashboards.blocks import Block, Note, Panel, Picture, Section, not_available
from dashboards.figures import calibration as calibration_figures
from dashboards.figures import rejection as figures
from dashboards.sections.common import Measure, end_notes, measures_table, metric_name, missing_table
from dashboards.style import MINUS, missing, percent
from dashboards.summary import View, in_order, one, pick, plural, summarise

SCORES = ("mls", "msp", "energy", "entropy", "knn", "mahalanobis")
GROUP = "group:"
DAR_LINES = ("accept all", "reject all")


def out_groups(view: View) -> dict[str, str]:
    """Return the group (near, far, unrecognisable, user) of each out set."""
    return {str(row["name"]): str(row["group"]) for row in view.data.get("outside") or ()}


def shown_score(view: View, frame: pd.DataFrame) -> str:
    """Return the score whose curves are shown: the primary endpoint's if it has curves, else the first there is."""
    wanted = [view.primary.slice] if view.primary else []
    return (in_order(frame, "slice", [*wanted, *SCORES]) or [""])[0]


def roc_section(view: View) -> Section:
    """Show ROC by out set, and risk against coverage."""
    title, curves = "ROC and risk–coverage", view.shown(view.run.curves)
    blocks: list[Block] = []
    for kind in ("roc", "risk_coverage"):
        rows = pick(curves, kind=kind)
        rows = pick(rows, slice=shown_score(view, rows))
        data = figures.mean_curves(rows, kind)
        if len(data):
            blocks.append(_roc(view, rows, data) if kind == "roc" else _risk(view, rows, data))
    return Section("roc", title, blocks or [not_available(missing_table(view, "curves", "kind roc or risk_coverage"))])


def _roc(view: View, rows: pd.DataFrame, data: pd.DataFrame) -> Picture:
    score = shown_score(view, rows)
    return Picture(
        "roc-figure",
        f"ROC by out set (score {score})",
        figures.roc_panels(data, view.losses, out_groups(view)),
        "How many known samples are accepted when a share of the unknown ones slips through; nearer to the upper left "
        "is better, the dotted line is guessing. Each line is the mean curve over the models of a loss.",
        view.counts(rows, plural(data["dataset"].nunique(), "out set")),
        "ROC curves of known against unknown samples, one panel an out set, one line a loss",
    )


def _risk(view: View, rows: pd.DataFrame, data: pd.DataFrame) -> Picture:
    score = shown_score(view, rows)
    return Picture(
        "risk-figure",
        f"Risk against coverage (score {score})",
        [Panel("", figures.risk_figure(data, view.losses))],
        "Errors among the known test samples that are accepted, from the most confident (left) to all (right); lower "
        "is better.",
        view.counts(rows),
        "Share of errors among accepted samples against the share accepted, one line a loss",
        wide=True,
    )


def rejection_section(view: View) -> Section:
    """Show AUROC and FPR95 by group and score, then every out set, with shifted-known sets apart."""
    title, rows = "Rejecting the unknown", view.shown(view.run.evaluation)
    summary = summarise(pick(rows, probe="rejection"))
    order = {"loss": view.losses, "slice": SCORES}
    where = f"arm {view.arm}, method {view.method}"
    blocks: list[Block] = []
    groups = summary[summary["dataset"].str.startswith(GROUP) | (summary["dataset"] == "test")]
    if len(groups):
        measures: list[Measure] = [
            (f"{name} {metric_name(metric)}", {"dataset": GROUP + name, "metric": metric})
            for name in figures.GROUPS
            for metric in ("auroc", "fpr95")
        ]
        measures += [(metric_name(metric), {"dataset": "test", "metric": metric}) for metric in ("aurc", "augrc")]
        blocks.append(
            measures_table(
                "rejection-table", f"By kind of out set ({where})", groups, ["loss", "slice"], measures, order
            )
        )
        blocks.append(
            Note(
                "AUROC: higher is better, 50 % is guessing. FPR95: share of unknown samples accepted where 95 % of the "
                "known ones are; lower is better. AURC and AUGRC: errors among accepted test samples; lower is better. "
                f"Scores: maximum logit (mls), maximum softmax (msp), energy, {MINUS}entropy; by features, "
                f"{MINUS}distance to the 50th nearest training image (knn) and to the nearest class (mahalanobis). "
                f"{view.counts(groups)}"
            )
        )
    sets = summary[~summary["dataset"].str.startswith(GROUP) & (summary["dataset"] != "test")]
    if len(sets):
        metrics = in_order(sets, "metric", ("auroc", "fpr95", "fpr95_ood", "aupr_in", "aupr_out", "oscr"))
        blocks.append(
            measures_table(
                "rejection-sets-table",
                f"Every out set ({where})",
                sets,
                ["dataset", "loss", "slice"],
                [(metric_name(metric), {"metric": metric}) for metric in metrics],
                {**order, "dataset": list(out_groups(view))},
                folded=True,
            )
        )
    blocks += _shifted(view, rows)
    blocks += _dar(view, rows)
    return Section("rejection", title, blocks or [not_available(missing_table(view, "evaluation", "probe rejection"))])


def _shifted(view: View, rows: pd.DataFrame) -> list[Block]:
    summary = summarise(pick(rows, probe="shifted"))
    if not len(summary):
        return []
    metrics = in_order(summary, "metric", ("accuracy", "balanced_accuracy"))
    table = measures_table(
        "shifted-table",
        "Shifted but known: the same classes from another source (to be accepted, never an out set)",
        summary,
        ["dataset", "loss"],
        [(metric_name(metric), {"metric": metric, "slice": "all"}) for metric in metrics],
        {"loss": view.losses},
    )
    return [table] if table.rows else []


DAR_KINDS = ("all", "clean", "corrupt", "adversarial", "novel", "unrecognisable")


def _dar(view: View, rows: pd.DataFrame) -> list[Block]:
    """Show the detection accuracy rate by kind of sample, with what accepting or rejecting everything gives."""
    summary = summarise(pick(rows, probe="dar"))
    if not len(summary):
        return []
    losses = summary[~summary["slice"].isin(DAR_LINES)]
    lines = pick(summary, metric="dar_all")
    lines = lines[lines["slice"].isin(DAR_LINES)]
    first = next(iter(in_order(lines, "loss", view.losses)), "")
    lines = pick(lines, loss=first)
    measures: list[Measure] = [
        (f"{kind} {rule}", {"dataset": kind, "metric": f"dar_{rule}"})
        for rule in ("all", "correct")
        for kind in DAR_KINDS
    ]
    measures += [
        (f"accepted ({rule})", {"dataset": "clean", "metric": f"accepted_{rule}"}) for rule in ("all", "correct")
    ]
    title = "Detection accuracy rate: accepted and right, or rejected and (unknown or wrong)"
    table = measures_table(
        "dar-table", title, losses, ["loss", "slice"], measures, {"loss": view.losses, "slice": SCORES}
    )
    shown = {
        name: ", ".join(
            f"{kind} {percent(mean_)}"
            for kind in DAR_KINDS
            if not missing(mean_ := one(lines, "mean", slice=name, dataset=kind))
        )
        for name in DAR_LINES
    }
    reference = "; ".join(f"{name}: {values}" for name, values in shown.items() if values)
    told = f" Two lines that no rejector should lie below ({first}), in percent: {reference}." if reference else ""
    note = Note(
        "DAR by kind of sample; the threshold accepts 95 % of all validation images (all) or of the rightly "
        f"classified ones (correct), and what it accepts of the test images is shown.{told} The adversarial kind needs "
        "the attack that has to pass the rejector (--attacks standard); without it the mean over the five kinds is "
        "n/a. Our own reading of the published measure, and never a primary endpoint."
    )
    return [table, note] if table.rows else []


def calibration_section(view: View) -> Section:
    """Show reliability, and the calibration figures raw and after temperature scaling."""
    curves = pick(view.shown(view.run.curves), kind="reliability")
    data = calibration_figures.reliability_data(curves)
    blocks: list[Block] = []
    if len(data):
        blocks.append(
            Picture(
                "reliability-figure",
                "",
                calibration_figures.reliability_panels(data, view.losses),
                "Accuracy of the test images whose confidence lies in one of 15 bins, images of all models together; a "
                "larger mark holds more of them. On the dotted line confidence can be taken at its word, below it the "
                "model is too sure of itself.",
                view.counts(curves),
                "Reliability diagrams, raw and after temperature scaling, one line a loss",
            )
        )
    summary = summarise(pick(view.shown(view.run.evaluation), probe="calibration"))
    if len(summary):
        measures: list[Measure] = [
            (f"{metric_name(metric)} {name}", {"slice": name, "metric": metric})
            for metric in ("ece", "nll", "brier")
            for name in ("raw", "scaled")
        ]
        measures.append(("temperature", {"slice": "scaled", "metric": "temperature"}))
        caption = f"Calibration on the test set (arm {view.arm}, method {view.method}); lower is better"
        blocks.append(measures_table("calibration-table", caption, summary, ["loss"], measures, {"loss": view.losses}))
        blocks += end_notes(
            pick(view.shown(view.run.evaluation), probe="calibration"),
            "temperature_at_end",
            "the temperature is an end of its range, 0.01 or 100 times the logits' spread: no validation image is "
            "classified wrongly, or the logits tell nothing. Read their figures after scaling with care.",
        )
    reason = missing_table(view, "evaluation", "probe calibration")
    return Section("calibration", "Calibration", blocks or [not_available(reason)])
