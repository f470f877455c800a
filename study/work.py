"""Jobs: work on trained models that makes a cell each. Which can be done now, and how one is done. No Ray here."""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from study.config import StudyConfig
from study.errors import CannotGoOn
from study.run import Key, RunDirectory
from study.trial import failed_by
from study.watchdog import Watchdog, end_if_gpu_is_lost

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

    def described(self) -> dict[str, Any]:
        """Return what its cell says of it, whatever comes of it: nothing."""
        return {}


def first_ready(waiting: Iterable[Job], unfinished: set[Key]) -> Job | None:
    """Return the first job that waits for none of the unfinished cells; None if all of them do."""
    return next((job for job in waiting if unfinished.isdisjoint(job.after)), None)


class JobFeed:
    """A feed of jobs (see `study.pool.Feed`): in their order, but for those that wait for others."""

    def __init__(self, jobs: Iterable[Job]) -> None:
        self.waiting = list(jobs)
        self.unfinished = {job.key for job in self.waiting}

    def next(self) -> Job | None:
        """Return the next one that can be done now."""
        job = first_ready(self.waiting, self.unfinished)
        if job is not None:
            self.waiting.remove(job)
        elif self.waiting and len(self.waiting) == len(self.unfinished):  # none runs that they could wait for
            raise RuntimeError(f"{self.waiting[0].key} and {len(self.waiting) - 1} other jobs wait for each other")
        return job

    def finished(self) -> bool:
        """Say whether all were handed out."""
        return not self.waiting

    def done(self, job: Job, cell: dict[str, Any]) -> None:
        """Let those go on that waited for this one."""
        self.unfinished.discard(job.key)


def do_job(
    job: Job,
    config: StudyConfig,
    source: Any,  # noqa: ANN401
    run: RunDirectory,
    *,
    device: str,
    timeout: float,
) -> None:
    """Do a job and write its cell, whatever comes of it; a cell that is there already stays as it is.

    Args:
        job: what to do.
        config: the study.
        source: the data set.
        run: where the cell goes.
        device: where to compute.
        timeout: seconds after which a job counts as hanging if it is `limited`; 0: never.

    Raises:
        CannotGoOn: nothing can be written.
    """
    if run.read_cell(job.key) is not None:
        return
    started = time.perf_counter()
    try:
        with Watchdog(run, job.key, timeout if job.limited else 0.0):
            cell = job.work(job.key, config, source, run, device)
    except CannotGoOn:
        raise
    except Exception as error:
        end_if_gpu_is_lost(device)
        cell = failed_by(error)
    cell["seconds"] = time.perf_counter() - started
    run.write_cell(job.key, cell)
