"""Published figures beside the run's own: does the run stand where the field stands?"""

import pandas as pd

from dashboards.blocks import (
    Block,
    Cell,
    Column,
    Facts,
    Note,
    Section,
    Table,
    badge_cell,
    loss_cell,
    number_cell,
    text_cell,
)
from dashboards.sections.common import Record, metric_name
from dashboards.style import change, is_share, measure, missing, percent
from dashboards.summary import View

_BADGES = {True: "within", False: "outside"}


def published_section(view: View) -> Section | None:
    """Show published, ours and the difference; None where nothing is known (the verdict's notes say so)."""
    published = dict(view.run.verdict.get("published") or {})
    rows = [dict(row) for row in published.get("rows") or ()]
    if not rows:
        return None
    status = str(published.get("status") or "")
    tone = "warning" if status == "harness result" else "plain"
    note = Note(str(published.get("text") or ""), tone)
    blocks: list[Block] = [note, _table(rows), _rule(published), _sources(rows)]
    return Section("published", "Published baselines", blocks, tag=status)


def _table(rows: list[Record]) -> Table:
    shares = all(is_share(str(row["metric"])) for row in rows)
    percents, in_points = (" (%)", " (points)") if shares else ("", "")
    columns = [
        Column("loss"),
        Column(f"published{percents}", True, "lowest to highest published figure"),
        Column(f"ours{percents}", True, "arm default: the literature's recipe"),
        Column(f"difference{in_points}", True, "of ours to the nearer end of the published spread, 0 within it"),
        Column("gate", hint="whether ours lies within the tolerance; figures beside the endpoint are not held to it"),
        Column(f"ours, tuned{percents}", True, "arm tuned: the loss's own search"),
        Column("figure"),
        Column("method"),
    ]
    caption = "Published figures and this run's"
    return Table("published-table", caption, columns, [_row(row) for row in rows], pd.DataFrame(rows))


def _row(row: Record) -> list[Cell]:
    metric = str(row["metric"])
    low, high = (measure(row[name], metric) for name in ("low", "high"))
    parts = [str(row[name]).removeprefix("group:") for name in ("dataset", "slice") if name in row]
    part = ", ".join(name for name in parts if name not in ("test", "all"))
    ours, tuned = (
        text_cell("no value") if missing(row[name]) else number_cell(measure(row[name], metric), row[name])
        for name in ("ours", "tuned")
    )
    far = (
        Cell("n/a") if missing(row["difference"]) else number_cell(change(row["difference"], metric), row["difference"])
    )
    return [
        loss_cell(str(row["loss"])),
        number_cell(low if low == high else f"{low} to {high}", row["low"]),
        ours,
        far,
        badge_cell(_BADGES[bool(row["within"])]) if row["gate"] else text_cell("beside"),
        tuned,
        text_cell(f"{metric_name(metric)} ({part})" if part else metric_name(metric)),
        text_cell(row["method"]),
    ]


def _rule(published: Record) -> Note:
    return Note(
        "The rule: cross-entropy, and every other loss that figures are known of, has to lie between the lowest and "
        f"the highest published figure of the run's endpoint, give or take {percent(published['tolerance'])} points, "
        "or of another score where a loss has none on the endpoint itself, in the arm that is trained by the "
        "literature's recipe. Then the run's verdict is one on the field's "
        "ground; else it is about this training alone."
    )


def _sources(rows: list[Record]) -> Facts:
    by_loss: dict[str, list[str]] = {}
    for row in rows:
        sources = row["sources"]
        found = by_loss.setdefault(f"{row['loss']}, {row['method']}", [])
        found += [str(source) for source in (sources if isinstance(sources, list) else []) if source not in found]
    return Facts("Sources", [(name, "; ".join(sources)) for name, sources in by_loss.items()])
