"""From the evaluation table to replicate means: the unit of every interval, and the pairs of every test."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import inf, isfinite, isinf, nan
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from study.errors import InputError
from study.statistics import Estimate, Paired, mean_interval, paired_t

REFERENCE = "ce"
"""The loss that every difference is taken to."""

CELL = ["method", "arm", "probe", "dataset", "slice", "metric"]
"""What names one figure; a comparison is between losses and replicates within it."""

_HIGHER = frozenset(
    "accuracy balanced_accuracy robust_accuracy clean_accuracy auroc aupr_in aupr_out oscr dar_all dar_correct miou "
    "iou foreground_iou pixel_accuracy acc bwt fwt".split()
)
_LOWER = frozenset("ece nll brier fpr95 fpr95_ood aurc augrc forgetting".split())
_NOT_SHARES = frozenset({"nll", "brier"})

FloatArray = NDArray[np.float64]
_NOTHING: FloatArray = np.empty(0)


def direction(metric: str) -> bool | None:
    """Return whether higher values of a metric are better; None for one that is described, not judged.

    `robust_accuracy.<attack>` goes with robust_accuracy. Fitted quantities (temperature, tau), interval ends
    (robust_accuracy_low) and metrics that are not known here are described.
    """
    name = metric.split(".")[0]
    if name in _HIGHER:
        return True
    return False if name in _LOWER else None


def is_share(metric: str) -> bool:
    """Return whether a judged metric is a share in [0, 1], to be read in points of a hundred."""
    return direction(metric) is not None and metric not in _NOT_SHARES


@dataclass(frozen=True)
class Cell:
    """One figure, for R replicates and every loss that the evaluation has rows of in this cell."""

    replicates: tuple[int, ...]
    values: Mapping[str, FloatArray]
    """Loss → (R,): means over the retrainings that have a value; nan where none has."""
    trainings: Mapping[str, FloatArray]
    """Loss → (R,): how many retrainings have a value; nan where there is no row."""

    @property
    def losses(self) -> list[str]:
        """Losses with a finite value in at least one replicate."""
        return [loss for loss, values in self.values.items() if np.isfinite(values).any()]

    def own(self, loss: str) -> FloatArray:
        """Return a loss's values, those that there are; empty for a loss that is not here."""
        values = self.values.get(loss, _NOTHING)
        return values[~np.isnan(values)]

    def estimate(self, loss: str, ratio: float) -> Estimate:
        """Return the loss's mean and interval; an infinite value leaves an infinite mean and nothing else."""
        own = self.own(loss)
        if np.isinf(own).any():
            return Estimate(inf if (own > 0).any() else -inf, nan, len(own), nan, nan)
        return mean_interval(own, ratio=ratio)

    def pairs(self, loss: str, versus: str) -> tuple[FloatArray, FloatArray]:
        """Return the values of both losses on the replicates that both have, in the same order."""
        if loss not in self.values or versus not in self.values:
            return _NOTHING, _NOTHING
        x, y = self.values[loss], self.values[versus]
        both = ~np.isnan(x) & ~np.isnan(y)
        return x[both], y[both]

    def num_pairs(self, loss: str, versus: str) -> int:
        """Return on how many replicates both losses have a value."""
        return len(self.pairs(loss, versus)[0])

    def paired(self, loss: str, versus: str, ratio: float) -> Paired:
        """Return the test of loss − versus over the replicates that both have; nan where a value is infinite."""
        x, y = self.pairs(loss, versus)
        if not (np.isfinite(x).all() and np.isfinite(y).all()):
            return Paired(nan, nan, len(x), nan, nan, nan, nan)
        return paired_t(x, y, ratio=ratio)


class Replicates:
    """The evaluation table as cells.

    Args:
        evaluation: evaluation.parquet: method, loss, arm, replicate, seed, probe, dataset, slice, metric, value, n.
            The order of its rows does not matter.

    Raises:
        InputError: a column is missing, a key is missing, or one training has two values of one figure.
    """

    def __init__(self, evaluation: pd.DataFrame) -> None:
        columns = [*CELL, "replicate", "loss", "seed", "value"]
        missing = [name for name in columns if name not in evaluation.columns]
        if missing:
            raise InputError(f"evaluation: columns missing: {', '.join(missing)}\nneeded: {', '.join(columns)}")
        rows = evaluation[columns].astype({"value": float}).sort_values(columns, ignore_index=True)
        nameless = rows[columns[:-1]].isna().any(axis=None)
        if nameless:
            raise InputError(f"evaluation: expected a value in each of {', '.join(columns[:-1])}, got rows without")
        twice = rows.duplicated(columns[:-1])
        if twice.any():
            first = rows[twice].iloc[0].to_dict()
            raise InputError(f"evaluation: {int(twice.sum())} figures stand there twice, the first of them: {first}")
        grouped = rows.groupby([*CELL, "replicate", "loss"], sort=True)["value"]
        values, counts = grouped.mean().unstack("loss"), grouped.count().astype(float).unstack("loss")
        self._losses = [str(loss) for loss in values.columns]
        self._values, self._counts = values.to_numpy(), counts.to_numpy()
        self._replicates = values.index.get_level_values("replicate").to_numpy()
        self._rows: dict[tuple[str, ...], list[int]] = {}
        for position, key in enumerate(values.index.to_frame(index=False)[CELL].itertuples(index=False, name=None)):
            self._rows.setdefault(key, []).append(position)

    @property
    def losses(self) -> list[str]:
        """Every loss of the table, in alphabetical order."""
        return self._losses

    def cell(self, **key: str) -> Cell:
        """Return one cell, empty where the table has none of that key.

        Args:
            key: method, arm, probe, dataset, slice and metric.
        """
        return self._cell(self._rows.get(tuple(key[name] for name in CELL), []))

    def cells(self) -> Iterator[tuple[dict[str, str], Cell]]:
        """Yield every cell with its key, sorted by key."""
        for key, rows in self._rows.items():
            yield dict(zip(CELL, key, strict=True)), self._cell(rows)

    def _cell(self, rows: list[int]) -> Cell:
        counts = self._counts[rows]
        here = [k for k in range(len(self._losses)) if not np.isnan(counts[:, k]).all() and rows]
        return Cell(
            replicates=tuple(int(name) for name in self._replicates[rows]),
            values={self._losses[k]: self._values[rows, k] for k in here},
            trainings={self._losses[k]: counts[:, k] for k in here},
        )


def overlap_ratio(study: Mapping[str, Any]) -> float:
    """Return the mean of the splits' test_train_ratio: test images / images that are not test images.

    Raises:
        InputError: study.json lists no split, or a ratio that is not finite and ≥ 0.
    """
    ratios = [float(split["test_train_ratio"]) for split in study.get("data", {}).get("splits", [])]
    if not ratios or not all(0 <= ratio < inf for ratio in ratios):
        raise InputError(f"study.json: data.splits[].test_train_ratio: expected numbers >= 0, got {ratios}")
    return float(np.mean(ratios))


def what_is_missing(cell: Cell, loss: str, versus: str | None, replicates: int) -> str:
    """Return why an estimate rests on less than was asked for; "" if nothing is missing.

    Args:
        cell: the figure.
        loss: the loss of the row.
        versus: what it is compared with, if it is.
        replicates: how many replicates the study has.
    """
    own = cell.own(loss)
    parts = []
    if len(own) < replicates:
        parts.append(f"{len(own)} of {replicates} replicates have a value")
    if loss in cell.values:
        infinite = [str(name) for name, value in zip(cell.replicates, cell.values[loss], strict=True) if isinf(value)]
        parts.extend(["infinite in replicate " + ", ".join(infinite)] if infinite else [])
        most = max(int(np.nanmax(counts)) for counts in cell.trainings.values())
        for name, count in zip(cell.replicates, cell.trainings[loss], strict=True):
            if 0 < count < most:
                parts.append(f"replicate {name}: {int(count)} of {most} retrainings")
    if versus is not None and len(cell.own(versus)):
        n = cell.num_pairs(loss, versus)
        if n < len(own):
            parts.append(f"{n} of {replicates} replicates have both {loss} and {versus}")
    return "; ".join(parts)


def finite_means(cell: Cell) -> dict[str, float]:
    """Return the mean over replicates of every loss whose values are finite."""
    means = {loss: float(cell.own(loss).mean()) for loss in cell.losses}
    return {loss: mean for loss, mean in means.items() if isfinite(mean)}
