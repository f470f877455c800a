"""The data of each picture against numbers worked out by hand, then a look at what the pictures are made of."""

import math

import numpy as np
import pandas as pd
import pytest

from dashboards.blocks import Whisker
from dashboards.figures import accuracy, calibration, comparison, rejection, robustness, search, training
from dashboards.figures.base import log_axis, rounded, stepped, thinned
from dashboards.style import loss_style
from dashboards.summary import Endpoint, View, pick
from dashboards.tables import Run
from tests.dashboards.fake_json import PRIMARY

ENDPOINT = Endpoint(**PRIMARY)
PRIMARY_ARMS = ("default", "dropin", "tuned")
LOSSES = ("ce", "logit_adjusted", "logitnorm", "hem", "hem+")


def evaluation(rows: list[tuple[str, int, str, str, str, str, float]]) -> pd.DataFrame:
    """Rows of (loss, replicate, probe, dataset, slice, metric, value)."""
    columns = ["loss", "replicate", "probe", "dataset", "slice", "metric", "value"]
    return pd.DataFrame(rows, columns=columns).assign(method="plain", arm="tuned", seed=0, n=100)


def test_arms_data_is_the_primary_endpoint(run: Run) -> None:
    data = comparison.arms_data(run.comparison, ENDPOINT)
    assert len(data) == 15
    row = pick(data, loss="hem", arm="dropin").iloc[0]
    rows = pick(run.evaluation, loss="hem", arm="dropin", probe="accuracy", slice="all", metric="balanced_accuracy")
    assert row["mean"] == pytest.approx(rows.groupby("replicate")["value"].mean().mean())
    assert row["n"] == 3


def test_arms_figure_sets_the_losses_side_by_side(run: Run) -> None:
    figure = comparison.arms_figure(comparison.arms_data(run.comparison, ENDPOINT), ENDPOINT, LOSSES, PRIMARY_ARMS)
    assert [trace.legendgroup for trace in figure.data] == list(LOSSES)
    assert list(figure.layout.xaxis.ticktext) == ["default", "dropin", "tuned"]
    places = [trace.x[0] for trace in figure.data]
    assert places == sorted(places)
    assert max(places) < 0.5
    assert all(65 < value < 100 for trace in figure.data for value in trace.y)


def test_forest_leaves_out_the_reference_and_shares_one_scale(run: Run) -> None:
    data = comparison.forest_data(run.comparison, ENDPOINT)
    assert set(data["loss"]) == set(LOSSES) - {"ce"}
    panels = comparison.forest_panels(data, ENDPOINT, LOSSES, ["arm", *PRIMARY_ARMS])
    assert [panel.title for panel in panels] == list(PRIMARY_ARMS)
    assert len({tuple(panel.figure.layout.xaxis.range) for panel in panels}) == 1
    trace = panels[2].figure.data[0]
    row = pick(data, loss="logit_adjusted", arm="tuned").iloc[0]
    assert trace.x[0] == pytest.approx(100 * row["difference"], rel=1e-4)
    assert trace.error_x.array[0] == pytest.approx(100 * (row["difference_high"] - row["difference"]), rel=1e-3)
    left, right = panels[0].figure.layout.xaxis.range
    assert left < 100 * data["difference_low"].min()
    assert right > 100 * data["difference_high"].max()


SPLITS = {
    "classes": ["a", "b", "c"],
    "splits": [
        {"replicate": 0, "class_order": [2, 0, 1], "class_counts": [10, 5, 50]},
        {"replicate": 1, "class_order": [1, 2, 0], "class_counts": [4, 60, 12]},
    ],
}


def test_a_difference_without_an_interval_says_so_on_hovering() -> None:
    rows = pd.DataFrame({"loss": ["hem", "mm"], "difference": [0.01, 0.02]})
    rows = rows.assign(difference_low=[math.nan, 0.01], difference_high=[math.nan, 0.03], smallest_detectable=math.nan)
    first, second = comparison.forest_figure(rows, 100.0, LOSSES).data
    assert "%{x:+.2f} interval n/a" in first.hovertemplate
    assert "%{x:+.2f} [+1.00, +3.00]" in second.hovertemplate


def test_class_ranks_follow_the_counts_of_each_replicate() -> None:
    ranks = accuracy.class_ranks(SPLITS)
    assert ranks[ranks["replicate"] == 0]["name"].tolist() == ["c", "a", "b"]
    assert ranks[ranks["replicate"] == 1]["name"].tolist() == ["b", "c", "a"]
    assert ranks["n_train"].tolist() == [50, 10, 5, 60, 12, 4]


def test_class_ranks_need_counts_that_differ() -> None:
    assert len(accuracy.class_ranks({})) == 0
    even = {"classes": ["a", "b"], "splits": [{"replicate": 0, "class_counts": [5, 5]}]}
    assert len(accuracy.class_ranks(even)) == 0


def test_class_data_averages_ranks_not_names() -> None:
    values = {(0, "a"): 0.5, (0, "b"): 0.2, (0, "c"): 0.9, (1, "a"): 0.4, (1, "b"): 1.0, (1, "c"): 0.7}
    rows = [
        ("hem", replicate, "accuracy", "test", f"class:{name}", "accuracy", value)
        for (replicate, name), value in values.items()
    ]
    data = accuracy.class_data(evaluation(rows), accuracy.class_ranks(SPLITS))
    assert data["rank"].tolist() == [0, 1, 2]
    assert data["accuracy"].tolist() == pytest.approx([0.95, 0.6, 0.3])
    assert data["low"].tolist() == pytest.approx([0.9, 0.5, 0.2])
    assert data["names"].tolist() == ["c, b", "a, c", "b, a"]
    assert data["n_train"].tolist() == [55, 11, 4.5]
    figure = accuracy.class_figure(data, ["hem"])
    assert list(figure.data[0].x) == [1, 2, 3]
    assert list(figure.data[0].y) == [95, 60, 30]
    assert list(figure.data[1].y) == [55, 11, 4.5]


def test_an_empty_group_of_classes_is_left_out() -> None:
    rows = [
        ("ce", 0, "accuracy", "test", "many", "accuracy", 0.9),
        ("ce", 1, "accuracy", "test", "many", "accuracy", 0.8),
    ]
    rows += [("ce", replicate, "accuracy", "test", "few", "accuracy", math.nan) for replicate in (0, 1)]
    data = accuracy.group_data(evaluation(rows))
    assert data["slice"].tolist() == ["many"]
    assert data["mean"].tolist() == pytest.approx([0.85])
    assert list(accuracy.group_figure(data, ["ce"]).layout.xaxis.ticktext) == ["many"]


def test_posthoc_gain_is_paired_within_the_replicate() -> None:
    rows = []
    for replicate, (raw, after, tau) in enumerate([(0.5, 0.6, 1.0), (0.7, 0.72, 0.5)]):
        rows.append(("ce", replicate, "accuracy", "test", "all", "balanced_accuracy", raw))
        rows.append(("ce", replicate, "posthoc", "test", "all", "balanced_accuracy", after))
        rows.append(("ce", replicate, "posthoc", "test", "all", "tau", tau))
    row = accuracy.posthoc_data(evaluation(rows)).iloc[0]
    assert row["gain"] == pytest.approx(0.06)
    assert row["gain_sd"] == pytest.approx(0.08 / math.sqrt(2))
    assert row["tau"] == 0.75
    assert math.isnan(row["temperature"])
    rows += [("ce", replicate, "posthoc", "test", "all", "temperature", 2.0 + replicate) for replicate in (0, 1)]
    assert accuracy.posthoc_data(evaluation(rows)).iloc[0]["temperature"] == 2.5
    figure = accuracy.posthoc_figure(accuracy.posthoc_data(evaluation(rows)), ["ce"])
    assert [trace.x[0] for trace in figure.data[:2]] == pytest.approx([60, 66])
    assert figure.data[0].marker.symbol.endswith("-open")


def test_attack_slices_are_read_as_norm_and_eps() -> None:
    rows = [("ce", 0, "attack", "test", name, "robust_accuracy", 0.5) for name in ("Linf-0.1", "L2-1e-05", "odd")]
    data = robustness.attack_rows(evaluation(rows))
    assert list(zip(data["norm"], data["eps"], strict=True)) == [("Linf", 0.1), ("L2", 1e-5)]


def test_eps_curve_starts_at_clean_accuracy() -> None:
    rows = []
    for eps, worst in (("Linf-0.2", 0.2), ("Linf-0.1", 0.6)):
        for metric, value in (("clean_accuracy", 0.9), ("robust_accuracy", worst)):
            rows.append(("ce", 0, "attack", "test", eps, metric, value))
        rows.append(("ce", 0, "attack", "test", eps, "robust_accuracy_low", worst - 0.1))
        rows.append(("ce", 0, "attack", "test", eps, "robust_accuracy_high", worst + 0.2))
    data = robustness.eps_data(robustness.attack_rows(evaluation(rows)))
    assert data["eps"].tolist() == [0.0, 0.1, 0.2]
    assert data["mean"].tolist() == pytest.approx([0.9, 0.6, 0.2])
    assert data["high"].tolist()[1:] == pytest.approx([0.8, 0.4])
    assert math.isnan(data["low"].iloc[0])
    (panel,) = robustness.eps_panels(data, ["ce"], ["plain"])
    assert panel.title == "Linf"
    assert list(panel.figure.data[0].y) == pytest.approx([90, 60, 20])
    assert list(panel.figure.data[0].error_y.array) == pytest.approx([0, 20, 20])
    assert list(panel.figure.data[0].error_y.arrayminus) == pytest.approx([0, 10, 10])


def curve(kind: str, replicate: int, x: list[float], y: list[float], n: float = 10) -> pd.DataFrame:
    frame = pd.DataFrame({"x": x, "y": y}).assign(n=n, kind=kind, dataset="noise", slice="mls")
    return frame.assign(method="plain", loss="ce", arm="tuned", replicate=replicate, seed=0)


def test_mean_curves_read_all_models_at_the_same_places() -> None:
    rows = pd.concat([curve("roc", 0, [0, 0.5, 1], [0, 1, 1]), curve("roc", 1, [0, 1], [0, 1])])
    data = rejection.mean_curves(rows, "roc")
    assert data["x"].iloc[0] == 0
    assert data["x"].iloc[-1] == 1
    middle = data[np.isclose(data["x"], 0.25)].iloc[0]
    assert middle["y"] == pytest.approx((0.5 + 0.25) / 2)
    assert data["n"].unique().tolist() == [2]


def test_mean_curves_stop_where_a_model_has_no_value() -> None:
    rows = pd.concat([curve("risk_coverage", 0, [0.5, 1], [0, 0.2]), curve("risk_coverage", 1, [0, 1], [0, 0.1])])
    data = rejection.mean_curves(rows, "risk_coverage")
    assert data["x"].min() >= 0.5
    assert data["y"].iloc[-1] == pytest.approx(0.15)
    assert len(rejection.mean_curves(rows, "roc")) == 0


def test_roc_panels_go_from_near_to_unrecognisable(view: View, run: Run) -> None:
    data = rejection.mean_curves(run.curves, "roc")
    groups = {"letters": "near", "held-out": "near", "photo": "far", "noise": "unrecognisable"}
    titles = [panel.title for panel in rejection.roc_panels(data, view.losses, groups)]
    assert titles[:3] == ["held-out (near)", "letters (near)", "photo (far)"]
    assert titles[3] == "noise (unrecognisable)"
    assert set(titles[4:]) == {"blobs", "permuted"}


def test_reliability_pools_images_by_bin() -> None:
    rows = pd.concat(
        [
            curve("reliability", 0, [0.95], [0.8], n=30),
            curve("reliability", 1, [0.99], [1.0], n=10),
            curve("reliability", 1, [1 / 15], [0.5], n=4),
            curve("reliability", 1, [0.5], [0.5], n=0),
        ]
    ).assign(slice="raw")
    data = calibration.reliability_data(rows)
    assert data["bin"].tolist() == [0, 14]
    assert data["n"].tolist() == [4, 40]
    assert data["x"].iloc[1] == pytest.approx((30 * 0.95 + 10 * 0.99) / 40)
    assert data["y"].iloc[1] == pytest.approx(0.85)
    assert [panel.title for panel in calibration.reliability_panels(data, ["ce"])] == ["raw"]


def trials(rows: list[tuple[int, int, float]]) -> pd.DataFrame:
    """Rows of (replicate, number, objective); nan is a failed trial."""
    frame = pd.DataFrame(rows, columns=["replicate", "number", "objective"])
    state = ["failed" if math.isnan(value) else "complete" for value in frame["objective"]]
    frame = frame.assign(method="plain", loss="ce", state=state, source="shared", selected=False)
    return frame.assign(**{"param.learning_rate": 0.1})


def test_history_is_the_best_so_far_and_failed_trials_do_not_break_it() -> None:
    nan = math.nan
    rows = trials([(0, 0, 0.5), (0, 1, nan), (0, 2, 0.7), (1, 0, 0.6), (1, 1, 0.65), (1, 2, 0.4), (1, 3, 0.9)])
    data = search.history_data(rows)
    assert data["number"].tolist() == [0, 1, 2]
    assert data["mean"].tolist() == pytest.approx([0.55, 0.575, 0.675])
    assert data["low"].tolist() == pytest.approx([0.5, 0.5, 0.65])
    assert data["high"].tolist() == pytest.approx([0.6, 0.65, 0.7])
    assert search.trials_per_search(rows) == 4


def test_a_first_trial_that_failed_has_no_best_yet() -> None:
    data = search.history_data(trials([(0, 0, math.nan), (0, 1, 0.3)]))
    assert data["number"].tolist() == [1]
    assert len(search.history_data(trials([(0, 0, math.nan)]))) == 0
    assert search.trials_per_search(trials([])) == 0


def test_a_loss_that_is_not_drawn_has_a_reason() -> None:
    nan = math.nan
    fine = trials([(0, 0, 0.5), (1, 0, 0.6)])
    lost = trials([(0, 0, 0.5), (1, 0, nan), (1, 1, nan), (2, 0, nan)]).assign(loss="hem")
    short = trials([(0, 0, 0.5), (1, 0, nan), (1, 1, 0.7)]).assign(loss="mm")
    rows = pd.concat([fine, lost, short], ignore_index=True)
    assert set(search.history_data(rows)["loss"]) == {"ce"}
    assert search.without_history(rows) == {
        "hem": "no trial of replicates 1, 2 finished",
        "mm": "a replicate ended before another had its first finished trial",
    }


def test_history_figure_shows_the_scale_after_the_first_fifth() -> None:
    rows = trials([(0, number, value) for number, value in enumerate([0.1, 0.8, 0.8, 0.82, 0.83, 0.84])])
    data = search.history_data(rows)
    assert search.history_floor(data) == pytest.approx(0.8)
    low, high = search.history_figure(data, ["ce"]).layout.yaxis.range
    assert 79 < low < 80
    assert 84 < high < 85


def test_tried_marks_winners_and_leaves_failed_trials_out() -> None:
    rows = trials([(0, 0, 0.5), (0, 1, math.nan), (0, 2, 0.7)])
    rows["selected"] = [False, False, True]
    rows["param.learning_rate"] = [0.01, 1.0, 0.1]
    data = search.tried_data(rows)
    assert data["value"].tolist() == [0.01, 0.1]
    (panel,) = search.tried_panels(data, ["ce"])
    winner = next(trace for trace in panel.figure.data if trace.marker.symbol == "circle-open")
    assert list(winner.x) == [0.1]
    assert list(winner.y) == [70]
    assert winner.customdata == ([0, 2],), "counted as in the tables: from 0"
    assert panel.figure.layout.xaxis.type == "log"
    assert len(search.tried_data(rows.drop(columns="param.learning_rate"))) == 0


def sensitivity_rows() -> pd.DataFrame:
    rows = [
        ("hem", 0, 1.0, 1.0, 2000.0, 0.1, 0.2, 0.9, "complete"),
        ("hem", 1, 1.0, 1.0, 8000.0, 0.4, 0.4, 0.8, "complete"),
        ("hem", 0, 10.0, 1.0, 20000.0, 0.1, 0.6, 0.5, "complete"),
        ("hem", 1, 10.0, 1.0, 80000.0, 0.4, 1.2, math.nan, "failed"),
        ("hem", 0, 10.0, 10.0, 20000.0, 1.0, 0.6, math.nan, "failed"),
    ]
    columns = ["loss", "replicate", "parameter_factor", "learning_rate_factor", "parameter_value", "learning_rate"]
    return pd.DataFrame(rows, columns=[*columns, "margin", "objective", "state"]).assign(parameter="M", method="plain")


def test_sensitivity_averages_like_places_around_the_winners() -> None:
    data = search.sensitivity_data(sensitivity_rows()).set_index(["parameter_factor", "learning_rate_factor"])
    assert data.loc[(1.0, 1.0), "objective"] == pytest.approx(0.85)
    assert data.loc[(1.0, 1.0), "parameter_value"] == pytest.approx(4000)
    assert data.loc[(10.0, 1.0), "objective"] == pytest.approx(0.5)
    assert data.loc[(10.0, 1.0), "failed"] == 1
    assert math.isnan(data.loc[(10.0, 10.0), "objective"])


def test_sensitivity_map_says_what_failed_and_what_was_not_tried() -> None:
    (panel,) = search.sensitivity_panels(search.sensitivity_data(sensitivity_rows()), ["hem"])
    heatmap = panel.figure.data[0]
    assert list(heatmap.x) == ["×1", "×10"]
    assert list(heatmap.y) == ["×1", "×10"]
    assert [list(line) for line in heatmap.text] == [["85.0", ""], ["50.0*", "failed"]]
    assert heatmap.customdata[0][1] == "not tried"
    assert (heatmap.zmin, heatmap.zmax) == pytest.approx((50, 85))
    assert (panel.figure.layout.shapes[0].x0, panel.figure.layout.shapes[0].y1) == (-0.5, 0.5)


def test_training_data_spans_all_retrainings() -> None:
    frame = pd.DataFrame(
        {"replicate": [0, 0, 1], "number": [0, 1, 0], "epoch": [1, 1, 1], "learning_rate": [0.1, 0.2, 0.6]}
    )
    frame = frame.assign(loss="ce", validation_accuracy=[0.5, 0.6, 0.7], active_share=math.nan)
    data = training.training_data(frame, "validation_accuracy").set_index("quantity")
    assert data.loc["validation_accuracy", ["mean", "low", "high", "n"]].tolist() == pytest.approx([0.6, 0.5, 0.7, 2])
    assert data.loc["learning_rate", "mean"] == pytest.approx(0.3)
    assert "active_share" not in data.index


def test_training_figure_has_a_row_for_each_quantity_and_the_learning_rate_last(run: Run, view: View) -> None:
    data = training.training_data(view.shown(run.epochs), "validation_balanced_accuracy")
    figure = training.training_figure(data, "validation_balanced_accuracy", view.losses)
    headings = [note.text for note in figure.layout.annotations]
    assert headings == [
        "validation balanced accuracy (%)",
        "active samples (%)",
        "gradient norm",
        "logit scale",
        "learning rate",
    ]
    assert figure.layout.yaxis5.type == "log"
    assert figure.layout.yaxis.type != "log"
    without = training.training_figure(
        data[data["quantity"] != "active_share"], "validation_balanced_accuracy", view.losses
    )
    assert len(without.layout.annotations) == 4


def test_cost_and_stages() -> None:
    timing = pd.DataFrame(
        {
            "stage": ["attack", "search", "confirm", "search"],
            "seconds": [9.0, 2.0, 4.0, 3.0],
            "epochs": [0, 2, 4, 0],
            "images": 10,
            "loss": "ce",
            "replicate": 0,
            "number": 0,
        }
    )
    data = training.cost_data(timing)
    assert data["seconds"].tolist() == [2, 4, 3]
    assert data["per_epoch"].tolist()[:2] == [1, 1]
    assert math.isnan(data["per_epoch"].iloc[2])
    stages = training.stage_data(timing)
    assert stages[["stage", "seconds", "pieces"]].to_numpy().tolist() == [
        ["search", 5, 2],
        ["confirm", 4, 1],
        ["attack", 9, 1],
    ]
    assert list(training.stage_figure(stages).data[0].x) == [5, 4, 9]
    assert len(training.stage_data(timing.iloc[:0])) == 0


def test_a_loss_has_one_color_in_every_figure(run: Run, view: View) -> None:
    rows = view.shown(run.evaluation)
    figures = [
        comparison.arms_figure(comparison.arms_data(run.comparison, ENDPOINT), ENDPOINT, view.losses, view.arms),
        accuracy.group_figure(accuracy.group_data(rows), view.losses),
        robustness.eps_panels(robustness.eps_data(robustness.attack_rows(rows)), view.losses, view.methods)[0].figure,
        search.history_figure(search.history_data(run.trials), view.losses),
        training.cost_figure(training.cost_data(run.timing), view.losses),
    ]
    for figure in figures:
        drawn = [trace for trace in figure.data if trace.legendgroup and trace.line.width != 0]
        assert {trace.legendgroup for trace in drawn} == set(view.losses)
        for trace in drawn:
            assert {trace.line.color, trace.marker.color} - {None} == {loss_style(trace.legendgroup).color}


def test_base_helpers() -> None:
    assert rounded([1.23456789, math.nan, 2]) == [1.2346, None, 2]
    assert stepped([1, 2, 3], [10, 20, 30]) == ([1, 2, 2, 3, 3], [10, 10, 20, 20, 30])
    assert log_axis(0.2, 3)["ticktext"] == ["0.1", "0.2", "0.5", "1", "2", "5", "10", "20", "50"]
    assert log_axis(0.001, 1)["ticktext"] == ["0.001", "0.01", "0.1", "1"]
    frame = pd.DataFrame({"x": range(10)})
    assert thinned(frame, 10)["x"].tolist() == list(range(10))
    assert thinned(frame, 4)["x"].tolist() == [0, 3, 6, 9]


def test_whiskers_share_a_scale_that_holds_zero() -> None:
    scale = Whisker.scale([0.1, math.nan], [0.3, None])
    assert scale == pytest.approx((-0.018, 0.318))
    drawn = Whisker.of("ce", 0.1, 0.2, 0.3, scale)
    assert drawn is not None
    assert 0 < drawn.zero < drawn.low < drawn.middle < drawn.high < 100
    assert Whisker.of("ce", math.nan, 0.2, 0.3, scale) is None
    assert Whisker.scale([math.nan], [None]) is None
