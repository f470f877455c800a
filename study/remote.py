"""Many small pieces of work over a Ray cluster: each one's cell is written where it was made, as soon as it is done."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import ray

from study.config import Resources, StudyConfig
from study.errors import CannotGoOn
from study.nodes import LOOK_SECONDS, NodeWatch
from study.run import Key, RunDirectory
from study.trial import DEATHS_ALLOWED, failed_by
from study.watchdog import Watchdog
from study.work import Job, Work, first_ready


@ray.remote(max_retries=DEATHS_ALLOWED)
def _do(
    work: Work,
    key: Key,
    config: StudyConfig,
    source: Any,  # noqa: ANN401
    run_path: str,
    device: str,
    timeout: float,
) -> dict[str, Any]:
    import time

    run = RunDirectory(Path(run_path))
    done = run.read_cell(key)
    if done is not None:
        return done
    started = time.perf_counter()
    try:
        with Watchdog(run, key, timeout):
            cell = work(key, config, source, run, device)
    except CannotGoOn:
        raise
    except Exception as error:
        cell = {"reason": "error", **failed_by(error)}
    cell["seconds"] = time.perf_counter() - started
    run.write_cell(key, cell)
    return cell


def run_remote(
    jobs: Iterable[Job],
    config: StudyConfig,
    resources: Resources,
    run: RunDirectory,
    source: "ray.ObjectRef[Any]",
    progress: Any,  # noqa: ANN401
    concurrency: int,
) -> None:
    """Do all jobs; a job whose process dies is tried again, and in the end leaves a cell that says so.

    Args:
        jobs: in the order in which they begin, but for those that wait for others.
        config: the study.
        resources: a job gets what one training, or one of its workers, gets.
        run: where the cells go.
        source: the data set in Ray's object store.
        progress: shown to the user.
        concurrency: jobs at a time.

    Raises:
        CannotGoOn: a cell cannot be written, or no node is left.
    """
    device = "cuda" if resources.per_training.get("GPU") else "cpu"
    several = resources.workers_per_trial > 1
    amounts = {
        "num_cpus": resources.cpus_per_worker if several else resources.cpus_per_trial,
        "num_gpus": resources.gpus_per_worker if several else resources.gpus_per_trial,
    }
    waiting = [job for job in jobs if run.read_cell(job.key) is None]
    unfinished = {job.key for job in waiting}
    running: dict[Any, Key] = {}
    nodes = NodeWatch(resources)
    while waiting or running:
        while len(running) < concurrency and (job := first_ready(waiting, unfinished)):
            waiting.remove(job)
            limit = resources.trial_timeout if job.limited else 0.0
            task = _do.options(**amounts).remote(job.work, job.key, config, source, str(run.path), device, limit)
            running[task] = job.key
            progress.started(job.key)
        finished, _ = ray.wait(list(running), num_returns=1, timeout=LOOK_SECONDS)
        nodes.look()
        for answer in finished:
            key = running.pop(answer)
            unfinished.discard(key)
            progress.done(key, _cell(answer, key, run))


def _cell(answer: Any, key: Key, run: RunDirectory) -> Mapping[str, Any]:  # noqa: ANN401
    try:
        cell: Mapping[str, Any] = ray.get(answer)
    except ray.exceptions.RayError as error:
        cause = getattr(error, "cause", None)
        if isinstance(cause, CannotGoOn):
            raise cause from None
        words = f"its process died: {str(error).splitlines()[0]}"
        cell = {"state": "failed", "reason": "process", "error": words, "seconds": float("nan")}
        run.write_cell(key, cell)
    return cell
