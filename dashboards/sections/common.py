"""What several sections need: reasons for n/a, and tables of mean ± sd."""

from collections.abc import Hashable, Mapping, Sequence

import pandas as pd

from dashboards.blocks import Cell, Column, Note, Table, loss_cell, number_cell, text_cell
from dashboards.style import unit, with_sd
from dashboards.summary import View, in_order, pick, plural

#: Names of metrics as the field writes them.
METRIC_NAMES = {
    "auroc": "AUROC",
    "fpr95": "FPR95",
    "fpr95_ood": "FPR95 (out as positive)",
    "aupr_in": "AUPR-in",
    "aupr_out": "AUPR-out",
    "oscr": "OSCR",
    "aurc": "AURC",
    "augrc": "AUGRC",
    "ece": "ECE",
    "nll": "NLL",
    "brier": "Brier",
}

Measure = tuple[str, Mapping[str, Hashable]]
Record = dict[str, object]


def metric_name(metric: str) -> str:
    """Return a metric's name for a reader."""
    return METRIC_NAMES.get(metric, metric.replace("_", " "))


def missing_table(view: View, table: str, what: str) -> str:
    """Say why there is nothing to show: the table was never written, or it has no such rows."""
    if table in view.run.absent:
        return f"not run (the run has no {table}.parquet)"
    return f"not run ({table}.parquet has no rows of {what})"


def images_behind(rows: pd.DataFrame, what: str) -> str:
    """Say how many images are behind the rows, as "100 attacked images a model" or "80 to 100 …"; "" if none says."""
    counts = sorted({int(count) for count in rows["n"] if count > 0})
    if not counts:
        return ""
    return f"{' to '.join(map(str, dict.fromkeys((counts[0], counts[-1]))))} {what}"


def measures_table(
    key: str,
    caption: str,
    summary: pd.DataFrame,
    index: Sequence[str],
    measures: Sequence[Measure],
    order: Mapping[str, Sequence[str]],
    folded: bool = False,
) -> Table:
    """Make a table with a row for each value of the `index` columns and a column "mean ± sd" for each measure.

    `summary` has the index columns and metric, mean, sd; a measure is a heading and the column values that select it;
    `order` gives the order of an index column's values. Measures that no row has are left out.
    """
    used = [(title, chosen) for title, chosen in measures if pick(summary, **chosen)["mean"].notna().any()]
    rows = []
    names = {"slice": "score", "dataset": "set"}
    for values, part in _groups(summary, index, order):
        cells = [
            loss_cell(value) if name == "loss" else text_cell(value) for name, value in zip(index, values, strict=True)
        ]
        records = [{str(name): value for name, value in record.items()} for record in part.to_dict("records")]
        found = [_first(records, chosen) for _, chosen in used]
        if any(found):
            rows.append([*cells, *(_mean_cell(record) for record in found)])
    columns = [Column(names.get(name, name)) for name in index]
    for title, chosen in used:
        columns.append(Column(title + unit(str(chosen["metric"])), numeric=True, hint="mean ± sd over replicates"))
    frame = summary[[name for name in summary.columns if name != "probe"]]
    return Table(key, caption, columns, rows, frame, folded)


def end_notes(rows: pd.DataFrame, metric: str, text: str) -> list[Note]:
    """Return the note that says of how many models a fitted number lies at an end of its range; none where of none.

    `metric` is 1 where it does, else 0; `text` follows the count.
    """
    told = pick(rows, metric=metric)["value"].dropna()
    ends = int((told > 0).sum())
    return [Note(f"{ends} of {plural(len(told), 'model')}: {text}")] if ends else []


def _groups(
    summary: pd.DataFrame, index: Sequence[str], order: Mapping[str, Sequence[str]]
) -> list[tuple[tuple[str, ...], pd.DataFrame]]:
    places = {name: in_order(summary, name, order.get(name, ())) for name in index}
    groups = [
        (tuple(str(value) for value in (key if isinstance(key, tuple) else (key,))), part)
        for key, part in summary.groupby(list(index), sort=False)
    ]
    return sorted(
        groups, key=lambda group: [places[name].index(value) for name, value in zip(index, group[0], strict=True)]
    )


def _first(records: Sequence[Record], chosen: Mapping[str, Hashable]) -> Record | None:
    matching = (record for record in records if all(record[name] == value for name, value in chosen.items()))
    return next(matching, None)


def _mean_cell(record: Record | None) -> Cell:
    if record is None:
        return number_cell("", None)
    return number_cell(with_sd(record["mean"], record["sd"], str(record["metric"])), record["mean"])
