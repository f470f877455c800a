import math

import pandas as pd
import pytest

from dashboards.summary import View, make_view, one, ordered, plural, summarise
from dashboards.tables import Run, TableError, read_run
from tests.dashboards.fake_run import FakeRun


def evaluation(values: list[tuple[int, int, float]]) -> pd.DataFrame:
    """Rows of one loss: (replicate, seed, value)."""
    frame = pd.DataFrame(values, columns=["replicate", "seed", "value"])
    frame = frame.assign(method="plain", loss="ce", arm="tuned")
    return frame.assign(probe="accuracy", dataset="test", slice="all", metric="accuracy")


def test_seeds_are_averaged_before_replicates() -> None:
    rows = evaluation([(0, 0, 0.8), (0, 1, 0.9), (0, 2, 1.0), (1, 0, 0.5)])
    summary = summarise(rows).iloc[0]
    assert summary["mean"] == pytest.approx((0.9 + 0.5) / 2)
    assert summary["sd"] == pytest.approx(0.4 / math.sqrt(2))
    assert summary["n"] == 2


def test_missing_values_are_not_counted_and_never_zero() -> None:
    summary = summarise(evaluation([(0, 0, math.nan), (1, 0, 0.5)])).iloc[0]
    assert summary["mean"] == 0.5
    assert summary["n"] == 1
    assert math.isnan(summary["sd"])
    assert math.isnan(summarise(evaluation([(0, 0, math.nan)])).iloc[0]["mean"])


def test_the_view_follows_the_primary_endpoint(view: View) -> None:
    assert view.losses == ("ce", "logit_adjusted", "logitnorm", "hem", "hem+")
    assert view.arms == ("default", "dropin", "tuned")
    assert (view.arm, view.method) == ("tuned", "plain")
    assert view.primary is not None
    assert view.primary.label == "balanced accuracy"


def test_without_a_primary_endpoint_the_last_arm_is_shown(run: Run) -> None:
    study = {key: value for key, value in run.study.items() if key != "primary"}
    rows = run.evaluation[run.evaluation["arm"] != "tuned"]
    bare = Run(
        **{**vars(run), "study": study, "verdict": {}, "evaluation": rows, "comparison": run.comparison.iloc[:0]}
    )
    view = make_view(bare)
    assert view.primary is None
    assert view.arm == "dropin"
    assert view.method == "plain"


def test_counts_come_from_the_rows(view: View, run: Run) -> None:
    counts = view.counts(run.evaluation[run.evaluation["replicate"] < 2], "5 out sets")
    assert counts == "Shown: 1 data set (mnist5k), 1 network (small_cnn), 2 replicates, 5 out sets."
    assert "3 replicates" in view.counts(run.comparison[["n"]])


def test_ce_comes_first(run: Run) -> None:
    study = {**run.study, "losses": ["hem", "ce"]}
    assert make_view(Run(**{**vars(run), "study": study})).losses[:2] == ("ce", "hem")


def test_small_helpers() -> None:
    assert plural(1, "replicate") == "1 replicate"
    assert plural(2, "class") == "2 classes"
    assert ordered(["b"], ["a", "b"]) == ("b", "a")
    frame = pd.DataFrame({"loss": ["ce"], "mean": [0.5]})
    assert one(frame, "mean", loss="ce") == 0.5
    assert one(frame, "mean", loss="hem") is None


def test_an_arm_that_was_not_run_is_not_shown(tmp_path_factory: pytest.TempPathFactory) -> None:
    directory = FakeRun(arms=("default",), losses=("ce", "hem"), trials=3, epochs=2).write(
        tmp_path_factory.mktemp("default") / "run", only=["evaluation"]
    )
    assert make_view(read_run(directory)).arm == "default"


def test_an_endpoint_that_is_not_complete_is_an_error(run: Run) -> None:
    verdict = {"version": 1, "primary": {"probe": "accuracy", "metric": "accuracy"}}
    with pytest.raises(TableError, match=r"primary endpoint: .*missing: dataset, slice, arm, method, higher_is_better"):
        make_view(Run(**{**vars(run), "verdict": verdict}))
