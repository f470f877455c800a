"""Accuracy under attack, attack by attack, and what speaks against trusting it."""

import pandas as pd

from dashboards.blocks import (
    Block,
    Cell,
    Column,
    Note,
    Picture,
    Section,
    Table,
    loss_cell,
    not_available,
    number_cell,
    text_cell,
)
from dashboards.figures import robustness as figures
from dashboards.sections.common import images_behind, missing_table
from dashboards.style import measure, percent, points, significant, with_sd
from dashboards.summary import View, in_order, pick, plural

STANDARD = ("apgd-ce", "apgd-t", "fab", "fab-t", "square")
PLUS = ("apgd-ce", "apgd-dlr", "fab", "square", "apgd-t", "fab-t")
EXTRAS = ("apgd-margin", "apgd-hem", "apgd-hem-untruncated", "apgd-ce-x10", "apgd-ce-x100", "transfer")
"""Attacks in the order in which they are counted."""


def robustness_section(view: View) -> Section:
    """Show the ε curve with Wilson bars, the table of attacks and the health flags."""
    title, attack = "Under attack", dict(view.study.get("attack") or {})
    evaluation = pick(view.run.evaluation, arm=view.arm, probe="attack")
    rows = figures.attack_rows(evaluation)
    data = figures.eps_data(rows)
    if not len(data):
        asked = attack.get("mode") == "none"
        reason = "attacks were not asked for" if asked else missing_table(view, "evaluation", "probe attack")
        return Section("attack", title, [not_available(reason)])
    blocks: list[Block] = []
    if attack.get("mode") == "quick":
        blocks.append(
            Note(
                "Upper bound: the quick attacks are two; on these images the true robust accuracy is at most what they "
                "leave, and no verdict follows from it.",
                tone="warning",
            )
        )
    about = images_behind(pick(evaluation, metric=figures.WORST), "attacked images a model")
    bound = " (an upper bound)" if attack.get("mode") == "quick" else ""
    blocks.append(
        Picture(
            "eps-figure",
            "",
            figures.eps_panels(data, view.losses, view.methods),
            f"Share of test images still classified rightly after the worst attack of strength ε{bound}; ε = 0 is "
            "clean accuracy. Bars: Wilson 95 % interval of one model on its attacked images, mean over models. Marks "
            "of one ε are set apart sideways to be seen.",
            view.counts(evaluation, about),
            "Robust accuracy against attack strength, one line a loss",
        )
    )
    blocks.append(_attacks_table(view, rows))
    blocks += _best_epoch(view, pick(view.run.evaluation, arm=view.arm))
    blocks += _health(view)
    return Section("attack", title, blocks)


def _attacks_table(view: View, rows: pd.DataFrame) -> Table:
    prefix = figures.WORST + "."
    order = PLUS if dict(view.study.get("attack") or {}).get("mode") == "plus" else STANDARD
    attacks = [
        name
        for name in in_order(rows, "metric", [prefix + name for name in (*order, *EXTRAS)])
        if name.startswith(prefix)
    ]
    metrics = [figures.CLEAN, figures.WORST, *attacks]
    several = rows["method"].nunique() > 1
    table = []
    for method in in_order(rows, "method", view.methods):
        for norm in in_order(rows, "norm", ("Linf", "L2")):
            for eps in sorted(pick(rows, method=method, norm=norm)["eps"].unique()):
                part = pick(rows, method=method, norm=norm, eps=eps)
                for loss in in_order(part, "loss", view.losses):
                    cells = [loss_cell(loss), text_cell(norm), number_cell(significant(eps), eps)]
                    own = pick(part, loss=loss)
                    cells += [_value(own, metric) for metric in metrics]
                    table.append([*([text_cell(method)] if several else []), *cells])
    columns = [
        *([Column("method")] if several else []),
        Column("loss"),
        Column("norm"),
        Column("ε", True),
        Column("clean (%)", True, "mean ± sd over replicates"),
        Column("worst case (%)", True, "an image counts if it survives every attack; mean ± sd over replicates"),
        *(
            Column(f"{name.removeprefix(prefix)} (%)", True, "after this attack and those before it")
            for name in attacks
        ),
    ]
    return Table("attack-table", f"Robust accuracy by attack (arm {view.arm})", columns, table, rows, len(table) > 30)


def _value(rows: pd.DataFrame, metric: str) -> Cell:
    found = pick(rows, metric=metric)
    if not len(found):
        return number_cell("", None)
    row = found.iloc[0]
    if metric in (figures.WORST, figures.CLEAN):
        return number_cell(with_sd(row["mean"], row["sd"], metric), row["mean"])
    return number_cell(percent(row["mean"]), row["mean"])


def _best_epoch(view: View, evaluation: pd.DataFrame) -> list[Block]:
    """Show what the attacks leave of the defences after their last and after their best epoch, if any was attacked."""
    data = figures.best_epoch_data(evaluation)
    rows = []
    for method in in_order(data, "method", view.methods):
        for norm in in_order(pick(data, method=method), "norm", ("Linf", "L2")):
            for eps in sorted(pick(data, method=method, norm=norm)["eps"].unique()):
                part = pick(data, method=method, norm=norm, eps=eps)
                for loss in in_order(part, "loss", view.losses):
                    row = pick(part, loss=loss).iloc[0]
                    rows.append(
                        [
                            text_cell(method),
                            loss_cell(loss),
                            text_cell(norm),
                            number_cell(significant(eps), eps),
                            *(number_cell(percent(row[name]), row[name]) for name in ("last", "best")),
                            number_cell(points(row["difference"]), row["difference"]),
                            number_cell(str(row["n"]), row["n"]),
                        ]
                    )
    columns = [
        Column("method"),
        Column("loss"),
        Column("norm"),
        Column("ε", True),
        Column("last epoch (%)", True, "worst case after the last epoch: the endpoint; mean over replicates"),
        Column("best epoch (%)", True, "worst case after the epoch that was best on validation images under attack"),
        Column("difference (points)", True, "best minus last epoch"),
        Column("n", True, "replicates"),
    ]
    caption = f"Robust accuracy of the defences after the last and the best epoch (arm {view.arm})"
    return [Table("best-epoch-table", caption, columns, rows, data, len(rows) > 30)] if rows else []


def _health(view: View) -> list[Block]:
    health = view.run.health
    if not len(health):
        return [Note(f"Health of the attacks: n/a — {missing_table(view, 'health', 'checks')}", tone="missing")]
    flags = health[health["flag"]]
    checks = plural(len(health), "check")
    if not len(flags):
        return [Note(f"Health of the attacks: {checks}, no flag.")]
    rows = []
    for _, row in flags.iterrows():
        rows.append(
            [
                loss_cell(str(row["loss"])),
                text_cell(row["method"]),
                text_cell(row["arm"]),
                number_cell(str(row["replicate"]), row["replicate"]),
                text_cell(row["norm"]),
                number_cell(significant(row["eps"]), row["eps"]),
                text_cell(row["check"]),
                number_cell(measure(row["value"], "loss"), row["value"]),
                text_cell(row["message"], "prose"),
            ]
        )
    columns = [
        Column("loss"),
        Column("method"),
        Column("arm"),
        Column("replicate", True),
        Column("norm"),
        Column("ε", True),
        Column("check"),
        Column("value", True),
        Column("what it means"),
    ]
    return [
        Note(f"Health of the attacks: {plural(len(flags), 'flag')} in {checks}.", tone="warning"),
        Table("health-table", "Flags that speak against trusting the figures", columns, rows, flags, len(rows) > 12),
    ]
