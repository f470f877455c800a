"""The detection accuracy rate: counted by hand."""

import math

import numpy as np
import pytest

from study import tables
from study.probes import dar
from study.probes.rows import row


def test_threshold_accepts_at_least_95_percent():
    values = np.arange(100.0)
    assert dar.threshold(values) == 5.0  # 95 of 100 are at least 5
    assert dar.threshold([1.0, 2.0, 2.0, 3.0]) == 1.0
    assert math.isnan(dar.threshold([]))


def test_counted_by_hand():
    # accepted and right, accepted and wrong, rejected and right, rejected and wrong, on the threshold and right
    counted = dar.counted([3.0, 3.0, 1.0, 1.0, 2.0], [1, 0, 1, 0, 1], 2.0)
    assert counted.tolist() == [True, False, False, True, True]


def test_correct_ones_alone_raise_the_threshold():
    logits = np.array([[float(k), 0.0] for k in range(1, 21)])
    labels = np.array([1] * 5 + [0] * 15)  # the five least confident are wrong
    found = dar.thresholds(logits, labels)["mls"]
    assert found == {"all": 2.0, "correct": 6.0}  # 19 of 20; 15 of 15


def test_rows_are_means_of_sets_and_references_need_no_score():
    right = np.array([True, True, False, True])
    kinds = {
        "clean": [({"mls": np.array([5.0, 1.0, 5.0, 5.0])}, right)],
        "novel": [
            ({"mls": np.array([1.0, 1.0, 5.0, 1.0])}, np.zeros(4, bool)),
            ({"mls": np.array([5.0, 5.0])}, np.zeros(2, bool)),
        ],
        "unrecognisable": [],
    }
    rows = dar.rows(kinds, {"mls": {"all": 2.0, "correct": math.nan}})
    found = {(r["dataset"], r["slice"], r["metric"]): r for r in rows}
    assert found["clean", "mls", "dar_all"]["value"] == 0.5
    assert found["clean", "mls", "accepted_all"]["value"] == 0.75
    assert found["novel", "mls", "dar_all"]["value"] == (0.75 + 0.0) / 2
    assert found["novel", "mls", "dar_all"]["n"] == 6
    assert math.isnan(found["clean", "mls", "dar_correct"]["value"])
    assert math.isnan(found["unrecognisable", "mls", "dar_all"]["value"])
    assert found["clean", "accept all", "dar_all"]["value"] == 0.75
    assert found["clean", "reject all", "dar_correct"]["value"] == 0.25
    assert found["novel", "reject all", "dar_all"]["value"] == 1.0


def test_total_is_the_mean_of_five_and_missing_without_one():
    def rows(*left_out):
        values = {"clean": 0.9, "corrupt": 0.7, "novel": 0.5, "unrecognisable": 0.3}
        values |= {"adversarial:Linf-0.1": 0.2, "adversarial:L2-0.5": 0.4}
        return [row("dar", name, "mls", "dar_all", value, 10) for name, value in values.items() if name not in left_out]

    found = {r["dataset"]: r for r in dar.totals(rows())}
    assert found["adversarial"]["value"] == pytest.approx(0.3)
    assert found["all"]["value"] == pytest.approx((0.9 + 0.7 + 0.3 + 0.5 + 0.3) / 5)
    assert math.isnan({r["dataset"]: r for r in dar.totals(rows("corrupt"))}["all"]["value"])
    attacks = ("adversarial:Linf-0.1", "adversarial:L2-0.5")
    assert math.isnan({r["dataset"]: r for r in dar.totals(rows(*attacks))}["all"]["value"])
    assert {r["dataset"]: r for r in dar.totals(rows(), attacks)} == found
    one_failed = {r["dataset"]: r["value"] for r in dar.totals(rows(attacks[1]), attacks)}
    assert math.isnan(one_failed["adversarial"])
    assert math.isnan(one_failed["all"])


def test_a_model_that_lacks_an_attack_of_the_others_has_no_mean_over_attacks():
    models = {"ce": ("clean", "adversarial:Linf-0.1", "adversarial:Linf-0.3"), "hem": ("clean", "adversarial:Linf-0.1")}
    rows = [
        {"method": "plain", "loss": loss, "arm": "tuned", "replicate": 0, "seed": 0}
        | row("dar", name, "mls", "dar_all", 0.6 if name.endswith("0.1") else 0.2, 10)
        for loss, names in models.items()
        for name in names
    ]
    found = {r["loss"]: r["value"] for r in tables._with_totals(rows) if r["dataset"] == "adversarial"}
    assert found["ce"] == pytest.approx(0.4)
    assert math.isnan(found["hem"])
