"""From the evaluation table to comparison.parquet and verdict.json: pure functions, nothing is read or written.

Every figure of every loss gets its mean over replicates, and its difference to cross-entropy within the same method,
arm and replicate. One of them is decided: the HEM lead variant against cross-entropy on the task's primary endpoint.
Everything else is exploratory: an interval and no verdict.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from math import isfinite, isnan, nan
from typing import Any

import pandas as pd

from study.comparison.claims import decide_claims
from study.comparison.headline import best_set, headline, notes, status
from study.comparison.primary import Confirmatory, Primary, confirmatory, decide_family, member, of_replicates
from study.comparison.replicates import REFERENCE, Cell, Replicates, direction, what_is_missing
from study.errors import InputError
from study.statistics import MIN_REPLICATES, Paired, smallest_detectable

__all__ = ["COLUMNS", "compare", "confirmatory", "decide_family", "verdict"]

COLUMNS: dict[str, str] = {
    "method": "str",
    "loss": "str",
    "arm": "str",
    "probe": "str",
    "dataset": "str",
    "slice": "str",
    "metric": "str",
    "higher_is_better": "bool",
    "mean": "float64",
    "sd": "float64",
    "n": "int64",
    "low": "float64",
    "high": "float64",
    "difference": "float64",
    "difference_sd": "float64",
    "difference_low": "float64",
    "difference_high": "float64",
    "p": "float64",
    "p_holm": "float64",
    "role": "str",
    "verdict": "str",
    "smallest_detectable": "float64",
    "reason": "str",
}
"""Columns of the comparison and their types. Fractions stay fractions; nan is "not known", and `reason` says why.

mean, sd, n, low, high describe the loss itself. difference… are loss − ce over the replicates that both have, in the
metric's unit whatever its direction. role is "primary" for the lead variant and ce on the primary endpoint. On an
equivalence endpoint p is the larger p of the two one-sided tests in that row, elsewhere the two-sided p of the paired
t test; p_holm and a verdict stand in the primary row only ("reference" in every row of ce). higher_is_better is False
and means nothing where the reason says that a metric is described and not compared.
"""

_NO_TEST = Paired(nan, nan, 0, nan, nan, nan, nan)


def compare(evaluation: pd.DataFrame, *, study: Mapping[str, Any]) -> pd.DataFrame:
    """Return one row for each method, loss, arm and figure, as comparison.parquet holds it.

    Retrainings of one replicate are averaged first. Intervals are mean ± t_{n−1} · s √(1/n + ratio), where the ratio
    is the mean test / other images of the splits (Nadeau and Bengio 2003). Fewer than three replicates or differences
    that do not vary give neither interval nor p-value.

    Args:
        evaluation: the rows of evaluation.parquet, in any order.
        study: the dict of study.json: task, primary, losses, methods, arms, replicates, data.splits, data.classes.

    Raises:
        InputError: a missing column, a figure that stands there twice, a study without splits.
    """
    replicates = Replicates(evaluation)
    run = of_replicates(replicates, study=study)
    [decided] = decide_family([member(run)])
    orders = {"method": study.get("methods", []), "arm": study.get("arms", [])}
    cells = sorted(replicates.cells(), key=lambda item: [_rank(item[0][name], order) for name, order in orders.items()])
    rows = [_row(key, cell, loss, run, decided) for key, cell in cells for loss in run.ran if loss in cell.values]
    return pd.DataFrame(rows, columns=list(COLUMNS)).astype(COLUMNS)


def verdict(comparison: pd.DataFrame, evaluation: pd.DataFrame, *, study: Mapping[str, Any]) -> dict[str, Any]:
    """Return the content of verdict.json: headline, status, best set, notes and the claims on this task.

    Plain JSON values: what is not known is None. Differences stay in the metric's unit; the sentences use points.

    Args:
        comparison: what `compare` gave for the same evaluation.
        evaluation: the rows of evaluation.parquet.
        study: the dict of study.json.

    Raises:
        InputError: the comparison is not the one of this evaluation, or one of `compare`'s errors.
    """
    run = of_replicates(Replicates(evaluation), study=study)
    [decided] = decide_family([member(run)])
    _check_same(comparison, run, decided)
    best = best_set(run)
    return {
        "version": 1,
        "task": run.task,
        "primary": asdict(run.endpoint),
        "headline": headline(run, best, decided),
        "status": status(run, best),
        "best_set": best,
        "lead_variant": run.lead,
        "notes": notes(run, best),
        "claims": decide_claims(run, decided),
    }


def _row(key: dict[str, str], cell: Cell, loss: str, run: Primary, decided: Confirmatory) -> dict[str, Any]:
    is_primary = all(getattr(run.endpoint, name) == value for name, value in key.items())
    is_lead = is_primary and loss == run.lead
    better = run.endpoint.higher_is_better if is_primary else direction(key["metric"])
    estimate = cell.estimate(loss, run.ratio)
    compared = loss != REFERENCE and better is not None
    test = cell.paired(loss, REFERENCE, run.ratio) if compared else _NO_TEST
    verdict = decided.verdict if is_lead else "reference" if loss == REFERENCE else ""
    reasons = [
        decided.reason if is_lead else "",
        "described, not compared" if better is None else "",
        what_is_missing(cell, loss, REFERENCE if compared else None, run.replicates),
        _why_unknown(estimate.n, estimate.low, "values") if not compared else "",
        _why_not_compared(cell, test) if compared else "",
    ]
    return key | {
        "loss": loss,
        "higher_is_better": bool(better),
        "mean": estimate.mean,
        "sd": estimate.sd,
        "n": estimate.n,
        "low": estimate.low,
        "high": estimate.high,
        "difference": test.difference,
        "difference_sd": test.sd,
        "difference_low": test.low,
        "difference_high": test.high,
        "p": (decided.p if decided.verdict else nan) if is_lead else test.p,
        "p_holm": decided.p_holm if is_lead else nan,
        "role": "primary" if is_primary and loss in (run.lead, REFERENCE) else "exploratory",
        "verdict": verdict,
        "smallest_detectable": nan if isnan(test.se) else smallest_detectable(test.sd, test.n, ratio=run.ratio),
        "reason": "; ".join(dict.fromkeys(reason for reason in reasons if reason)),
    }


def _why_not_compared(cell: Cell, test: Paired) -> str:
    if not len(cell.own(REFERENCE)):
        return f"{REFERENCE} has no value here: no difference"
    return _why_unknown(test.n, test.low, "differences") if isfinite(test.difference) else ""


def _why_unknown(n: int, low: float, what: str) -> str:
    """Return why there is no interval; "" if there is one, or nothing at all to make one from."""
    if not n or not isnan(low):
        return ""
    if n < MIN_REPLICATES:
        return f"fewer than {MIN_REPLICATES} replicates: no interval, no p-value"
    return f"the {what} do not vary: no interval, no p-value"


def _rank(name: str, order: Sequence[str]) -> int:
    return list(order).index(name) if name in order else len(order)


def _check_same(comparison: pd.DataFrame, run: Primary, decided: Confirmatory) -> None:
    lead = comparison[(comparison["role"] == "primary") & (comparison["loss"] == run.lead)]
    given = lead["verdict"].to_list()
    expected = [decided.verdict] if run.lead in run.cell.values else []
    if given != expected:
        raise InputError(f"comparison: expected that of this evaluation (verdict {expected}), got {given}")
