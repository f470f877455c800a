"""Tasks by name: one file a task, one line here."""

from study.errors import unknown
from study.tasks.adversarial import ADVERSARIAL
from study.tasks.classification import CLASSIFICATION
from study.tasks.continual import CONTINUAL
from study.tasks.imbalanced import IMBALANCED
from study.tasks.rejection import REJECTION
from study.tasks.segmentation import SEGMENTATION
from study.tasks.types import PROBES, Applies, Endpoint, Task

TASKS: dict[str, Task] = {
    task.name: task for task in (CLASSIFICATION, REJECTION, ADVERSARIAL, IMBALANCED, CONTINUAL, SEGMENTATION)
}
ALL = "all"
"""Stands for every task, one run each and a scoreboard over them."""


def get_task(name: str) -> Task:
    """Return the task of that name.

    Raises:
        InputError: no such task; the message lists the known ones and the nearest match.
    """
    if name not in TASKS:
        raise unknown("task", name, TASKS)
    return TASKS[name]


__all__ = ["ALL", "PROBES", "TASKS", "Applies", "Endpoint", "Task", "get_task"]
