"""Trainings as two data-parallel ranks: how long they take to start, and what they gain.

    python -m benchmarks.ranks_speed [--quick] [--out FILE]

Through `study.ranks` (Ray Train) on a local Ray, as `--workers-per-trial 2` does: resnet20 on random colour images of
32x32, batch 128, each rank with one thread, against the same training in one process with one thread. A group of ranks
is started once and trains one training after another, here three. Start-up is all time from asking for a training to
its cell that is not an epoch's: for the first one Ray is up, the group's processes are not. Gain is the median time of
an epoch in one process / that on two ranks, without a training's first epoch, in which memory is fetched.

Prints markdown. Times are of the clock: nothing else should run. What Ray's processes are compared with has their low
priority (nice 15). In full about 5 minutes on two cores, quick about 1.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
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


def by_ranks(folder: Path, images: int, epochs: int) -> tuple[list[float], float]:
    """Return the seconds of the start-up of trainings that follow one another on two ranks, and those of an epoch."""
    import ray

    from study.config import Resources
    from study.ranks import rank_groups, train_ranks
    from study.run import RunDirectory

    config, source, recipe = prepared(folder, images, epochs)
    starts, seconds = [], []
    with tempfile.TemporaryDirectory() as name:
        run = RunDirectory(Path(name))
        asked = time.perf_counter()
        with rank_groups(config, ray.put(source), run, Resources(workers_per_trial=RANKS), 1) as post:
            for number in range(TRAININGS):
                cell = train_ranks(training_of(recipe, number), run, post)
                spent, asked = time.perf_counter() - asked, time.perf_counter()
                starts.append(spent - sum(epoch["seconds"] for epoch in cell["epochs"]))
                seconds.append(epoch_seconds(cell))
    return starts, statistics.median(seconds)


def alone(folder: Path, images: int, epochs: int) -> float:
    """Return the seconds of an epoch in one process with one thread."""
    import torch

    from study.run import RunDirectory
    from study.trial import run_training

    torch.set_num_threads(1)
    config, source, recipe = prepared(folder, images, epochs)
    with tempfile.TemporaryDirectory() as name:
        return epoch_seconds(run_training(training_of(recipe, 0), config, source, RunDirectory(Path(name))))


def report(quick: bool) -> list[str]:
    import ray

    images, epochs, rounds = (512, 3, 1) if quick else (IMAGES, 4, 3)
    ray.init(num_cpus=RANKS, log_to_driver=False, logging_level="ERROR")
    rows, gains, firsts, others = [], [], [], []
    try:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            prepared(folder, images, epochs)
            for number in range(rounds):
                line = [sys.executable, "-m", "benchmarks.ranks_speed", "--alone", name, str(images), str(epochs)]
                one = float(subprocess.run(line, check=True, capture_output=True, text=True).stdout.splitlines()[-1])
                (first, *further), several = by_ranks(folder, images, epochs)
                gains.append(one / several)
                firsts.append(first)
                others.append(statistics.median(further))
                rows.append([str(number + 1), f"{first:.1f}", f"{others[-1]:.2f}", f"{one:.2f}", f"{several:.2f}"])
                rows[-1].append(f"{gains[-1]:.2f}")
    finally:
        ray.shutdown()
    header = ["round", "first start, s", "next starts, s", "epoch, one process, s", "epoch, two ranks, s", "gain"]
    found: list[Target] = [
        at_most("start of a training on ranks that are up", statistics.median(others), STARTED_LIMIT, " s"),
        at_most("start of a study's first training on ranks", statistics.median(firsts), STARTED_LIMIT, " s"),
        at_least(f"speed of {RANKS} ranks / one", statistics.median(gains), GAIN_LIMIT),
    ]
    about = f"resnet20, {images} images of 32x32x3, batch {BATCH}, one thread a rank"
    return ["# Speed of several ranks", machine(f"{RANKS} used"), about, markdown(header, rows), targets_table(found)]


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
