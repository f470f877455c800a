"""The run's tables, rebuilt from its cells. Columns are listed here; what reads them checks the same list.

Values are fractions; NaN stands where there is nothing.
"""

import io
from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from search_spaces.shared import SHARED
from study import ledger
from study.config import StudyConfig
from study.confirm import Search, Winner, rescored_key, sweep_factors
from study.probes import dar
from study.run import STAGES, VERSION, Key, RunDirectory, write_atomic
from study.search import point_of

METADATA_KEY = b"hem_study_version"

TEXT, WHOLE, REAL, TRUTH = "str", "int64", "float64", "bool"
_MODEL = {"method": TEXT, "loss": TEXT, "arm": TEXT, "replicate": WHOLE, "seed": WHOLE}
_WHAT = {"probe": TEXT, "dataset": TEXT, "slice": TEXT, "metric": TEXT}

SCHEMAS: Mapping[str, Mapping[str, str]] = {
    "trials": {
        "method": TEXT,
        "loss": TEXT,
        "replicate": WHOLE,
        "number": WHOLE,
        "state": TEXT,
        "source": TEXT,
        "objective": REAL,
        "rescore": REAL,
        "selected": TRUTH,
        "epochs": WHOLE,
        "seconds": REAL,
        "error": TEXT,
    },
    "epochs": {
        "method": TEXT,
        "loss": TEXT,
        "arm": TEXT,
        "replicate": WHOLE,
        "number": WHOLE,
        "epoch": WHOLE,
        "learning_rate": REAL,
        "train_loss": REAL,
        "active_share": REAL,
        "gradient_norm": REAL,
        "logit_scale": REAL,
        "seconds": REAL,
    },
    "evaluation": {**_MODEL, **_WHAT, "value": REAL, "n": WHOLE},
    "foreign": {**_MODEL, **_WHAT, "value": REAL, "n": WHOLE},
    "comparison": {
        "method": TEXT,
        "loss": TEXT,
        "arm": TEXT,
        **_WHAT,
        "higher_is_better": TRUTH,
        "mean": REAL,
        "sd": REAL,
        "n": WHOLE,
        "low": REAL,
        "high": REAL,
        "difference": REAL,
        "difference_sd": REAL,
        "difference_low": REAL,
        "difference_high": REAL,
        "p": REAL,
        "p_holm": REAL,
        "role": TEXT,
        "verdict": TEXT,
        "smallest_detectable": REAL,
        "reason": TEXT,
    },
    "curves": {**_MODEL, "kind": TEXT, "dataset": TEXT, "slice": TEXT, "x": REAL, "y": REAL, "n": WHOLE},
    "health": {**_MODEL, "norm": TEXT, "eps": REAL, "check": TEXT, "value": REAL, "flag": TRUTH, "message": TEXT},
    "sensitivity": {
        "method": TEXT,
        "loss": TEXT,
        "replicate": WHOLE,
        "parameter": TEXT,
        "parameter_value": REAL,
        "parameter_factor": REAL,
        "learning_rate": REAL,
        "learning_rate_factor": REAL,
        "margin": REAL,
        "objective": REAL,
        "state": TEXT,
        "error": TEXT,
    },
    "timing": {
        "stage": TEXT,
        "method": TEXT,
        "loss": TEXT,
        "arm": TEXT,
        "replicate": WHOLE,
        "number": WHOLE,
        "seconds": REAL,
        "epochs": WHOLE,
        "images": WHOLE,
    },
}
"""Table → column → type, in order.

`trials` has a column `param.<name>` more for every searched parameter, `epochs` whatever else was recorded of an epoch
(`EPOCH_EXTRAS`, `validation_<metric>`), as real numbers.
"""
EPOCH_EXTRAS = ("active_classes", "margin_q05", "margin_q25", "margin_q50", "margin_q75", "margin_q95", "experience")

Row = dict[str, Any]
NAN = float("nan")


def frame(table: str, rows: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """Return rows as a table with exactly its columns and types, sorted by its text and whole-number columns."""
    schema = SCHEMAS[table]
    rows = list(rows)
    extra = sorted({name for row in rows for name in row if name.startswith("param.")})
    real = sorted({name for row in rows for name in row if name.startswith("validation_") or name in EPOCH_EXTRAS})
    columns = {}
    for name, kind in schema.items():
        values = [row.get(name) if kind == REAL else row[name] for row in rows]
        if kind == REAL:
            values = [NAN if value is None else value for value in values]
        columns[name] = pd.Series(values, dtype=kind)
    for name in extra:
        columns[name] = pd.Series([row.get(name) for row in rows])
    for name in real:
        columns[name] = pd.Series([NAN if row.get(name) is None else row[name] for row in rows], dtype=REAL)
    result = pd.DataFrame(columns)
    keys = [
        name for name, kind in schema.items() if kind in (TEXT, WHOLE) and name not in ("error", "message", "reason")
    ]
    return result.sort_values(keys, kind="stable", ignore_index=True) if len(result) else result


def write(run: RunDirectory, table: str, data: pd.DataFrame) -> None:
    """Write a table with the version it has."""
    arrow = pa.Table.from_pandas(data, preserve_index=False)
    arrow = arrow.replace_schema_metadata({**(arrow.schema.metadata or {}), METADATA_KEY: str(VERSION).encode()})
    buffer = io.BytesIO()
    pq.write_table(arrow, buffer)
    write_atomic(run.path / f"{table}.parquet", buffer.getvalue())


def build(config: StudyConfig, run: RunDirectory, winners: Mapping[Search, Winner]) -> dict[str, pd.DataFrame]:
    """Return every table that follows from the cells alone."""
    cells = {stage: [(key, cell) for key, cell in run.cells(stage) if key.loss in config.losses] for stage in STAGES}
    wanted = set(ledger.asked(config, run))
    for stage in ("attack", "cost"):  # those of another mode, or of fewer losses, stay and count no more
        cells[stage] = [(key, cell) for key, cell in cells[stage] if key in wanted]
    measured = [*cells["evaluate"], *cells["attack"]]
    foreign = [
        (key, cell)
        for stage in ("evaluate", "attack")
        for key, cell in run.cells(stage)
        if key.method == "foreign" and _as_asked(config, key)
    ]
    return {
        "trials": frame("trials", (_trial(run, key, cell, winners) for key, cell in cells["search"])),
        "epochs": frame(
            "epochs", (row for stage in ("search", "confirm") for pair in cells[stage] for row in _epochs(*pair))
        ),
        "evaluation": frame("evaluation", _with_totals(_of_models(measured, "rows"))),
        "foreign": frame("foreign", _with_totals(_of_models(foreign, "rows"))),
        "curves": frame("curves", _of_models(measured, "curves")).drop_duplicates(ignore_index=True),
        "health": frame("health", _of_models(cells["attack"], "health")),
        "sensitivity": frame("sensitivity", (_sensitivity(config, key, cell) for key, cell in cells["sweep"])),
        "timing": frame("timing", (row for stage in STAGES for pair in cells[stage] for row in _timing(*pair))),
    }


def _as_asked(config: StudyConfig, key: Key) -> bool:
    """Say whether a model from elsewhere was attacked as the run's own models are."""
    aims = [ledger.Aim(norm, eps) for norm, eps in config.radii]
    return key.stage == "evaluate" or key in [ledger.radius_key(config, key, aim) for aim in aims]


def examples(config: StudyConfig, run: RunDirectory) -> list[Mapping[str, Any]]:
    """Return the example pictures of a run, in the order of its losses."""
    wanted = set(ledger.asked(config, run))
    found = [
        (config.losses.index(key.loss), example)
        for stage in ("evaluate", "attack")
        for key, cell in run.cells(stage)
        if key in wanted
        for example in cell.get("examples", ())
        if (run.path / example["file"]).is_file()
    ]
    return [example for _, example in sorted(found, key=lambda item: item[0])]


def _trial(run: RunDirectory, key: Key, cell: Mapping[str, Any], winners: Mapping[Search, Winner]) -> Row:
    search = (key.method, key.loss, key.replicate)
    again = run.read_cell(rescored_key(search, key.number)) or {}
    found = winners.get(search)
    return {
        "method": key.method,
        "loss": key.loss,
        "replicate": key.replicate,
        "number": key.number,
        "state": cell["state"],
        "source": cell["training"]["source"],
        "objective": cell.get("objective"),
        "rescore": again.get("objective"),
        "selected": found is not None and found[0] == key.number,
        "epochs": len(cell.get("epochs", ())),
        "seconds": cell["seconds"],
        "error": cell.get("error", ""),
        **{f"param.{_column(name)}": value for name, value in point_of(cell).items()},
    }


def _column(name: str) -> str:
    """Return a searched parameter's column: a loss's own under its plain name, unless a shared one is called so."""
    plain = name.removeprefix("loss.")
    return name if plain in SHARED else plain


def _epochs(key: Key, cell: Mapping[str, Any]) -> Iterable[Row]:
    about = {
        "method": key.method,
        "loss": key.loss,
        "arm": key.arm or "search",
        "replicate": key.replicate,
        "number": key.number,
    }
    return ({**about, **epoch} for epoch in cell.get("epochs", ()))


def _of_models(cells: Iterable[tuple[Key, Mapping[str, Any]]], part: str) -> Iterable[Row]:
    for key, cell in cells:
        about = {
            "method": key.method,
            "loss": key.loss,
            "arm": key.arm,
            "replicate": key.replicate,
            "seed": key.number,
        }
        for row in cell.get(part, ()):
            yield {**about, **row}


def _with_totals(rows: Iterable[Row]) -> list[Row]:
    """Return the rows with what follows from several cells of one model: its DAR over all kinds of samples.

    A model that lacks an attack which others have, because it failed or is not done, has none over all attacks.
    """
    rows = list(rows)
    datasets = {row["dataset"] for row in rows if row["probe"] == dar.PROBE}
    attacks = {name for name in datasets if name.startswith(dar.ADVERSARIAL)}
    models: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        if row["probe"] == dar.PROBE:
            value = NAN if row["value"] is None else row["value"]  # JSON has no nan
            models.setdefault(tuple(row[name] for name in _MODEL), []).append({**row, "value": value})
    for model, own in models.items():
        about = dict(zip(_MODEL, model, strict=True))
        rows += [{**about, **total} for total in dar.totals(own, attacks)]  # type: ignore[arg-type]
    return rows


def _sensitivity(config: StudyConfig, key: Key, cell: Mapping[str, Any]) -> Row:
    value, rate = cell["training"]["loss_parameters"]["M"], cell["training"]["recipe"]["learning_rate"]
    factor, rate_factor = sweep_factors(config, key.number)
    return {
        "method": key.method,
        "loss": key.loss,
        "replicate": key.replicate,
        "parameter": "M",
        "parameter_value": value,
        "parameter_factor": factor,
        "learning_rate": rate,
        "learning_rate_factor": rate_factor,
        "margin": (cell.get("margin") or [NAN])[0],
        "objective": cell.get("objective"),
        "state": cell["state"],
        "error": cell.get("error", ""),
    }


def _timing(key: Key, cell: Mapping[str, Any]) -> Iterable[Row]:
    """Return how long a cell took; of the measurement of cost a row "step" and a row "epoch" for every loss."""
    about = {"method": key.method, "arm": key.arm, "replicate": key.replicate, "number": key.number, "epochs": 0}
    for row in cell.get("steps", ()):
        for what in ("step", "epoch"):
            yield {
                **about,
                "stage": what,
                "loss": row["loss"],
                "seconds": row[f"{what}_seconds"],
                "images": row["images"],
            }
    yield {
        "stage": key.stage,
        "method": key.method,
        "loss": key.loss,
        "arm": key.arm,
        "replicate": key.replicate,
        "number": key.number,
        "seconds": cell["seconds"],
        "epochs": len(cell.get("epochs", ())),
        "images": int(cell.get("images", 0)),
    }
