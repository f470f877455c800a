"""The paper's claims, one by one, against what a run shows.

The claims are those of the abstract of Spratling and Schuett, "A margin-based replacement for cross-entropy loss"
(arXiv 2501.12191), each on one task and read on that task's primary endpoint. "HEM" is the lead variant of the run.
"""

from dataclasses import dataclass
from math import isfinite, nan
from typing import Any, Literal

from study.comparison.primary import ALPHA, Confirmatory, Primary, conditional, incomplete
from study.comparison.replicates import REFERENCE, what_is_missing
from study.statistics import Paired

HEM = "HEM"
"""Stands for the lead variant."""

_TITLES = {REFERENCE: "CE", "logitnorm": "LogitNorm", "logit_adjusted": "logit-adjusted", "dice": "DICE"}


_TASK_TITLES = {"classification": "clean images"}


@dataclass(frozen=True)
class Claim:
    """`loss` is better (>), worse (<) or about as good (≈) as `versus` on a task."""

    loss: str
    relation: Literal[">", "<", "≈"]
    versus: str
    task: str

    @property
    def text(self) -> str:
        """The claim in words, for example "HEM > CE on imbalanced"."""
        loss, versus = (_TITLES.get(name, name) for name in (self.loss, self.versus))
        return f"{loss} {self.relation} {versus} on {_TASK_TITLES.get(self.task, self.task)}"

    @property
    def confirmatory(self) -> bool:
        """Whether the claim is the one that the run was declared to decide."""
        return (self.loss, self.versus) == (HEM, REFERENCE)


CLAIMS: tuple[Claim, ...] = (
    Claim(HEM, "≈", REFERENCE, "classification"),
    Claim(HEM, ">", REFERENCE, "rejection"),
    Claim(HEM, ">", REFERENCE, "adversarial"),
    Claim(HEM, ">", REFERENCE, "imbalanced"),
    Claim(HEM, ">", REFERENCE, "continual"),
    Claim(HEM, ">", REFERENCE, "segmentation"),
    Claim("logitnorm", "≈", HEM, "rejection"),
    Claim("logitnorm", "<", HEM, "continual"),
    Claim("logitnorm", "<", HEM, "segmentation"),
    Claim("logit_adjusted", ">", HEM, "imbalanced"),
    Claim("logit_adjusted", "<", HEM, "rejection"),
    Claim("logit_adjusted", "<", HEM, "segmentation"),
    Claim("dice", "<", HEM, "classification"),
    Claim("dice", "<", HEM, "rejection"),
    Claim("dice", "<", HEM, "adversarial"),
    Claim("dice", "<", HEM, "imbalanced"),
    Claim("dice", "<", HEM, "continual"),
    Claim("dice", "<", HEM, "segmentation"),
)


def decide_claims(run: Primary, member: Confirmatory) -> list[dict[str, Any]]:
    """Return one row for each claim on the run's task: claim, loss, versus, endpoint, difference, …, verdict, reason.

    HEM against CE takes the verdict of the confirmatory family. The others are exploratory: supported or refuted by
    the unadjusted two-sided p at 5 %, and the reason says so. Differences are loss − versus in the metric's unit, on
    the replicates that both have; what is not known is None.

    Args:
        run: the run's primary endpoint.
        member: its decided member of the confirmatory family.
    """
    return [_row(claim, run, member) for claim in CLAIMS if claim.task == run.task]


def _row(claim: Claim, run: Primary, member: Confirmatory) -> dict[str, Any]:
    loss, versus = (run.lead if name == HEM else name for name in (claim.loss, claim.versus))
    test = run.cell.paired(loss, versus, run.ratio)
    p = (member.p if member.verdict else nan) if claim.confirmatory else test.p
    verdict, reason = _absent(run, loss, versus, test)
    if not verdict:
        verdict, reason = _of_family(claim, member) if claim.confirmatory else _exploratory(claim, run, test)
    gaps = [
        what_is_missing(run.cell, name, other, run.replicates) if name in run.ran else ""
        for name, other in ((loss, versus), (versus, None))
    ]
    notes = [reason, *(f"{name}: {gap}" for name, gap in zip((loss, versus), gaps, strict=True) if gap)]
    if run.lead_note and HEM in (claim.loss, claim.versus):
        notes.append(run.lead_note.rstrip("."))
    e = run.endpoint
    return {
        "claim": claim.text,
        "loss": loss,
        "versus": versus,
        "endpoint": f"{e.label} (arm {e.arm}, method {e.method})",
        "difference": _known(test.difference),
        "low": _known(test.low),
        "high": _known(test.high),
        "p": _known(p),
        "p_holm": _known(member.p_holm) if claim.confirmatory else None,
        "verdict": verdict,
        "reason": "; ".join(notes),
    }


def _absent(run: Primary, loss: str, versus: str, test: Paired) -> tuple[str, str]:
    """Return the verdict and reason of a claim that cannot be tested; ("", "") if it can."""
    if run.no_information:
        return "no information", run.no_information
    for name in (loss, versus):
        if name not in run.ran:
            return "undecided", f"{name} was not run"
        if name not in run.cell.losses:
            return "no information", f"{name} has no value on this endpoint"
    if not test.n:
        return "no information", f"no replicate has both {loss} and {versus}"
    if run.withheld:
        return "undecided", run.withheld
    if not isfinite(test.difference):
        return "undecided", "infinite values: no difference"
    withheld = conditional(test.n) or incomplete(run, loss, versus)
    if withheld:
        return "undecided", withheld
    return ("", "") if isfinite(test.p) else ("undecided", "the differences do not vary: no p-value")


def _of_family(claim: Claim, member: Confirmatory) -> tuple[str, str]:
    supporting, refuting = {">": ("win", "loss"), "<": ("loss", "win"), "≈": ("equal", "win loss")}[claim.relation]
    verdict = member.verdict
    result = "supported" if verdict == supporting else "refuted" if verdict in refuting.split() else "undecided"
    plural = "" if member.family == 1 else "s"
    return result, f"confirmatory: {member.reason}, Holm over {member.family} {member.unit}{plural}"


def _exploratory(claim: Claim, run: Primary, test: Paired) -> tuple[str, str]:
    how = "exploratory: p is not adjusted"
    if claim.relation == "≈":
        how += "; no margin was declared for this claim, so it can be refuted but not supported"
        return "refuted" if test.p <= ALPHA else "undecided", how
    if test.p > ALPHA:
        return "undecided", how
    return "supported" if run.better(test.difference) == (claim.relation == ">") else "refuted", how


def _known(value: float) -> float | None:
    return float(value) if isfinite(value) else None
