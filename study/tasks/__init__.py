"""Tasks by name: one file a task, one line here."""

from study.errors import unknown
from study.tasks.imbalanced import IMBALANCED
from study.tasks.types import Endpoint, Task

TASKS: dict[str, Task] = {task.name: task for task in (IMBALANCED,)}


def get_task(name: str) -> Task:
    """Return the task of that name.

    Raises:
        InputError: no such task; the message lists the known ones and the nearest match.
    """
    if name not in TASKS:
        raise unknown("task", name, TASKS)
    return TASKS[name]


__all__ = ["TASKS", "Endpoint", "Task", "get_task"]
