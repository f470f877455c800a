"""One Tune run over everything: reused processes, no core idle, every cell handed back as it is done.

A `Feed` says what to do next and takes the cells. Search, re-scoring, retraining and the sweep are feeds of trainings,
measuring and attacking feeds of jobs; none of them knows Ray.
"""

import contextlib
import logging
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import ray
from ray import tune
from ray.tune.execution import tune_controller
from ray.tune.search import Searcher

from study.config import DRIVER_CPU, Resources, StudyConfig
from study.data.types import Source
from study.errors import CannotGoOn, InputError
from study.nodes import NodeWatch, concurrency
from study.progress import StageProgress
from study.ranks import rank_groups, train_ranks
from study.run import Key, RunDirectory, write_atomic
from study.trial import DEATHS_ALLOWED, Training, failed_by, failed_cell, run_training
from study.watchdog import end_if_gpu_is_lost
from study.work import Job, do_job

if TYPE_CHECKING:
    from ray.actor import ActorHandle

REPORT_SECONDS = 5.0
"""Least time between two reports of one training: it stands still until the driver has taken one."""
IDLE_DEATHS_ALLOWED = 8
"""So often work may be given to a process that is not there any more: as idle ones of a lost node are not."""


class Feed(Protocol):
    """What a pool does: trainings or jobs, of one kind, called work here."""

    def next(self) -> Training | Job | None:
        """Return the next work; None while there is nothing to start before another one ends."""
        ...

    def finished(self) -> bool:
        """Say whether nothing will follow any more."""
        ...

    def done(self, work: Any, cell: dict[str, Any]) -> None:  # noqa: ANN401
        """Take finished work's cell."""
        ...


class ListFeed:
    """A feed of trainings that are known beforehand."""

    def __init__(self, trainings: list[Training]) -> None:
        self.waiting = list(reversed(trainings))

    def next(self) -> Training | None:
        """Return the next one."""
        return self.waiting.pop() if self.waiting else None

    def finished(self) -> bool:
        """Say whether all were handed out."""
        return not self.waiting

    def done(self, training: Training, cell: dict[str, Any]) -> None:
        """Nothing depends on it."""


class _FeedSearcher(Searcher):
    """Ray Tune's view of feeds that follow one another."""

    def __init__(
        self, feeds: Iterator[tuple[Feed, StageProgress]], run: RunDirectory, places: Callable[[], int]
    ) -> None:
        super().__init__(metric="done", mode="max")
        self.feeds, self.run, self.places = feeds, run, places
        self.at_a_time = 1
        self.running: dict[str, Training | Job] = {}
        self.current = self._next_feed()
        self.trouble: Exception | None = None
        self.again: list[Training | Job] = []
        self.deaths: Counter[Key] = Counter()
        self.begun: set[str] = set()
        """Tune's trials whose process was there when they were given to it."""
        self.idle_deaths: Counter[Key] = Counter()
        self.alone = False
        """Whether only what is tried again is given now, one at a time."""

    def set_max_concurrency(self, max_concurrent: int) -> bool:
        """Say that this keeps to a limit itself: it changes with the cluster, and Tune's does not."""
        return True

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """Give Tune the next work; the next feed begins when all of this one's is done."""
        try:
            return self._suggest(trial_id)
        except Exception as error:  # Tune would take it for the trial's; `_Watch` raises it between two steps
            self.trouble = self.trouble or error
            return None

    def _suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        if len(self.running) >= (1 if self.alone else self.at_a_time):
            return None
        if self.again:
            return self._start(trial_id, self.again.pop(0))
        if self.alone:
            return None if self.running else Searcher.FINISHED
        while self.current is not None:
            work = self.current[0].next()
            if work is not None:
                return self._start(trial_id, work)
            if self.running or not self.current[0].finished():
                return None
            self.current = self._next_feed()
        return Searcher.FINISHED

    def _next_feed(self) -> tuple[Feed, StageProgress] | None:
        with contextlib.suppress(InputError):  # there is no room at all just now: `_Watch` waits for it
            self.at_a_time = self.places()
        return next((one for one in self.feeds if not one[0].finished()), None)

    def _start(self, trial_id: str, work: Training | Job) -> dict[str, Any]:
        self.running[trial_id] = work
        if self.current is not None:
            self.current[1].started(work.key)
        return {"training": work.to_dict()} if isinstance(work, Training) else {"job": work}

    def evicted(self) -> None:
        """Take back what ran when Ray ended processes for want of memory."""
        interrupted, self.running = self.running, {}
        for trial_id, work in interrupted.items():
            self._ended(trial_id, work)

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Show how far a training is."""
        if trial_id in self.running and self.current is not None and "epoch" in result:
            self.current[1].epoch(self.running[trial_id].key, result["epoch"])

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Hand the cell back, or try again what was at work in a process that died.

        Tune's own retries are not used: it takes a process that dies between two trainings for two failures.
        """
        work = self.running.pop(trial_id, None)
        if work is None:  # Tune comes back to a trial whose first completion went wrong
            return
        try:
            if result and "trouble" in result:
                raise CannotGoOn(result["trouble"])
            self._ended(trial_id, work, finished=bool(result) and not error)
        except Exception as error:  # as above
            self.trouble = self.trouble or error

    def _ended(self, trial_id: str, work: Training | Job, finished: bool = False) -> None:
        begun = trial_id in self.begun
        self.begun.discard(trial_id)
        cell = self.run.awaited_cell(work.key) if finished else self.run.read_cell(work.key)
        if cell is None and finished:
            raise CannotGoOn(f"{work.key} is done, but not seen here: do all nodes write to the same {self.run.path}?")
        if cell is None and not begun and self.idle_deaths[work.key] < min(self.at_a_time, IDLE_DEATHS_ALLOWED):
            self.idle_deaths[work.key] += 1
            self.again.append(work)
            return
        if cell is None:
            self.deaths[work.key] += 1
            if self.deaths[work.key] <= DEATHS_ALLOWED:
                self.again.append(work)
                return
            error = f"its process died {DEATHS_ALLOWED + 1} times (memory exhausted, killed, GPU or node lost)"
            cell = failed_cell(work.described(), {"reason": "process", "error": error})
            self.run.write_cell(work.key, cell)
        if self.current is not None:
            feed, progress = self.current
            feed.done(work, cell)
            progress.done(work.key, cell)

    def __getstate__(self) -> dict[str, Any]:
        """Give Tune's snapshots nothing: what is done is in cells and optuna.db."""
        return {}

    def save(self, checkpoint_path: str) -> None:
        """Tune's own snapshots are not used: cells and optuna.db say what is done."""
        Path(checkpoint_path).touch()

    def restore(self, checkpoint_path: str) -> None:
        """Tune's own snapshots are not used."""


class _Watch(tune.Callback):
    """Between two steps of Tune: what the searcher does not hear from Tune, and what ends the run."""

    def __init__(self, searcher: _FeedSearcher, nodes: NodeWatch) -> None:
        self.searcher, self.nodes = searcher, nodes

    def __getstate__(self) -> dict[str, Any]:
        """Give Tune's snapshots nothing, as the searcher does."""
        return {}

    def on_step_begin(self, iteration: int, trials: list[Any], **info: Any) -> None:  # noqa: ANN401
        """Raise what the searcher could not, and look at the nodes."""
        if self.searcher.trouble is not None:
            raise self.searcher.trouble
        running = set(self.searcher.running)
        for trial in reversed(trials):  # what runs is among the last of thousands
            if not running:
                break
            if trial.trial_id in running:
                running.discard(trial.trial_id)
                if trial.status == trial.ERROR:  # Tune says nothing of work that it could not give to an idle process
                    self.searcher.on_trial_complete(trial.trial_id, error=True)
        self.nodes.look()

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:  # noqa: ANN401
        """Note that its process is there."""
        self.searcher.begun.add(trial.trial_id)


class _Kept(tune_controller._ObjectCache):
    """Keeps every idle process until there is nothing more to do.

    Tune's own keeps one while it does not know what comes next, so that all others would start anew with each stage.
    """

    def cache_object(self, key: Any, obj: Any) -> bool:  # noqa: ANN401
        """Keep it."""
        self._cached_objects[key].append(obj)
        self._num_cached_objects += 1
        return True

    def flush_cached_objects(self, force_all: bool = False) -> Iterator[Any]:
        """Give up none, or at the end all."""
        return super().flush_cached_objects(force_all=True) if force_all else iter(())


@contextlib.contextmanager
def _processes_kept() -> Iterator[None]:
    """Let Tune keep what is idle by way of `_Kept`."""
    before, tune_controller._ObjectCache = tune_controller._ObjectCache, _Kept
    try:
        yield
    finally:
        tune_controller._ObjectCache = before


def run_pool(
    feeds: Iterator[tuple[Feed, StageProgress]],
    config: StudyConfig,
    resources: Resources,
    run: RunDirectory,
    source: "ray.ObjectRef[Source]",
) -> None:
    """Do whatever the feeds give, one feed after the other, in the same processes.

    Work whose process dies is tried again, twice at most; where Ray ended processes for want of memory, what ran is
    tried again one at a time before the others go on.

    Args:
        feeds: what to do, and what shows it. If trainings are to have several workers, all of it are trainings.
        config: the study.
        resources: what one training or job may use.
        run: where cells go.
        source: the data set in Ray's object store, one copy per node.
    """
    several = resources.workers_per_trial > 1
    fixed = concurrency(resources)
    searcher = _FeedSearcher(feeds, run, lambda: fixed if several else concurrency(resources))
    amounts = {"CPU": DRIVER_CPU} if several else {k: v for k, v in resources.per_training.items() if v}
    if searcher.current is None:
        return
    groups = rank_groups(config, source, run, resources, fixed) if several else contextlib.nullcontext()
    with _quiet(resources.verbose), groups as post:
        trainable = tune.with_parameters(
            _trial, config=config, resources=resources, run_path=str(run.path), source=[source], post=[post]
        )
        while searcher.current is not None or searcher.again:
            try:
                _tune(searcher, tune.with_resources(trainable, amounts), resources, run)
            except RuntimeError as error:  # Tune's own, for what no trial of it expects
                if not isinstance(error.__cause__, ray.exceptions.OutOfMemoryError):
                    raise
                searcher.evicted()
                searcher.alone = True  # which of them asked for too much cannot be told
            else:
                searcher.alone = False


def _tune(searcher: _FeedSearcher, trainable: Any, resources: Resources, run: RunDirectory) -> None:  # noqa: ANN401
    """Let Ray Tune do what the searcher gives."""
    tuner = tune.Tuner(
        trainable,
        tune_config=tune.TuneConfig(
            search_alg=searcher,
            num_samples=-1,
            max_concurrent_trials=searcher.at_a_time,
            reuse_actors=True,
            trial_name_creator=_trial_name,
            trial_dirname_creator=_trial_name,
        ),
        run_config=tune.RunConfig(
            name="trainings",
            storage_path=str(run.path / "tune"),
            verbose=1 if resources.verbose else 0,
            failure_config=tune.FailureConfig(max_failures=0),
            checkpoint_config=tune.CheckpointConfig(num_to_keep=1),
            callbacks=[_Watch(searcher, NodeWatch(resources))],
        ),
    )
    try:
        with _processes_kept():
            tuner.fit()
    except CannotGoOn:
        raise
    except Exception:
        write_atomic(run.path / "tune" / ".written", b"")  # Tune says nothing clear of a disk that is full
        raise
    if searcher.trouble is not None:
        raise searcher.trouble


def _trial_name(trial: Any) -> str:  # noqa: ANN401
    key = _work(trial.config).key
    return f"{key.stage}~{key.name}"


def _work(values: Mapping[str, Any]) -> Training | Job:
    return Training.from_dict(values["training"]) if "training" in values else values["job"]


def _trial(
    values: dict[str, Any],
    *,
    config: StudyConfig,
    resources: Resources,
    run_path: str,
    source: list[Any],
    post: "list[ActorHandle[Any] | None]",
) -> None:
    """Do one piece of work in a Tune process and report that it is done.

    `source` is a reference in a list: so it is handed on as it is, and the data are read in place, not copied. `post`
    is where to leave a training for several ranks, or None.
    """
    run = RunDirectory(Path(run_path))
    last = time.monotonic()

    def report(metrics: dict[str, Any]) -> None:
        nonlocal last
        if time.monotonic() - last > REPORT_SECONDS:
            last = time.monotonic()
            tune.report({"done": 0, "epoch": int(metrics["epoch"])})

    trouble = {}
    try:
        _make_cell(_work(values), config, resources, run, source[0], post[0], report)
    except CannotGoOn as error:
        trouble = {"trouble": str(error)}
    tune.report({"done": 1, **trouble})


def _make_cell(
    work: Training | Job,
    config: StudyConfig,
    resources: Resources,
    run: RunDirectory,
    source: "ray.ObjectRef[Source]",
    post: "ActorHandle[Any] | None",
    report: Callable[[dict[str, Any]], None],
) -> None:
    """Work in this process, or let several train; what the machinery around it raises is a cell too."""
    timeout, device = resources.trial_timeout, "cuda" if resources.gpus_per_trial else "cpu"
    try:
        if isinstance(work, Job):
            do_job(work, config, ray.get(source), run, device=device, timeout=timeout)
        elif post is not None:
            train_ranks(work, run, post)
        else:
            run_training(work, config, ray.get(source), run, timeout=timeout, report=report, device=device)
    except CannotGoOn:
        raise
    except Exception as error:
        end_if_gpu_is_lost(device)
        if run.read_cell(work.key) is None:
            run.write_cell(work.key, failed_cell(work.described(), failed_by(error)))


@contextlib.contextmanager
def _quiet(verbose: bool) -> Iterator[None]:
    """Keep Ray's own chatter away from the terminal; what matters is in the cells."""
    if verbose:
        yield
        return
    loggers = [logging.getLogger(name) for name in ("ray", "ray.tune", "ray.train")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
