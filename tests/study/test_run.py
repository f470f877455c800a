"""The run directory: atomic files, safe names, damaged cells, the lock."""

import errno
import fcntl
import json
import multiprocessing
import os
import signal
from pathlib import Path

import pytest

from study.data.locks import held
from study.errors import CannotGoOn, InputError, of_file
from study.run import Key, RunDirectory, locked, npz_bytes, write_atomic, write_json

KEY = Key("confirm", "plain", "my_pkg.losses:MyLoss", "tuned", 2, 0)


def test_a_cell_comes_back_with_its_key(tmp_path):
    run = RunDirectory(tmp_path)
    run.write_cell(KEY, {"state": "complete", "objective": 0.5})
    assert run.read_cell(KEY)["objective"] == 0.5
    assert [key for key, _ in run.cells("confirm")] == [KEY]
    assert run.read_cell(Key("confirm", "plain", "ce", "tuned", 2, 0)) is None


@pytest.mark.parametrize("loss", ["hem+", "a/b:C", "../../etc:x", "<script>", "ü ß"])
def test_names_stay_inside_the_directory_and_apart(tmp_path, loss):
    run = RunDirectory(tmp_path)
    key = Key("search", "plain", loss, "", 0, 1)
    for path in (run.cell(key), run.model(key), run.scores(key), run.checkpoint(key)):
        assert path.resolve().is_relative_to(tmp_path)
        assert "/" not in path.name
    assert run.cell(key) != run.cell(Key("search", "plain", loss + "x", "", 0, 1))
    assert str(key).startswith("search/")


def test_long_names_are_cut_and_stay_apart(tmp_path):
    run, radii = RunDirectory(tmp_path), ",".join(f"0.{i:06d}" for i in range(60))
    key = Key("attack", "plain", "hem+", "tuned", 0, 0, f"Linf-health-{radii}-standard-500")
    other = Key("attack", "plain", "hem+", "tuned", 0, 0, f"Linf-health-{radii}-standard-1000")
    run.write_cell(key, {"state": "complete"})
    assert [found for found, _ in run.cells("attack")] == [key]
    assert len(run.cell(key).name) == 245
    assert run.read_cell(other) is None
    assert run.scores(other) != run.scores(key)
    short = Key("attack", "plain", "hem+", "tuned", 0, 0, "Linf-0.1-quick-100")
    assert short.name == "plain~hem+~tuned~r0~n000~Linf-0.1-quick-100"


def test_nan_stands_as_null(tmp_path):
    write_json(tmp_path / "x.json", {"a": float("nan"), "b": [float("inf"), 1.0], "c": (1, "x")})
    assert json.loads((tmp_path / "x.json").read_text()) == {"a": None, "b": [None, 1.0], "c": [1, "x"]}


@pytest.mark.parametrize("content", ["{", "[]", '{"key": {"stage": "search"}}', '{"key": 1}', ""])
def test_a_damaged_cell_is_set_aside_and_not_done(tmp_path, content):
    run = RunDirectory(tmp_path)
    run.write_cell(KEY, {"state": "complete"})
    run.cell(KEY).write_text(content)
    assert run.read_cell(KEY) is None
    assert list(run.cells("confirm")) == []
    assert run.cell(KEY).with_suffix(".damaged").read_text() == content


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ESTALE, errno.EIO, errno.EACCES, errno.ENOTDIR])
def test_a_cell_that_cannot_be_read_now_stays_and_the_error_names_it(tmp_path, monkeypatch, number):
    run = RunDirectory(tmp_path)
    run.write_cell(KEY, {"state": "complete"})

    def fails(path):
        raise OSError(number, os.strerror(number))  # as a read raises it: without a name

    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_text", fails)
        for read in (run.read_cell, lambda key: list(run.cells(key.stage)), lambda _: run.tell_damage()):
            with pytest.raises(OSError, match=os.strerror(number)) as caught:
                read(KEY)
            assert str(run.cell(KEY)) in str(of_file(caught.value))
    assert run.read_cell(KEY)["state"] == "complete"
    assert not list(run.cell(KEY).parent.glob("*.damaged*"))


def test_a_damaged_cell_that_another_process_sets_aside_first_is_no_error(tmp_path, monkeypatch):
    run = RunDirectory(tmp_path)
    run.write_cell(KEY, {"state": "complete"})

    def read_and_lost(path):
        path.unlink()
        return "{"

    monkeypatch.setattr(Path, "read_text", read_and_lost)
    assert run.read_cell(KEY) is None
    assert list(run.cell(KEY).parent.iterdir()) == []


def test_a_failing_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "x"
    write_atomic(path, b"old")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(CannotGoOn, match="x cannot be written: No space left"):
        write_atomic(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_equal_arrays_give_equal_bytes():
    import numpy as np

    arrays = {"a/b": np.arange(5), "c": np.eye(2)}
    assert npz_bytes(arrays) == npz_bytes(arrays)


def hold(path, ready):
    with locked(RunDirectory(path)):
        ready.set()
        signal.pause()


def test_the_lock_goes_with_its_process(tmp_path):
    context = multiprocessing.get_context("spawn")
    ready = context.Event()
    process = context.Process(target=hold, args=(tmp_path, ready))
    process.start()
    assert ready.wait(60)
    with pytest.raises(InputError, match=str(process.pid)), locked(RunDirectory(tmp_path)):
        pass
    process.kill()
    process.join()
    with locked(RunDirectory(tmp_path)):
        assert str(os.getpid()) in (tmp_path / ".lock").read_text()


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
@pytest.mark.parametrize("lock", [lambda path: locked(RunDirectory(path)), lambda path: held(path / "set")])
def test_a_file_system_without_locks_is_named(tmp_path, monkeypatch, number, lock):
    def refuses(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refuses)
    with pytest.raises(InputError) as caught, lock(tmp_path):
        pytest.fail("nobody holds it")
    assert str(caught.value) == (
        f"{tmp_path}: its file system has no locks (flock): {os.strerror(number)}\n"
        "choose a folder on another one, or mount it with flock"
    )
