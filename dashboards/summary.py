"""Means over seeds and replicates, and what the page calls the primary endpoint.

The unit of replication is the replicate: values are first averaged over the retraining seeds of a replicate, then
mean and standard deviation (ddof 1) are taken over the replicates.
"""

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from dashboards.style import ARMS, REFERENCE_LOSS
from dashboards.tables import Run, TableError

CELL = ["method", "loss", "arm"]
ENDPOINT = ["probe", "dataset", "slice", "metric"]


@dataclass(frozen=True)
class Endpoint:
    """One number that losses are compared by; `label` is how a reader calls it."""

    probe: str
    dataset: str
    slice: str
    metric: str
    arm: str
    method: str
    higher_is_better: bool
    label: str


@dataclass(frozen=True)
class View:
    """A run with the choices that hold for the whole page: the order of losses, the arm and method that are shown."""

    run: Run
    losses: tuple[str, ...]
    methods: tuple[str, ...]
    arms: tuple[str, ...]
    arm: str
    method: str
    primary: Endpoint | None

    @property
    def study(self) -> dict[str, Any]:
        """The content of study.json."""
        return self.run.study

    @property
    def data(self) -> dict[str, Any]:
        """The part of study.json that describes the data."""
        return dict(self.study.get("data") or {})

    def applies(self, probe: str) -> bool:
        """Say whether a probe makes sense on the run's task; one that study.json does not name does."""
        stated = dict(self.study.get("probes") or {}).get(probe) or {}
        return stated.get("applies") != "no"

    def shown(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Return the rows of the page's method, and of its arm where the table has arms."""
        rows = pick(frame, method=self.method)
        return pick(rows, arm=self.arm) if "arm" in frame.columns else rows

    def counts(self, frame: pd.DataFrame, also: str = "") -> str:
        """Say how many data sets, networks and replicates the rows of a figure come from."""
        name, model = str(self.data.get("name") or self.study.get("dataset") or ""), str(self.study.get("model") or "")
        if "replicate" in frame.columns:
            replicates = int(frame["replicate"].nunique())
        else:
            replicates = int(frame["n"].max()) if len(frame) and frame["n"].notna().any() else 0
        parts = [
            "1 data set" + (f" ({name})" if name else ""),
            "1 network" + (f" ({model})" if model else ""),
            plural(replicates, "replicate") + (f", {also}" if also else ""),
        ]
        return f"Shown: {', '.join(parts)}."


def make_view(run: Run) -> View:
    """Choose what the page shows: the primary endpoint's arm and method, else the last arm and first method there is.

    Raises:
        TableError: the primary endpoint of verdict.json or study.json is not complete.
    """
    primary = _endpoint(run.verdict.get("primary") or run.study.get("primary"))
    frames = [run.trials, run.evaluation, run.comparison]
    losses = ordered(run.study.get("losses") or (), _values(frames, "loss"))
    methods = ordered(run.study.get("methods") or (), _values(frames, "method"))
    measured = set(_values([run.evaluation, run.comparison], "arm"))
    arms = tuple(arm for arm in ordered(ARMS, measured) if arm in measured)
    fallback = arms[-1] if arms else "tuned"
    return View(
        run=run,
        losses=tuple(sorted(losses, key=lambda name: name != REFERENCE_LOSS)),
        methods=methods,
        arms=arms,
        arm=primary.arm if primary and (primary.arm in arms or not arms) else fallback,
        method=primary.method if primary else (methods[0] if methods else "plain"),
        primary=primary,
    )


def _endpoint(stated: dict[str, Any] | None) -> Endpoint | None:
    if not stated:
        return None
    names = [*ENDPOINT, "arm", "method"]
    lost = [name for name in [*names, "higher_is_better"] if name not in stated]
    if lost:
        raise TableError(f"primary endpoint: expected {', '.join(names)}, higher_is_better; missing: {', '.join(lost)}")
    return Endpoint(
        **{name: str(stated[name]) for name in names},
        higher_is_better=bool(stated["higher_is_better"]),
        label=str(stated.get("label") or stated["metric"]),
    )


def pick(frame: pd.DataFrame, **equal: Hashable) -> pd.DataFrame:
    """Return the rows in which every named column has the given value."""
    kept = np.ones(len(frame), dtype=bool)
    for column, value in equal.items():
        kept &= (frame[column] == value).to_numpy(dtype=bool)
    return frame[kept]


def at_endpoint(frame: pd.DataFrame, endpoint: Endpoint) -> pd.DataFrame:
    """Return the rows of an endpoint, for all methods and arms."""
    return pick(frame, **{key: getattr(endpoint, key) for key in ENDPOINT})


def replicate_means(evaluation: pd.DataFrame) -> pd.DataFrame:
    """Return the mean over the seeds of each replicate: keys, replicate, value."""
    keys = [*CELL, "replicate", *ENDPOINT]
    return evaluation.groupby(keys, sort=False)["value"].mean().reset_index()


def summarise(evaluation: pd.DataFrame) -> pd.DataFrame:
    """Return mean, sd (ddof 1) and n over the replicates of every endpoint: keys, mean, sd, n (n counts values)."""
    groups = replicate_means(evaluation).groupby([*CELL, *ENDPOINT], sort=False)["value"]
    return groups.agg(["mean", "std", "count"]).reset_index().rename(columns={"std": "sd", "count": "n"})


def one(frame: pd.DataFrame, column: str, **equal: Hashable) -> object:
    """Return the value of a column in the one row that matches, None if no row does."""
    rows = pick(frame, **equal)
    return rows[column].iloc[0] if len(rows) else None


def ordered(first: Iterable[str], others: Iterable[str]) -> tuple[str, ...]:
    """Return all names: those of `first` in their order, then the others in theirs, each once."""
    return tuple(dict.fromkeys([*map(str, first), *map(str, others)]))


def in_order(frame: pd.DataFrame, column: str, order: Sequence[str]) -> list[str]:
    """Return the values that a column has, in the given order, unknown ones last."""
    present = [str(value) for value in frame[column].unique()]
    return [name for name in ordered(order, present) if name in present]


def plural(count: int, noun: str) -> str:
    """Write a count with its noun: 1 replicate, 3 replicates."""
    return f"{count} {noun}" + ("" if count == 1 else "es" if noun.endswith("s") else "s")


def _values(frames: Sequence[pd.DataFrame], column: str) -> list[str]:
    return [str(value) for frame in frames for value in frame[column].unique()]
