"""Verdicts, claims, arms and differences: every number stands where its heading says."""

from dataclasses import replace

import pytest

from dashboards.blocks import Picture, Table, badge_cell
from dashboards.sections.settings import settings_section
from dashboards.sections.verdict import arms_section, claims_table, forest_section
from dashboards.style import is_share
from dashboards.summary import View, pick


def table(blocks, key: str) -> Table:
    return next(block for block in blocks if isinstance(block, Table) and block.key == key)


def test_the_p_of_a_claim_is_the_adjusted_one() -> None:
    claim = {"claim": "HEM > CE", "loss": "hem", "versus": "ce", "p": 0.011, "p_holm": 0.066, "verdict": "undecided"}
    shown = claims_table([claim])
    at = [column.title for column in shown.columns].index("p (Holm)")
    assert shown.rows[0][at].text == "0.066"


@pytest.mark.parametrize(
    ("word", "look"),
    [("win", "good"), ("supported", "good"), ("loss", "bad"), ("refuted", "bad"), ("undecided", "open")],
)
def test_the_look_of_a_verdict(word: str, look: str) -> None:
    assert badge_cell(word).mark == f"badge badge-{look}"


def test_every_arm_shows_its_own_mean(view: View) -> None:
    assert view.primary is not None
    shown = table(arms_section(view).blocks, "arms-table")
    arms = [column.title.partition(" ")[0] for column in shown.columns[1:]]
    assert len(arms) > 1
    comparison = pick(view.run.comparison, metric=view.primary.metric, method=view.primary.method, slice="all")
    for loss, row in zip(view.losses, shown.rows, strict=True):
        for arm, cell in zip(arms, row[1:], strict=True):
            [mean] = pick(comparison, loss=loss, arm=arm, dataset="test", probe=view.primary.probe)["mean"]
            assert cell.text.startswith(f"{100 * mean:.1f}")


@pytest.mark.parametrize(("higher", "side"), [(True, "right"), (False, "left")])
def test_the_better_side_of_a_difference(view: View, higher: bool, side: str) -> None:
    assert view.primary is not None
    other = replace(view, primary=replace(view.primary, higher_is_better=higher))
    picture = next(block for block in forest_section(other).blocks if isinstance(block, Picture))
    assert f"; {side} of the dashed line is better" in picture.reading


def test_counts_of_a_split_stand_beside_their_classes(view: View) -> None:
    shown = table(settings_section(view).blocks, "splits-table")
    for split, row in zip(view.data["splits"], shown.rows, strict=True):
        counts = ", ".join(f"{index}: {split['class_counts'][index]}" for index in split["class_order"])
        assert counts in [cell.text for cell in row]


@pytest.mark.parametrize("metric", ["nll", "brier", "temperature", "tau"])
def test_what_is_no_share_is_not_in_percent(metric: str) -> None:
    assert not is_share(metric)
    assert is_share("auroc")
