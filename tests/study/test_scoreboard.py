"""Several runs in one: the family, the claims and the cells; numbers are those of the runs one by one."""

import json
from pathlib import Path

import pytest

from study import compare, report
from study.errors import InputError
from study.options import all_tasks
from study.run import RunDirectory
from study.scoreboard import Finished, scoreboard
from study.several import begin
from tests.study.evaluations import CLEAN, NOISE, PLANTED, rows, study


def finished(task, values, name="", **more):
    setting = study(values, task=task, **more) | {
        "name": name or task,
        "status": "complete",
        "created": "",
        "arms": ["tuned"],
    }
    table = rows(values, metric=setting["primary"]["metric"])
    comparison = compare.compare(table, study=setting)
    return Finished(setting, table, comparison, "")


def board(*runs):
    content = scoreboard(runs, created="2026", command="python")
    json.dumps(content, allow_nan=False)
    return content


def cell(content, **key):
    [found] = [c for c in content["cells"] if all(c[name] == value for name, value in key.items())]
    return found


def test_holm_is_over_all_runs_together():
    planted, noise = finished("imbalanced", PLANTED), finished("continual", NOISE)
    alone = board(planted)["claims"][0]
    [together] = [c for c in board(planted, noise)["claims"] if c["claim"] == "HEM > CE on imbalanced"]
    assert together["p"] == alone["p"]
    assert together["p_holm"] == pytest.approx(2 * alone["p_holm"])
    assert board(planted, noise)["family"] == 2
    [run, _] = board(planted, noise)["runs"]
    assert "p = 0.012 (Holm over 2 tasks)" in run["headline"]
    assert "p = 0.006, 3 replicates" in board(planted)["runs"][0]["headline"]


def test_a_task_that_has_not_begun_counts_in_the_family(tmp_path, monkeypatch):
    """What is a win among the tasks that are there must still be one when the others have begun."""
    begin(tmp_path, all_tasks({"preset": "smoke"}), "python -m study.tune --task all")
    run, one = RunDirectory(tmp_path / "imbalanced"), finished("imbalanced", PLANTED)
    run.path.mkdir()
    run.write_study({**one.study, "version": 1})
    one.evaluation.to_parquet(run.path / "evaluation.parquet")
    one.comparison.to_parquet(run.path / "comparison.parquet")
    monkeypatch.setattr(RunDirectory, "read_study", lambda run: json.loads(run.study_file.read_text()))
    monkeypatch.setattr(report, "report", lambda path: 0)
    assert report.main([str(tmp_path)]) == 0
    content = json.loads((tmp_path / "scoreboard.json").read_text())
    assert (content["family"], len(content["runs"])) == (6, 1)
    [claim] = [c for c in content["claims"] if c["claim"] == "HEM > CE on imbalanced"]
    assert claim["p_holm"] == pytest.approx(6 * claim["p"])
    assert "Holm over 6 tasks" in claim["reason"]
    page = (tmp_path / "scoreboard.html").read_text()
    assert "over the 6 runs together, of which 5 have not begun." in page.replace("&#39;", "'")


def test_an_adjusted_p_of_equality_says_that_it_is():
    same = {"ce": [0.90, 0.92, 0.91], "hem": [0.901, 0.9195, 0.9105]}
    clean, noise = finished("classification", same, primary=CLEAN, counts=(9, 9)), finished("continual", NOISE)
    [alone, *_], [run, _] = board(clean)["runs"], board(clean, noise)["runs"]
    assert alone["headline"].endswith("(two one-sided tests at ±0.5 points, p = 0.008).")
    assert run["headline"].endswith("(two one-sided tests at ±0.5 points, p = 0.015; Holm over 2 tasks).")


def test_runs_of_one_task_are_no_several_tasks():
    content = board(finished("imbalanced", PLANTED, "a"), finished("imbalanced", NOISE, "b"))
    assert "p = 0.012 (Holm over 2 runs)" in content["runs"][0]["headline"]
    reasons = [claim["reason"] for claim in content["claims"] if claim["claim"] == "HEM > CE on imbalanced"]
    assert reasons == ["confirmatory: two-sided paired t test, Holm over 2 runs"] * 2


def test_two_runs_of_one_name_are_told_apart_by_their_paths_and_one_given_twice_is_refused(
    tmp_path, monkeypatch, capsys
):
    for place, created in (("one", "2026-01"), ("two", "2026-02"), ("copy", "2026-01")):
        run, one = RunDirectory(tmp_path / place / "res"), finished("imbalanced", PLANTED, "res")
        run.path.mkdir(parents=True)
        run.write_study({**one.study, "version": 1, "created": created})
        one.evaluation.to_parquet(run.path / "evaluation.parquet")
        one.comparison.to_parquet(run.path / "comparison.parquet")
    one, two, copy = (RunDirectory(tmp_path / place / "res") for place in ("one", "two", "copy"))
    monkeypatch.setattr(RunDirectory, "read_study", lambda run: json.loads(run.study_file.read_text()))
    monkeypatch.chdir(tmp_path)
    report.write_scoreboard([one, two], Path("scoreboard.html"), "")
    content = json.loads((tmp_path / "scoreboard.json").read_text())
    assert [run["name"] for run in content["runs"]] == ["one/res", "two/res"]
    assert {cell["run"] for cell in content["cells"]} == {"one/res", "two/res"}
    told = capsys.readouterr().out
    assert "one/res" in told
    assert "two/res" in told
    for again in (one, copy):
        with pytest.raises(InputError, match="every run once, got more than once: res"):
            report.write_scoreboard([one, two, again], Path("scoreboard.html"), "")


@pytest.mark.parametrize(("replicates", "lead"), [(3, "win"), (2, "none")])
def test_the_terminal_says_of_the_lead_variant_alone_that_it_has_no_verdict(tmp_path, capsys, replicates, lead):
    values = {loss: series[:replicates] for loss, series in {**PLANTED, "dice": [0.40, 0.43, 0.38]}.items()}
    one = finished("imbalanced", values, replicates=replicates)
    one.comparison.to_parquet(tmp_path / "comparison.parquet")
    result = compare.verdict(one.comparison, one.evaluation, study=one.study)
    report.print_summary(RunDirectory(tmp_path), result)
    lines = [line.split("│") for line in capsys.readouterr().out.splitlines() if line.startswith("│")]
    assert {cells[1].strip(): cells[5].strip() for cells in lines} == {
        "ce": "reference",
        "hem+": lead,
        "dice": "exploratory",
    }


def test_cells_carry_the_difference_and_its_interval():
    found = cell(board(finished("imbalanced", PLANTED)), loss="hem+")
    half = 4.302652729911275 * 0.01 * (1 / 3 + 1 / 4) ** 0.5
    assert found["difference"] == pytest.approx(0.10)
    assert (found["low"], found["high"]) == pytest.approx((0.10 - half, 0.10 + half))
    assert (found["paper"], found["ours"], found["disagrees"]) == ("better", "better", False)


def test_a_disagreement_with_the_paper_is_named():
    against = {"ce": PLANTED["hem+"], "hem+": PLANTED["ce"]}
    found = cell(board(finished("imbalanced", against)), loss="hem+")
    assert (found["paper"], found["ours"], found["disagrees"], found["verdict"]) == ("better", "worse", True, "loss")


def test_a_win_that_the_family_does_not_bear_out_is_no_win_here():
    planted, others = finished("imbalanced", PLANTED), [finished("continual", NOISE, str(i)) for i in range(9)]
    assert set(planted.comparison["verdict"]) == {"win", "reference"}
    found = cell(board(planted, *others), task="imbalanced", loss="hem+")
    assert (found["verdict"], found["ours"], found["disagrees"]) == ("undecided", "undecided", False)


def test_being_better_disagrees_with_a_paper_that_says_equal():
    better = {"ce": [0.90, 0.92, 0.91], "hem": [0.950, 0.972, 0.964]}
    found = cell(board(finished("classification", better, primary=CLEAN, counts=(9, 9))), loss="hem")
    assert (found["paper"], found["ours"], found["disagrees"]) == ("equal", "better", True)


def test_what_is_undecided_disagrees_with_nobody():
    found = cell(board(finished("imbalanced", NOISE)), loss="hem+")
    assert (found["ours"], found["disagrees"]) == ("undecided", False)


def test_no_information_counts_for_nobody():
    ceiling = {"ce": [0.995, 0.996, 0.994], "hem+": [0.90, 0.90, 0.91]}
    found = cell(board(finished("imbalanced", ceiling)), loss="hem+")
    assert (found["ours"], found["disagrees"]) == ("no information", False)


def test_other_losses_have_no_verdict_and_no_direction_of_the_paper():
    values = PLANTED | {"dice": [0.40, 0.43, 0.38]}
    found = cell(board(finished("imbalanced", values)), loss="dice")
    assert (found["verdict"], found["paper"], found["ours"]) == ("", "", "exploratory")
