"""Speed of `study.training.fit` against the loops a user would write by hand, in images per second.

    python -m benchmarks.training_speed [--device cuda] [--quick] [--out FILE]

All loops train the same network from the same weights on the same images with SGD with Nesterov momentum; they take
turns, an epoch each, in one process, and change places from round to round. "tensors": a loop over a uint8 tensor of
all images, indexed by a shuffled order. "DataLoader": torch's own, over a TensorDataset of float images, without worker
processes. Both read the loss at every step, as hand-written loops do. `fit` records its statistics besides.

With one thread on a CPU the clock is the processor time of this process, so other work on the machine shows less; with
all cores, and on GPUs, it is the wall clock.

Prints a markdown table: the best round of each, and the median over the rounds of fit's speed / the loop's speed. In
full about 5 minutes; quick leaves out the loops with all cores.
"""

import argparse
import os
import statistics
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from types import SimpleNamespace

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from benchmarks.page import Target, arguments, at_least, machine, markdown, publish, taking_turns, targets_table
from study.data.registry import load_source
from study.models import build_model
from study.training import Recipe, fit

BATCH_SIZE, LEARNING_RATE, WEIGHT_DECAY, MOMENTUM = 64, 0.01, 5e-4, 0.9
LIMIT = 1.0


@dataclass(frozen=True)
class Case:
    """A network and the size of what it is trained on."""

    model: str
    shape: tuple[int, int, int]
    images: int
    """Of an epoch here: one round should be short."""
    data: str = "random"
    """A data set of the study, of which the first images are taken; or random ones."""


CASES = (
    Case("mlp", (8, 8, 1), 3200),
    Case("small_cnn", (28, 28, 1), 2560, "mnist5k"),
    Case("resnet20", (32, 32, 3), 128),
)


def images_of(case: Case) -> tuple[Tensor, Tensor]:
    """Return uint8 images (N, H, W, C) and labels (N,)."""
    if case.data != "random":
        source = load_source(case.data, None)
        return torch.tensor(source.train.images[: case.images]), torch.tensor(source.train.labels[: case.images])
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (case.images, *case.shape), dtype=torch.uint8, generator=generator)
    return images, torch.randint(10, (case.images,), generator=generator)


def new_model(case: Case, device: str) -> nn.Module:
    return build_model(case.model, shape=case.shape, num_classes=10, mean=0.5, std=0.25, seed=0).to(device)


Batches = Iterable[tuple[Tensor, Tensor]]


def by_fit(case: Case, images: Tensor, labels: Tensor, device: str) -> Callable[[], object]:
    data = SimpleNamespace(images=images, labels=labels)
    recipe = Recipe(LEARNING_RATE, WEIGHT_DECAY, MOMENTUM, batch_size=BATCH_SIZE, epochs=10**6)
    model, loss = new_model(case, device), nn.CrossEntropyLoss()
    epochs = fit(model, loss, data, None, recipe, seed=0, device=device, score=lambda logits, labels: {})
    return lambda: next(epochs)


def by_tensors(case: Case, images: Tensor, labels: Tensor, device: str) -> Callable[[], object]:
    images, labels = images.to(device), labels.to(device)

    def batches() -> Batches:
        order = torch.randperm(len(images), device=device)
        return ((images[i].permute(0, 3, 1, 2).float() / 255, labels[i]) for i in order.split(BATCH_SIZE))

    return plain_loop(new_model(case, device), batches)


def by_loader(case: Case, images: Tensor, labels: Tensor, device: str) -> Callable[[], object]:
    dataset = TensorDataset(images.permute(0, 3, 1, 2).contiguous().float().div(255), labels)
    loader = DataLoader(dataset, batch_size=BATCH_SIZE, shuffle=True)
    return plain_loop(new_model(case, device), lambda: ((x.to(device), y.to(device)) for x, y in loader))


def plain_loop(model: nn.Module, batches: Callable[[], Batches]) -> Callable[[], float]:
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(
        model.parameters(),
        lr=LEARNING_RATE,
        momentum=MOMENTUM,
        nesterov=True,
        weight_decay=WEIGHT_DECAY,
    )

    def epoch() -> float:
        total = 0.0
        model.train()
        for images, labels in batches():
            optimizer.zero_grad()
            loss = criterion(model(images), labels)
            loss.backward()
            optimizer.step()
            total += loss.item()
        return total

    return epoch


LOOPS = {"fit": by_fit, "tensors": by_tensors, "DataLoader": by_loader}


def synchronised(epoch: Callable[[], object]) -> Callable[[], None]:
    """Return an epoch that ends when the GPU has ended."""

    def run() -> None:
        epoch()
        torch.cuda.synchronize()

    return run


def measure(case: Case, device: str, threads: int, seconds: float) -> tuple[list[str], list[Target]]:
    """Return a row of the table."""
    torch.set_num_threads(threads)
    images, labels = images_of(case)
    epochs = [make(case, images, labels, device) for make in LOOPS.values()]
    if device != "cpu":
        epochs = [synchronised(epoch) for epoch in epochs]
    clock = time.process_time if device == "cpu" and threads == 1 else time.perf_counter
    times = dict(zip(LOOPS, taking_turns(epochs, seconds=seconds, clock=clock), strict=True))
    ratios = {
        name: statistics.median(other / own for own, other in zip(times["fit"], times[name], strict=True))
        for name in ("tensors", "DataLoader")
    }
    speeds = [f"{case.images / min(times[name]):,.0f}" for name in LOOPS]
    step = min(times["fit"]) / -(-case.images // BATCH_SIZE)
    data = f"{case.data}, {'x'.join(map(str, case.shape))}"
    row = [case.model, data, str(threads), *speeds, *(f"{r:.2f}" for r in ratios.values()), f"{step * 1e3:.2f}"]
    worst = min(ratios, key=ratios.__getitem__)
    asked = [] if case.data == "random" and case.shape[2] == 1 else [case]
    where = f"{case.model}, {threads} threads" if threads > 1 else f"{case.model}, one thread"
    return row, [at_least(f"fit / the faster loop ({worst}), {where}", ratios[worst], LIMIT) for _ in asked]


HEADER = (
    "network",
    "images",
    "threads",
    *(f"{name}, images/s" for name in LOOPS),
    "fit / tensors",
    "fit / DataLoader",
    "fit, ms a step",
)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--device", default="cpu", help="cpu or cuda (default: %(default)s)")
    values = arguments(__doc__, parser)
    rows, found = [], []
    for threads in (1,) if values.device != "cpu" or values.quick else sorted({1, os.cpu_count() or 1}):
        for case in CASES:
            row, targets = measure(case, values.device, threads, 6.0 if values.quick else 40.0)
            rows.append(row)
            found += targets
    name = "one thread, then all cores (quick: one thread)" if values.device == "cpu" else torch.cuda.get_device_name()
    parts = [
        "# Speed of training",
        f"{machine(name)}, batch {BATCH_SIZE}",
        markdown(HEADER, rows),
        targets_table(found),
    ]
    publish(parts, values.out)


if __name__ == "__main__":
    main()
