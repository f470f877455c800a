"""The stages: plain functions over a run directory. Each asks what is missing, makes it, and writes it down."""

import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray

from study.attacks import attack_jobs
from study.cluster import Gauges
from study.config import Resources, StudyConfig
from study.confirm import confirm_trainings, rescore_trainings, sweep_trainings
from study.cost import cost_key, measure_cost
from study.data.types import Source
from study.ledger import evaluation_keys
from study.measure import evaluate_model
from study.pool import Feed, ListFeed, run_pool
from study.progress import StageProgress, totals_by_loss
from study.run import RunDirectory
from study.search import SearchFeed, starting_counts
from study.tasks import get_task
from study.trial import Training, splits
from study.work import Job, JobFeed


@dataclass
class Context:
    """What every stage needs."""

    config: StudyConfig
    resources: Resources
    run: RunDirectory
    source: Source
    study: dict[str, Any]
    """study.json, kept as it grows."""
    reference: Any = None
    """The data set in Ray's object store."""
    gauges: Gauges | None = None
    whole: Path | None = None
    """The directory of several runs that this one is part of."""
    data_dir: Path | None = None
    """Where downloaded data are, if the user said so."""

    @property
    def recipe(self) -> dict[str, Any]:
        """The literature recipe of the data set."""
        return dict(get_task(self.config.task).recipe(self.source))


@contextmanager
def stage(context: Context, name: str) -> Iterator[None]:
    """Time a stage, and write that down even if it is interrupted."""
    started = time.perf_counter()
    try:
        yield
    finally:
        spent = context.study.setdefault("stages", {})
        spent[name] = spent.get(name, 0.0) + time.perf_counter() - started
        context.run.write_study(context.study)


def _progress(
    context: Context, name: str, totals: dict[str, int], done: dict[str, int], metric: str = ""
) -> StageProgress:
    gauges = context.gauges
    report: Callable[..., None] | None = None
    if gauges is not None:
        report = lambda loss, values: gauges.set(name, loss, values)  # noqa: E731
    return StageProgress(name, totals, metric=metric, done=done, gauges=report)


def trainings(context: Context) -> Generator[tuple[Feed, StageProgress], None, None]:
    """Give one stage of training after the other; each is made when the one before it is done.

    Search every (method, loss, replicate) at the same pace, score the best trials again, retrain the arms with fresh
    seeds, map the margin.
    """
    config, run, recipe = context.config, context.run, context.recipe
    num_classes = len(splits(config, context.source, 0, final=True).classes)
    yield from _search(context)
    yield from _listed(context, "rescore", rescore_trainings(config, run, recipe))
    yield from _listed(context, "confirm", confirm_trainings(config, run, recipe, num_classes))
    yield from _listed(context, "sweep", sweep_trainings(config, run, recipe))


def _search(context: Context) -> Iterator[tuple[Feed, StageProgress]]:
    config, run, budget = context.config, context.run, context.study["budget"]
    counts = starting_counts(config, context.source)
    searches = {loss: config.replicates * sum(other == loss for _, other in config.pairs) for loss in config.losses}

    def lowered(trials: int, reason: str) -> None:
        budget.update(trials=trials * config.replicates, reason=reason)
        run.write_study(context.study)
        progress.lower({loss: trials * count for loss, count in searches.items()})

    fixed = budget["trials"] // config.replicates if budget["trials"] else None
    with stage(context, "search"):
        feed = SearchFeed(config, run, context.recipe, counts, trials=fixed, lowered=lowered)
        done = {loss: sum(len(s.finished) for s in feed.searches if s.loss == loss) for loss in config.losses}
        totals = {loss: feed.trials * count for loss, count in searches.items()}
        with _progress(context, "search", totals, done, config.objective) as progress:
            yield feed, progress


def _listed(context: Context, name: str, trainings: list[Training]) -> Iterator[tuple[Feed, StageProgress]]:
    if trainings:
        totals = totals_by_loss(training.key for training in trainings)
        with stage(context, name), _progress(context, name, totals, {}, context.config.objective) as progress:
            yield ListFeed(trainings), progress


def measurements(context: Context) -> Generator[tuple[Feed, StageProgress], None, None]:
    """Give one stage after the other of what is measured on retrained models, each when the one before it is done."""
    config, run = context.config, context.run
    yield from _jobs(context, "cost", [Job(cost_key(config), measure_cost, limited=True)])
    yield from _jobs(context, "evaluate", [Job(key, evaluate_model) for key in evaluation_keys(config, run)])
    yield from _jobs(context, "attack", attack_jobs(config, run, context.source))


def _jobs(context: Context, name: str, jobs: list[Job]) -> Iterator[tuple[Feed, StageProgress]]:
    missing = [job for job in jobs if context.run.read_cell(job.key) is None]
    if missing:
        totals = totals_by_loss(job.key for job in missing)
        with stage(context, name), _progress(context, name, totals, {}) as progress:
            yield JobFeed(missing), progress


def _everything(context: Context) -> Generator[tuple[Feed, StageProgress], None, None]:
    yield from trainings(context)
    yield from measurements(context)


def _do(context: Context, feeds: Generator[tuple[Feed, StageProgress], None, None], resources: Resources) -> None:
    with closing(feeds):  # its stage hears of an interruption at once
        run_pool(feeds, context.config, resources, context.run, context.reference)


def place_data(context: Context) -> None:
    """Put the data set into Ray's object store, once, and open the metrics."""
    context.gauges = Gauges(context.config.task)
    context.source.fingerprint()
    context.reference = ray.put(context.source)


def run_all(context: Context) -> None:
    """Search, confirm and evaluate: whatever is missing."""
    place_data(context)
    resources, single = context.resources, context.resources.per_worker()
    if resources == single:
        _do(context, _everything(context), resources)
    else:
        _do(context, trainings(context), resources)
        _do(context, measurements(context), single)


def evaluate_only(context: Context) -> None:
    """Measure and attack what was confirmed: whatever is missing."""
    place_data(context)
    _do(context, measurements(context), context.resources)
