"""The page of several runs: the paper's claims decided over all of them, then tasks × losses, arm by arm."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from dashboards.blocks import (
    Block,
    Cell,
    Column,
    Note,
    Panel,
    Picture,
    Section,
    Table,
    badge_cell,
    number_cell,
    text_cell,
)
from dashboards.figures.comparison import DIFFERENCES, forest_figure
from dashboards.pages import page_of, write_atomically
from dashboards.sections.verdict import claims_table
from dashboards.style import REFERENCE_LOSS, interval, missing, points
from dashboards.summary import pick, plural
from dashboards.tables import TableError

VERSION = 1
_PARTS = ("losses", "arms", "runs", "claims", "cells", "family", "created")
_OURS = {"better": "better", "worse": "worse", "equal": "equal", "no information": "no information"}

Record = Mapping[str, Any]


def build_scoreboard(source: Path, out: Path | None = None) -> Path:
    """Write the page of a scoreboard and return where it is.

    Args:
        source: scoreboard.json.
        out: the file to write; scoreboard.html beside the source by default.

    Raises:
        TableError: the source is missing or is no scoreboard of this version.
    """
    content = read_scoreboard(Path(source))
    target = Path(out) if out is not None else Path(source).with_suffix(".html")
    facts = [f"{len(content['runs'])} runs", str(content["created"]).replace("T", " ")[:16]]
    write_atomically(target, page_of("Scoreboard", facts, "", sections_of(content)))
    return target


def read_scoreboard(source: Path) -> dict[str, Any]:
    """Return the content of scoreboard.json.

    Raises:
        TableError: it is missing, cannot be read, or lacks a part.
    """
    try:
        content: dict[str, Any] = json.loads(source.read_text())
    except (OSError, ValueError) as error:
        raise TableError(f"{source}: expected a scoreboard ({error})") from error
    lacking = [part for part in _PARTS if part not in content] if isinstance(content, dict) else list(_PARTS)
    if lacking or content.get("version") != VERSION:
        raise TableError(
            f"{source}: expected a scoreboard of version {VERSION}, lacking: {', '.join(lacking) or 'nothing'}"
        )
    return content


def sections_of(content: Mapping[str, Any]) -> list[Section]:
    """Return the claims, a table for each arm, what disagrees with the paper, and the runs."""
    return [
        _claims(content),
        *(_arm(content, arm) for arm in _arms_first_tuned(content)),
        *_grid(content),
        _runs(content),
    ]


def _arms_first_tuned(content: Mapping[str, Any]) -> list[str]:
    return sorted(content["arms"], key=lambda arm: arm != "tuned")


def _claims(content: Mapping[str, Any]) -> Section:
    claims: Sequence[Record] = content["claims"]
    counts = {word: sum(claim["verdict"] == word for claim in claims) for word in ("supported", "refuted", "undecided")}
    again = ", counted once for every run" if len({claim["claim"] for claim in claims}) < len(claims) else ""
    lead = f"Of {len(claims)} claims of the paper{again}: " + ", ".join(f"{n} {word}" for word, n in counts.items())
    lead += f", {len(claims) - sum(counts.values())} without information."
    waiting = content["family"] - len(content["runs"])
    begun = f", of which {waiting} {'has' if waiting == 1 else 'have'} not begun" if waiting else ""
    note = (
        f"HEM against cross-entropy is confirmatory: Holm's correction is over the {content['family']} runs together"
        f"{begun}. "
        "All other claims are exploratory, their p-values are not adjusted. Differences are in points of a hundred."
    )
    return Section("verdict", "Claims", [claims_table(claims), Note(note)], lead=lead, tag="claims")


def _arm(content: Mapping[str, Any], arm: str) -> Section:
    cells = [cell for cell in content["cells"] if cell["arm"] == arm]
    losses = [loss for loss in content["losses"] if any(cell["loss"] == loss for cell in cells)]
    rows, several = [], _tasks_repeat(content)
    for run in content["runs"]:
        own = {cell["loss"]: cell for cell in cells if cell["run"] == run["name"]}
        if own:
            task, data = _about(run)
            lead: Record = own.get(run["lead_variant"]) or {}
            words = [text_cell(lead.get(name)) for name in ("paper", "ours")]
            name = [text_cell(run["name"], "prose")] if several else []
            rows.append([task, *name, *words, *(_difference(own.get(loss)) for loss in losses), data])
    columns = [
        Column("task"),
        *([Column("run")] if several else []),
        Column("HEM, the paper", hint="HEM against cross-entropy, as the paper has it"),
        Column("HEM, here", hint="the lead variant of HEM against cross-entropy, as this run has it"),
        *(
            Column(loss, True, "mean over replicates" if loss == REFERENCE_LOSS else "difference to ce, 95 %")
            for loss in losses
        ),
        Column("data, network"),
    ]
    table = Table(f"{arm}-table", f"Primary endpoint, arm {arm}: difference to ce", columns, rows, pd.DataFrame(cells))
    return Section(
        f"arm-{arm}",
        f"Tasks × losses: {arm}",
        [*_forests(content, arm, cells), table, *_disagreements(cells, "run" if several else "task")],
    )


def _forests(content: Mapping[str, Any], arm: str, cells: Sequence[Record]) -> list[Block]:
    """Return the differences to cross-entropy drawn task by task; nothing where no difference has an interval."""
    names = dict(zip(("difference", "low", "high", "smallest_detectable"), DIFFERENCES, strict=True))
    told = [cell for cell in cells if not missing(cell["low"]) and cell["ours"] != "no information"]
    if not told:
        return []
    frame = pd.DataFrame(told).rename(columns=names).astype(dict.fromkeys(DIFFERENCES, float))
    runs = [run for run in content["runs"] if (frame["run"] == run["name"]).any()]
    panels = [
        Panel(
            f"{run['name' if _tasks_repeat(content) else 'task']}: {run['endpoint']}",
            forest_figure(pick(frame, run=run["name"]), 100.0, content["losses"]),
        )
        for run in runs
    ]
    networks, sets = {run["model"] for run in runs}, {run["dataset"] for run in runs}
    replicates = sorted({int(cell["n"]) for cell in told})
    picture = Picture(
        f"{arm}-forest",
        "",
        panels,
        "Paired difference to cross-entropy with its 95 % interval, right of the dashed line is better; the grey bar "
        "is the smallest difference that the replicates could have shown. Every task has its own scale. Tasks of which "
        "nothing can be told are left out.",
        f"Shown: {plural(len(sets), 'data set')} ({', '.join(sorted(sets))}), {plural(len(networks), 'network')} "
        f"({', '.join(sorted(networks))}), {' to '.join(map(str, replicates[:1] + replicates[1:][-1:]))} replicates.",
        f"Difference to {REFERENCE_LOSS} of every loss, one panel a task, arm {arm}",
        wide=False,
    )
    return [picture]


def _tasks_repeat(content: Mapping[str, Any]) -> bool:
    """Say whether a run's task does not tell it from the others."""
    tasks = [run["task"] for run in content["runs"]]
    return len(set(tasks)) < len(tasks)


def _about(run: Record) -> tuple[Cell, Cell]:
    return (
        text_cell(f"{run['task']}: {run['endpoint']}", "prose"),
        text_cell(f"{run['dataset']}, {run['model']}", "prose"),
    )


def _difference(cell: Record | None) -> Cell:
    if cell is None:
        return text_cell("not run")
    if cell["loss"] == "ce":
        written = "n/a" if missing(cell["mean"]) else f"{100 * cell['mean']:.1f} %"
        return number_cell(written, cell["mean"])
    if cell["ours"] == "no information":
        return badge_cell("no information")
    if missing(cell["difference"]):
        return Cell("n/a", hint=str(cell["reason"]))
    written = points(cell["difference"])
    if not missing(cell["low"]):
        written += f" {interval(cell['low'], cell['high'], 'accuracy')}"
    word = cell["verdict"] if cell["verdict"] not in ("", "reference") else ""
    return Cell(f"{written} {word}".strip(), sort=cell["difference"], hint=str(cell["reason"]))


def _disagreements(cells: Sequence[Record], place: str) -> list[Block]:
    """Say what is not as in the paper; `place` is the part of a cell that tells where that is."""
    against = [cell for cell in cells if cell["disagrees"]]
    if all(cell["ours"] in ("exploratory", "no information") for cell in cells):
        return [Note("Exploratory: intervals that are adjusted for nothing, and no verdict.")]
    told = [cell for cell in cells if cell["paper"] and _OURS.get(cell["ours"]) not in (None, "no information")]
    if not told:
        return [Note("Nothing here is clear enough to agree or disagree with the paper.")]
    if not against:
        return [Note("Where anything can be told of HEM here, it goes the paper's way.")]
    named = "; ".join(f"{c['loss']} on {c[place]}: {c['ours']} than ce, the paper says {c['paper']}" for c in against)
    return [Note(f"Not as in the paper: {named}.", "warning")]


def _grid(content: Mapping[str, Any]) -> list[Section]:
    """Return how much of the declared grid the runs hold; nothing for a scoreboard that does not say."""
    grid = content.get("grid")
    if not grid:
        return []
    rows = [
        [
            *(text_cell(row[name]) for name in ("task", "dataset", "model")),
            number_cell(f"{len(row['run'])} / {row['of']}", len(row["run"])),
            text_cell(", ".join(row["run"]) or "none", "prose"),
        ]
        for row in grid["rows"]
    ]
    columns = [Column("task"), Column("data"), Column("network"), Column("run / declared", True), Column("losses run")]
    table = Table("grid-table", "Data × networks × core losses", columns, rows, pd.DataFrame(grid["rows"]))
    note = Note(
        f"{grid['run']} of {grid['declared']} declared cells are run: a cell is a core loss on a task's data and "
        "network, by preset paper. What is not run here says nothing about HEM there."
    )
    return [Section("grid", "The declared grid", [note, table])]


def _runs(content: Mapping[str, Any]) -> Section:
    told = all("published" in run for run in content["runs"])
    first = ("name", "dataset") if _tasks_repeat(content) else ("dataset",)
    names = (*first, "model", "preset", "replicates", "status", *(["published"] if told else []), "headline")
    rows = [
        [
            Cell(run["task"], run["task"], href=run["page"]),
            *(text_cell(run[name], "prose" if name == "headline" else "") for name in names),
        ]
        for run in content["runs"]
    ]
    columns = [Column("task", hint="opens the run's own page"), *(Column(name) for name in names)]
    made = f"Made by: {content.get('command', '')}"
    table = Table("runs-table", "The runs", columns, rows, pd.DataFrame(content["runs"]))
    return Section("runs", "Runs", [table, Note(made)])
