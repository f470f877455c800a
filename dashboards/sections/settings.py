"""Everything needed to know what was run, and to run it again."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd

from dashboards.blocks import (
    Block,
    Cell,
    Column,
    Facts,
    Note,
    Section,
    Table,
    loss_cell,
    not_available,
    number_cell,
    text_cell,
)
from dashboards.style import NOT_AVAILABLE, byte_size, missing, significant
from dashboards.summary import View


def settings_section(view: View) -> Section:
    """Show command, settings, data, splits, margins, versions and seeds."""
    study, data = view.study, view.data
    blocks: list[Block] = []
    if study.get("command"):
        blocks.append(Facts("Run it again", [("command", str(study["command"]))], code=True))
    budget = dict(study.get("budget") or {})
    spent = f"{_text(budget.get('trials'))} of {_text(budget.get('planned_trials'))} planned" if budget else ""
    if budget.get("reason"):
        spent += f" ({budget['reason']})"
    names = ("name", "task", "dataset", "model", "preset", "objective", "created", "git_commit", "replicates", "status")
    items = [(name.replace("_", " "), _text(study.get(name))) for name in names if study.get(name) is not None]
    items += [(name, ", ".join(map(str, study[name]))) for name in ("losses", "methods", "arms") if study.get(name)]
    items += [("trials", spent)] if spent else []
    attack = dict(study.get("attack") or {})
    attack |= {"points": "all"} if attack.get("points") == 0 else {}
    items += [(f"attack {name}", _text(value)) for name, value in attack.items()]
    items += _weights(dict(study.get("weights") or {}))
    blocks.append(Facts("Settings", items))
    blocks.append(Facts("Data", _data_items(data)))
    blocks += [table for table in (_splits(data), _outside(data), _margins(study), _probes(study)) if table]
    if data.get("outside_missing"):
        blocks.append(Note(f"Not used: {data['outside_missing']}."))
    for title, key in (("Versions", "versions"), ("Seeds", "seeds"), ("Host", "host")):
        if study.get(key):
            blocks.append(Facts(title, [_item(str(name), value) for name, value in dict(study[key]).items()]))
    if study.get("config"):
        written = json.dumps(study["config"], indent=2, ensure_ascii=False, default=str)
        blocks.append(Facts("Whole configuration", [("", written)], code=True, folded=True))
    return Section("settings", "Settings and data", blocks)


def _weights(weights: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Say what the trainings began with, nothing if with new weights."""
    if not weights:
        return []
    new = [f"{loss} ({reason})" for loss, reason in dict(weights.get("new_heads") or {}).items() if reason]
    return [
        ("initial weights", f"{_text(weights.get('path'))}, SHA-256 {_text(weights.get('sha256'))}"),
        ("new heads", ", ".join(new) or "none: the file's head too"),
        ("trained", "the head alone" if weights.get("freeze_body") else "the whole network"),
    ]


def _data_items(data: Mapping[str, Any]) -> list[tuple[str, str]]:
    shape = " × ".join(map(str, data.get("shape") or ()))
    classes = list(map(str, data.get("classes") or ()))
    shown = ", ".join(classes[:20]) + (f" … ({len(classes)})" if len(classes) > 20 else "")
    items = [
        ("name", _text(data.get("name"))),
        ("fingerprint (SHA-256)", _text(data.get("fingerprint"))),
        ("licence", _text(data.get("licence"))),
        ("corruptions", _text(data.get("corruptions"))),
        ("shape", shape or NOT_AVAILABLE),
        ("classes", shown or NOT_AVAILABLE),
    ]
    known = [len(split.get("classes") or ()) for split in map(dict, data.get("splits") or ())]
    if classes and any(0 < count < len(classes) for count in known):
        items.append(("held out", f"{len(classes) - known[0]} of {len(classes)} classes, others in every replicate"))
    return items


def _cuts(data: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return each replicate's cut; two, with what each is used in under "cut", where the search has one of its own."""
    found = []
    for split in map(dict, data.get("splits") or ()):
        search = split.pop("search", None)
        found.append({**split, "cut": "retraining"} if search else split)
        if search:
            found.append({"replicate": split.get("replicate"), **search, "cut": "search"})
    return found


def _splits(data: Mapping[str, Any]) -> Table | None:
    splits = _cuts(data)
    if not splits:
        return None
    further = [name for name in ("cut", "experiences") if any(split.get(name) for split in splits)]
    names = ("replicate", "n_train", "n_validation", "n_test", "n_pool", "test_train_ratio")
    rows = []
    for split in splits:
        cells = [_number(split.get(name)) for name in names]
        counts = list(split.get("class_counts") or ())
        order = list(split.get("class_order") or ())
        classes = [str(name) for name in split.get("classes") or data.get("classes") or ()]
        if order and len(order) == len(counts) == len(classes):
            text = ", ".join(f"{classes[int(index)]}: {counts[int(index)]:.4g}" for index in order)
        else:
            text = ", ".join(f"{count:.4g}" for count in counts)
        called = dict(enumerate(classes))
        parts = [", ".join(str(called.get(c, c)) for c in part) for part in split.get("experiences") or ()]
        told = {"cut": str(split.get("cut", "")), "experiences": "; ".join(parts)}
        rows.append([*cells, *(text_cell(told[name], "prose") for name in further), text_cell(text, "prose")])
    columns = [Column(name.removeprefix("n_").replace("_", " "), True) for name in names]
    columns += [Column({"cut": "used in"}.get(name, name)) for name in further]
    columns.append(Column("training images by class, head to tail"))
    return Table("splits-table", "Splits", columns, rows, pd.DataFrame(splits))


def _outside(data: Mapping[str, Any]) -> Table | None:
    sets = [dict(row) for row in data.get("outside") or ()]
    if not sets:
        return None
    rows = []
    for row in sets:
        left_out = ", ".join(map(str, row.get("left_out") or ())) or "none"
        cells = [text_cell(row.get("name")), text_cell(row.get("group")), _number(row.get("n"))]
        rows.append([*cells, text_cell(left_out, "prose")])
    columns = [Column("set"), Column("group"), Column("images", True), Column("known classes left out of it")]
    return Table("outside-table", "Sets from outside", columns, rows, pd.DataFrame(sets))


def _margins(study: Mapping[str, Any]) -> Table | None:
    margins = [dict(row) for row in study.get("margins") or ()]
    if not margins:
        return None
    rows = []
    for row in margins:
        beyond = bool(row.get("beyond_paper_range"))
        rows.append(
            [
                loss_cell(str(row.get("loss"))),
                text_cell(row.get("arm")),
                _number(row.get("replicate")),
                *(_number(row.get(name)) for name in ("M", "margin_low", "margin_high")),
                Cell("beyond the paper's range", 0.0, "badge badge-open") if beyond else Cell("", 1.0),
            ]
        )
    columns = [
        Column("loss"),
        Column("arm"),
        Column("replicate", True),
        Column("M", True),
        Column("smallest μ", True),
        Column("largest μ", True),
        Column("0.03 to 1"),
    ]
    return Table("margins-table", "Margins", columns, rows, pd.DataFrame(margins), folded=len(rows) > 12)


def _probes(study: Mapping[str, Any]) -> Table | None:
    probes = dict(study.get("probes") or {})
    if not probes:
        return None
    rows = [
        [text_cell(name), text_cell(stated.get("applies")), Cell(str(stated.get("note") or ""), mark="prose")]
        for name, stated in probes.items()
    ]
    frame = pd.DataFrame([{"probe": name, **stated} for name, stated in probes.items()])
    caption = f"Probes that make sense on the task {_text(study.get('task'))}"
    return Table("probes-table", caption, [Column("probe"), Column("applies"), Column("why")], rows, frame)


def notes_section(view: View) -> Section:
    """Show the notes of the run."""
    notes: Iterable[object] = view.study.get("notes") or ()
    return Section("notes", "Notes", [Note(str(note)) for note in notes] or [Note("None.")])


def failed_section(view: View) -> Section:
    """Show the cells that failed, or that none did."""
    cells = dict(view.study.get("cells") or {})
    if not cells:
        return Section("failed", "Failed cells", [not_available("study.json has no count of cells")])
    failed = [dict(row) for row in cells.get("failed") or ()]
    count = Note(f"{_text(cells.get('complete'))} of {_text(cells.get('asked'))} cells are complete.")
    if not failed:
        return Section("failed", "Failed cells", [count, Note("No cell failed.")])
    rows = [[text_cell(_text(row.get("key")), "code"), text_cell(row.get("error"), "prose")] for row in failed]
    table = Table("failed-table", "Failed cells", [Column("cell"), Column("error")], rows, pd.DataFrame(failed))
    return Section("failed", "Failed cells", [count, table])


def _number(value: object) -> Cell:
    if missing(value):
        return number_cell("", None)
    whole = float(str(value)).is_integer()
    return number_cell(str(int(float(str(value)))) if whole else significant(value, 4), value)


def _item(name: str, value: object) -> tuple[str, str]:
    if name.endswith("_bytes"):
        return name.removesuffix("_bytes"), byte_size(value)
    return name.replace("_", " "), _text(value)


def _text(value: object) -> str:
    if missing(value) or value == "":
        return NOT_AVAILABLE
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value)) or NOT_AVAILABLE
    if isinstance(value, dict):
        return json.dumps(value, ensure_ascii=False, default=str)
    return str(value)
