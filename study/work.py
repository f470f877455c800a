"""Pieces of work that make cells, and which of them can be done now. What does them is `remote`."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from study.config import StudyConfig
from study.run import Key, RunDirectory

Work = Callable[[Key, StudyConfig, Any, RunDirectory, str], dict[str, Any]]
"""(cell's key, study, data set, run, device) → the cell's content."""


@dataclass(frozen=True)
class Job:
    """A cell, how it is made, and which cells come first; those that nobody is asked for hold nobody up."""

    key: Key
    work: Work
    after: tuple[Key, ...] = ()
    limited: bool = False
    """Whether the time limit of trainings holds for it too: it runs losses, which may hang."""


def first_ready(waiting: Iterable[Job], unfinished: set[Key]) -> Job | None:
    """Return the first job that waits for none of the unfinished cells; None if all of them do."""
    return next((job for job in waiting if unfinished.isdisjoint(job.after)), None)
