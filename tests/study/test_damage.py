"""Damaged, strange and foreign run directories: said in a short block, set aside, or harmless; never a traceback."""

import ast
import contextlib
import json
import os
import pickle
import shutil
import sys
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from benchmarks import fuzz_cases as cases
from benchmarks.fuzz import Field, fuzz_line, in_process
from study import evaluate, options, tune
from study.errors import InputError
from study.run import Key, RunDirectory
from study.shape import MAYBE, mismatch
from tests.study import commands

ROOT = commands.ROOT
KEY = Key("search", "plain", "ce", "", 0, 0)


class Marks:
    """Leaves a file when it is unpickled."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return open, (self.mark, "w")


@pytest.fixture
def copy(smoke, tmp_path):
    shutil.copytree(smoke[0], tmp_path / "run")
    return tmp_path / "run"


@pytest.fixture(scope="module")
def field(smoke, tmp_path_factory):
    folder = tmp_path_factory.mktemp("field")
    with contextlib.chdir(folder):
        yield Field(folder, smoke[0])


def test_no_room_loads_pickles():
    """Every torch.load and numpy.load says that it takes plain tensors and arrays, and nothing imports a pickler."""
    safe = {"torch": ("weights_only", True), "np": ("allow_pickle", False)}
    files = [path for room in ("hem", "study", "search_spaces", "dashboards") for path in (ROOT / room).rglob("*.py")]
    for path in files:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = {alias.name for alias in node.names}
                errors = all(name.endswith("Error") for name in names)  # to catch what a library's reader raises
                rooms = {(getattr(node, "module", None) or name).partition(".")[0] for name in names}
                assert errors or not rooms & {"pickle", "cloudpickle", "joblib", "marshal", "shelve", "dill"}, path
            elif isinstance(node, ast.Call) and ast.unparse(node.func) in ("torch.load", "np.load"):
                name, value = safe[ast.unparse(node.func).partition(".")[0]]
                given = {word.arg: ast.unparse(word.value) for word in node.keywords}
                assert given.get(name) == str(value), f"{path}:{node.lineno}"
    assert len(files) > 100


def test_every_option_is_fed():
    for own, table in ((options.parser(), cases.TUNE), (evaluate.parser(), cases.EVALUATE)):
        known = {name for action in own._actions for name in action.option_strings if name.startswith("--")}
        assert known - {"--help", "--dry-run"} == set(table)


@settings(max_examples=20, deadline=None, database=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(line=cases.lines().filter(lambda line: not {"full", "paper", "all"} & set(line[1]) and "--add" not in line[1]))
def test_any_command_line_is_answered_in_a_few_lines(field, line):
    outcome = fuzz_line(field, line)
    assert not outcome.fault, (line, outcome.err, outcome.trace)


@settings(max_examples=3, deadline=None, database=None)
@given(
    kind=st.sampled_from([kind for kind in cases.KINDS if not kind.startswith("tune/")]),
    how=st.sampled_from(sorted(cases.DAMAGES)),
    seed=st.integers(0, 1000),
)
def test_any_damage_is_answered_in_a_few_lines(field, smoke, kind, how, seed):
    cases.copied(smoke[0], field.run)
    what = cases.damage(field.run, kind, how, Random(seed))
    for command, argv in (("tune", ["--resume", str(field.run), "--dry-run"]), ("report", [str(field.run)])):
        outcome = in_process(command, argv)
        assert not outcome.fault, (what, how, outcome.err, outcome.trace)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda study: study.pop("config"), "config is missing"),
        (lambda study: study["config"].pop("losses"), "config.losses is missing"),
        (lambda study: study["config"].update(epochs="8"), "config.epochs: expected a whole number, got '8'"),
        (lambda study: study["config"].update(eps=[None]), "config.eps[0]: expected a number, got None"),
        (lambda study: study.update(data=[]), "data: expected an object, got []"),
        (lambda study: study["data"]["splits"][0].pop("n_test"), "data.splits[0].n_test is missing"),
        (lambda study: study.update(replicates=True), "replicates: expected a whole number, got True"),
    ],
)
def test_a_damaged_record_is_named(copy, change, words):
    study = json.loads((copy / "study.json").read_text())
    change(study)
    (copy / "study.json").write_text(json.dumps(study))
    for command, argv in (("report", [str(copy)]), ("tune", ["--resume", str(copy)]), ("evaluate", [str(copy)])):
        outcome = in_process(command, argv)
        assert outcome.code == 2
        assert words in outcome.err


def test_a_copy_without_cells_keeps_its_tables_and_page(copy, tmp_path):
    """As results/reference: made again from nothing, its tables, verdict and page would be lost."""
    shutil.rmtree(copy / "cells")
    before = {path.name: path.read_bytes() for path in copy.iterdir() if path.is_file() and path.name != ".lock"}
    outputs = f"theirs={tmp_path / 'outputs.npz'}"
    for command, argv in (
        ("tune", ["--resume", str(copy)]),
        ("report", [str(copy)]),
        ("report", [str(copy), str(tmp_path / "other")]),
        ("evaluate", [str(copy)]),
        ("evaluate", [str(copy), "--from-scores"]),
        ("evaluate", [str(copy), "--add", outputs]),
    ):
        outcome = in_process(command, argv)
        assert outcome.code == 2, (command, argv)
        assert "no cells, though its record counts" in outcome.err
    assert before == {name: (copy / name).read_bytes() for name in before}


def test_shapes_in_words():
    shape = {"a": [int], "b?": MAYBE, str: object}
    assert mismatch({"a": [1, 2], "b": None, "c": "x"}, shape) == ""
    assert mismatch({"a": (1,)}, shape) == ""
    assert mismatch({"a": [1, True]}, shape) == "a[1]: expected a whole number, got True"
    assert mismatch({"a": [], "b": "1"}, shape) == "b: expected a number, got '1'"
    assert mismatch([], shape) == "the whole: expected an object, got []"


@pytest.mark.parametrize("what", ["folder", "not utf-8", "another cell", "no state", "a link to itself"])
def test_a_strange_cell_is_set_aside(tmp_path, what):
    run = RunDirectory(tmp_path)
    path = run.cell(KEY)
    for _ in range(2):  # the second time there is a damaged one already
        run.write_cell(KEY.at("rescore" if what == "another cell" else "search"), {"state": "complete"})
        if what == "folder":
            path.unlink()
            path.mkdir()
        elif what == "not utf-8":
            path.write_bytes(b"\xff\xfe")
        elif what == "another cell":
            path.parent.mkdir(exist_ok=True)
            shutil.copy(run.cell(KEY.at("rescore")), path)
        elif what == "no state":
            run.write_cell(KEY, {"error": "x"})
        else:
            path.unlink()
            path.symlink_to(path)
        assert run.read_cell(KEY) is None
        assert not path.is_symlink()
        assert not path.exists()
    assert len(list(path.parent.glob("*.damaged*"))) == 2


def test_a_cell_without_what_readers_need_counts_as_not_done(copy, capsys):
    path = next((copy / "cells" / "search").iterdir())
    cell = json.loads(path.read_text())
    del cell["training"]["recipe"]["learning_rate"]
    path.write_text(json.dumps(cell))
    RunDirectory(copy).tell_damage()
    said = capsys.readouterr().out
    assert "training.recipe.learning_rate is missing" in said
    assert "set aside" in said
    assert not path.exists()


def test_raw_outputs_and_weights_that_cannot_be_read_are_named(copy):
    from study.measure import load_network, read_scores
    from study.options import study_config

    key = Key("evaluate", "plain", "ce", "tuned", 0, 0)
    run, config = RunDirectory(copy), study_config({"task": "imbalanced", "preset": "smoke"})
    for path, damage in ((run.scores(key), b"PK"), (run.model(key), b"\x80\x02}q\x00.")):
        path.write_bytes(damage)
    with pytest.raises(InputError, match=r"npz cannot be read .*\n.* delete .*cells/evaluate/plain~ce"):
        read_scores(run.scores(key))
    from study.data.embedded import digits

    with pytest.raises(InputError, match=r"pt cannot be read .*\n.* delete .*cells/confirm/plain~ce"):
        load_network(config, digits(), run, key)


def test_nothing_in_a_run_directory_is_unpickled(copy, tmp_path):
    """Pickles in the place of everything that is read, and of Ray's own state: a resumed run reads none of them."""
    mark = tmp_path / "mark"
    evil = pickle.dumps(Marks(str(mark)))
    pickle.loads(evil).close()
    assert mark.exists(), "the pickle does what it should not"
    mark.unlink()
    for path in (copy / "tune").rglob("*"):
        if path.is_file():
            path.write_bytes(evil)
    lost = Key("confirm", "plain", "hem", "tuned", 1, 0)
    run = RunDirectory(copy)
    before = json.loads(run.cell(lost).read_text())
    run.cell(lost).unlink()
    for path in (run.checkpoint(lost), run.model(lost), run.scores(lost.at("evaluate"))):
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(evil)
    finished = commands.run("-m", "study.tune", "--resume", copy, "--no-dashboard")
    assert finished.returncode == 0, finished.stdout + finished.stderr
    assert not mark.exists()
    assert run.read_cell(lost)["objective"] == before["objective"]


def test_a_report_imports_nothing_that_the_record_names(copy, tmp_path, monkeypatch):
    (tmp_path / "stranger.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    for path in (copy / "study.json", *(copy / "cells").rglob("*~mm~*"), *(copy / "cells").rglob("*~hem~*")):
        text = path.read_text().replace('"hem"', '"stranger:Loss"')
        path.unlink()
        (path.parent / path.name.replace("~hem~", "~stranger%3ALoss~")).write_text(text)
    study = json.loads((copy / "study.json").read_text())
    study["own_ranges"] = {"stranger:Loss": {"M": {"low": 1.0, "high": 1e7, "scale": "log"}}}
    (copy / "study.json").write_text(json.dumps(study))
    for command, argv in (("report", [str(copy)]), ("evaluate", [str(copy), "--from-scores"])):
        outcome = in_process(command, argv)
        assert outcome.code == 0, outcome.err + outcome.trace
        assert "stranger" not in sys.modules
    with pytest.raises(SystemExit, match="imported"):
        tune.main(["--resume", str(copy), "--dry-run"])


def test_a_resumed_run_says_which_code_its_record_names(capsys):
    from study.options import study_config
    from study.preflight import tell_code

    given = {"task": "imbalanced", "preset": "smoke", "losses": ("ce", "my_package.losses:MyLoss")}
    tell_code(study_config(given))
    assert capsys.readouterr().out.endswith("imported from your Python path: my_package.losses:MyLoss\n")


def test_a_file_that_cannot_be_written_is_named(copy):
    (copy / "trials.parquet").unlink()
    (copy / "trials.parquet" / "inside").mkdir(parents=True)
    outcome = in_process("report", [str(copy)])
    assert outcome.code == 1
    assert "trials.parquet cannot be written" in outcome.err
    assert os.listdir(copy / "trials.parquet") == ["inside"]
