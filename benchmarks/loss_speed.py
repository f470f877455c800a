"""Forward and backward pass of every loss of `hem` against torch.nn.functional.cross_entropy, on one CPU thread.

    python -m benchmarks.loss_speed [--quick] [--compile] [--out FILE]

Each loss and cross-entropy take turns, call by call, and swap places from round to round. A ratio is the median over
rounds of the loss's time / cross-entropy's time in the same round; below 1 the loss is faster. The clock is the
processor time of this process, so that other work on the machine shows less. Logits are random normal float32 and a
leaf; the gradient is made anew.

Peak memory is what a forward and backward pass adds to the process at its highest, the gradient included, by Linux's
own account (VmHWM); on other systems the column is left out.

Prints markdown. `--compile` adds torch.compile(loss) against torch.compile(cross_entropy), which takes minutes.
"""

import argparse
import ctypes
import os
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from hem import (
    ce_loss,
    class_margins,
    dice_loss,
    focal_loss,
    hem_loss,
    ldam_loss,
    ldam_margins,
    log_prior,
    logit_adjusted_loss,
    logitnorm_loss,
    mm_loss,
)

Loss = Callable[[Tensor, Tensor], Tensor]

SHAPES = ((128, 10), (128, 100), (256, 1000), (8, 21, 128, 128), (4, 150, 128, 128))
# Seconds for a loss at a shape of so many dimensions: (in full, quick).
SECONDS = {2: (2.0, 0.2), 4: (5.0, 0.5)}
BASE = "cross_entropy"


def losses(classes: int) -> dict[str, Loss]:
    counts = [10 * (classes - index) for index in range(classes)]
    margins, prior, cosines = class_margins(counts), log_prior(counts), ldam_margins(counts)
    return {
        BASE: F.cross_entropy,
        "hem": hem_loss,
        "hem+": lambda z, y: hem_loss(z, y, margins),
        "hem, 10 % ignored": lambda z, y: hem_loss(z, ignored(y)),
        "mm": mm_loss,
        "ce": ce_loss,
        "logitnorm": logitnorm_loss,
        "logit_adjusted": lambda z, y: logit_adjusted_loss(z, y, prior),
        "ldam": lambda z, y: ldam_loss(z, y, cosines),
        "focal": focal_loss,
        "dice": dice_loss,
    }


_IGNORED: dict[int, Tensor] = {}


def ignored(target: Tensor) -> Tensor:
    """Return the target with a tenth of it ignored; made once, so that a clock does not see it."""
    key = target.data_ptr()
    if key not in _IGNORED:
        _IGNORED.clear()
        _IGNORED[key] = target.masked_fill(torch.rand(target.shape) < 0.1, -100)
    return _IGNORED[key]


def data(shape: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(shape, generator=generator).requires_grad_()
    return logits, torch.randint(shape[1], (shape[0], *shape[2:]), generator=generator)


def step(loss: Loss, logits: Tensor, target: Tensor) -> None:
    logits.grad = None
    loss(logits, target).backward()


def ratio(loss: Loss, base: Loss, shape: tuple[int, ...], seconds: float) -> tuple[float, float]:
    """Return the median time of a loss and of its ratio to the base's; the first two rounds are thrown away."""
    logits, target = data(shape)
    times: dict[Loss, list[float]] = {loss: [], base: []}
    until, pair = time.perf_counter() + seconds, (loss, base)
    while time.perf_counter() < until or len(times[base]) < 7:
        pair = pair[::-1]
        for one in pair:
            started = time.process_time()
            step(one, logits, target)
            times[one].append(time.process_time() - started)
    own, other = times[loss][2:], times[base][2:]
    return statistics.median(own), statistics.median(a / b for a, b in zip(own, other, strict=True))


def peak_bytes(loss: Loss, logits: Tensor, target: Tensor) -> int:
    """Return what a forward and backward pass adds to this process's memory at its highest."""
    for _ in range(2):  # code and pools that stay are there now
        step(loss, logits, target)
    logits.grad = None
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")
    before = status("VmRSS")
    step(loss, logits, target)
    return status("VmHWM") - before


def status(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(f"{field}:"))


def machine() -> str:
    name = platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").exists():
        models = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
        name = models[0].partition(":")[2].strip() if models else name
    return f"{name}, {os.cpu_count()} cores, one thread used, torch {torch.__version__}, {time.strftime('%Y-%m-%d')}"


def markdown(header: list[str], rows: list[list[str]]) -> str:
    lines = [header, ["---"] + ["---:"] * (len(header) - 1), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def speed_table(quick: bool, prepare: Callable[[Loss], Loss], shapes: tuple[tuple[int, ...], ...]) -> str:
    rows: dict[str, list[str]] = {name: [name] for name in losses(2)}
    for shape in shapes:
        table = {name: prepare(loss) for name, loss in losses(shape[1]).items()}
        base = table.pop(BASE)
        seconds = SECONDS[len(shape)][quick]
        rows[BASE].append(f"{ratio(base, lambda z, y, base=base: base(z, y), shape, seconds)[0] * 1e6:,.0f} µs")
        for name, loss in table.items():
            rows[name].append(f"{ratio(loss, base, shape, seconds)[1]:.2f}")
    return markdown(["time / cross-entropy's", *map(str, shapes)], list(rows.values()))


def memory_table(shapes: tuple[tuple[int, ...], ...]) -> str:
    columns = []
    for shape in shapes:
        logits, target = data(shape)
        size = logits.numel() * logits.element_size()
        columns.append({name: peak_bytes(loss, logits, target) / size for name, loss in losses(shape[1]).items()})
    rows = [[name, *(f"{column[name]:.2f}" for column in columns)] for name in losses(2)]
    return markdown(["peak memory / logits'", *map(str, shapes)], rows)


def compiled(loss: Loss) -> Loss:
    torch.compiler.reset()
    return torch.compile(loss, fullgraph=True)


def report(quick: bool, with_compiler: bool) -> str:
    dense = tuple(shape for shape in SHAPES if len(shape) > 2)
    parts = ["# Speed of the losses", machine(), speed_table(quick, lambda loss: loss, SHAPES)]
    if Path("/proc/self/clear_refs").exists():
        parts.append(memory_table(dense))
    if with_compiler:
        parts += ["Compiled by torch.compile, cross-entropy too:", speed_table(quick, compiled, dense)]
    return "\n\n".join(parts) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a tenth of the time; ratios are rougher")
    parser.add_argument("--compile", action="store_true", help="measure compiled losses too")
    parser.add_argument("--out", type=Path, help="also write the report to this file")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    text = report(arguments.quick, arguments.compile)
    print(text)
    if arguments.out:
        arguments.out.write_text(text)


if __name__ == "__main__":
    main()
