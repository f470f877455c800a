from pathlib import Path

import pandas as pd
import pytest

from dashboards.tables import SCHEMAS, Run, TableError, read_run, read_table
from tests.dashboards.fake_run import write_table

TIMING = pd.DataFrame(
    {
        "stage": ["search"],
        "method": ["plain"],
        "loss": ["ce"],
        "arm": [None],
        "replicate": [0],
        "number": [3],
        "seconds": [1.5],
        "epochs": [None],
        "images": [100],
    }
)


def test_every_table_of_a_whole_run_is_read(run: Run) -> None:
    for name, schema in SCHEMAS.items():
        frame = getattr(run, name)
        assert len(frame) > 0, name
        assert set(schema) <= set(frame.columns), name
    assert run.absent == frozenset()
    assert run.verdict["best_set"] == ["logit_adjusted", "hem+"]
    assert run.trials["selected"].dtype == bool
    assert {"param.learning_rate", "param.M"} <= set(run.trials.columns)


def test_missing_files_are_empty_frames_with_columns(bare_dir: Path) -> None:
    run = read_run(bare_dir)
    assert run.absent == frozenset(SCHEMAS)
    assert run.verdict == {}
    for name, schema in SCHEMAS.items():
        frame = getattr(run, name)
        assert len(frame) == 0
        assert list(frame.columns) == list(schema)


def test_nulls_become_the_kind_of_their_column(tmp_path: Path) -> None:
    write_table(tmp_path / "timing.parquet", TIMING)
    row = read_table(tmp_path / "timing.parquet", SCHEMAS["timing"]).iloc[0]
    assert row["arm"] == ""
    assert pd.isna(row["epochs"])
    assert row["number"] == 3
    frame = pd.DataFrame({"flag": [True, None, False]}, dtype="object")
    write_table(tmp_path / "flags.parquet", frame)
    assert read_table(tmp_path / "flags.parquet", {"flag": "bool"})["flag"].tolist() == [True, False, False]


@pytest.mark.parametrize(("version", "given"), [(b"2", "'2'"), (None, "none")])
def test_another_version_is_an_error(tmp_path: Path, version: bytes | None, given: str) -> None:
    write_table(tmp_path / "timing.parquet", TIMING, version)
    with pytest.raises(TableError, match=rf"timing\.parquet: expected table version '1' .*, got {given}"):
        read_table(tmp_path / "timing.parquet", SCHEMAS["timing"])


def test_missing_columns_are_named(tmp_path: Path) -> None:
    write_table(tmp_path / "timing.parquet", TIMING.drop(columns=["seconds", "loss"]))
    with pytest.raises(TableError, match=r"missing: loss, seconds; the file has: stage, method, arm"):
        read_table(tmp_path / "timing.parquet", SCHEMAS["timing"])


def test_a_column_of_another_kind_is_an_error(tmp_path: Path) -> None:
    write_table(tmp_path / "timing.parquet", TIMING.assign(seconds="long"))
    with pytest.raises(TableError, match="column 'seconds' is expected to be float"):
        read_table(tmp_path / "timing.parquet", SCHEMAS["timing"])
    write_table(tmp_path / "flags.parquet", pd.DataFrame({"flag": ["yes"]}))
    with pytest.raises(TableError, match=r"column 'flag' is expected to be bool.*'yes' is neither true nor false"):
        read_table(tmp_path / "flags.parquet", {"flag": "bool"})


def test_a_file_that_is_no_parquet_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "timing.parquet").write_bytes(b"not a table")
    with pytest.raises(TableError, match=r"timing\.parquet: expected a parquet table"):
        read_table(tmp_path / "timing.parquet", SCHEMAS["timing"])


def test_a_wrong_directory_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(TableError, match="there is no such directory"):
        read_run(tmp_path / "nowhere")
    with pytest.raises(TableError, match=r"expected a run directory with a study\.json"):
        read_run(tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "expected JSON, but it cannot be read"),
        ("[1]", "expected a JSON object, got a list"),
        ('{"version": 3}', "expected version 1, got 3"),
        ("{}", "expected version 1, got None"),
    ],
)
def test_a_wrong_json_file_is_an_error(bare_dir: Path, text: str, message: str) -> None:
    (bare_dir / "verdict.json").write_text(text, encoding="utf-8")
    with pytest.raises(TableError, match=rf"verdict\.json: {message}"):
        read_run(bare_dir)
