"""What a study would cost, before it starts: a few batches of its network are timed, everything else is counted.

    training      images × epochs × passes of the method, and the validation images after every epoch
    evaluation    images of every set that a model is shown
    attacks       forward and backward passes of the real attacks on a stand-in whose points all withstand, so at most

Figures are processor time of one thread on this machine, so that they do not depend on what else runs there. They are
rough: trainings that share caches and memory are slower, and starting processes and cutting data come on top.
"""

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from study.config import StudyConfig
from study.tasks import get_task

if TYPE_CHECKING:
    import torch

    from study.data.types import Source, Splits

MEASURED_BATCHES = 20
PROBED = 4
"""Points of the stand-in under attack."""
CELL_BYTES, EPOCH_BYTES, PAGE_BYTES = 2_000, 500, 6_000_000
"""Of a cell, of an epoch in it, and of the page with its tables: as the small studies have them."""
EVALUATION_BYTES, CORRUPTED_BYTES = 250_000, 18
"""Of a measured model's cell with its curves, and of what is kept of a corrupted image: its class and two scores."""


@dataclass(frozen=True)
class Speed:
    """Seconds that one image takes, and the size of the network."""

    both: float
    """Forward and backward pass."""
    forward: float
    weights: int
    """Bytes."""


@dataclass(frozen=True)
class Estimate:
    """Seconds of one core's work, and bytes on disk."""

    training: float
    """One training of the first method."""
    search: float
    confirm: float
    evaluate: float
    attack: float
    weights: int
    scores: int
    cells: int

    @property
    def seconds(self) -> float:
        """All of it, one after the other."""
        return self.search + self.confirm + self.evaluate + self.attack


def trainings(config: StudyConfig) -> dict[str, int]:
    """Return how many trainings each stage asks for."""
    searches = len(config.pairs) * config.replicates
    swept = sum(loss in ("hem", "hem+") for loss in config.losses)
    return {
        "search": searches * config.trials_per_search,
        "rescore": searches * min(config.rescored, config.trials_per_search),
        "confirm": searches * len(config.arms) * config.seeds,
        "sweep": swept * config.sweep**2,
    }


def attacked_models(config: StudyConfig) -> int:
    """Return how many models are attacked: the tuned ones, or every one where robustness is the endpoint."""
    task = get_task(config.task)
    if config.attacks == "none" or not task.applies("attack"):
        return 0
    each = len(config.arms) * config.seeds if task.endpoint.probe == "attack" else 1
    return len(config.pairs) * min(config.attack_replicates, config.replicates) * each


def estimate(config: StudyConfig, source: "Source") -> Estimate:
    """Return what a study costs, from a few batches on this machine."""
    from study.trial import splits

    data = splits(config, source, 0, final=False)
    speed = measure(config, source, data)
    counts = trainings(config)
    of_method = {method: _training(config, data, method, speed) for method in config.methods}
    average = sum(of_method[method] for method, _ in config.pairs) / len(config.pairs)
    models, attacked = counts["confirm"], attacked_models(config)
    kept_whole, corrupted = _shown(config, source, data)
    points = min(config.attack_points or len(data.test), len(data.test))
    classes, image = len(data.classes), data.test.images[0].size
    kept = 2 if any(method not in ("plain", "drw") for method in config.methods) else 1
    return Estimate(
        training=of_method[config.methods[0]],
        search=(counts["search"] + counts["rescore"] + counts["sweep"]) * average,
        confirm=models * average,
        evaluate=models * (kept_whole + corrupted) * speed.forward,
        attack=attacked * points * _attack_seconds(config, classes, speed) if attacked else 0.0,
        weights=models * kept * speed.weights,
        scores=models * (kept_whole * 4 * classes + corrupted * CORRUPTED_BYTES)
        + attacked * points * len(config.radii) * 4 * (image + 2 * classes),
        cells=sum(counts.values()) * (CELL_BYTES + EPOCH_BYTES * config.epochs)
        + models * EVALUATION_BYTES
        + PAGE_BYTES,
    )


def measure(config: StudyConfig, source: "Source", data: "Splits") -> Speed:
    """Time a few batches of the study's network with cross-entropy, on one thread."""
    import torch

    from study.trial import pixels, start_network

    batch = get_task(config.task).recipe(source)["batch_size"]
    network = start_network(config, data, config.losses[0], seed=0)
    images, target = pixels(data.train.images[:batch]), torch.tensor(data.train.labels[:batch], dtype=torch.long)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        both = _seconds(lambda: torch.nn.functional.cross_entropy(network(images), target).backward())
        network.eval()
        with torch.no_grad():
            forward = _seconds(lambda: network(images))
    finally:
        torch.set_num_threads(threads)
    weights = sum(p.numel() * p.element_size() for p in network.state_dict().values())
    return Speed(both / len(images), forward / len(images), weights)


def _seconds(step: Any) -> float:  # noqa: ANN401
    for _ in range(2):
        step()
    started = time.process_time()
    for _ in range(MEASURED_BATCHES):
        step()
    return (time.process_time() - started) / MEASURED_BATCHES


def passes(method: str) -> int:
    """Return how many forward and backward passes a method takes for one image of an epoch."""
    from study.methods.adversarial import STEPS

    name = method.removesuffix("_own")
    return {"pgd": STEPS + 1, "fast": 2, "trades": STEPS + 2, "outlier_exposure": 2, "replay": 2}.get(name, 1)


def _training(config: StudyConfig, data: "Splits", method: str, speed: Speed) -> float:
    trained, watched = len(data.train) * passes(method) * speed.both, len(data.validation) * speed.forward
    return config.epochs * (trained + watched)


def _shown(config: StudyConfig, source: "Source", data: "Splits") -> tuple[int, int]:
    """Return how many images a confirmed model is shown: those whose logits are kept, and corrupted ones."""
    from study.data.corruption import SEVERITIES, TEST_KINDS, applicable
    from study.measure import outside

    task = get_task(config.task)
    count, corrupted = len(data.test) + len(data.validation), 0
    if task.applies("rejection"):
        count += len(data.train) + len(data.test) + sum(len(out.images) for out in outside(config, source, 0))
    if task.applies("corruption"):
        reasons = applicable(data.test.images.shape[1:])
        kinds = sum(not reasons[kind] for kind in TEST_KINDS)
        corrupted = kinds * len(SEVERITIES) * min(config.corruption_points or len(data.test), len(data.test))
    return count, corrupted


def _attack_seconds(config: StudyConfig, num_classes: int, speed: Speed) -> float:
    """Return seconds of all attacks and checks on one point of one model, if it withstands them all."""
    seconds = 0.0
    for norm in dict.fromkeys(norm for norm, _ in config.radii):
        radii = [eps for other, eps in config.radii if other == norm and eps > 0]
        forward, both = attack_passes(config.attacks, norm, len(radii), num_classes)
        seconds += forward * speed.forward + both * speed.both
    return seconds


def attack_passes(mode: str, norm: str, radii: int, num_classes: int) -> tuple[float, float]:
    """Return (forward passes alone, forward and backward passes) that one point takes, counted in the real attacks.

    Args:
        mode: quick, standard or plus.
        norm: Linf or L2.
        radii: how many of them are attacked.
        num_classes: C.
    """
    import torch

    from study.attack_block import attack_points
    from study.ledger import Aim
    from study.probes.attack import HEM_MARGIN
    from study.probes.attack_health import health_rows

    model = _counting(num_classes)
    images = torch.rand(PROBED, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        labels = model(images).argmax(1)
    model.forward_images = model.backward_images = 0
    subject = {"model": model, "images": images, "labels": labels, "num_classes": num_classes}
    attack_points(subject, Aim(norm, 1e-6), mode, 0, HEM_MARGIN, None, None)
    attack = (model.forward_images, model.backward_images)
    model.forward_images = model.backward_images = 0
    health_rows(**subject, norm=norm, eps=[1e-6] * min(radii, 1), seed=0)
    checks = (model.forward_images, model.backward_images)
    forward, both = ((radii * a + c * (radii + 1) / 2) / PROBED for a, c in zip(attack, checks, strict=True))
    return forward, both


def _counting(num_classes: int) -> "torch.nn.Module":
    """Return a small network that counts the images it sees, with and without a gradient for them."""
    import torch

    class Counting(torch.nn.Module):
        forward_images = backward_images = 0

        def __init__(self) -> None:
            super().__init__()
            generator = torch.Generator().manual_seed(0)
            self.weight = torch.nn.Parameter(torch.randn(num_classes, 16, generator=generator))

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            if torch.is_grad_enabled() and images.requires_grad:
                self.backward_images += len(images)
            else:
                self.forward_images += len(images)
            return images.flatten(1) @ self.weight.T

    return Counting()
