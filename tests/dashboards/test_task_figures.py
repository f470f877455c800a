"""Figures and sections of the tasks' own probes, from rows whose means are known by hand."""

import dataclasses

import pandas as pd
import pytest

from dashboards.blocks import Facts, Picture, Table
from dashboards.figures import continual, corruption, dynamics, segmentation, training
from dashboards.pages import sections_of
from dashboards.sections.accuracy import classes_section
from dashboards.sections.definitions import definitions_section
from dashboards.sections.dynamics import lead_section, margins_section
from dashboards.sections.methods import methods_section
from dashboards.sections.search import fall_data, search_section, sensitivity_section
from dashboards.sections.segmentation import segmentation_section
from dashboards.sections.settings import settings_section
from dashboards.sections.training import cost_section, training_section
from dashboards.summary import pick


def rows(probe, *entries, metric="accuracy"):
    """Evaluation rows from (loss, replicate, slice, value)."""
    return pd.DataFrame(
        [
            {
                "method": "plain", "loss": loss, "arm": "tuned", "replicate": replicate, "seed": 0, "probe": probe,
                "dataset": "test", "slice": part, "metric": metric, "value": value, "n": 10,
            }
            for loss, replicate, part, value in entries
        ]
    )  # fmt: skip


def epochs(*entries):
    """Rows of epochs from (loss, replicate, number, epoch, objective, learning rate)."""
    names = ("loss", "replicate", "number", "epoch", "validation_accuracy", "learning_rate")
    return pd.DataFrame([dict(zip(names, entry, strict=True)) for entry in entries])


MATRIX = rows(
    "continual",
    ("ce", 0, "class-incremental after 1 on 1", 1.0),
    ("ce", 0, "class-incremental after 2 on 1", 0.4),
    ("ce", 0, "class-incremental after 2 on 2", 0.8),
    ("ce", 1, "class-incremental after 1 on 1", 0.8),
    ("ce", 1, "class-incremental after 2 on 1", 0.2),
    ("ce", 1, "class-incremental after 2 on 2", 0.6),
    ("ce", 0, "task-incremental after 2 on 1", 0.99),
    ("ce", 0, "class-incremental", 0.6),
)


def test_the_matrix_is_read_from_its_slices_and_averaged_over_replicates():
    data = continual.matrix_data(MATRIX, continual.CLASS)
    assert len(data) == 6
    (panel,) = continual.matrix_panels(data, ["ce"])
    heat = panel.figure.data[0]
    assert [list(line) for line in heat.z] == [[pytest.approx(90), None], [pytest.approx(30), pytest.approx(70)]]


def test_accuracy_on_what_was_met_leaves_later_experiences_out():
    later = rows("continual", ("ce", 0, "class-incremental after 1 on 2", 0.0))
    data = continual.seen_data(continual.matrix_data(pd.concat([MATRIX, later]), continual.CLASS))
    assert list(data["mean"]) == pytest.approx([0.9, 0.5])
    assert list(data["low"]) == pytest.approx([0.8, 0.4])


def test_corruptions_that_are_not_available_do_not_count():
    data = corruption.corruption_data(
        rows(
            "corruption",
            ("ce", 0, "fog-1", 0.9),
            ("ce", 0, "fog-2", 0.7),
            ("ce", 0, "glass_blur-1", 0.5),
            ("ce", 0, "snow-1", float("nan")),
            ("ce", 0, "fog", 0.8),
            ("ce", 0, "all", 0.6),
        )
    )
    assert set(data["kind"]) == {"fog", "glass_blur"}
    assert list(corruption.severity_data(data)["mean"]) == pytest.approx([0.7, 0.7])
    by_kind = corruption.kind_data(data).set_index("kind")["mean"]
    assert by_kind.to_dict() == pytest.approx({"fog": 0.8, "glass_blur": 0.5})
    assert corruption.kind_figure(corruption.kind_data(data), ["ce"]).layout.yaxis.ticktext[0] == "glass blur"


def test_iou_of_a_class_that_is_nowhere_is_left_out():
    data = segmentation.iou_data(
        rows(
            "segmentation",
            ("ce", 0, "class:a", 0.2),
            ("ce", 1, "class:a", 0.4),
            ("ce", 0, "class:b", None),
            metric="iou",
        )
    )
    assert list(data["name"]) == ["a"]
    assert data["mean"].item() == pytest.approx(0.3)


def test_a_lead_is_paired_within_the_replicate():
    data = dynamics.lead_data(
        epochs(
            ("ce", 0, 0, 1, 0.5, 0.1),
            ("ce", 0, 1, 1, 0.7, 0.1),
            ("ce", 1, 0, 1, 0.1, 0.1),
            ("hem", 0, 0, 1, 0.8, 0.2),
            ("hem", 1, 0, 1, 0.2, 0.4),
            ("mm", 2, 0, 1, 0.9, 0.2),
        ),
        "validation_accuracy",
    )
    assert list(data["loss"]) == ["hem"]
    row = data.iloc[0]
    assert (row["mean"], row["low"], row["high"], row["n"]) == pytest.approx((0.15, 0.1, 0.2, 2))
    assert row["learning_rate"] == pytest.approx(0.3)


def judged_at_the_end(view, objective="robust_mean"):
    """A view whose objective is known after the last epoch only."""
    frame = view.run.epochs
    last = frame["validation_accuracy"].where(frame["epoch"] == frame["epoch"].max())
    study = {**view.study, "objective": objective}
    run = dataclasses.replace(view.run, study=study, epochs=frame.assign(**{f"validation_{objective}": last}))
    return dataclasses.replace(view, run=run)


@pytest.mark.parametrize("section_of", [lead_section, training_section])
def test_an_objective_of_the_last_epoch_gives_way_to_accuracy_and_the_caption_says_so(view, section_of):
    [picture] = section_of(judged_at_the_end(view)).blocks
    [panel] = picture.panels
    top = [trace for trace in panel.figure.data if trace.yaxis in (None, "y") and trace.hovertemplate]
    assert {len(trace.x) for trace in top} == {20}
    told = "The objective (validation robust mean) is measured after the last epoch only: shown is validation accuracy."
    assert told in picture.reading
    [usual] = section_of(view).blocks
    assert "after the last epoch only" not in usual.reading


@pytest.mark.parametrize("section_of", [lead_section, training_section, margins_section])
def test_one_epoch_makes_no_line_and_the_page_says_so(view, section_of):
    quantiles = dict(zip(dynamics.QUANTILES, (-1.0, 0.0, 1.0, 2.0, 3.0), strict=True))
    frame = view.run.epochs.assign(**quantiles)
    run = dataclasses.replace(view.run, epochs=frame[frame["epoch"] == 1])
    blocks = section_of(dataclasses.replace(view, run=run)).blocks
    assert not any(isinstance(block, Picture) for block in blocks)
    assert blocks[-1].text == "n/a — measured after one epoch only, and one point makes no line"


def test_names_of_panels_are_escaped_by_the_page_alone():
    name = "a<b"
    [matrix] = continual.matrix_panels(continual.matrix_data(MATRIX.assign(loss=name), continual.CLASS), [name])
    assert matrix.title == name


def test_margins_are_shown_of_the_explained_losses_alone():
    quantiles = dict(zip(dynamics.QUANTILES, (-1.0, 0.0, 1.0, 2.0, 3.0), strict=True))
    frame = pd.DataFrame([{"loss": loss, "epoch": 1, **quantiles} for loss in ("dice", "hem", "ce")])
    panels = dynamics.margin_panels(dynamics.margin_data(frame))
    assert [panel.title for panel in panels] == ["ce", "hem"]
    assert list(panels[0].figure.data[-1].y) == [1.0]
    assert not len(dynamics.margin_data(frame.drop(columns="margin_q05")))


def test_measurements_of_a_step_are_no_stage():
    timing = pd.DataFrame(
        {"stage": ["search", "step", "epoch", "step"], "loss": ["ce", "ce", "ce", "hem"],
         "seconds": [9.0, 0.5, 2.0, 1.0], "images": [9, 64, 64, 64]}
    )  # fmt: skip
    assert list(training.stage_data(timing)["stage"]) == ["search"]
    data = training.alternate_data(timing).set_index("loss")
    assert data.loc["ce", ["step", "epoch"]].tolist() == [0.5, 2.0]
    assert data.loc["hem", "step"] == 1.0
    assert data["epoch"].isna().tolist() == [False, True]


def test_trainings_that_ran_side_by_side_are_no_measure_of_a_loss(view):
    """As docs/reading.md says of the section; the table of steps is named only where there is one."""
    steps = pd.DataFrame({"stage": "step", "method": view.method, "loss": ["ce", "hem"], "seconds": 0.1, "number": 0})
    timing = pd.concat([view.run.timing, steps])
    for shown, words in ((timing, "by the plain training step below"), (view.run.timing, "no measure to compare")):
        other = dataclasses.replace(view, run=dataclasses.replace(view.run, timing=shown))
        blocks = cost_section(other).blocks
        (reading,) = (block.reading for block in blocks if isinstance(block, Picture) and block.key == "cost-figure")
        assert words in reading
        assert ("below" in reading) == any(isinstance(b, Table) and b.key == "alternate-table" for b in blocks)


def test_a_probe_that_makes_no_sense_on_the_task_has_no_section(view):
    def keys(probes):
        study = {**view.study, "probes": {name: {"applies": answer, "note": ""} for name, answer in probes.items()}}
        return [
            part.key for part in sections_of(dataclasses.replace(view, run=dataclasses.replace(view.run, study=study)))
        ]

    named = keys({"attack": "no", "rejection": "restricted", "continual": "no"})
    assert "attack" not in named
    assert "continual" not in named
    assert {"rejection", "segmentation"} <= set(named)


def test_methods_are_a_grid_only_where_there_are_several(view):
    assert methods_section(view) is None
    other = view.run.comparison.assign(method="drw")
    run = dataclasses.replace(view.run, comparison=pd.concat([view.run.comparison, other]))
    section = methods_section(dataclasses.replace(view, run=run, methods=("plain", "drw")))
    (table,) = section.blocks
    assert [column.title for column in table.columns] == ["loss", "plain", "drw"]
    assert [row[1].text for row in table.rows] == [row[2].text for row in table.rows]


def test_the_method_note_follows_the_task(view):
    assert view.applies("attack")
    titles = {block.title for block in definitions_section(view).blocks if isinstance(block, Facts)}
    assert {"Comparison", "Losses", "Rejection", "Attacks", "Calibration"} <= titles
    assert not {"Segmentation", "Continual learning", "Corruptions"} & titles


def test_two_classes_report_the_foreground_first(view):
    found = pd.concat(
        [
            rows("segmentation", ("ce", 0, "all", 0.5), metric="miou"),
            rows("segmentation", ("ce", 0, "all", 0.2), metric="foreground_iou"),
            rows("segmentation", ("ce", 0, "class:crack", 0.2), metric="iou"),
        ]
    )

    def titles(classes):
        study = {**view.study, "data": {**view.data, "classes": classes}}
        run = dataclasses.replace(view.run, study=study, evaluation=found)
        section = segmentation_section(dataclasses.replace(view, run=run, losses=("ce",)))
        return [column.title for column in section.blocks[-1].columns]

    two, three = titles(["ground", "crack"]), titles(["ground", "crack", "car"])
    assert sorted(two) == sorted(three)
    assert ["foreground" in title for title in two[1:4]].index(True) == 0
    assert ["foreground" in title for title in three[1:4]].index(True) == 1


def test_outside_sets_name_what_was_left_out_and_what_was_not_there(view):
    sets = [{"name": "svhn", "group": "far", "n": 5, "left_out": ["0", "1"]}]
    data = {**view.data, "outside": sets, "outside_missing": "far: dtd"}
    run = dataclasses.replace(view.run, study={**view.study, "data": data})
    blocks = settings_section(dataclasses.replace(view, run=run)).blocks
    (table,) = [block for block in blocks if getattr(block, "key", "") == "outside-table"]
    assert [cell.text for cell in table.rows[0]] == ["svhn", "far", "5", "0, 1"]
    assert "Not used: far: dtd." in [getattr(block, "text", "") for block in blocks]


def test_a_search_with_a_cut_of_its_own_has_its_own_row_and_a_learner_its_experiences(view):
    old = {key: value for key, value in view.data["splits"][0].items() if key != "class_order"}
    cut = {**old, "classes": list("abcd"), "class_counts": [4, 3, 2, 1], "experiences": [[2, 0], [1, 3]]}
    splits = [{**cut, "search": {**cut, "n_validation": 7, "experiences": [[0, 1], [2, 3]]}}]

    def table(splits):
        run = dataclasses.replace(view.run, study={**view.study, "data": {**view.data, "splits": splits}})
        blocks = settings_section(dataclasses.replace(view, run=run)).blocks
        [found] = [block for block in blocks if getattr(block, "key", "") == "splits-table"]
        return found

    found = table(splits)
    assert [column.title for column in found.columns][-3:] == ["used in", "experiences", found.columns[-1].title]
    assert [[cell.text for cell in row[-3:-1]] for row in found.rows] == [
        ["retraining", "c, a; b, d"],
        ["search", "a, b; c, d"],
    ]
    assert [row[2].text for row in found.rows] == ["500", "7"]
    assert list(found.frame["cut"]) == ["retraining", "search"]
    assert len(table([old]).columns) == len(found.columns) - 2


@pytest.mark.parametrize(
    ("second", "told"),
    [
        ([50, 10, 5], "Each mark is one class, and the mean over the replicates."),
        ([5, 10, 50], "The order of classes is another one in every replicate, so each mark is the mean over"),
    ],
)
def test_only_where_it_changes_the_order_of_classes_is_said_to_be_another_one_in_every_replicate(view, second, told):
    splits = [{"replicate": k, "class_counts": counts} for k, counts in enumerate([[50, 10, 5], second])]
    data = {"name": "own", "classes": list("abc"), "splits": splits}
    entries = [("ce", k, f"class:{name}", 0.5) for k in (0, 1) for name in "abc"]
    run = dataclasses.replace(
        view.run, study={**view.study, "data": data}, evaluation=rows("accuracy", *entries).assign(method=view.method)
    )
    [picture] = [
        block
        for block in classes_section(dataclasses.replace(view, run=run)).blocks
        if getattr(block, "key", "") == "classes-figure"
    ]
    assert told in picture.reading


def with_endpoint(view, objective, evaluation, **endpoint):
    run = dataclasses.replace(view.run, study={**view.study, "objective": objective}, evaluation=evaluation)
    return dataclasses.replace(view, run=run, primary=dataclasses.replace(view.primary, **endpoint))


def test_a_continual_learner_falls_from_validation_to_the_class_incremental_accuracy_on_test(view):
    found = rows(
        "continual", ("ce", 0, "class-incremental", 0.625), ("ce", 0, "task-incremental", 0.99), metric="acc"
    ).assign(method=view.method)
    changed = with_endpoint(view, "acc", found, probe="continual", slice="class-incremental", metric="acc")
    trials = pick(changed.run.trials, method=view.method)
    data = pick(fall_data(changed, trials), loss="ce").set_index("replicate")
    assert data["test"].dropna().to_dict() == {0: 0.625}
    assert data["fall"][0] == pytest.approx(0.625 - data["search"][0])


def with_failed(view, *failed):
    """The view with every trial of the given (loss, replicate) failed, and so without a winner there."""
    trials = view.run.trials
    gone = pd.Series([pair in failed for pair in zip(trials["loss"], trials["replicate"], strict=True)], trials.index)
    trials = trials.assign(
        state=trials["state"].mask(gone, "failed"),
        objective=trials["objective"].mask(gone),
        selected=trials["selected"] & ~gone,
    )
    return dataclasses.replace(view, run=dataclasses.replace(view.run, trials=trials))


def test_best_so_far_names_a_loss_that_is_not_drawn(view):
    blocks = search_section(with_failed(view, ("hem", 1))).blocks
    [picture] = [block for block in blocks if isinstance(block, Picture)]
    assert picture.losses == [loss for loss in view.losses if loss != "hem"]
    assert picture.reading.endswith("below the frame. Not drawn: hem: no trial of replicate 1 finished.")
    nothing = search_section(with_failed(view, *((loss, 0) for loss in view.losses))).blocks
    assert not any(isinstance(block, Picture) for block in nothing)
    [said] = [block.text for block in nothing if getattr(block, "tone", "") == "missing"]
    assert said.startswith("n/a — best so far is a mean over all replicates (ce: no trial of replicate 0 finished; ")
    [table] = [block for block in nothing if isinstance(block, Table)]
    assert {row[-1].text for row in table.rows} == {"2"}


def test_search_and_test_are_means_over_the_same_replicates(view):
    found = pd.concat(
        rows("accuracy", ("ce", replicate, "all", value), metric="accuracy")
        for replicate, value in ((0, 0.5), (2, 0.7))
    )
    trials = view.run.trials.assign(rescore=0.25, objective=0.1 * (1 + view.run.trials["replicate"]))
    run = dataclasses.replace(view.run, trials=trials)
    changed = with_endpoint(dataclasses.replace(view, run=run), "accuracy", found, metric="accuracy")
    [table] = [block for block in search_section(changed).blocks if isinstance(block, Table)]
    assert [cell.text for cell in table.rows[0]] == ["ce", "20.0", "25.0", "60.0", "+40.0", "2"]
    assert [cell.text for cell in table.rows[1]][1:] == ["20.0", "25.0", "n/a", "n/a", "3"]


@pytest.mark.parametrize("objective", ["robust_mean", "robust_accuracy"])
def test_the_searchs_own_short_attacks_have_no_counterpart_on_test_and_the_page_says_so(view, objective):
    found = rows("attack", ("ce", 0, "Linf-0.1", 0.5), metric="robust_accuracy").assign(method=view.method)
    changed = with_endpoint(view, objective, found, probe="attack", slice="Linf-0.1", metric="robust_accuracy")
    assert fall_data(changed, pick(changed.run.trials, method=view.method))["test"].isna().all()
    said, name = search_section(changed).blocks[-1].text, objective.replace("_", " ")
    assert said.startswith(f"Test and fall are n/a: {name} counts images that withstand two short attacks")
    accuracy = with_endpoint(changed, "accuracy", found)
    assert all("n/a: " not in getattr(block, "text", "") for block in search_section(accuracy).blocks)


def test_the_map_says_whose_winner_it_is_around(view):
    """The sweep is around the winner of one search."""
    [picture] = sensitivity_section(view).blocks
    assert "around the winner (×1, ×1, outlined) of the search of replicate 0," in picture.reading
