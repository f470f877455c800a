"""Small evaluation tables and the study.json that goes with them, for the tests of the comparison."""

import json

import pandas as pd

from study.compare import compare, verdict

PRIMARY = {
    "probe": "accuracy",
    "dataset": "test",
    "slice": "all",
    "metric": "balanced_accuracy",
    "arm": "tuned",
    "method": "plain",
    "higher_is_better": True,
    "label": "balanced accuracy",
    "kind": "superiority",
    "delta": 0.0,
}
CLEAN = PRIMARY | {"metric": "accuracy", "label": "accuracy", "kind": "equivalence", "delta": 0.005}


def rows(values, *, seeds=1, **key):
    """Evaluation rows: {loss: [value of replicate 0, 1, …]}; None leaves a replicate out."""
    key = {name: PRIMARY[name] for name in ("method", "arm", "probe", "dataset", "slice", "metric")} | key
    return pd.DataFrame(
        [
            key | {"loss": loss, "replicate": replicate, "seed": seed, "value": value, "n": 1000}
            for loss, series in values.items()
            for replicate, value in enumerate(series)
            for seed in range(seeds)
            if value is not None
        ]
    )


def study(losses, *, replicates=3, task="imbalanced", primary=PRIMARY, ratio=0.25, counts=(350, 50, 7), **more):
    split = {"class_counts": list(counts), "test_train_ratio": ratio}
    return {
        "task": task,
        "dataset": "mnist5k",
        "primary": dict(primary),
        "losses": list(losses),
        "methods": ["plain", "drw"],
        "arms": ["default", "dropin", "tuned"],
        "replicates": replicates,
        "data": {"classes": [str(k) for k in range(10)], "splits": [split] * replicates},
    } | more


def judged(values, **kwargs):
    """The verdict.json, the comparison and the study of {loss: values by replicate} on the primary endpoint."""
    primary = kwargs.get("primary", PRIMARY)
    setting = study(kwargs.pop("losses", values), **({"replicates": max(map(len, values.values()))} | kwargs))
    table = rows(values, metric=primary["metric"], probe=primary["probe"])
    comparison = compare(table, study=setting)
    result = verdict(comparison, table, study=setting)
    json.dumps(result, allow_nan=False)
    return result, comparison


def row(comparison, **key):
    found = comparison
    for name, value in key.items():
        found = found[found[name] == value]
    assert len(found) == 1
    return found.iloc[0]


def claim(result, text):
    [found] = [c for c in result["claims"] if c["claim"] == text]
    return found


# differences hem+ - ce of 9, 10 and 11 points: d = 0.1, s = 0.01, se = s sqrt(1/3 + 1/4) = 0.00763763
PLANTED = {"ce": [0.60, 0.62, 0.58], "hem+": [0.69, 0.72, 0.69]}
# differences of -2, 0 and 3 points: d = 1/3 points
NOISE = {"ce": [0.60, 0.62, 0.58], "hem+": [0.58, 0.62, 0.61]}
