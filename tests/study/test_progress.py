"""What a person sees while it runs."""

import io

import pytest
from rich.console import Console

from study import progress
from study.progress import StageProgress, clock, totals_by_loss
from study.run import Key

CE, HEM = (Key("search", "plain", loss, "", 0, 0) for loss in ("ce", "hem"))
DONE = {"state": "complete", "objective": 0.75, "seconds": 2.0}
FAILED = {"state": "failed", "error": "diverged at epoch 3\nmore", "seconds": 1.0}


@pytest.mark.parametrize(("seconds", "text"), [(0, "0:00"), (61.4, "1:01"), (3599.6, "1:00:00"), (7325, "2:02:05")])
def test_durations(seconds, text):
    assert clock(seconds) == text


def test_a_line_per_cell_without_a_terminal(capsys, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    with StageProgress("search", {"ce": 2, "hem": 2}, metric="balanced_accuracy") as shown:
        shown.started(CE)
        now[0] = 110.0
        shown.done(CE, DONE)
        shown.started(HEM)
        now[0] = 130.0
        shown.done(HEM, FAILED)
    first, second = capsys.readouterr().out.splitlines()
    assert first.split()[:3] == ["search", "1/4", "plain~ce~r0~n000"]
    assert "balanced accuracy 0.750" in first
    assert first.endswith("2.0 s  0:30 left")
    assert "failed: diverged at epoch 3" in second
    assert "more" not in second
    assert second.endswith("1.0 s  0:30 left")


def test_time_is_left_by_the_cells_of_this_session_and_the_best_stays_the_best(monkeypatch):
    """One of four cells in ten seconds: two were there before, so one is left, for ten seconds."""
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    shown = StageProgress("search", {"ce": 4}, metric="accuracy", done={"ce": 2})
    assert shown.time_left() is None
    now[0] = 110.0
    shown.done(CE, DONE)
    assert shown.time_left() == 10.0
    shown.done(CE, {**DONE, "objective": 0.5})
    assert shown.best == {"ce": 0.75}


def test_bars_on_a_terminal():
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=110)
    with StageProgress("search", {"ce": 3, "hem": 3}, metric="accuracy", done={"ce": 1}, console=console) as shown:
        shown.started(CE)
        shown.epoch(CE, 7)
        shown.done(CE, DONE)
        shown.done(HEM, FAILED)
        shown.started(HEM)
        assert shown.bars.tasks[0].fields["note"] == "best 0.750"
        note = shown.bars.tasks[1].fields["note"]
        assert note.startswith("1 running  1 failed")
        assert note.endswith("left")
        assert [task.completed for task in shown.bars.tasks] == [2, 1]
        shown.lower({"ce": 2, "hem": 2})
        assert [task.total for task in shown.bars.tasks] == [2, 2]
    assert "ce" in screen.getvalue()


def test_the_metrics_are_told(capsys, monkeypatch):
    now, told = [100.0], []
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    tell = lambda loss, values: told.append((loss, values))  # noqa: E731
    with StageProgress("search", {"ce": 3, "hem": 1}, metric="accuracy", done={"ce": 1}, gauges=tell) as shown:
        assert told == [
            ("ce", {"cells_done": 1, "cells_failed": 0, "cells_running": 0}),
            ("hem", {"cells_done": 0, "cells_failed": 0, "cells_running": 0}),
        ]
        shown.started(CE)
        shown.started(HEM)
        now[0] = 104.0
        shown.done(CE, {**DONE, "images": 800})
        shown.done(HEM, FAILED)
    assert told[2:] == [
        ("ce", {"cells_done": 1, "cells_failed": 0, "cells_running": 1}),
        ("hem", {"cells_done": 0, "cells_failed": 0, "cells_running": 1}),
        ("ce", {"cells_done": 2, "cells_failed": 0, "cells_running": 0, "best_value": 0.75, "images_per_second": 200}),
        ("hem", {"cells_done": 1, "cells_failed": 1, "cells_running": 0}),
    ]
    capsys.readouterr()


def test_totals():
    assert totals_by_loss([CE, HEM, CE]) == {"ce": 2, "hem": 1}
