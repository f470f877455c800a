"""The one endpoint that is decided, and the rules that were fixed before anything was trained."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from math import isnan, nan
from typing import Any

import numpy as np
import pandas as pd

from study.comparison.replicates import (
    CELL,
    REFERENCE,
    Cell,
    Replicates,
    direction,
    finite_means,
    is_share,
    overlap_ratio,
)
from study.comparison.wording import amount, p_value, searches
from study.errors import InputError, unknown
from study.statistics import MIN_REPLICATES, Paired, holm, smallest_margin, tost
from study.tasks.types import Endpoint

ALPHA = 0.05
"""Level of the Holm-adjusted two-sided test."""

KINDS = ("superiority", "equivalence")

_CEILING = 0.99
_NEAR_CHANCE = 0.02
_ROUNDING = 1e-9


@dataclass(frozen=True)
class Primary:
    """The primary endpoint of one run: its figures, and all that decides whether they may be judged."""

    task: str
    dataset: str
    endpoint: Endpoint
    cell: Cell
    ratio: float
    """Overlap of the replicates: mean test / other images."""
    lead: str
    """The HEM variant in the confirmatory family; by rule, or the other one where that was not run."""
    lead_note: str
    ran: tuple[str, ...]
    """Losses that the run asked for or has rows of, in the run's order."""
    replicates: int
    """How many were asked for."""
    declared: int
    """On how many of them this endpoint was to be measured: attacks may be for the first ones alone."""
    seeds: int
    """Retrainings of each replicate that were asked for; 0 where the record does not say."""
    no_information: str
    """Why this endpoint says nothing about any loss; "" if it may."""
    withheld: str
    """Why no verdict may be given on it; "" if one may."""

    @property
    def searches(self) -> int:
        """The largest number of replicates that any two losses share; of a single loss, its own."""
        losses = self.cell.losses
        if len(losses) < 2:
            return max((len(self.cell.own(loss)) for loss in losses), default=0)
        return max(self.cell.num_pairs(a, b) for i, a in enumerate(losses) for b in losses[:i])

    def better(self, difference: float) -> bool:
        """Return whether a difference is an improvement; False for 0 and nan."""
        return difference > 0 if self.endpoint.higher_is_better else difference < 0


@dataclass(frozen=True)
class Confirmatory:
    """The member of the confirmatory family that one run contributes: lead variant − ce on the primary endpoint."""

    primary: Primary
    test: Paired
    p: float
    """Two-sided p of the paired t test; for an equivalence endpoint the larger p of the two one-sided tests."""
    p_beyond: float
    """Equivalence only: two-sided p against a difference within δ."""
    p_holm: float = nan
    family: int = 1
    unit: str = "task"
    """What the family's members are called: several runs of one task are no several tasks."""
    verdict: str = ""
    """win, loss, equal (equivalence only), undecided, no information; "" where no verdict may be given."""
    reason: str = ""


def primary(evaluation: pd.DataFrame, *, study: Mapping[str, Any]) -> Primary:
    """Return the run's primary endpoint with the rules applied.

    Args:
        evaluation: the rows of evaluation.parquet.
        study: the dict of study.json; task, dataset, primary, losses, replicates, data.splits, data.classes are read.

    Raises:
        InputError: an endpoint that contradicts its metric, or a study without splits.
    """
    return of_replicates(Replicates(evaluation), study=study)


def of_replicates(replicates: Replicates, *, study: Mapping[str, Any]) -> Primary:
    """Return the same as `primary`, from cells that were already made."""
    endpoint = read_endpoint(study["primary"])
    cell = replicates.cell(**{name: getattr(endpoint, name) for name in CELL})
    attack, asked = study.get("attack") or {}, int(study["replicates"])
    ran = tuple(dict.fromkeys([*study["losses"], *replicates.losses]))
    lead, note = lead_variant(study["data"]["splits"], ran)
    return Primary(
        task=study["task"],
        dataset=study.get("dataset", ""),
        endpoint=endpoint,
        cell=cell,
        ratio=overlap_ratio(study),
        lead=lead,
        lead_note=note,
        ran=ran,
        replicates=asked,
        seeds=int((study.get("config") or {}).get("seeds", 0)),
        declared=int(attack.get("replicates", asked)) if endpoint.probe == "attack" else asked,
        no_information=no_information(cell, endpoint, _num_classes(study["data"])),
        withheld=_withheld(endpoint, attack),
    )


def read_endpoint(declared: Mapping[str, Any]) -> Endpoint:
    """Return the declared primary endpoint.

    Raises:
        InputError: unknown kind, an equivalence without δ > 0, or a direction that contradicts the metric.
    """
    endpoint = Endpoint(**{f.name: declared[f.name] for f in fields(Endpoint) if f.name in declared})
    if endpoint.kind not in KINDS:
        raise unknown("kind of endpoint", endpoint.kind, KINDS)
    if endpoint.kind == "equivalence" and not endpoint.delta > 0:
        raise InputError(f"primary endpoint {endpoint.label}: equivalence needs delta > 0, got {endpoint.delta}")
    known = direction(endpoint.metric)
    if known is not None and known != endpoint.higher_is_better:
        raise InputError(f"primary endpoint: {endpoint.metric} has higher_is_better={known}, the study says otherwise")
    return endpoint


def lead_variant(splits: Sequence[Mapping[str, Any]], ran: Iterable[str]) -> tuple[str, str]:
    """Return the HEM variant that is tested, and a note where it is not the one of the rule.

    hem+ where the class counts of a training split differ, else hem. A variant that was not run is replaced by the
    other; one that was run and failed is not, because that would choose by the outcome.
    """
    rule, other = ("hem+", "hem") if any(len(set(s["class_counts"])) > 1 for s in splits) else ("hem", "hem+")
    ran = set(ran)
    if rule in ran:
        return rule, ""
    if other in ran:
        return other, f"{rule} is the lead variant here but was not run: {other} stands in for it."
    return rule, "Neither hem nor hem+ was run: there is no confirmatory test."


def no_information(cell: Cell, endpoint: Endpoint, num_classes: int) -> str:
    """Return why the endpoint says nothing about any loss: ce ≥ 99 %, or every loss within 2 points of chance.

    Chance is 1/C for accuracy and balanced accuracy and 0.5 for AUROC. Robust accuracy is held against 0, where every
    model has fallen. Other metrics have no such level.
    """
    means = finite_means(cell)
    if endpoint.higher_is_better and is_share(endpoint.metric) and means.get(REFERENCE, 0.0) >= _CEILING - _ROUNDING:
        return f"{REFERENCE} reaches {amount(means[REFERENCE], endpoint.metric)}, which leaves no room for a difference"
    level = _chance(endpoint.metric, num_classes)
    if level is None or not means or any(abs(m - level) > _NEAR_CHANCE + _ROUNDING for m in means.values()):
        return ""
    name = "chance" if level else "zero"
    return f"every loss lies within 2 points of {name} ({amount(level, endpoint.metric)})"


def confirmatory(evaluation: pd.DataFrame, *, study: Mapping[str, Any]) -> Confirmatory:
    """Return a run's member of the confirmatory family, not yet decided.

    A scoreboard collects one from each of its runs and gives them to `decide_family`.

    Args:
        evaluation: the rows of evaluation.parquet.
        study: the dict of study.json.
    """
    return member(primary(evaluation, study=study))


def member(run: Primary) -> Confirmatory:
    """Return the same as `confirmatory`, from a primary endpoint that was already read."""
    test = run.cell.paired(run.lead, REFERENCE, run.ratio)
    if run.endpoint.kind == "superiority":
        return Confirmatory(run, test, test.p, nan)
    if isnan(test.p):
        return Confirmatory(run, test, nan, nan)
    both = tost(*run.cell.pairs(run.lead, REFERENCE), delta=run.endpoint.delta, ratio=run.ratio)
    return Confirmatory(run, test, both.p, both.p_beyond)


def decide_family(members: Sequence[Confirmatory], *, declared: int = 0) -> list[Confirmatory]:
    """Return the members with Holm's p, verdict and reason; the family is all that are given, one a task.

    A member without information or without a p-value gets none and still counts: the family is what was declared. So do
    the runs of `declared` that are not among the members, because they have not begun: a win must not be lost when they
    do.
    For equivalence the larger p of the two one-sided tests enters Holm; a difference beyond δ (win or loss) needs
    m · p_beyond ≤ 5 %, m being the size of the family.
    """
    family = max(declared, len(members))
    p_values = [nan if _no_verdict(m) else m.p for m in members]
    adjusted = holm([*p_values, *[nan] * (family - len(members))])[: len(members)]
    unit = "task" if len({m.primary.task for m in members}) == len(members) else "run"
    together = [replace(m, p_holm=p, family=family, unit=unit) for m, p in zip(members, adjusted, strict=True)]
    return [_decide(m) for m in together]


def _decide(m: Confirmatory) -> Confirmatory:
    run, endpoint = m.primary, m.primary.endpoint
    if run.no_information:
        return replace(m, verdict="no information", reason=run.no_information)
    if _no_verdict(m):
        return replace(m, reason=_no_verdict(m))
    if isnan(m.p):
        return replace(m, verdict="undecided", reason="the differences do not vary: no p-value")
    ahead = "win" if run.better(m.test.difference) else "loss"
    if endpoint.kind == "superiority":
        return replace(m, verdict=ahead if m.p_holm <= ALPHA else "undecided", reason="two-sided paired t test")
    margin = amount(endpoint.delta, endpoint.metric, points=True)
    reason = f"two one-sided tests at ±{margin}, {p_value(m.p_holm)}"
    if m.p_holm <= ALPHA:
        return replace(m, verdict="equal", reason=reason)
    beyond = min(1.0, m.family * m.p_beyond)
    if beyond <= ALPHA:
        return replace(m, verdict=ahead, reason=f"{reason}; the difference is larger than {margin}, {p_value(beyond)}")
    least = smallest_margin(m.test.sd, m.test.n, ratio=run.ratio)
    if least > endpoint.delta:
        shown = amount(least, endpoint.metric, points=True)
        reason += f"; equality cannot be shown: these data could show it within {shown} at best"
    return replace(m, verdict="undecided", reason=reason)


def _no_verdict(m: Confirmatory) -> str:
    """Return why a member may have no verdict at all; "" if it may."""
    run = m.primary
    if run.no_information or run.withheld:
        return run.no_information or run.withheld
    for loss in (run.lead, REFERENCE):
        if loss not in run.ran:
            return f"{loss} was not run"
        if loss not in run.cell.losses:
            return f"{loss} has no value on this endpoint"
    if not m.test.n:
        return f"no replicate has both {run.lead} and {REFERENCE}"
    if isnan(m.test.difference):
        return "infinite values: no difference"
    return conditional(m.test.n) or incomplete(run, run.lead, REFERENCE)


def incomplete(run: Primary, loss: str, versus: str) -> str:
    """Return why a test on some of the declared trainings gives no verdict; "" if it is on all of them.

    A training is missing because it diverged or failed, or is not done yet: what is left was not chosen at random.
    """
    n = run.cell.num_pairs(loss, versus)
    if n < run.declared:
        return (
            f"{n} of {run.declared} replicates have both {loss} and {versus}; the others failed or are not done, "
            "and no verdict is given without them"
        )
    counts = [run.cell.trainings[name] for name in (loss, versus)]
    asked = max(run.seeds, *(int(np.nanmax(values)) for values in counts))
    short = int(sum(np.maximum(asked - values[np.isfinite(values)], 0).sum() for values in counts))
    if not short:
        return ""
    return f"{short} retrainings of {loss} or {versus} failed or are not done, and no verdict is given without them"


def conditional(n: int) -> str:
    """Return why n replicates give no p-value; "" for three or more."""
    return f"conditional on {searches(n)}: no p-value, no verdict" if n < MIN_REPLICATES else ""


def _num_classes(data: Mapping[str, Any]) -> int:
    """Return how many classes a model chooses among: a split may have fewer than the data set."""
    return min((len(split["classes"]) for split in data["splits"] if "classes" in split), default=len(data["classes"]))


def _chance(metric: str, num_classes: int) -> float | None:
    if metric in ("accuracy", "balanced_accuracy", "acc", "miou"):  # mIoU of a map of one class: at most 1/C
        return 1 / num_classes
    return {"auroc": 0.5, "robust_accuracy": 0.0}.get(metric)


def _withheld(endpoint: Endpoint, attack: Mapping[str, Any]) -> str:
    if endpoint.probe == "attack" and attack.get("mode") == "quick":
        return "quick attacks give an upper bound of robust accuracy, on which no verdict is given"
    return ""
