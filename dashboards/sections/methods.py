"""Every method with every loss, on the primary endpoint."""

import pandas as pd

from dashboards.blocks import Cell, Column, Section, Table, loss_cell, number_cell
from dashboards.style import change, interval, missing, with_sd
from dashboards.summary import View, at_endpoint, in_order, pick


def methods_section(view: View) -> Section | None:
    """Show the grid of methods and losses; None where one method was run or nothing is declared."""
    if view.primary is None or len(view.methods) < 2:
        return None
    rows = pick(at_endpoint(view.run.comparison, view.primary), arm=view.arm)
    methods = in_order(rows, "method", view.methods)
    if len(methods) < 2:
        return None
    table = []
    for loss in in_order(rows, "loss", view.losses):
        cells = (_cell(pick(rows, method=method, loss=loss), view.primary.metric) for method in methods)
        table.append([loss_cell(loss), *cells])
    columns = [Column("loss"), *(Column(method, True, "mean ± sd; difference to ce within it") for method in methods)]
    caption = f"{view.primary.label}, arm {view.arm}: method × loss"
    return Section("methods", "Methods", [Table("methods-table", caption, columns, table, rows)])


def _cell(found: pd.DataFrame, metric: str) -> Cell:
    if not len(found) or missing(found.iloc[0]["mean"]):
        return number_cell("", None)
    row = found.iloc[0]
    written = with_sd(row["mean"], row["sd"], metric)
    if not missing(row["difference_low"]):
        written += (
            f" · {change(row['difference'], metric)} {interval(row['difference_low'], row['difference_high'], metric)}"
        )
    return number_cell(written, row["mean"])
