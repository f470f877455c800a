"""The search: finished trials an hour against plain Optuna around the same training, and what an empty trial costs.

    python -m benchmarks.search_speed [--quick] [--out FILE]

Trials an hour: mnist5k, small_cnn, hem, the preset quick. This project's side is `study.pool` with a `SearchFeed` on a
local Ray with every core, once its processes are up. Then plain Optuna, in memory, in a process of its own, tries the
very same points with `study.training.fit` on the same images: one after the other with one thread and with all cores,
and with `n_jobs` = cores and one thread each. All sides take turns. (Quick: 5 epochs and few trainings.) As many of the
one-thread searches as there are cores, at once and with nothing to do with each other, say what the machine can gain.

Empty trials: a trial writes a made-up cell and is done. Studies of 50 and of 2,000 (quick: 300), all of 10 trials a
search; cost is from opening the searches to the last cell, without the start of Ray and of its processes. Memory is the
resident one of the process that drives the study.

Prints markdown. Times are of the clock: nothing else should run. What Ray's processes are compared with has their low
priority (nice 15). In full about 20 minutes on two cores, quick about 2.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.page import Target, arguments, at_least, at_most, machine, markdown, publish, targets_table

CORES = os.cpu_count() or 1
TRIALS_A_SEARCH = 10
FEW = 50
RAY_NICENESS = 15
WARM = "sweep"
"""Stage of the trainings that bring the processes up: one that a search does not look at."""
ONE_THREAD, ALL_THREADS, JOBS = "Optuna, one thread", f"Optuna, {CORES} threads", f"Optuna, n_jobs={CORES}"
PEERS = {ONE_THREAD: (1, 1), ALL_THREADS: (CORES, 1), JOBS: (1, CORES)}
"""Name → (threads, jobs)."""


def config_of(losses: int, replicates: int, trials: int, epochs: int = 0) -> Any:  # noqa: ANN401
    """Return a study of so many trials a search and so many epochs; 0: the preset's."""
    from study.options import study_config

    names = ("hem", "ce", "mm", "hem+", "logit_adjusted")[:losses]
    return study_config(
        {
            "task": "imbalanced",
            "preset": "quick",
            "losses": names,
            "replicates": replicates,
            "trials": trials * replicates,
            **({"epochs": epochs} if epochs else {}),
        }
    )


def empty_trial(values: dict[str, Any], *, run_path: str, **_: Any) -> None:  # noqa: ANN401
    """Stand in for `study.pool._trial`: write a cell, train nothing."""
    from ray import tune

    from study.run import RunDirectory
    from study.trial import Training

    training = Training.from_dict(values["training"])
    content = {k: v for k, v in training.to_dict().items() if k != "key"}
    cell = {"state": "complete", "objective": training.recipe["momentum"], "seconds": 0.0, "training": content}
    RunDirectory(Path(run_path)).write_cell(training.key, cell)
    tune.report({"done": 1})


@dataclass
class Watched:
    """A feed whose clock and memory are read, after some trainings that bring every process up."""

    feed: Any
    warm: list[Any]
    began: float = 0.0
    ended: list[float] = field(default_factory=list)
    memory: list[int] = field(default_factory=list)
    cells: list[dict[str, Any]] = field(default_factory=list)

    def next(self) -> Any:  # noqa: ANN401
        """Return the next training."""
        if self.warm:
            return self.warm.pop()
        self.began = self.began or time.perf_counter()
        return self.feed.next()

    def finished(self) -> bool:
        """Say whether nothing will follow."""
        return not self.warm and self.feed.finished()

    def done(self, training: Any, cell: dict[str, Any]) -> None:  # noqa: ANN401
        """Take a cell, and read clock and memory."""
        import psutil

        if training.key.stage == WARM:
            return
        self.feed.done(training, cell)
        self.ended.append(time.perf_counter())
        self.memory.append(psutil.Process().memory_info().rss)
        self.cells.append(cell)


def drive(config: Any, path: Path, trial: Callable[..., None] | None, warm: int) -> tuple[Watched, float, float]:  # noqa: ANN401
    """Search in a fresh run directory; return the feed, the seconds to open it, and those until a process was up.

    Args:
        config: the study.
        path: where the run goes.
        trial: in place of the pool's own; None leaves it.
        warm: so many trainings come first, to bring every process up.
    """
    import io

    import ray
    from rich.console import Console

    from study import pool
    from study.config import Resources
    from study.progress import StageProgress
    from study.run import Key, RunDirectory
    from study.search import SearchFeed, starting_counts, training_of
    from study.tasks import get_task

    source, run = source_of(config), RunDirectory(path)
    recipe = dict(get_task(config.task).recipe(source))
    counts = starting_counts(config, source)
    quiet = Console(file=io.StringIO(), force_terminal=True)  # a bar, as a user sees it, but nowhere
    loss = config.losses[0]
    first = [training_of(recipe, Key(WARM, "plain", loss, "", 0, number), {}, 0) for number in range(warm)]
    path.mkdir(parents=True)
    opening, own = time.perf_counter(), pool._trial
    watched = Watched(SearchFeed(config, run, recipe, counts, trials=config.trials_per_search), first)
    begun = time.perf_counter()

    def feeds() -> Iterator[tuple[Any, StageProgress]]:
        totals = {loss: config.trials for loss in config.losses}
        with StageProgress("search", totals, metric=config.objective, console=quiet) as progress:
            yield watched, progress

    try:
        pool._trial = trial or own
        pool.run_pool(feeds(), config, Resources(), run, ray.put(source))
    finally:
        pool._trial = own
    return watched, begun - opening, watched.began - begun


def source_of(config: Any) -> Any:  # noqa: ANN401
    from study.data.registry import load_source

    return load_source(config.dataset, None)


def peer(points: list[dict[str, Any]], epochs: int, threads: int, jobs: int) -> float:
    """Try points with plain Optuna around `study.training.fit`; return the seconds."""
    import optuna
    import torch

    from hem.registry import get_loss
    from study.search import split_point
    from study.spaces import distributions
    from study.tasks import get_task
    from study.training import NonFiniteLoss, Recipe, fit
    from study.trial import build_network, splits

    torch.set_num_threads(threads)
    config = config_of(1, 1, len(points), epochs)
    source, task = source_of(config), get_task(config.task)
    data, loss = splits(config, source, 0, final=False), config.losses[0]
    space, recipe = distributions(loss), dict(task.recipe(source))

    def objective(trial: optuna.Trial) -> float:
        point = {name: trial._suggest(name, distribution) for name, distribution in space.items()}
        shared, own = split_point(point)
        module = get_loss(loss).build(data.class_counts, **own)
        how = Recipe(**{**recipe, **shared, "epochs": config.epochs})
        network = build_network(config, data, loss, 0)
        try:
            for metrics, _ in fit(network, module, data.train, data.validation, how, seed=0, score=task.score):
                last = metrics
        except NonFiniteLoss as error:
            raise optuna.TrialPruned from error
        return float(last[f"validation_{config.objective}"])

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    optuna_study = optuna.create_study(direction="maximize")
    for point in points:
        optuna_study.enqueue_trial(point)
    objective(optuna.trial.FixedTrial(points[0]))  # what is made at the first training
    begun = time.perf_counter()
    optuna_study.optimize(objective, n_trials=len(points), n_jobs=jobs)
    return time.perf_counter() - begun


def peer_elsewhere(points: list[dict[str, Any]], epochs: int, threads: int, jobs: int, folder: Path) -> float:
    """Do `peer` in a process of its own."""
    file = folder / "points.json"
    file.write_text(json.dumps(points))
    line = [sys.executable, "-m", "benchmarks.search_speed", "--peer", str(file), *map(str, (epochs, threads, jobs))]
    return float(subprocess.run(line, check=True, capture_output=True, text=True).stdout.splitlines()[-1])


def peers_apart(points: list[dict[str, Any]], epochs: int, folder: Path) -> float:
    """Do `peer` with one thread in as many processes as there are cores, at once; return the seconds of the slowest."""
    folders = [folder / f"apart{number}" for number in range(CORES)]
    for one in folders:
        one.mkdir(exist_ok=True)
    with ThreadPoolExecutor(CORES) as pool:
        return max(pool.map(lambda one: peer_elsewhere(points, epochs, 1, 1, one), folders))


def throughput(folder: Path, trials: int, epochs: int, rounds: int) -> tuple[str, list[Target]]:
    """Return the table of trials an hour."""
    from study.search import point_of

    ours, apart = "this project", []
    times: dict[str, list[float]] = {name: [] for name in (ours, *PEERS)}
    for number in range(rounds):
        feed, _, _ = drive(config_of(1, 1, trials, epochs), folder / f"run{number}", None, warm=CORES)
        times[ours].append(feed.ended[-1] - feed.began)
        points = [point_of(cell) for cell in feed.cells]
        for name, (threads, jobs) in PEERS.items():
            times[name].append(peer_elsewhere(points, epochs, threads, jobs, folder))
        apart.append(CORES * times[ONE_THREAD][-1] / peers_apart(points, epochs, folder))
    speed = {name: 3600 * trials / min(values) for name, values in times.items()}
    ratios = {
        name: statistics.median(b / a for a, b in zip(times[ours], values, strict=True))
        for name, values in times.items()
    }
    rows = [[name, f"{speed[name]:,.0f}", f"{ratios[name]:.2f}"] for name in times]
    best = min((ALL_THREADS, JOBS), key=lambda name: ratios[name])
    table = markdown(["search", "finished trials an hour", "this project / it"], rows)
    limit = (
        f"{CORES} searches of one thread at once that have nothing to do with each other gain "
        f"{statistics.median(apart):.2f} on this machine."
    )
    return f"{table}\n\n{limit}", [
        at_least(f"trials an hour / the better of Optuna's ({best})", ratios[best], 1.0),
        at_least(f"trials an hour / {ONE_THREAD}", ratios[ONE_THREAD], 1.8),
    ]


def empty(folder: Path, many: int) -> tuple[str, list[Target]]:
    """Return the table of empty trials."""
    rows, cost, growth = [], {}, 0.0
    for number, trials in enumerate((FEW, many, FEW)):
        replicates = trials // (5 * TRIALS_A_SEARCH)
        config = config_of(5, replicates, TRIALS_A_SEARCH)
        feed, opening, up = drive(config, folder / f"empty{number}", empty_trial, warm=CORES)
        spent = opening + feed.ended[-1] - feed.began
        cost.setdefault(trials, []).append(spent / trials)
        early, late = feed.memory[min(FEW, trials) - 1], feed.memory[-1]
        growth = max(growth, late / early)
        row = [f"{trials:,}", f"{spent / trials:.4f}", f"{opening:.1f}", f"{up:.1f}"]
        rows.append([*row, f"{early / 1e6:.0f}", f"{late / 1e6:.0f}"])
    header = ["empty trials", "s a trial", "of it opening, s", "until processes are up, s", "MB at 50", "MB at the end"]
    few = statistics.mean(cost[FEW])
    return markdown(header, rows), [
        at_most("cost of an empty trial", max(few, *cost[many]), 0.1, " s"),
        at_most(f"cost of a trial, {many:,} / {FEW}", cost[many][0] / few, 1.2),
        at_most(f"memory of the driver, trial {many:,} / {FEW}", growth, 1.2),
    ]


def report(quick: bool) -> list[str]:
    import ray

    parts, found = ["# Speed of the search", machine("all cores used")], []
    ray.init(num_cpus=CORES, log_to_driver=False, logging_level="ERROR")
    try:
        with tempfile.TemporaryDirectory() as name:
            for text, targets in (
                throughput(Path(name), *((8, 5, 1) if quick else (40, 0, 3))),
                empty(Path(name), 300 if quick else 2000),
            ):
                parts.append(text)
                found += targets
    finally:
        ray.shutdown()
    return [*parts, targets_table(found)]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--peer", nargs=4, metavar=("POINTS", "EPOCHS", "THREADS", "JOBS"), help=argparse.SUPPRESS)
    values = arguments(__doc__, parser)
    if values.peer:
        os.nice(RAY_NICENESS)
        file, *numbers = values.peer
        print(peer(json.loads(Path(file).read_text()), *map(int, numbers)))
        return
    from study.environment import prepare

    prepare(verbose=False)
    publish(report(values.quick), values.out)


if __name__ == "__main__":
    main()
