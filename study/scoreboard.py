"""Several runs in one: the claims decided over all of them, and tasks × losses; a pure function of their tables."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any

import pandas as pd

from study.comparison import grid, published
from study.comparison.claims import CLAIMS, HEM, decide_claims
from study.comparison.headline import best_set, headline
from study.comparison.primary import Confirmatory, Primary, decide_family, member, of_replicates
from study.comparison.replicates import CELL, REFERENCE, Replicates

VERSION = 1
HEM_VARIANTS = ("hem", "hem+")
_OURS = {"win": "better", "loss": "worse", "equal": "equal", "no information": "no information"}


@dataclass(frozen=True)
class Finished:
    """What the scoreboard reads of one run."""

    study: Mapping[str, Any]
    evaluation: pd.DataFrame
    comparison: pd.DataFrame
    page: str
    """Link to the run's own page, relative to the scoreboard."""

    @property
    def name(self) -> str:
        """What tells the run from the others."""
        return str(self.study["name"])


def scoreboard(runs: Sequence[Finished], *, created: str, command: str, declared: int = 0) -> dict[str, Any]:
    """Return the content of scoreboard.json.

    The confirmatory family is HEM's lead variant against cross-entropy on the primary endpoint of every run that is
    given, or was declared with them: Holm's correction is over all of them.

    Args:
        runs: one or more, of different tasks, data sets or networks.
        created: when, as text.
        command: what makes it again.
        declared: how many runs there are to be, where some have not begun.
    """
    primaries = [of_replicates(Replicates(run.evaluation), study=run.study) for run in runs]
    decided = decide_family([member(primary) for primary in primaries], declared=declared)
    together = list(zip(runs, primaries, decided, strict=True))
    return {
        "version": VERSION,
        "created": created,
        "command": command,
        "losses": list(dict.fromkeys(loss for run in runs for loss in run.study["losses"])),
        "arms": list(dict.fromkeys(arm for run in runs for arm in run.study["arms"])),
        "family": max(declared, len(runs)),
        "runs": [_run(run, primary, one) for run, primary, one in together],
        "claims": [
            {"run": run.name, "task": primary.task, **claim}
            for run, primary, one in together
            for claim in decide_claims(primary, one)
        ],
        "grid": grid.coverage((run.study, run.comparison) for run in runs),
        "cells": [cell for run, primary, one in together for cell in _cells(run, primary, one)],
    }


def _run(run: Finished, primary: Primary, one: Confirmatory) -> dict[str, Any]:
    study = run.study
    return {
        **{
            name: str(study.get(name, ""))
            for name in ("name", "task", "dataset", "model", "preset", "status", "created")
        },
        "page": run.page,
        "replicates": int(study["replicates"]),
        "headline": headline(primary, best_set(primary), one),
        "published": published.beside(run.comparison, study=run.study)["status"],
        "endpoint": primary.endpoint.label,
        "metric": primary.endpoint.metric,
        "lead_variant": primary.lead,
    }


def _cells(run: Finished, primary: Primary, one: Confirmatory) -> list[dict[str, Any]]:
    """Return a cell for each loss and arm on the primary endpoint, with the endpoint's method."""
    rows = run.comparison
    for name in CELL:
        if name != "arm":
            rows = rows[rows[name] == getattr(primary.endpoint, name)]
    return [_cell(run, primary, one, row) for row in rows.to_dict("records")]


def _cell(run: Finished, primary: Primary, one: Confirmatory, row: Mapping[str, Any]) -> dict[str, Any]:
    is_lead = row["loss"] == primary.lead and row["arm"] == primary.endpoint.arm
    verdict = one.verdict if is_lead else str(row["verdict"])
    ours = _ours(primary, one if is_lead else None)
    paper = _paper(primary.task, row["loss"])
    study = run.study
    return {
        "run": run.name,
        **{name: str(study.get(name, "")) for name in ("task", "dataset", "model")},
        **{name: row[name] for name in ("method", "arm", "loss", "metric")},
        "mean": _known(row["mean"]),
        "sd": _known(row["sd"]),
        "n": int(row["n"]),
        "difference": _known(row["difference"]),
        "low": _known(row["difference_low"]),
        "high": _known(row["difference_high"]),
        "smallest_detectable": _known(row["smallest_detectable"]),
        "p": _known(row["p"]),
        "verdict": verdict,
        "reason": one.reason if is_lead else str(row["reason"]),
        "paper": paper,
        "ours": ours,
        "disagrees": (paper, ours) in {("better", "worse"), ("equal", "worse"), ("equal", "better")},
    }


def _ours(primary: Primary, decided: Confirmatory | None) -> str:
    """Return what a cell shows: the verdict of the confirmatory family's member; the others have an interval alone."""
    if primary.no_information:
        return "no information"
    return "exploratory" if decided is None else _OURS.get(decided.verdict, "undecided")


def _paper(task: str, loss: str) -> str:
    """Return what the paper's abstract says of HEM against cross-entropy on a task; "" of other losses."""
    if loss not in HEM_VARIANTS:
        return ""
    relations = [c.relation for c in CLAIMS if (c.loss, c.versus, c.task) == (HEM, REFERENCE, task)]
    return {">": "better", "<": "worse", "≈": "equal"}[relations[0]] if relations else ""


def _known(value: float) -> float | None:
    return float(value) if isfinite(value) else None
