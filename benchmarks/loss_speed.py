"""Forward and backward pass of every loss of `hem` against torch.nn.functional.cross_entropy, on one CPU thread.

    python -m benchmarks.loss_speed [--quick] [--out FILE]

Each loss and cross-entropy take turns in short blocks of calls, and swap places from round to round. A ratio is the
median over rounds of the loss's time / cross-entropy's time in the same round; below 1 the loss is faster. The clock is
the processor time of this process, so that other work on the machine shows less. Logits are random normal float32 and a
leaf; the gradient is made anew.

Peak memory is what a forward and backward pass adds to the process at its highest, the gradient included, by Linux's
own account (VmHWM); on other systems the table is left out.

Then the same for torch.compile(loss) against torch.compile(cross_entropy) on dense logits, with the C++ compiler of the
system; and the share that the loss has of a training step of a ResNet-18 for small images (3x3 stem, no pooling) on 128
images of 32x32: forward, loss, backward, SGD.

Prints markdown. In full about 5 minutes, quick about 2, most of both for the compiler.
"""

import ctypes
import statistics
import time
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.page import (
    Target,
    arguments,
    at_most,
    machine,
    markdown,
    paired_ratio,
    publish,
    taking_turns,
    targets_table,
)
from hem import (
    ce_dice_loss,
    ce_loss,
    class_balanced_weights,
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
Shape = tuple[int, ...]

SHAPES: tuple[Shape, ...] = ((128, 10), (128, 100), (256, 1000), (8, 21, 128, 128), (4, 150, 128, 128))
DENSE = tuple(shape for shape in SHAPES if len(shape) > 2)
LIMITS = {(128, 10): 1.5, (128, 100): 2.2, (256, 1000): 1.1, (8, 21, 128, 128): 1.0, (4, 150, 128, 128): 1.0}
COMPILED_LIMIT, MEMORY_LIMIT, STEP_LIMIT = 1.3, 1.0, 2.0
COMPILED = ("hem", "hem+")
# Seconds for a loss at a shape of so many dimensions: (in full, quick).
SECONDS = {2: (2.0, 0.3), 4: (4.0, 0.8)}
# A block has about so many logits in all.
BLOCK_LOGITS = 25_000
BASE = "cross_entropy"


def losses(classes: int) -> dict[str, Loss]:
    counts = [10 * (classes - index) for index in range(classes)]
    margins, prior, cosines = class_margins(counts), log_prior(counts), ldam_margins(counts)
    weights = class_balanced_weights(counts)
    return {
        BASE: F.cross_entropy,
        "hem": hem_loss,
        "hem+": lambda z, y: hem_loss(z, y, margins),
        "hem, class weights": lambda z, y: hem_loss(z, y, weight=weights),
        "hem, 10 % ignored": lambda z, y: hem_loss(z, ignored(y)),
        "mm": mm_loss,
        "ce": ce_loss,
        "ce_balanced": lambda z, y: ce_loss(z, y, weight=weights),
        "logitnorm": logitnorm_loss,
        "logit_adjusted": lambda z, y: logit_adjusted_loss(z, y, prior),
        "ldam": lambda z, y: ldam_loss(z, y, cosines),
        "focal": focal_loss,
        "dice": dice_loss,
        "ce_dice": ce_dice_loss,
    }


@lru_cache(maxsize=1)
def ignored(target: Tensor) -> Tensor:
    """Return the target with a tenth of it ignored; made once, so that a clock does not see it."""
    return target.masked_fill(torch.rand(target.shape) < 0.1, -100)


def data(shape: Shape) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(shape, generator=generator).requires_grad_()
    return logits, torch.randint(shape[1], (shape[0], *shape[2:]), generator=generator)


def step(loss: Loss, logits: Tensor, target: Tensor) -> None:
    logits.grad = None
    loss(logits, target).backward()


def against(loss: Loss, base: Loss, shape: Shape, seconds: float) -> tuple[float, float]:
    """Return the median of the loss's time and of its ratio to the base's."""
    logits, target = data(shape)
    calls = max(1, BLOCK_LOGITS // logits.numel())
    runs = [lambda one=one: step(one, logits, target) for one in (loss, base)]
    own, other = taking_turns(runs, seconds=seconds, calls=calls, blocks=7)
    return statistics.median(own), paired_ratio(own, other)


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


def speed(quick: bool) -> tuple[str, list[Target]]:
    rows: dict[str, list[str]] = {name: [name] for name in losses(2)}
    found = []
    for shape in SHAPES:
        table, seconds = losses(shape[1]), SECONDS[len(shape)][quick]
        base = table.pop(BASE)
        rows[BASE].append(f"{against(base, base, shape, seconds)[0] * 1e6:,.0f} µs")
        for name, loss in table.items():
            ratio = against(loss, base, shape, seconds)[1]
            rows[name].append(f"{ratio:.2f}")
            if name == "hem":
                found.append(at_most(f"hem / cross-entropy at {shape}", ratio, LIMITS[shape]))
    return markdown(["time / cross-entropy's", *map(str, SHAPES)], list(rows.values())), found


def memory() -> tuple[str, list[Target]]:
    columns = []
    for shape in DENSE:
        logits, target = data(shape)
        size = logits.numel() * logits.element_size()
        columns.append({name: peak_bytes(loss, logits, target) / size for name, loss in losses(shape[1]).items()})
    rows = [[name, *(f"{column[name]:.2f}" for column in columns)] for name in losses(2)]
    found = [
        at_most(f"peak memory, hem / cross-entropy at {shape}", column["hem"] / column[BASE], MEMORY_LIMIT)
        for shape, column in zip(DENSE, columns, strict=True)
    ]
    return markdown(["peak memory / logits'", *map(str, DENSE)], rows), found


def compiled(quick: bool) -> tuple[str, list[Target]]:
    rows: dict[str, list[str]] = {name: [name] for name in (BASE, *COMPILED)}
    found = []
    for shape in DENSE:
        torch.compiler.reset()
        table = {name: torch.compile(losses(shape[1])[name], fullgraph=True) for name in rows}
        base = table.pop(BASE)
        rows[BASE].append(f"{against(base, base, shape, SECONDS[4][quick])[0] * 1e6:,.0f} µs")
        for name, loss in table.items():
            ratio = against(loss, base, shape, SECONDS[4][quick])[1]
            rows[name].append(f"{ratio:.2f}")
            if name == "hem":
                found.append(at_most(f"hem / cross-entropy, both compiled, at {shape}", ratio, COMPILED_LIMIT))
    return markdown(["compiled, time / cross-entropy's", *map(str, DENSE)], list(rows.values())), found


def small_resnet18() -> nn.Module:
    from torchvision.models import resnet18

    model = resnet18(num_classes=10)
    model.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
    model.maxpool = nn.Identity()
    return model.to(memory_format=torch.channels_last)


def share_of_step(quick: bool) -> tuple[str, list[Target]]:
    """Return the time of hem's forward and backward pass in percent of a training step's."""
    torch.manual_seed(0)
    model, images = small_resnet18(), torch.randn(128, 3, 32, 32).to(memory_format=torch.channels_last)
    logits, target = data((128, 10))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, nesterov=True, weight_decay=5e-4)

    def train() -> None:
        optimizer.zero_grad()
        hem_loss(model(images), target).backward()
        optimizer.step()

    train()  # what is made at the first step
    steps, alone = [], []
    for _ in range(1 if quick else 4):  # the loss right after a step: with the caches as a step leaves them
        for run, times in ((train, steps), (lambda: step(hem_loss, logits, target), alone)):
            started = time.process_time()
            run()
            times.append(time.process_time() - started)
    share = 100 * statistics.median(alone) / statistics.median(steps)
    text = f"hem, forward and backward with cold caches, of a ResNet-18's step (32x32, batch 128): {share:.3f} %."
    return text, [at_most("hem's share of a ResNet-18's step", share, STEP_LIMIT, " %")]


def report(quick: bool) -> list[str]:
    parts, found = ["# Speed of the losses", machine()], []
    sections = [speed(quick), compiled(quick), share_of_step(quick)]
    if Path("/proc/self/clear_refs").exists():
        sections.insert(1, memory())
    for text, targets in sections:
        parts.append(text)
        found += targets
    return [*parts, targets_table(found)]


def main() -> None:
    values = arguments(__doc__)
    torch.set_num_threads(1)
    publish(report(values.quick), values.out)


if __name__ == "__main__":
    main()
