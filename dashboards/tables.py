"""Reads the tables of a run directory and checks that they are what the page can show.

A file that is not there is an empty frame with the right columns: its section then says that nothing was run. A file
that is there must carry the schema version and the columns that this module names, else `TableError`.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pandas as pd
import pyarrow.parquet as parquet

VERSION = 1
VERSION_KEY = b"hem_study_version"


class TableError(ValueError):
    """A file of the run directory cannot be read; the message says what was expected and what was found."""


_CELL = {"method": "str", "loss": "str", "arm": "str", "replicate": "int", "seed": "int"}
_SEARCH = {"method": "str", "loss": "str", "replicate": "int"}
_ENDPOINT = {"probe": "str", "dataset": "str", "slice": "str", "metric": "str"}

#: Columns of each table with the kind they must have: str, int, float or bool ("int" and "float" may hold nan).
SCHEMAS: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {
        "trials": {
            **_SEARCH,
            "number": "int",
            "state": "str",
            "source": "str",
            "objective": "float",
            "rescore": "float",
            "selected": "bool",
            "epochs": "int",
            "seconds": "float",
            "error": "str",
        },
        "epochs": {
            "method": "str",
            "loss": "str",
            "arm": "str",
            "replicate": "int",
            "number": "int",
            "epoch": "int",
            "learning_rate": "float",
            "train_loss": "float",
            "active_share": "float",
            "gradient_norm": "float",
            "logit_scale": "float",
            "seconds": "float",
        },
        "evaluation": {**_CELL, **_ENDPOINT, "value": "float", "n": "float"},
        "foreign": {**_CELL, **_ENDPOINT, "value": "float", "n": "float"},
        "comparison": {
            "method": "str",
            "loss": "str",
            "arm": "str",
            **_ENDPOINT,
            "higher_is_better": "bool",
            "mean": "float",
            "sd": "float",
            "n": "float",
            "low": "float",
            "high": "float",
            "difference": "float",
            "difference_sd": "float",
            "difference_low": "float",
            "difference_high": "float",
            "p": "float",
            "p_holm": "float",
            "role": "str",
            "verdict": "str",
            "smallest_detectable": "float",
            "reason": "str",
        },
        "curves": {**_CELL, "kind": "str", "dataset": "str", "slice": "str", "x": "float", "y": "float", "n": "float"},
        "health": {
            **_CELL,
            "norm": "str",
            "eps": "float",
            "check": "str",
            "value": "float",
            "flag": "bool",
            "message": "str",
        },
        "sensitivity": {
            **_SEARCH,
            "parameter": "str",
            "parameter_value": "float",
            "parameter_factor": "float",
            "learning_rate": "float",
            "learning_rate_factor": "float",
            "margin": "float",
            "objective": "float",
            "state": "str",
            "error": "str",
        },
        "timing": {
            "stage": "str",
            "method": "str",
            "loss": "str",
            "arm": "str",
            "replicate": "int",
            "number": "int",
            "seconds": "float",
            "epochs": "float",
            "images": "float",
        },
    }
)


@dataclass(frozen=True)
class Example:
    """A mosaic of pictures: what it shows ("attacked-Linf", "rejected", "corruptions", "maps"), of which loss's model.

    `loss` is "" for a picture of the data; `columns` is empty where they are just examples; `width` and `height` are
    in pixels.
    """

    kind: str
    loss: str
    picture: bytes
    mime: str
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    width: int
    height: int
    about: str


@dataclass(frozen=True)
class Run:
    """All that the page shows: one frame per table of `SCHEMAS`, and the two JSON files.

    `study` is never empty, `verdict` is empty where nothing was compared, `absent` names the tables with no file.
    """

    directory: Path
    study: dict[str, Any]
    verdict: dict[str, Any]
    trials: pd.DataFrame
    epochs: pd.DataFrame
    evaluation: pd.DataFrame
    foreign: pd.DataFrame
    comparison: pd.DataFrame
    curves: pd.DataFrame
    health: pd.DataFrame
    sensitivity: pd.DataFrame
    timing: pd.DataFrame
    absent: frozenset[str] = field(default_factory=frozenset)
    examples: tuple[Example, ...] = ()


def read_run(run_dir: Path) -> Run:
    """Read and check the tables of a run directory.

    Raises:
        TableError: the directory or its study.json is missing, or a file has another version, or not the columns and
            kinds of `SCHEMAS`.
    """
    if not run_dir.is_dir():
        raise TableError(f"expected a run directory, got {str(run_dir)!r}: there is no such directory")
    study = read_json(run_dir / "study.json")
    if not study:
        raise TableError(f"expected a run directory with a study.json, got {str(run_dir)!r}: the file is not there")
    return Run(
        directory=run_dir,
        study=study,
        verdict=read_json(run_dir / "verdict.json"),
        **{name: read_table(run_dir / f"{name}.parquet", SCHEMAS[name]) for name in SCHEMAS},
        absent=frozenset(name for name in SCHEMAS if not (run_dir / f"{name}.parquet").exists()),
        examples=_read_examples(run_dir),
    )


MIME_TYPES = {".png": "image/png", ".webp": "image/webp"}


def _read_examples(run_dir: Path) -> tuple[Example, ...]:
    """Read the example pictures that examples.json names; those whose file is gone are left out."""
    found = []
    for entry in read_json(run_dir / "examples.json").get("examples", ()):
        path = run_dir / "examples" / Path(str(entry.get("file", ""))).name
        if path.suffix in MIME_TYPES and path.is_file():
            found.append(
                Example(
                    kind=str(entry["kind"]),
                    loss=str(entry["loss"]),
                    picture=path.read_bytes(),
                    mime=MIME_TYPES[path.suffix],
                    rows=tuple(map(str, entry["rows"])),
                    columns=tuple(map(str, entry["columns"])),
                    width=int(entry["width"]),
                    height=int(entry["height"]),
                    about=str(entry["about"]),
                )
            )
    return tuple(found)


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON file that says {"version": 1, ...}; a file that is not there is {}."""
    if not path.exists():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise TableError(f"{path.name}: expected JSON, but it cannot be read: {error}") from error
    if not isinstance(content, dict):
        raise TableError(f"{path.name}: expected a JSON object, got a {type(content).__name__}")
    if content.get("version") != VERSION:
        raise TableError(f"{path.name}: expected version {VERSION}, got {content.get('version')!r}")
    return content


def read_table(path: Path, schema: Mapping[str, str]) -> pd.DataFrame:
    """Read one parquet table and check its version, columns and kinds; a file that is not there is an empty frame."""
    if not path.exists():
        return _convert(pd.DataFrame({name: [] for name in schema}, dtype="object"), schema, path.name)
    try:
        table = parquet.read_table(path)
    except (OSError, ValueError) as error:
        raise TableError(f"{path.name}: expected a parquet table, but it cannot be read: {error}") from error
    version = (table.schema.metadata or {}).get(VERSION_KEY)
    if version != str(VERSION).encode():
        given = "none" if version is None else repr(version.decode(errors="replace"))
        raise TableError(f"{path.name}: expected table version '{VERSION}' under {VERSION_KEY.decode()!r}, got {given}")
    lost = [name for name in schema if name not in table.column_names]
    if lost:
        raise TableError(
            f"{path.name}: expected the columns {', '.join(schema)}; missing: {', '.join(lost)}; "
            f"the file has: {', '.join(table.column_names)}"
        )
    return _convert(table.to_pandas(), schema, path.name)


def _convert(frame: pd.DataFrame, schema: Mapping[str, str], name: str) -> pd.DataFrame:
    """Give every column of the schema the type that the figures count on."""
    converted = frame.copy()
    for column, kind in schema.items():
        values = frame[column]
        try:
            if kind == "str":
                converted[column] = pd.Series(_filled(values, ""), index=frame.index, dtype="object").astype(str)
            elif kind == "bool":
                converted[column] = _booleans(values)
            elif kind == "int":
                converted[column] = pd.to_numeric(values).astype("float64").fillna(-1).astype("int64")
            else:
                converted[column] = pd.to_numeric(values).astype("float64")
        except (TypeError, ValueError) as error:
            raise TableError(
                f"{name}: column {column!r} is expected to be {kind}, got {values.dtype}: {error}"
            ) from error
    return converted


def _booleans(values: "pd.Series[Any]") -> "pd.Series[Any]":
    """Return the values as bool, a missing one as False; anything but true, false, 0 and 1 is an error."""
    filled = _filled(values, False)
    wrong = [value for value in filled if value not in (True, False)]
    if wrong:
        raise ValueError(f"{wrong[0]!r} is neither true nor false")
    return pd.Series([bool(value) for value in filled], index=values.index, dtype=bool)


def _filled(values: "pd.Series[Any]", default: object) -> list[Any]:
    """Return the values with `default` in the place of missing ones."""
    return [default if gone else value for value, gone in zip(values, values.isna(), strict=True)]
