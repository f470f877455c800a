"""The command as a user runs it, once, and everything that it leaves behind."""

import json

import numpy as np
import optuna
import pandas as pd
import pytest
import torch

import dashboards
from dashboards import tables as reader
from hem import HEMLoss
from study import tables as writer
from study.data.embedded import digits
from study.run import RunDirectory
from tests.dashboards.browser import Browser
from tests.study import commands

LOSSES = ("ce", "hem", "hem+")


def test_it_says_who_leads_and_where_the_page_is(smoke):
    path, finished = smoke
    assert f"{path}/dashboard.html" in finished.stdout
    assert "balanced accuracy, arm tuned" in finished.stdout
    assert "Ray dashboard: http://127.0.0.1" in finished.stdout
    for loss in LOSSES:
        assert f"│ {loss} " in finished.stdout
    assert finished.stderr == ""


def test_every_cell_asked_for_is_there(smoke):
    study = json.loads((smoke[0] / "study.json").read_text())
    assert study["status"] == "complete"
    assert study["cells"]["asked"] == study["cells"]["complete"]
    assert study["cells"]["failed"] == []
    count = {stage: len(list((smoke[0] / "cells" / stage).glob("*.json"))) for stage in ("search", "confirm", "sweep")}
    assert count == {"search": 3 * 2 * 4, "confirm": 3 * 2 * 3, "sweep": 2 * 9}


def test_the_page_reads_what_the_study_writes(smoke):
    """The contract: every table has the writer's columns in order, and the reader takes it."""
    run = reader.read_run(smoke[0])
    assert run.absent == frozenset()
    assert set(reader.SCHEMAS) == set(writer.SCHEMAS)
    for name, schema in writer.SCHEMAS.items():
        stored = pd.read_parquet(smoke[0] / f"{name}.parquet")
        extras = writer.EPOCH_EXTRAS
        fixed = [c for c in stored.columns if not c.startswith(("param.", "validation_")) and c not in extras]
        assert fixed == list(schema)
        assert set(reader.SCHEMAS[name]) <= set(schema)
        assert len(getattr(run, name)) == len(stored)
        assert len(stored) or name == "foreign", name


def test_the_page_is_drawn_in_a_browser(smoke, tmp_path):
    browser = Browser(tmp_path / "profile")
    try:
        browser.view(390, 800)
        page = (smoke[0] / "dashboard.html").as_uri()
        browser.open(f"{page}#all")
        browser.wait_for("document.documentElement.dataset.drawn === 'true'")
        assert browser.console == []
        assert {url for url in browser.requests if not url.startswith(("data:", "blob:"))} <= {page, f"{page}#all"}
        assert browser.evaluate("document.documentElement.scrollWidth") <= 390
    finally:
        browser.close()


def test_the_database_says_what_the_table_says(smoke):
    trials = pd.read_parquet(smoke[0] / "trials.parquet")
    for (loss, replicate), rows in trials.groupby(["loss", "replicate"]):
        study = optuna.load_study(
            study_name=f"plain/{loss}/r{replicate}", storage=f"sqlite:///{smoke[0] / 'optuna.db'}"
        )
        values = {t.user_attrs["slot"]: t.value for t in study.get_trials() if t.value is not None}
        assert values == pytest.approx(rows[rows.state == "complete"].set_index("number").objective.to_dict())
        assert all(t.state.is_finished() for t in study.get_trials())


def test_one_trial_of_each_search_is_selected_and_was_scored_twice(smoke):
    trials = pd.read_parquet(smoke[0] / "trials.parquet")
    chosen = trials[trials.selected]
    assert sorted(zip(chosen.loss, chosen.replicate, strict=True)) == [(x, r) for x in LOSSES for r in (0, 1)]
    assert chosen.rescore.notna().all()
    for row in chosen.itertuples():
        rivals = trials[(trials.loss == row.loss) & (trials.replicate == row.replicate) & trials.rescore.notna()]
        assert (row.objective + row.rescore) == pytest.approx((rivals.objective + rivals.rescore).max())


def test_weights_load_alone_and_give_the_stored_accuracy(smoke):
    from study.models.registry import build_model
    from study.training import predict

    run = RunDirectory(smoke[0])
    scores = np.load(next((run.path / "scores" / "evaluate").glob("plain~hem+~tuned~r0~n000*.npz")))
    saved = torch.load(run.path / "models/plain/hem+/tuned-0-0.pt", weights_only=True)
    model = build_model(saved["model"], shape=(8, 8, 1), num_classes=10, seed=1)
    model.load_state_dict(saved["weights"])
    evaluation = pd.read_parquet(run.path / "evaluation.parquet")
    row = evaluation.query(
        "loss == 'hem+' and arm == 'tuned' and replicate == 0 and probe == 'accuracy' and dataset == 'test'"
        " and slice == 'all' and metric == 'accuracy'"
    )
    images = digits().train.images
    predict(model, images[:8])
    accuracy = (scores["test/logits"].argmax(1) == scores["test/labels"]).mean()
    assert row.value.item() == pytest.approx(accuracy)


def test_the_margins_of_the_record_are_those_of_the_loss(smoke):
    study = json.loads((smoke[0] / "study.json").read_text())
    counts = {cut["replicate"]: cut["class_counts"] for cut in study["data"]["splits"]}
    for entry in study["margins"]:
        if entry["loss"] == "hem":
            loss = HEMLoss(num_samples=sum(counts[entry["replicate"]]), M=entry["M"])
        else:
            loss = HEMLoss(class_counts=counts[entry["replicate"]], M=entry["M"])
        margin = torch.as_tensor(loss.margin)
        assert entry["margin_low"] == pytest.approx(float(margin.min()), rel=1e-5)
        assert entry["margin_high"] == pytest.approx(float(margin.max()), rel=1e-5)
        outside = entry["margin_low"] < 0.03 or entry["margin_high"] > 1
        assert entry["beyond_paper_range"] == outside
    assert len(study["margins"]) == 2 * 3 * 2


def test_a_report_and_every_metric_from_scores_change_nothing(smoke, tmp_path):
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(smoke[0], copy)
    before = {name: (copy / f"{name}.parquet").read_bytes() for name in writer.SCHEMAS}
    page = dashboards.build(copy).read_bytes()
    for command in (("study.report", copy), ("study.evaluate", copy, "--from-scores")):
        finished = commands.run("-m", *command)
        assert finished.returncode == 0, finished.stdout + finished.stderr
        assert {name: (copy / f"{name}.parquet").read_bytes() for name in writer.SCHEMAS} == before
    assert len(page) > 1_000_000


def test_a_harder_attack_is_added_to_a_finished_run(smoke, tmp_path):
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(smoke[0], copy)
    finished = commands.run(
        "-m",
        "study.evaluate",
        copy,
        "--attacks",
        "quick",
        "--eps",
        "0.05",
        "0.1",
        "--norms",
        "Linf",
        "--max-concurrent",
        2,
    )
    assert finished.returncode == 0, finished.stdout + finished.stderr
    evaluation = pd.read_parquet(copy / "evaluation.parquet")
    robust = evaluation[evaluation.metric == "robust_accuracy"].set_index(["loss", "slice"]).value
    for loss in LOSSES:
        assert robust[loss, "Linf-0.05"] >= robust[loss, "Linf-0.1"]
    pictures = [one for one in json.loads((copy / "examples.json").read_text())["examples"] if "attack" in one["kind"]]
    assert {one["about"] for one in pictures} == {"Linf, ε = 0.05."}
    assert len({one["file"] for one in pictures}) == len(pictures)
    search = copy / "cells" / "search"
    assert all((search / p.name).read_bytes() == p.read_bytes() for p in (smoke[0] / "cells" / "search").iterdir())
