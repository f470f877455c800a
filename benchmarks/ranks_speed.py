"""Trainings as two data-parallel ranks: how long they take to start, and what they gain.

    python -m benchmarks.ranks_speed [--quick] [--out FILE]

Through `study.ranks` (Ray Train) on a local Ray, as `--workers-per-trial 2` does: resnet20 on random colour images of
32x32, batch 128, each rank with one thread, against the same training in one process with one thread; the two take
turns. A group of ranks is started once and trains one training after another, here three. Start-up is all time from
asking for a training to its cell that is not an epoch's: for the first one Ray is up, the group's processes are not.
Gain is the median time of an epoch in one process / that on two ranks, without a training's first epoch, in which
memory is fetched. What the machine's two cores are worth is measured beside it: twice the same training at once, in
processes that have nothing to do with each other.

Prints markdown. Times are of the clock: nothing else should run. What Ray's processes are compared with has their low
priority (nice 15). In full about 9 minutes on two cores, quick about 1.
"""

import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.page import Target, arguments, at_least, at_most, machine, markdown, publish, targets_table

RANKS, TRAININGS, RAY_NICENESS = 2, 3, 15
IMAGES, CLASSES, BATCH = 2048, 10, 128
STARTED_LIMIT, GAIN_LIMIT = 8.0, 1.6


def write_images(path: Path, images: int) -> None:
    """Write random colour images as a data set of the study's."""
    generator = np.random.default_rng(0)
    arrays = {}
    for part, count in (("train", images), ("test", 100)):
        arrays[f"x_{part}"] = generator.integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)
        arrays[f"y_{part}"] = np.arange(count) % CLASSES
    np.savez(path, **arrays)


def prepared(folder: Path, images: int, epochs: int) -> tuple[Any, Any, Any]:
    """Return (config, source, recipe) of a training of resnet20."""
    from study.data.registry import load_source
    from study.options import study_config
    from study.tasks import get_task

    file = folder / "images.npz"
    if not file.exists():
        write_images(file, images)
    config = study_config(
        {
            "task": "classification",
            "preset": "quick",
            "dataset": f"npz:{file}",
            "model": "resnet20",
            "losses": ("hem",),
            "epochs": epochs,
        }
    )
    source = load_source(config.dataset, None)
    recipe = {**get_task(config.task).recipe(source), "batch_size": BATCH, "augmentation": "none"}
    return config, source, recipe


def training_of(recipe: dict[str, Any], number: int) -> Any:  # noqa: ANN401
    from study.run import Key
    from study.search import training_of

    return training_of(recipe, Key("confirm", "plain", "hem", "default", 0, number), {}, 0)


def epoch_seconds(cell: dict[str, Any]) -> float:
    if cell["state"] != "complete":
        raise RuntimeError(cell["error"])
    return statistics.median(epoch["seconds"] for epoch in cell["epochs"][1:])


def alone(folder: Path, images: int, epochs: int) -> float:
    """Return the seconds of an epoch in one process with one thread."""
    import torch

    from study.run import RunDirectory
    from study.trial import run_training

    torch.set_num_threads(1)
    config, source, recipe = prepared(folder, images, epochs)
    with tempfile.TemporaryDirectory() as name:
        return epoch_seconds(run_training(training_of(recipe, 0), config, source, RunDirectory(Path(name))))


def separate(processes: int, *where: str) -> float:
    """Return the median seconds of an epoch of trainings at once that have nothing to do with each other."""
    line = [sys.executable, "-m", "benchmarks.ranks_speed", "--alone", *where]
    started = [subprocess.Popen(line, stdout=subprocess.PIPE, text=True) for _ in range(processes)]
    said = [process.communicate()[0] for process in started]
    if any(process.returncode for process in started):
        raise RuntimeError("a training in a process of its own failed; its words are above")
    return statistics.median(float(words.splitlines()[-1]) for words in said)


@dataclass
class Group:
    """What was measured on a group of ranks."""

    starts: list[float] = field(default_factory=list)
    """Seconds of each training that were not an epoch's."""
    turns: list[tuple[float, float]] = field(default_factory=list)
    """Seconds of an epoch (in one process, on the ranks), one after the other."""
    limit: float = math.nan
    """What two processes that have nothing to do with each other gain."""


def measured(folder: Path, images: int, epochs: int) -> Group:
    """Train several times on a group of two ranks, after it or before it in one process, and at last in two at once."""
    import ray

    from study.config import Resources
    from study.ranks import rank_groups, train_ranks
    from study.run import RunDirectory

    config, source, recipe = prepared(folder, images, epochs)
    where, found = (str(folder), str(images), str(epochs)), Group()
    with tempfile.TemporaryDirectory() as name:
        run, asked = RunDirectory(Path(name)), time.perf_counter()
        with rank_groups(config, ray.put(source), run, Resources(workers_per_trial=RANKS), 1) as post:
            for number in range(TRAININGS):
                one = separate(1, *where) if number % 2 else math.nan
                asked = time.perf_counter() if number else asked
                cell = train_ranks(training_of(recipe, number), run, post)
                spent = time.perf_counter() - asked
                found.starts.append(spent - sum(epoch["seconds"] for epoch in cell["epochs"]))
                one = one if number % 2 else separate(1, *where)
                found.turns.append((one, epoch_seconds(cell)))
            found.limit = RANKS * found.turns[-1][0] / separate(RANKS, *where)
    return found


def report(quick: bool) -> list[str]:
    import ray

    images, epochs, rounds = (512, 3, 1) if quick else (IMAGES, 3, 3)
    ray.init(num_cpus=RANKS, log_to_driver=False, logging_level="ERROR")
    try:
        with tempfile.TemporaryDirectory() as name:
            prepared(Path(name), images, epochs)
            groups = [measured(Path(name), images, epochs) for _ in range(rounds)]
    finally:
        ray.shutdown()
    rows = [
        [
            f"{number}.{turn}",
            f"{group.starts[turn - 1]:.2f}",
            *(f"{seconds:.2f}" for seconds in group.turns[turn - 1]),
            f"{group.turns[turn - 1][0] / group.turns[turn - 1][1]:.2f}",
        ]
        for number, group in enumerate(groups, 1)
        for turn in range(1, TRAININGS + 1)
    ]
    header = ["group, training", "start, s", "epoch, one process, s", "epoch, two ranks, s", "gain"]
    gain = statistics.median(one / two for group in groups for one, two in group.turns)
    limit = statistics.median(group.limit for group in groups)
    found: list[Target] = [
        at_most("start of a training on ranks that are up", further_start(groups), STARTED_LIMIT, " s"),
        at_most(
            "start of a study's first training on ranks",
            statistics.median(group.starts[0] for group in groups),
            STARTED_LIMIT,
            " s",
        ),
        at_least(f"speed of {RANKS} ranks / one", gain, GAIN_LIMIT),
    ]
    about = f"resnet20, {images} images of 32x32x3, batch {BATCH}, one thread a rank"
    apart = f"Two processes at once that have nothing to do with each other gain {limit:.2f} on this machine."
    return [
        "# Speed of several ranks",
        machine(f"{RANKS} used"),
        about,
        markdown(header, rows),
        apart,
        targets_table(found),
    ]


def further_start(groups: list[Group]) -> float:
    """Return the median start of a training that follows another on its group."""
    return statistics.median(seconds for group in groups for seconds in group.starts[1:])


def main() -> None:
    import argparse

    parser = argparse.ArgumentParser()
    parser.add_argument("--alone", nargs=3, metavar=("FOLDER", "IMAGES", "EPOCHS"), help=argparse.SUPPRESS)
    values = arguments(__doc__, parser)
    if values.alone:
        os.nice(RAY_NICENESS)
        folder, images, epochs = values.alone
        print(alone(Path(folder), int(images), int(epochs)))
        return
    from study.environment import prepare

    prepare(verbose=False)
    publish(report(values.quick), values.out)


if __name__ == "__main__":
    main()
