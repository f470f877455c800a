"""Attacks on one model: blocks over all cores against the library in one process with one thread, and with all.

    python -m benchmarks.attack_speed [--points 1000] [--eps 0.1] [--epochs 5] [--rounds 3] [--no-curve] [--out FILE]

The library is pyautoattack's AutoAttack, version standard: APGD-CE, targeted APGD-DLR, targeted FAB, Square, each on
the points that still stand, in a process of its own: 250 at a time, as it comes, and 500 at a time, as here. This
project's side is `study.pool` on a local Ray, whose processes are up already, as they are when models are attacked:
one job a block of 500 points. It is measured with the same four attacks, and as it is (with the attacks on five more
losses, and the attack that has to pass the rejector).

Then a curve of four radii with the four attacks: each on its own, against from small to large, where what fell is not
attacked again.

mnist5k, small_cnn, cross-entropy. All sides take turns, `--rounds` times; medians over the rounds are reported, and of
ratios the median of each round's. Prints markdown. Times are of the clock: nothing else should run.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.page import at_least, machine, markdown, publish, targets_table

RADII = (0.05, 0.1, 0.2, 0.3)
BATCHES = (250, 500)
"""Images at a time for the library: its own default, and this project's."""
SAME = "the same four attacks"
WHOLE = "all attacks of standard"


def prepare(path: Path, epochs: int, points: int) -> Any:  # noqa: ANN401
    """Train and measure one model in a run directory; return its config."""
    from study.data.registry import load_source
    from study.measure import evaluate_model
    from study.options import study_config
    from study.run import Key, RunDirectory
    from study.search import training_of
    from study.tasks import get_task
    from study.trial import run_training

    given = {"task": "adversarial", "preset": "quick", "losses": ("ce",), "methods": ("plain",), "epochs": epochs}
    config = study_config({**given, "attacks": "standard", "attack_points": points, "corruption_points": 10})
    source, run = load_source(config.dataset, None), RunDirectory(path)
    key = Key("confirm", "plain", "ce", "tuned", 0, 0)
    training = training_of(dict(get_task(config.task).recipe(source)), key, {}, 0, keep_weights=True)
    cell = run_training(training, config, source, run)
    if cell["state"] != "complete":
        raise RuntimeError(cell["error"])
    run.write_cell(key.at("evaluate"), evaluate_model(key.at("evaluate"), config, source, run, "cpu"))
    return config


def four_only(work: Any, *arguments: Any) -> Any:  # noqa: ANN401
    """Do a piece of work with AutoAttack's own four attacks."""
    from study import attack_block, attack_join
    from study.probes import attack_suite

    extras, long = attack_suite.EXTRAS, attack_block.LONG
    attack_suite.EXTRAS = attack_block.LONG = attack_join.LONG = ()
    try:
        return work(*arguments)
    finally:
        attack_suite.EXTRAS, attack_block.LONG, attack_join.LONG = extras, long, long


def ours(path: Path, config: Any, what: str, eps: tuple[float, ...]) -> tuple[float, dict[float, float]]:  # noqa: ANN401
    """Attack the model over all cores; return the seconds and the robust accuracy at each radius."""
    import ray

    from study.config import Resources
    from study.data.registry import load_source
    from study.ledger import attack_keys
    from study.pool import run_pool
    from study.run import RunDirectory

    config, run, source = replace(config, eps=eps), RunDirectory(path), load_source(config.dataset, None)
    seconds: list[float] = []
    feeds = ((feed, _Silent()) for feed in _warm_and_timed(config, run, source, what, seconds))
    run_pool(feeds, config, Resources(), run, ray.put(source))
    print(f"{what}, {eps}: {seconds[0]:.1f} s", file=sys.stderr, flush=True)
    found = {}
    for key, aim in attack_keys(config, run).items():
        cell = run.read_cell(key) or {}
        values = {row["metric"]: row["value"] for row in cell["rows"] if row["probe"] == "attack"}
        found[aim.eps] = values["robust_accuracy"]
    return seconds[0], found


def _warm_and_timed(config: Any, run: Any, source: Any, what: str, seconds: list[float]) -> Iterator[Any]:  # noqa: ANN401
    """Give the attacks of the largest radius, which bring every process up, then those of `config`; time the latter."""
    import shutil

    from study.attacks import attack_jobs
    from study.work import JobFeed

    for eps in ((RADII[-1],), config.eps):
        for stage in ("block", "attack"):
            shutil.rmtree(run.path / "cells" / stage, ignore_errors=True)
        jobs = [job for job in attack_jobs(replace(config, eps=eps), run, source) if "health" not in job.key.variant]
        if what == SAME:
            jobs = [replace(job, work=partial(four_only, job.work)) for job in jobs]
        started = time.perf_counter()
        yield JobFeed(jobs)
    seconds.append(time.perf_counter() - started)


class _Silent:
    """A progress that shows nothing."""

    def started(self, key: Any) -> None:  # noqa: ANN401
        """Nothing."""

    def done(self, key: Any, cell: Any) -> None:  # noqa: ANN401
        """Nothing."""


def library(path: Path, config: Any, eps: float, threads: int, batch: int) -> tuple[float, float]:  # noqa: ANN401
    """Run the library in a process of its own; return the seconds of the attack and the robust accuracy."""
    points = str(config.attack_points)
    command = [sys.executable, "-m", "benchmarks.attack_speed", "--library", str(path), "--eps", str(eps)]
    done = subprocess.run(
        [*command, "--threads", str(threads), "--batch", str(batch), "--points", points],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    seconds, robust = done.stdout.split()[-2:]
    print(f"library, {threads} threads, {batch} at a time: {float(seconds):.1f} s", file=sys.stderr, flush=True)
    return float(seconds), float(robust)


def run_library(path: Path, eps: float, threads: int, batch: int, points: int) -> None:
    """Attack with the library and print seconds and robust accuracy."""
    import contextlib
    import io

    import torch
    from pyautoattack import AutoAttack

    from study.attack_block import attacked_points
    from study.data.registry import load_source
    from study.measure import load_network
    from study.options import study_config
    from study.run import Key, RunDirectory
    from study.trial import pixels, splits_of

    torch.set_num_threads(threads)
    given = {"task": "adversarial", "preset": "quick", "losses": ("ce",), "methods": ("plain",)}
    config = study_config({**given, "attack_points": points})
    source, key = load_source(config.dataset, None), Key("confirm", "plain", "ce", "tuned", 0, 0)
    model = load_network(config, source, RunDirectory(path), key)
    test = splits_of(key, config, source).test
    chosen = attacked_points(config, len(test), 0)
    images, labels = pixels(test.images[chosen]), torch.tensor(test.labels[chosen])
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    with contextlib.redirect_stdout(io.StringIO()):
        attack = AutoAttack(model, norm="Linf", eps=eps, version="standard", device="cpu", seed=0)
        started = time.perf_counter()
        found, _ = attack.run_standard_evaluation(images, labels, batch_size=batch)
        seconds = time.perf_counter() - started
    with torch.no_grad():
        robust = float((model(found).argmax(1) == labels).float().mean())
    print(seconds, robust)


@dataclass(frozen=True)
class Side:
    """One side of the comparison, measured in every round."""

    name: str
    seconds: list[float]
    robust: float


def measure(path: Path, config: Any, eps: float, rounds: int) -> tuple[dict[int, list[Side]], list[Side]]:  # noqa: ANN401
    """Return the library's runs by batch size, and this project's: all take turns, round by round."""
    cores = len(os.sched_getaffinity(0))
    theirs: dict[tuple[int, int], list[tuple[float, float]]] = {}
    mine: dict[str, list[tuple[float, float]]] = {}
    for _ in range(rounds):
        for batch in BATCHES:
            for threads in dict.fromkeys((1, cores)):
                theirs.setdefault((batch, threads), []).append(library(path, config, eps, threads, batch))
        for what in (SAME, WHOLE):
            seconds, found = ours(path, config, what, (eps,))
            mine.setdefault(what, []).append((seconds, found[eps]))

    def side(name: str, results: list[tuple[float, float]]) -> Side:
        return Side(name, [seconds for seconds, _ in results], results[0][1])

    library_sides = {
        batch: [
            side(f"library, {threads} thread{'s' * (threads > 1)}, {batch} at a time", results)
            for (size, threads), results in theirs.items()
            if size == batch
        ]
        for batch in BATCHES
    }
    return library_sides, [side(f"blocks over {cores} cores, {what}", results) for what, results in mine.items()]


def times_the_better(side: Side, library_sides: list[Side]) -> float:
    """Return the median over rounds of the better library run's seconds over this side's."""
    better = [min(seconds) for seconds in zip(*(other.seconds for other in library_sides), strict=True)]
    return float(statistics.median(a / b for a, b in zip(better, side.seconds, strict=True)))


def curve_line(path: Path, config: Any) -> str:  # noqa: ANN401
    """Measure the curve of four radii both ways and say in a sentence what came out."""
    alone = [ours(path, config, SAME, (radius,)) for radius in RADII]
    seconds, found = ours(path, config, SAME, RADII)
    apart = sum(seconds for seconds, _ in alone)
    shares = ", ".join(f"{radius:g}: {robust[radius]:.1%}" for radius, (_, robust) in zip(RADII, alone, strict=True))
    carried = ", ".join(f"{radius:g}: {value:.1%}" for radius, value in sorted(found.items()))
    return (
        f"Curve of {len(RADII)} radii, {SAME}: one by one {apart:.1f} s ({shares}), "
        f"from small to large {seconds:.1f} s ({carried}): {apart / seconds:.2f} times as fast."
    )


def report(points: int, eps: float, epochs: int, rounds: int, curve: bool) -> list[str]:
    """Measure, and return the parts of the markdown."""
    import ray

    from study.cluster import connect
    from study.config import Resources
    from study.environment import prepare as quiet

    quiet(False)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "run"
        config = prepare(path, epochs, points)
        connect(Resources())
        theirs, mine = measure(path, config, eps, rounds)
        line = curve_line(path, config) if curve else ""
        ray.shutdown()
    header = ["", "seconds", "points a second", "robust accuracy"]
    header += [f"times the better library run, {batch} at a time" for batch in BATCHES]
    rows = []
    for side in [*(side for sides in theirs.values() for side in sides), *mine]:
        seconds = statistics.median(side.seconds)
        times = [f"{times_the_better(side, theirs[batch]):.2f}" for batch in BATCHES]
        rows.append([side.name, f"{seconds:.1f}", f"{points / seconds:.0f}", f"{side.robust:.1%}", *times])
    targets = [at_least(f"{SAME}, times the better run of the library as it comes", float(rows[-2][4]), 1.8)]
    return [
        "# Attacks over all cores",
        f"{machine('all used')}. {points} points, Linf {eps:g}, mnist5k, small_cnn.",
        markdown(header, rows),
        targets_table(targets),
        *([line] if line else []),
    ]


def main() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", type=int, default=1000)
    parser.add_argument("--eps", type=float, default=0.1)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--no-curve", action="store_true", help="leave out the curve of four radii")
    parser.add_argument("--threads", type=int, default=1, help=argparse.SUPPRESS)
    parser.add_argument("--batch", type=int, default=BATCHES[0], help=argparse.SUPPRESS)
    parser.add_argument("--library", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path)
    values = parser.parse_args()
    if values.library:
        run_library(values.library, values.eps, values.threads, values.batch, values.points)
        return
    publish(report(values.points, values.eps, values.epochs, values.rounds, not values.no_curve), values.out)


if __name__ == "__main__":
    main()
