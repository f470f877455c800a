import json
import re
from pathlib import Path

import pytest

from dashboards import TableError, build
from dashboards.blocks import Facts, Note, Picture, Table
from dashboards.pages import embedded, render, sections_of, write_atomically
from dashboards.sections.robustness import robustness_section
from dashboards.sections.search import search_section
from dashboards.sections.training import other_section
from dashboards.sections.verdict import forest_section, verdict_section
from dashboards.summary import View, make_view
from dashboards.tables import SCHEMAS, Run, read_run, read_table
from tests.dashboards.fake_run import FakeRun, write_table

HOSTILE = "<script>x()</script>"
MEGABYTE = 1_000_000


def small(**settings: object) -> FakeRun:
    return FakeRun(**{"losses": ("ce", "hem"), "arms": ("tuned",), "seeds": 1, "trials": 4, "epochs": 3, **settings})


def changed(view: View, **parts: object) -> Run:
    """The view's run with other parts."""
    return Run(**{**vars(view.run), **parts})


@pytest.fixture(scope="module")
def small_view(tmp_path_factory: pytest.TempPathFactory) -> View:
    return make_view(read_run(small().write(tmp_path_factory.mktemp("runs") / "small")))


def test_the_page_is_one_file_below_eight_megabytes(page: Path) -> None:
    assert page.name == "dashboard.html"
    assert page.stat().st_size < 8 * MEGABYTE
    text = page.read_text(encoding="utf-8")
    assert text.count("plotly.js v") == 1
    assert not re.search(r'<(script|link|img)[^>]*(src|href)="(?!data:|#)', text)
    assert [entry.name for entry in page.parent.iterdir() if entry.name.startswith(".")] == []


def test_sections_stand_in_the_order_of_the_page(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    keys = re.findall(r'<section id="([^"]+)"', text)
    assert keys[:3] == ["verdict", "claims", "published"]
    keys.remove("published")
    assert keys[:8] == ["verdict", "claims", "arms", "forest", "classes", "posthoc", "attack", "roc"]
    assert keys[8:14] == ["rejection", "calibration", "foreign", "examples", "search", "parameters"]
    assert keys[14:17] == ["sensitivity", "lead", "training"]
    assert keys[17:] == ["margins", "cost", "definitions", "settings", "notes", "failed"]
    assert re.findall(r'<li><a href="#([^"]+)"', text) == ["verdict", "claims", "published", *keys[2:]]


def test_out_may_be_anywhere_and_is_replaced(bare_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    out = tmp_path_factory.mktemp("out") / "deep" / "page.html"
    assert build(bare_dir, out) == out
    out.write_text("old", encoding="utf-8")
    build(bare_dir, out)
    assert out.read_text(encoding="utf-8").lstrip().startswith("<!doctype html>")
    assert not (bare_dir / "dashboard.html").exists()


def test_a_failed_write_leaves_the_old_page_and_no_part(tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    path.write_text("old", encoding="utf-8")
    with pytest.raises(UnicodeEncodeError):
        write_atomically(path, "\ud800")
    assert path.read_text(encoding="utf-8") == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_who_reads_the_old_page_reads_it_to_its_end(tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    write_atomically(path, "old")
    with path.open(encoding="utf-8") as reader:
        write_atomically(path, "new")
        assert reader.read() == "old"
    assert path.read_text(encoding="utf-8") == "new"


def test_a_wrong_table_stops_the_page(bare_dir: Path) -> None:
    (bare_dir / "trials.parquet").write_bytes(b"")
    with pytest.raises(TableError, match=r"trials\.parquet"):
        build(bare_dir)
    assert not (bare_dir / "dashboard.html").exists()


def test_the_verdict_comes_with_the_losses_best_first(view: View) -> None:
    verdict = verdict_section(view)
    assert verdict.lead.startswith("logit_adjusted leads on balanced accuracy")
    table = next(block for block in verdict.blocks if isinstance(block, Table))
    assert [column.title for column in table.columns][:6] == [
        "loss",
        "balanced accuracy (%)",
        "difference to ce (points)",
        "interval",
        "n",
        "best set",
    ]
    means = [row[1].sort for row in table.rows]
    assert means == sorted(means, reverse=True)
    assert [row[0].text for row in table.rows][-1] == "ce"
    assert table.rows[-1][2].text == "reference"
    assert "✓" in table.rows[0][5].text
    assert [column.title for column in table.columns].count("p (Holm)") == 1


def test_p_values_and_verdict_words_only_on_the_primary_endpoint(view: View) -> None:
    other = make_view(changed(view, comparison=view.run.comparison.assign(role="exploratory")))
    table = next(block for block in verdict_section(other).blocks if isinstance(block, Table))
    titles = [column.title for column in table.columns]
    assert "p" not in titles
    assert "verdict" not in titles


def test_a_family_of_one_has_one_p_value(view: View) -> None:
    alone = view.run.comparison.assign(p_holm=view.run.comparison["p"])
    table = next(
        block
        for block in verdict_section(make_view(changed(view, comparison=alone))).blocks
        if isinstance(block, Table)
    )
    titles = [column.title for column in table.columns]
    assert titles.count("p") == 1
    assert "p (Holm)" not in titles
    assert {len(row) for row in table.rows} == {len(titles)}


def test_reasons_stand_in_the_table_of_losses(view: View) -> None:
    for usual in ("", "two-sided paired t test"):
        plain = make_view(changed(view, comparison=view.run.comparison.assign(reason=usual)))
        table = next(block for block in verdict_section(plain).blocks if isinstance(block, Table))
        assert "reason" not in [column.title for column in table.columns]
    comparison = view.run.comparison.assign(reason="CE is at 99 %")
    table = next(
        block
        for block in verdict_section(make_view(changed(view, comparison=comparison))).blocks
        if isinstance(block, Table)
    )
    assert table.columns[-1].title == "reason"
    assert table.rows[0][-1].text == "CE is at 99 %"


def test_where_the_verdict_is_withheld_no_p_is_shown_but_the_reason(view: View) -> None:
    comparison = view.run.comparison
    withheld = (comparison["loss"] == "hem") & (comparison["role"] == "primary")
    comparison = comparison.assign(
        verdict=comparison["verdict"].mask(withheld, ""),
        p_holm=comparison["p_holm"].mask(withheld),
        reason=comparison["reason"].mask(withheld, "CE is at 99 %"),
    )
    assert comparison.loc[withheld, "p"].notna().all()
    section = verdict_section(make_view(changed(view, comparison=comparison)))
    table = next(block for block in section.blocks if isinstance(block, Table))
    titles = [column.title for column in table.columns]
    cells = {row[0].text: {title: row[titles.index(title)] for title in ("p", "p (Holm)")} for row in table.rows}
    for cell in cells["hem"].values():
        assert (cell.text, cell.sort, cell.hint) == ("n/a", None, "CE is at 99 %")
    assert cells["hem+"]["p"].sort is not None


def test_a_p_that_is_withheld_in_every_row_still_has_its_column(view: View) -> None:
    comparison = view.run.comparison
    tested = (comparison["role"] == "primary") & (comparison["loss"] != "ce")
    for p in (comparison["p"], comparison["p"].mask(tested)):
        parts = {"p": p, "p_holm": comparison["p_holm"].mask(tested), "verdict": comparison["verdict"].mask(tested, "")}
        section = verdict_section(make_view(changed(view, comparison=comparison.assign(**parts))))
        table = next(block for block in section.blocks if isinstance(block, Table))
        place = [column.title for column in table.columns].index("p")
        assert {row[place].text for row in table.rows} == {"n/a"}


def test_the_best_set_is_an_outcome_and_not_decided_beforehand(view: View) -> None:
    blocks = verdict_section(view).blocks
    [facts] = [block for block in blocks if isinstance(block, Facts)]
    assert not any("best set" in name for name, _ in facts.items)
    said = [block.text for block in blocks if isinstance(block, Note)]
    assert "Best set (not told apart from the best): logit_adjusted, hem+." in said


def test_two_replicates_print_no_p_value(tmp_path: Path) -> None:
    view = make_view(read_run(small(replicates=2, mode="quick").write(tmp_path)))
    verdict = verdict_section(view)
    table = next(block for block in verdict.blocks if isinstance(block, Table))
    assert "p" not in [column.title for column in table.columns]
    assert verdict.tag == "conditional"
    assert robustness_section(view).blocks[0].text.startswith("Upper bound")
    assert "Intervals: n/a" in forest_section(view).blocks[0].reading


def test_every_picture_says_how_to_read_it_and_what_it_shows(view: View) -> None:
    pictures = [block for section in sections_of(view) for block in section.blocks if isinstance(block, Picture)]
    assert len(pictures) >= 14
    for picture in pictures:
        assert picture.reading.endswith("."), picture.key
        assert "1 data set (mnist5k), 1 network (small_cnn), 3 replicates" in picture.counts, picture.key
        assert picture.alt, picture.key
        assert picture.panels, picture.key
        for panel in picture.panels:
            assert len(panel.figure.data) > 0, picture.key
    assert len({picture.key for picture in pictures}) == len(pictures)


def test_a_run_with_only_trials_still_has_a_page(tmp_path: Path) -> None:
    page = build(small(replicates=3).write(tmp_path, only=["trials"]))
    text = page.read_text(encoding="utf-8")
    assert "n/a — not compared yet (the run has no verdict.json)" in text
    assert "n/a — not run (the run has no evaluation.parquet)" in text
    assert "n/a — not run (the run has no timing.parquet)" in text
    plots = re.findall(r'data-name="([a-z]+)-figure-\d+"', text)
    assert set(plots) == {"history", "tried"}


def test_a_bare_study_still_has_a_page_without_plots(bare_dir: Path) -> None:
    text = build(bare_dir).read_text(encoding="utf-8")
    assert "n/a" in text
    assert 'class="plot"' not in text
    assert "nan" not in re.sub(r"<script.*?</script>", "", text, flags=re.DOTALL)


@pytest.mark.parametrize("name", list(SCHEMAS))
def test_any_one_table_may_be_empty(small_view: View, name: str) -> None:
    run = changed(small_view, **{name: getattr(small_view.run, name).iloc[:0]})
    for section in sections_of(make_view(run)):
        assert section.blocks, section.key
        for block in section.blocks:
            if isinstance(block, Picture):
                assert all(len(panel.figure.data) for panel in block.panels)


def test_attacks_that_were_not_asked_for_say_so(view: View) -> None:
    study = {**view.study, "attack": {"mode": "none"}}
    run = changed(view, study=study, evaluation=view.run.evaluation.iloc[:0])
    assert robustness_section(make_view(run)).blocks[0].text == "n/a — attacks were not asked for"


def test_few_trials_are_called_random_search(view: View, tmp_path: Path) -> None:
    assert search_section(view).blocks[0].text.startswith("Random search: 12 trials a search")
    run = read_run(small(trials=20).write(tmp_path, only=["trials"]))
    assert isinstance(search_section(make_view(run)).blocks[0], Picture)


def test_edge_flags_notes_and_failed_cells_are_shown(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert "At the edge of its range: hem, replicate 2" in text
    assert "The tail starts at 350 images" in text
    assert "plain/hem/tuned/2/1/attack" in text
    assert "90 of 91 cells are complete" in text
    assert "python -m study.tune --task imbalanced" in text


def test_an_unfinished_run_says_so(small_view: View) -> None:
    text = render(changed(small_view, study={**small_view.study, "status": "interrupted"}))
    assert "This run is interrupted: 6 of 7 cells are there." in text


def test_a_probe_without_a_section_is_shown_as_a_table(view: View) -> None:
    rows = view.run.evaluation[view.run.evaluation["probe"] == "accuracy"]
    rows = rows[rows["slice"] == "all"].assign(probe="flatness", metric="sharpness")
    section = other_section(make_view(changed(view, evaluation=rows)))
    assert section is not None
    table = section.blocks[0]
    assert isinstance(table, Table)
    assert table.caption.startswith("Flatness")
    assert table.columns[-1].title == "sharpness (%)"


def test_hostile_names_come_out_as_text(tmp_path: Path) -> None:
    text = build(small(losses=("ce", HOSTILE, "a&\"b'%{x}")).write(tmp_path)).read_text(encoding="utf-8")
    assert HOSTILE not in text
    assert "&lt;script&gt;x()&lt;/script&gt;" in text
    assert "a&amp;&#34;b&#39;%{x}" in text
    blocks = re.findall(r'<script type="application/json"[^>]*>(.*?)</script>', text, flags=re.DOTALL)
    assert not set("<>&") & set("".join(blocks))
    figures = [figure for figure in map(json.loads, blocks) if isinstance(figure, dict)]
    names = {trace.get("name") for figure in figures for trace in figure["data"]}
    # Plotly reads the entities of a name and writes them as "<" and ">".
    assert {"ce", "&lt;script&gt;x()&lt;/script&gt;", "a&amp;\"b'%&#123;x}"} <= names


def hostile(value: object) -> object:
    """The same JSON value with a script at the end of every text, names of members too where they are not fixed."""
    if isinstance(value, dict):
        return {name: hostile(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [hostile(inner) for inner in value]
    return value + HOSTILE if isinstance(value, str) else value


@pytest.mark.parametrize("known", [True, False], ids=["free texts", "every text"])
def test_no_text_of_a_run_becomes_markup(tmp_path: Path, known: bool) -> None:
    """Names of data, classes and models, errors, versions, notes; or really all texts, and nothing is recognised."""
    small().write(tmp_path)
    for path in tmp_path.glob("*.json"):
        content = json.loads(path.read_text(encoding="utf-8"))
        kept = {name: content[name] for name in ("primary", "losses", "methods", "arms") if known and name in content}
        path.write_text(json.dumps({**hostile(content), **kept}), encoding="utf-8")  # type: ignore[dict-item]
    free = ("error", "message", "reason", "dataset", "stage", "source", "check")
    for name in SCHEMAS:
        frame = read_table(tmp_path / f"{name}.parquet", SCHEMAS[name])
        for column, kind in SCHEMAS[name].items():
            if kind == "str" and (not known or column in free or (name == "foreign" and column == "loss")):
                frame[column] = frame[column] + HOSTILE
        write_table(tmp_path / f"{name}.parquet", frame)
    text = build(tmp_path).read_text(encoding="utf-8")
    assert HOSTILE not in text
    assert "&lt;script&gt;x()&lt;/script&gt;" in text


def test_embedded_text_cannot_end_its_element() -> None:
    assert embedded("</script>&\u2028") == '"\\u003c/script\\u003e\\u0026\\u2028"'
    assert json.loads(embedded({"a": "<b>"})) == {"a": "<b>"}


def test_csv_holds_full_precision_fractions(view: View) -> None:
    table = next(block for block in verdict_section(view).blocks if isinstance(block, Table))
    lines = table.csv.splitlines()
    assert "difference_low" in lines[0]
    first = dict(zip(lines[0].split(","), lines[1].split(","), strict=False))
    assert 0 < float(first["mean"]) < 1
    assert len(first["mean"]) > 10
