"""Pictures, models from elsewhere, the detection accuracy rate, and what is said of the test itself."""

from dataclasses import replace

import pytest

from dashboards.blocks import Gallery, Note, Table
from dashboards.sections.definitions import definitions_section
from dashboards.sections.examples import examples_section, within
from dashboards.sections.foreign import foreign_section
from dashboards.sections.rejection import rejection_section
from dashboards.sections.robustness import robustness_section
from dashboards.summary import View
from dashboards.tables import Example


def example(kind: str, size: int) -> Example:
    return Example(kind, "ce", b"x" * size, "image/webp", ("a", "b"), (), 78, 28, "")


def texts(blocks):
    return " ".join(block.text for block in blocks if isinstance(block, Note))


def test_every_kind_gets_its_turn_before_the_second_of_one(view: View) -> None:
    given = [example("attacked-Linf", 40), example("attacked-Linf", 40), example("rejected", 40), example("maps", 40)]
    shown, left = within(given, 120)
    assert [one.kind for one in shown] == ["attacked-Linf", "rejected", "maps"]
    assert left == 1
    assert within(given, 1000) == (given, 0)
    assert within(given, 10) == ([], 4)


def test_examples_are_shown_with_what_each_row_is(view: View) -> None:
    section = examples_section(view)
    assert section is not None
    attacked, rejected = (block for block in section.blocks if isinstance(block, Gallery))
    assert [mosaic.title for mosaic in attacked.mosaics] == list(view.losses)
    first = attacked.mosaics[0]
    assert first.source.startswith("data:image/png;base64,iVBOR")
    assert list(first.rows) == ["test image", "attacked image", "difference × 10"]
    assert (first.width, first.height) == (78 * 6, 28 * 6), "8 pixels become about 52"
    assert "rows from the top: test image" in first.alt
    assert len(rejected.mosaics) == len(view.losses)


def test_pictures_that_do_not_fit_are_named(view: View) -> None:
    large = example("maps", 10**6)
    section = examples_section(replace(view, run=replace(view.run, examples=(large, large))))
    assert section is not None
    assert "2 more pictures in the folder examples" in texts(section.blocks)


def test_a_picture_says_what_it_is(view: View) -> None:
    section = examples_section(replace(view, run=replace(view.run, examples=(example("maps", 3),))))
    assert section is not None
    (gallery,) = (block for block in section.blocks if isinstance(block, Gallery))
    assert gallery.mosaics[0].source == "data:image/webp;base64,eHh4"


def test_without_pictures_there_is_no_section(view: View) -> None:
    assert examples_section(replace(view, run=replace(view.run, examples=()))) is None


def test_a_foreign_model_stands_beside_the_losses_and_is_escaped(view: View, page) -> None:
    section = foreign_section(view)
    assert section is not None
    table = next(block for block in section.blocks if isinstance(block, Table))
    names = [row[0].text for row in table.rows]
    assert names == ["their <b>net", *view.losses]
    assert "±" not in table.rows[0][1].text
    assert "±" in table.rows[1][1].text
    assert "without an interval or a test" in texts(section.blocks)
    html = page.read_text(encoding="utf-8")
    assert "their &lt;b&gt;net" in html
    assert "their <b>net" not in html


def test_no_foreign_model_no_section(view: View) -> None:
    assert foreign_section(replace(view, run=replace(view.run, foreign=view.run.foreign.iloc[:0]))) is None


def test_dar_has_its_reference_lines(view: View) -> None:
    blocks = rejection_section(view).blocks
    table = next(block for block in blocks if isinstance(block, Table) and block.key == "dar-table")
    assert {row[1].text for row in table.rows} == {"mls", "msp"}
    assert [column.title for column in table.columns[2:5]] == ["all all (%)", "clean all (%)", "corrupt all (%)"]
    said = texts(blocks)
    assert "accept all: novel 0.0; reject all: novel 100.0" in said
    assert "never a primary endpoint" in said


def test_attacks_stand_in_the_order_in_which_they_are_counted(view: View) -> None:
    rows = view.run.evaluation.copy()
    order = {"apgd_ce": "apgd-ce", "apgd_dlr": "transfer", "fab": "square", "square": "apgd-margin", "margin": "apgd-t"}
    names = {f"robust_accuracy.{old}": f"robust_accuracy.{new}" for old, new in order.items()}
    rows["metric"] = rows["metric"].map(lambda name: names.get(name, name))
    blocks = robustness_section(replace(view, run=replace(view.run, evaluation=rows))).blocks
    table = next(block for block in blocks if isinstance(block, Table))
    named = [column.title for column in table.columns][-5:]
    assert named == [f"{name} (%)" for name in ("apgd-ce", "apgd-t", "square", "apgd-margin", "transfer")]


def test_the_method_note_says_how_the_test_was_tested(view: View) -> None:
    said = texts(definitions_section(view).blocks)
    assert "20 of 500 comparisons of cross-entropy with itself gave a verdict, 4.0 % [2.6, 6.1]" in said
    assert "5.1 points was found in 83.0 % [79.0, 86.0]" in said
    silent = replace(view, run=replace(view.run, study={**view.study, "calibration": {}}))
    assert texts(definitions_section(silent).blocks) == ""


@pytest.mark.parametrize("width", [1280, 390])
def test_pictures_are_seen_and_fit(browser, page, width) -> None:
    browser.view(width, 900)
    browser.open(page.as_uri() + "#all")
    loaded = "[...document.querySelectorAll('.mosaic img')].every((image) => image.complete && image.naturalWidth)"
    browser.wait_for(loaded)
    widest = "Math.max(...[...document.querySelectorAll('.mosaicrow')].map((row) => row.getBoundingClientRect().right))"
    assert browser.evaluate(widest) <= width
