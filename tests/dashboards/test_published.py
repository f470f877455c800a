"""Published figures beside the run's own, and how much of the grid is run."""

from dataclasses import replace

from dashboards.scoreboard import sections_of
from dashboards.sections.published import published_section
from dashboards.sections.settings import settings_section
from dashboards.summary import make_view
from tests.dashboards.fake_json import PUBLISHED
from tests.dashboards.test_scoreboard import RUN, content


def texts(row):
    return [cell.text for cell in row]


def test_published_ours_and_the_difference_stand_side_by_side(view):
    section = published_section(view)
    note, table, rule, sources = section.blocks
    assert (section.tag, note.text, note.tone) == ("harness result", PUBLISHED["text"], "warning")
    assert texts(table.rows[0]) == [
        "ce", "70.4 to 71.9", "65.2", "−5.2", "outside", "71.0", "balanced accuracy", "plain"
    ]  # fmt: skip
    assert texts(table.rows[1])[1:6] == ["80.8", "no value", "n/a", "beside", "no value"]
    assert "give or take 1.0 points" in rule.text
    assert dict(sources.items)["ce, plain"] == "Somebody et al. 2019, table 2; <i>Others</i> 2021"


def test_where_nothing_is_published_there_is_no_table(run):
    published = {
        "status": "no published figure",
        "text": "No published figure for this.",
        "tolerance": 0.01,
        "rows": [],
    }
    assert published_section(make_view(replace(run, verdict={**run.verdict, "published": published}))) is None


def test_a_comparison_of_an_earlier_version_has_no_such_section(run):
    verdict = {name: value for name, value in run.verdict.items() if name != "published"}
    assert published_section(make_view(replace(run, verdict=verdict))) is None


def test_names_come_out_as_text(page):
    html = page.read_text()
    assert "&lt;i&gt;Others&lt;/i&gt; 2021" in html
    assert "<i>Others</i> 2021" not in html


def test_weights_that_trainings_began_with_are_told(run):
    about = {"path": "w.pt", "sha256": "ab", "freeze_body": True, "new_heads": {"ce": "", "ldam": "of another kind"}}
    [settings] = [
        block
        for block in settings_section(make_view(replace(run, study={**run.study, "weights": about}))).blocks
        if getattr(block, "title", "") == "Settings"
    ]
    told = dict(settings.items)
    assert told["initial weights"] == "w.pt, SHA-256 ab"
    assert told["new heads"] == "ldam (of another kind)"
    assert told["trained"] == "the head alone"


def test_the_scoreboard_shows_cells_run_of_those_declared():
    row = {"task": "imbalanced", "dataset": "cifar10", "model": "resnet32", "run": ["ce", "hem+"], "of": 7}
    grid = {"declared": 14, "run": 2, "rows": [row, {**row, "dataset": "cifar100", "run": []}]}
    sections = sections_of(content(grid=grid, runs=[{**RUN, "published": "harness result"}]))
    [section] = [section for section in sections if section.key == "grid"]
    note, table = section.blocks
    assert [texts(cells)[1:] for cells in table.rows] == [
        ["cifar10", "resnet32", "2 / 7", "ce, hem+"], ["cifar100", "resnet32", "0 / 7", "none"]
    ]  # fmt: skip
    assert note.text.startswith("2 of 14 declared cells are run")
    runs = sections[-1].blocks[0]
    assert "harness result" in texts(runs.rows[0])


def test_a_scoreboard_without_a_grid_is_still_a_page():
    assert "grid" not in [section.key for section in sections_of(content())]
