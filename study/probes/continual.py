"""Continual learning: the matrix of accuracies after each experience on each, and what follows from it.

R[i, j] is the accuracy on the test images of experience j after training on experiences 0 … i. Class-incremental: all
classes met by then compete. Task-incremental: the classes of experience j alone compete, as if one knew it.
"""

from collections.abc import Sequence

import numpy as np

from study.errors import InputError
from study.probes.rows import NOT_AVAILABLE, ArrayLike, FloatArray, Row, as_labels, as_logits, mean, row

CLASS, TASK = "class-incremental", "task-incremental"
Experiences = Sequence[Sequence[int]]


def accuracy_matrix(stages: Sequence[ArrayLike], labels: ArrayLike, experiences: Experiences, kind: str) -> FloatArray:
    """Return R (S, T), one row for each stage of training.

    Args:
        stages: logits (N, C) after experience 0, 1, …; a single one is taken for the end of all of them.
        labels: (N,) classes.
        experiences: class indices of each experience.
        kind: `CLASS`, where R[i, j] with j > i is nan, or `TASK`.

    Raises:
        InputError: another number of stages, or an experience without test images.
    """
    count = len(experiences)
    if len(stages) not in (1, count):
        raise InputError(f"stages: expected 1 or {count} arrays of logits, one an experience, got {len(stages)}")
    first = as_logits(stages[0])
    true = as_labels(labels, len(first), first.shape[1])
    result = np.full((len(stages), count), NOT_AVAILABLE)
    for i, stage in enumerate(stages):
        logits = as_logits(stage)
        done = count if len(stages) == 1 else i + 1
        for j, classes in enumerate(experiences):
            if kind == CLASS and j >= done:
                continue
            compete = [c for part in experiences[:done] for c in part] if kind == CLASS else list(classes)
            result[i, j] = _share_right(logits, true, classes, compete, j)
    return result


def _share_right(logits: FloatArray, true: np.ndarray, classes: Sequence[int], compete: list[int], j: int) -> float:
    chosen = np.isin(true, list(classes))
    if not chosen.any():
        raise InputError(f"experience {j + 1}: expected test images of its classes, got none")
    allowed = np.full(logits.shape[1], -np.inf)
    allowed[compete] = 0.0
    return float(((logits[chosen] + allowed).argmax(1) == true[chosen]).mean())


def acc(matrix: FloatArray) -> float:
    """Return mean_j R[T, j]."""
    return mean(matrix[-1])


def forgetting(matrix: FloatArray) -> float:
    """Return mean_{j<T} (max_{j≤i<T} R[i, j] − R[T, j]); nan without the stages in between."""
    if len(matrix) < 2:
        return NOT_AVAILABLE
    last = len(matrix) - 1
    return mean(np.array([matrix[j:last, j].max() - matrix[last, j] for j in range(last)]))


def backward_transfer(matrix: FloatArray) -> float:
    """Return BWT = mean_{j<T} (R[T, j] − R[j, j]); nan without the stages in between."""
    if len(matrix) < 2:
        return NOT_AVAILABLE
    return mean(matrix[-1, :-1] - np.diagonal(matrix)[:-1])


def forward_transfer(matrix: FloatArray, initial: FloatArray) -> float:
    """Return FWT = mean_{j>1} (R[j−1, j] − R[init, j]), task-incremental; nan without the stages in between.

    Args:
        matrix: R (T, T) of task-incremental accuracies.
        initial: (T,) those of the network before training.
    """
    if len(matrix) < 2:
        return NOT_AVAILABLE
    return mean(np.diagonal(matrix, offset=1) - initial[1:])


def rows(
    stages: Sequence[ArrayLike],
    labels: ArrayLike,
    experiences: Experiences,
    initial: ArrayLike | None = None,
    dataset: str = "test",
) -> list[Row]:
    """Return the rows of probe "continual".

    Slices "class-incremental" and "task-incremental": acc, forgetting, bwt, and for the second fwt. Slices
    "<kind> after <i> on <j>", experiences from 1: accuracy, the entries of R that exist.

    Args:
        stages: logits (N, C) after each experience; a single one for training on all at once.
        labels: (N,).
        experiences: class indices of each.
        initial: logits (N, C) of the network before training; None where it was not kept.
        dataset: the name of the set in the table.
    """
    n = len(as_logits(stages[0]))
    per_experience = [int(np.isin(labels, list(part)).sum()) for part in experiences]
    result: list[Row] = []
    for kind in (CLASS, TASK):
        matrix = accuracy_matrix(stages, labels, experiences, kind)
        values = {"acc": acc(matrix), "forgetting": forgetting(matrix), "bwt": backward_transfer(matrix)}
        if kind == TASK:
            before = NOT_AVAILABLE
            if initial is not None:
                before = forward_transfer(matrix, accuracy_matrix([initial], labels, experiences, TASK)[0])
            values["fwt"] = before
        result += [row("continual", dataset, kind, metric, value, n) for metric, value in values.items()]
        for i in range(len(matrix)):
            after = len(experiences) if len(matrix) == 1 else i + 1
            result += [
                row("continual", dataset, f"{kind} after {after} on {j + 1}", "accuracy", matrix[i, j], count)
                for j, count in enumerate(per_experience)
                if not np.isnan(matrix[i, j])
            ]
    return result
