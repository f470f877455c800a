"""study.json and verdict.json of the synthetic run; `run` is the FakeRun that is written."""

import math

import pandas as pd

OUTSIDE = {
    "letters": "near",
    "held-out": "near",
    "photo": "far",
    "noise": "unrecognisable",
    "blobs": "unrecognisable",
    "permuted": "unrecognisable",
}
EPS = {"Linf": (0.05, 0.1, 0.2, 0.3), "L2": (0.5,)}
CLASSES = tuple(str(digit) for digit in range(10))
PRIMARY = {
    "probe": "accuracy",
    "dataset": "test",
    "slice": "all",
    "metric": "balanced_accuracy",
    "arm": "tuned",
    "method": "plain",
    "higher_is_better": True,
    "label": "balanced accuracy",
}

PUBLISHED = {
    "status": "harness result",
    "text": "Harness result: the published baselines are not reproduced (made up).",
    "tolerance": 0.01,
    "rows": [
        {
            "method": "plain", "loss": "ce", "probe": "accuracy", "slice": "all", "metric": "balanced_accuracy",
            "low": 0.704, "high": 0.7194, "ours": 0.652, "tuned": 0.71, "difference": -0.052, "gate": True,
            "within": False, "sources": ["Somebody et al. 2019, table 2", "<i>Others</i> 2021"],
        },
        {
            "method": "drw", "loss": "logit_adjusted", "probe": "accuracy", "slice": "all", "metric": "accuracy",
            "low": 0.808, "high": 0.808, "ours": None, "tuned": None, "difference": None, "gate": False,
            "within": False, "sources": ["Others 2021"],
        },
    ],
}  # fmt: skip
"""Published figures, none of them real."""


def study_json(run) -> dict[str, object]:
    counts = []
    for order in run.orders:
        own = [0] * 10
        for rank, index in enumerate(order):
            own[index] = run.tail[rank]
        counts.append(own)
    splits = [
        {"replicate": replicate, "class_order": order, "class_counts": own, "n_train": sum(own),
         "n_validation": 500, "n_test": 1000, "n_pool": 4000, "test_train_ratio": 0.25}
        for replicate, (order, own) in enumerate(zip(run.orders, counts, strict=True))
    ]  # fmt: skip
    margins = [
        {"loss": loss, "arm": "tuned", "replicate": replicate, "M": 2000.0 * 10**replicate,
         "margin_low": 0.19 * 3**replicate, "margin_high": 1.9 * 3**replicate,
         "beyond_paper_range": replicate == 2}
        for loss in run.losses if loss.startswith("hem") for replicate in range(run.replicates)
    ]  # fmt: skip
    models = len(run.methods) * len(run.losses) * len(run.arms) * run.replicates * run.seeds
    return {
        "version": 1,
        "name": "imbalanced-mnist5k-20250101-120000",
        "task": "imbalanced",
        "dataset": "mnist5k",
        "model": "small_cnn",
        "preset": "quick",
        "created": "2025-01-01T12:00:00+00:00",
        "command": "python -m study.tune --task imbalanced --dataset mnist5k --preset quick --seed 0",
        "config": {"task": "imbalanced", "preset": "quick", "epochs": run.n_epochs, "seed": 0},
        "probes": {
            name: {"applies": "no" if name in ("continual", "segmentation", "corruption") else "yes", "note": ""}
            for name in (
                "accuracy",
                "posthoc",
                "rejection",
                "calibration",
                "corruption",
                "attack",
                "continual",
                "segmentation",
            )
        },
        "foreign": {"their <b>net": {"source": "net.pt", "network": "small_cnn", "sha256": "ab" * 32}},
        "calibration": {
            "date": "2025-01-01",
            "command": "python -m benchmarks.calibration",
            "replicates": 3,
            "comparisons": 500,
            "false_alarms": 20,
            "rate": 0.04,
            "low": 0.026,
            "high": 0.061,
            "planted": 0.051,
            "power": 0.83,
            "power_low": 0.79,
            "power_high": 0.86,
            "others": [],
        },
        "losses": list(run.losses),
        "methods": list(run.methods),
        "arms": list(run.arms),
        "replicates": run.replicates,
        "seeds": {"seed": 0, "search": [0, 1, 2], "splits": [10, 11, 12], "retraining": [100, 101]},
        "data": {
            "name": "mnist5k",
            "fingerprint": "9f2c1d" * 10 + "abcd",
            "licence": "CC BY-SA 3.0",
            "shape": [28, 28, 1],
            "classes": list(CLASSES),
            "splits": splits,
            "outside": [{"name": name, "group": group, "n": 500} for name, group in OUTSIDE.items()]
            + [{"name": "digits", "group": "shifted-known", "n": 500}],
        },
        "margins": margins,
        "versions": {"python": "3.11.7", "torch": "2.4.0", "optuna": "4.5.0", "ray": "2.55.0"},
        "git_commit": "0123456789abcdef0123456789abcdef01234567",
        "host": {"cpu": "8 cores", "memory": "16 GiB", "gpus": 0, "system": "Linux"},
        "peak_memory_bytes": 1_834_000_000,
        "notes": ["The tail starts at 350 images and ends at 7."],
        "budget": {"planned_trials": 3 * run.n_trials, "trials": 3 * run.n_trials, "reason": ""},
        "cells": {
            "asked": models + 1,
            "complete": models,
            "failed": [{"key": "plain/hem/tuned/2/1/attack", "error": "MemoryError: 2 GiB asked for"}],
        },
        "stages": {"search": 912.4, "confirm": 401.2, "evaluate": 63.0, "attack": 822.9},
        "primary": PRIMARY,
        "objective": "balanced_accuracy",
        "attack": {"mode": run.mode, "norms": list(EPS), "eps": [0.05, 0.1, 0.2, 0.3], "points": 200},
        "edge_flags": ["hem, replicate 2: M = 1.9e+06 is within 5 % of the upper end of its range (2e+06)"],
        "status": "complete",
    }


def verdict_json(run, comparison: pd.DataFrame) -> dict[str, object]:
    at = comparison[comparison["role"] == "primary"].set_index("loss")
    best = str(at["mean"].idxmax())
    row = at.loc[best]
    headline = (
        f"{best} leads on balanced accuracy: {100 * row['mean']:.1f} %, {100 * row['difference']:+.1f} points to "
        f"cross-entropy (95 % interval {100 * row['difference_low']:+.1f} to "
        f"{100 * row['difference_high']:+.1f}, {run.replicates} replicates)."
    )
    if run.replicates < 3:
        headline = f"{best} leads by {100 * row['difference']:.1f} points, conditional on one search."
    hem = at.loc["hem+"] if "hem+" in at.index else row
    claims = [
        _claim("HEM beats cross-entropy on imbalanced data", "hem+", "ce", hem, "supported"),
        _claim("Logit-adjusted beats HEM on imbalanced data", "logit_adjusted", "hem+", row, "undecided"),
    ]
    claims[1]["difference"], claims[1]["low"], claims[1]["high"] = 0.007, -0.021, 0.035
    return {
        "version": 1,
        "task": "imbalanced",
        "primary": PRIMARY,
        "headline": headline,
        "status": "lead" if run.replicates > 2 else "conditional",
        "best_set": ["logit_adjusted", "hem+"],
        "lead_variant": "hem+",
        "notes": ["Everything but the primary endpoint is exploratory: intervals, no verdicts."],
        "claims": claims,
        "published": PUBLISHED,
    }


def _claim(claim: str, loss: str, versus: str, row: pd.Series, verdict: str) -> dict[str, object]:
    return {
        "claim": claim,
        "loss": loss,
        "versus": versus,
        "endpoint": "balanced accuracy, arm tuned",
        "difference": _number(row["difference"]),
        "low": _number(row["difference_low"]),
        "high": _number(row["difference_high"]),
        "p": _number(row["p"]),
        "p_holm": _number(row["p_holm"]),
        "verdict": verdict,
        "reason": "the interval excludes zero" if verdict == "supported" else "the interval holds zero",
    }


def _number(value: float) -> float | None:
    return None if math.isnan(value) else float(value)
