"""The page of several runs, from a scoreboard.json made by hand."""

import json
import re

import pytest

from dashboards import TableError, build_scoreboard

RUN = {
    "name": "all/imbalanced", "page": "imbalanced/dashboard.html", "task": "imbalanced", "dataset": "mnist5k",
    "model": "small_cnn", "preset": "quick", "status": "complete", "replicates": 3, "created": "2026", "headline": "h",
    "endpoint": "balanced accuracy", "metric": "balanced_accuracy", "lead_variant": "hem+",
}  # fmt: skip
CLAIM = {
    "claim": "HEM > CE on imbalanced", "run": "all/imbalanced", "task": "imbalanced", "loss": "hem+", "versus": "ce",
    "endpoint": "balanced accuracy", "difference": -0.02, "low": -0.03, "high": -0.01, "p": 0.01, "p_holm": 0.02,
    "verdict": "refuted", "reason": "two-sided paired t test",
}  # fmt: skip


def cell(loss, **more):
    return {
        "run": "all/imbalanced", "task": "imbalanced", "dataset": "mnist5k", "model": "small_cnn", "method": "plain",
        "arm": "tuned", "loss": loss, "metric": "balanced_accuracy", "mean": 0.9, "sd": 0.01, "n": 3,
        "difference": None, "low": None, "high": None, "smallest_detectable": None,
        "p": None, "verdict": "", "reason": "", "paper": "",
        "ours": "undecided", "disagrees": False, **more,
    }  # fmt: skip


def content(**more):
    lead = cell(
        "hem+", difference=-0.02, low=-0.03, high=-0.01, verdict="loss", paper="better", ours="worse", disagrees=True
    )
    return {
        "version": 1, "created": "2026-01-02T03:04:05Z", "command": "python -m study.report A B",
        "losses": ["ce", "hem+", "dice"], "arms": ["default", "tuned"], "family": 2, "runs": [RUN], "claims": [CLAIM],
        "cells": [cell("ce"), lead], **more,
    }  # fmt: skip


def page(tmp_path, **more):
    source = tmp_path / "scoreboard.json"
    source.write_text(json.dumps(content(**more)))
    return build_scoreboard(source).read_text()


def test_claims_come_first_and_are_counted(tmp_path):
    text = page(tmp_path)
    assert "Of 1 claims of the paper: 0 supported, 1 refuted, 0 undecided, 0 without information." in text
    assert text.index("HEM &gt; CE on imbalanced") < text.index('id="arm-tuned"')


def test_claims_of_two_runs_of_one_task_say_whose_they_are(tmp_path):
    both = [{**RUN, "name": name, "dataset": name} for name in ("first-run", "second-run")]
    claims = [{**CLAIM, "run": run["name"]} for run in both]

    def table(number):
        text = page(tmp_path, runs=both[:number], claims=claims[:number])
        return re.sub("<script.*?</script>", "", text[: text.index('id="arm-tuned"')], flags=re.DOTALL)

    assert "first-run" in table(2)
    assert "second-run" in table(2)
    assert "first-run" not in table(1)


def test_rows_and_disagreements_of_two_runs_of_one_task_say_whose_they_are(tmp_path):
    both = [{**RUN, "name": name} for name in ("first-run", "second-run")]
    lead = {"paper": "better", "ours": "worse", "disagrees": True}
    cells = [cell("ce", run=run["name"]) for run in both]
    cells += [cell("hem+", run="first-run", **lead), cell("hem+", run="second-run", paper="better")]
    text = page(tmp_path, runs=both, cells=cells, claims=[{**CLAIM, "run": run["name"]} for run in both])
    assert "Of 2 claims of the paper, counted once for every run: 0 supported, 2 refuted" in text
    table = text[text.index('id="tuned-table"') :].split("<tr>")
    assert "first-run" in table[2]
    assert "second-run" in table[3]
    assert "Not as in the paper: hem+ on first-run: worse than ce, the paper says better." in text


def test_a_cell_has_the_difference_with_its_interval_and_verdict(tmp_path):
    text = page(tmp_path)
    assert "−2.0 [−3.0, −1.0] loss" in text
    assert "90.0 %" in text  # cross-entropy's own mean


def test_what_is_not_as_in_the_paper_is_named(tmp_path):
    assert "Not as in the paper: hem+ on imbalanced: worse than ce, the paper says better." in page(tmp_path)
    undecided = page(tmp_path, cells=[cell("ce"), cell("hem+", paper="better")])
    assert "Nothing here is clear enough to agree or disagree with the paper." in undecided


def test_what_is_exploratory_neither_agrees_nor_disagrees(tmp_path):
    text = page(tmp_path, cells=[cell("ce", ours="exploratory"), cell("hem", paper="better", ours="exploratory")])
    assert "Exploratory: intervals that are adjusted for nothing, and no verdict." in text
    assert "as in the paper" not in text
    assert "agree or disagree" not in text


def test_the_papers_direction_stands_beside_ours(tmp_path):
    text = page(tmp_path)
    row = text[text.index('id="tuned-table"') :].split("<tr>")[2]
    assert row.index(">better<") < row.index(">worse<") < row.index("90.0 %")


def test_intervals_are_drawn_and_runs_are_linked(tmp_path):
    text = page(tmp_path)
    assert 'id="tuned-forest"' in text
    assert "imbalanced: balanced accuracy" in text
    assert '<a href="imbalanced/dashboard.html">imbalanced</a>' in text
    assert 'id="tuned-forest"' not in page(tmp_path, cells=[cell("ce"), cell("hem+", difference=0.1)])


def test_the_column_of_the_reference_is_no_difference_to_itself(tmp_path):
    heading = page(tmp_path)
    heading = heading[heading.index('id="tuned-table"') :].split("</thead>")[0]
    assert 'title="mean over replicates">ce<' in heading
    assert 'title="difference to ce, 95 %">hem+<' in heading


def test_two_runs_of_a_task_keep_their_figures_apart(tmp_path):
    other = {**RUN, "name": "all/again", "dataset": "letters"}
    lead = cell("hem+", run="all/again", difference=0.05, low=0.01, high=0.09)
    theirs = [cell("ce", run="all/again", mean=0.7), lead]
    text = page(tmp_path, runs=[RUN, other], cells=[*content()["cells"], *theirs])
    first, second = text[text.index('id="tuned-table"') :].split("</table>")[0].split("<tr>")[2:4]
    for row, figures, data in ((first, ("90.0 %", "−2.0 ["), "mnist5k"), (second, ("70.0 %", "+5.0 ["), "letters")):
        assert data in row
        assert all(figure in row for figure in figures), data


def test_no_information_is_said(tmp_path):
    text = page(tmp_path, cells=[cell("ce"), cell("hem+", ours="no information", difference=0.1)])
    assert "no information" in text


@pytest.mark.parametrize("change", [{"version": 2}, {"claims": None}])
def test_another_file_is_refused(tmp_path, change):
    source = tmp_path / "scoreboard.json"
    values = {name: value for name, value in (content() | change).items() if value is not None}
    source.write_text(json.dumps(values))
    with pytest.raises(TableError, match="expected a scoreboard of version 1"):
        build_scoreboard(source)
