"""Pictures, models from elsewhere, the detection accuracy rate, and what is said of the test itself."""

from dataclasses import replace

import pandas as pd
import pytest

from dashboards.blocks import Gallery, Note, Table
from dashboards.sections.accuracy import posthoc_section
from dashboards.sections.corruption import corruption_section
from dashboards.sections.definitions import definitions_section
from dashboards.sections.examples import examples_section, within
from dashboards.sections.foreign import foreign_section
from dashboards.sections.rejection import calibration_section, rejection_section
from dashboards.sections.robustness import robustness_section
from dashboards.sections.settings import settings_section
from dashboards.sections.training import other_section
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
    assert "never meets transfer" in texts(section.blocks)
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


def attacked(view: View, *entries, n=100.0) -> View:
    """The view with these evaluation rows alone: (probe, loss, replicate, robust accuracy at Linf-0.1)."""
    frame = pd.DataFrame(entries, columns=["probe", "loss", "replicate", "value"])
    known = {"method": "pgd", "arm": view.arm, "seed": 0, "dataset": "test", "slice": "Linf-0.1"}
    rows = frame.assign(**known, metric="robust_accuracy", n=n)
    return replace(view, methods=("pgd",), run=replace(view.run, evaluation=rows))


def test_last_and_best_epoch_of_a_defence_stand_side_by_side(view: View) -> None:
    entries = [("attack", "ce", 0, 0.5), ("attack", "ce", 1, 0.25), ("attack", "ce", 2, 0.9)]
    entries += [("attack_best", "ce", 0, 0.75), ("attack_best", "ce", 1, 0.375), ("attack", "hem", 0, 0.5)]
    changed = attacked(view, *entries)
    [table] = [block for block in robustness_section(changed).blocks if getattr(block, "key", "") == "best-epoch-table"]
    assert [[cell.text for cell in row] for row in table.rows] == [
        ["pgd", "ce", "Linf", "0.1", "37.5", "56.2", "+18.8", "2"]
    ]
    assert other_section(replace(changed, method="pgd")) is None
    assert "best-epoch-table" not in [getattr(block, "key", "") for block in robustness_section(view).blocks]


def test_attacks_name_the_images_that_were_attacked_not_those_asked_for(view: View) -> None:
    asked = {**view.study, "attack": {**view.study["attack"], "mode": "quick", "points": 0}}
    changed = attacked(view, ("attack", "ce", 0, 0.5), ("attack", "ce", 1, 0.5), n=[80.0, 100.0])
    changed = replace(changed, run=replace(changed.run, study=asked))
    note, picture = robustness_section(changed).blocks[:2]
    assert picture.counts.endswith("2 replicates, 80 to 100 attacked images a model.")
    assert "at most" in note.text
    assert "one ε" not in note.text
    [settings] = [block for block in settings_section(changed).blocks if getattr(block, "title", "") == "Settings"]
    assert dict(settings.items)["attack points"] == "all"


def test_corruptions_say_how_many_images_are_behind_them(view: View) -> None:
    parts = ("fog-1", "fog-2", "fog", "snow-1")
    known = {"method": view.method, "arm": view.arm, "loss": "ce", "replicate": 0, "seed": 0, "probe": "corruption"}
    rows = pd.DataFrame({"slice": parts, "value": [0.9, 0.7, 0.8, None], "n": [50, 50, 100, 0]})
    rows = rows.assign(**known, dataset="test", metric="accuracy")
    picture, table = corruption_section(replace(view, run=replace(view.run, evaluation=rows))).blocks
    told = "1 kind of corruption, 50 test images under each, for every model"
    assert picture.counts.endswith(f"{told}.")
    assert table.caption.endswith(told)


def test_pictures_claim_no_more_than_is_true(view: View) -> None:
    section = examples_section(view)
    assert section is not None
    said = texts(section.blocks)
    assert "for attacked and corrupted images, from as many as those sections name" in said


def test_a_users_own_outside_sets_have_their_columns(view: View) -> None:
    def titles(evaluation: pd.DataFrame) -> list[str]:
        blocks = rejection_section(replace(view, run=replace(view.run, evaluation=evaluation))).blocks
        table = next(block for block in blocks if isinstance(block, Table) and block.key == "rejection-table")
        return [column.title for column in table.columns]

    rows = view.run.evaluation
    mine = rows[rows["dataset"] == "group:far"].assign(dataset="group:user")
    assert [title for title in titles(pd.concat([rows, mine])) if "user" in title] == [
        "user AUROC (%)",
        "user FPR95 (%)",
    ]
    assert not any("user" in title for title in titles(rows))


@pytest.mark.parametrize(
    ("probe", "slice_", "metric", "section"),
    [
        ("posthoc", "all", "tau_at_end", posthoc_section),
        ("calibration", "scaled", "temperature_at_end", calibration_section),
    ],
)
def test_fitted_numbers_at_an_end_of_their_range_are_counted(view: View, probe, slice_, metric, section) -> None:
    rows = view.run.evaluation
    fitted = rows[(rows["probe"] == probe) & rows["metric"].isin(["tau", "temperature"])]
    ends = fitted.assign(metric=metric, slice=slice_, value=0.0)
    said = [texts(section(view).blocks)]  # a run from before this was told
    shown = ends.index[(ends["arm"] == view.arm) & (ends["method"] == view.method)]
    for count in (0, 2):
        ends.loc[shown[:count], "value"] = 1.0
        run = replace(view.run, evaluation=pd.concat([rows, ends], ignore_index=True))
        said.append(texts(section(replace(view, run=run)).blocks))
    assert "an end of its range" not in said[0] + said[1]
    assert f"2 of {len(shown)} models: " in said[2]
    assert "an end of its range, 0" in said[2]


def test_the_reference_lines_of_dar_are_those_of_the_first_loss_that_has_them(view: View) -> None:
    rows = view.run.evaluation
    without = rows[(rows["probe"] != "dar") | (rows["loss"] != view.losses[0])]
    said = texts(rejection_section(replace(view, run=replace(view.run, evaluation=without))).blocks)
    assert f"should lie below ({view.losses[1]}), in percent: accept all: novel 0.0" in said
    none = rows[(rows["probe"] != "dar") | ~rows["slice"].isin(["accept all", "reject all"])]
    said = texts(rejection_section(replace(view, run=replace(view.run, evaluation=none))).blocks)
    assert "is shown. The adversarial kind" in said


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
