"""Speed of `study.training.fit` against the loops a user would write by hand, in images per second.

    python -m benchmarks.training_speed [--device cuda] [--rounds 60]

All loops train the same network from the same weights on the same random images with SGD with Nesterov momentum; they
take turns, an epoch each, in one process with one thread, and change places from round to round. "tensors": a loop over
a uint8 tensor of all images, indexed by a shuffled order. "DataLoader": torch's own, over a TensorDataset of float
images, without worker processes. Both read the loss at every step, as hand-written loops do. `fit` records its
statistics besides. On CPUs the clock is the processor time of this process, so other work on the machine shows less; on
GPUs it is the wall clock.

Prints a markdown table: the best round of each, and the median over the rounds of fit's speed / the loop's speed.
"""

import argparse
import platform
import statistics
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from types import SimpleNamespace

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from study.models import build_model
from study.training import Recipe, fit

BATCH_SIZE, LEARNING_RATE, WEIGHT_DECAY, MOMENTUM = 64, 0.01, 5e-4, 0.9


@dataclass(frozen=True)
class Case:
    """A network and the size of what it is trained on."""

    model: str
    shape: tuple[int, int, int]
    images: int


CASES = (
    Case("mlp", (8, 8, 1), 3200),
    Case("small_cnn", (28, 28, 1), 640),
    Case("resnet20", (32, 32, 3), 128),
)


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


def seconds(run: Callable[[], object], device: str) -> float:
    clock = time.process_time if device == "cpu" else time.perf_counter
    started = clock()
    run()
    if device != "cpu":
        torch.cuda.synchronize()
    return clock() - started


def measure(case: Case, device: str, rounds: int) -> list[str]:
    """Return a row of the table; the first two rounds are thrown away."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (case.images, *case.shape), dtype=torch.uint8, generator=generator)
    labels = torch.randint(10, (case.images,), generator=generator)
    epochs = {name: make(case, images, labels, device) for name, make in LOOPS.items()}
    times: dict[str, list[float]] = {name: [] for name in LOOPS}
    names = list(LOOPS)
    for _ in range(rounds + 2):
        names = [*names[1:], names[0]]
        for name in names:
            times[name].append(seconds(epochs[name], device))
    times = {name: values[2:] for name, values in times.items()}
    speeds = [f"{case.images / min(times[name]):,.0f}" for name in LOOPS]
    ratios = [
        statistics.median(other / own for own, other in zip(times["fit"], times[name], strict=True))
        for name in ("tensors", "DataLoader")
    ]
    step = min(times["fit"]) / -(-case.images // BATCH_SIZE)
    return [case.model, "x".join(map(str, case.shape)), *speeds, *(f"{r:.2f}" for r in ratios), f"{step * 1e3:.2f}"]


HEADER = (
    "network",
    "images",
    *(f"{name}, images/s" for name in LOOPS),
    "fit / tensors",
    "fit / DataLoader",
    "fit, ms a step",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu", help="cpu or cuda (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=60, help="epochs of each loop (default: %(default)s)")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    hardware = platform.processor() or platform.machine()
    if arguments.device != "cpu":
        hardware = torch.cuda.get_device_name()
    print(f"torch {torch.__version__}, {hardware}, one thread, batch {BATCH_SIZE}, {time.strftime('%Y-%m-%d')}")
    print(f"\n| {' | '.join(HEADER)} |\n|{'---|' * len(HEADER)}")
    for case in CASES:
        print(f"| {' | '.join(measure(case, arguments.device, arguments.rounds))} |", flush=True)


if __name__ == "__main__":
    main()
