"""One block of a model's test images under attack: the unit of work, with its own seed and always the same images."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from study.config import StudyConfig
from study.ledger import Aim, block_keys, radius_key
from study.measure import load_network, read_scores
from study.probes import dar
from study.run import Key, RunDirectory, npz_bytes, write_atomic
from study.seeds import derive
from study.tasks import get_task
from study.trial import pixels, splits_of

if TYPE_CHECKING:
    from study.data.types import Source

LONG = ("standard", "plus")
"""Modes with images from other models, and with the attack that has to pass the rejector."""


def attacked_points(config: StudyConfig, available: int, replicate: int) -> np.ndarray:
    """Return the indices of the test images under attack: the same for every model of a replicate."""
    order = np.random.default_rng(derive(config.seed, "points", replicate)).permutation(available)
    return np.sort(order[: config.attack_points or available])


def under_attack(
    key: Key,
    config: StudyConfig,
    source: "Source",
    run: RunDirectory,
    device: str,
    kept: str = "",
    block: int | None = None,
) -> tuple[np.ndarray, dict[str, Any]]:
    """Return the attacked test images' indices (of one block), and the model with them as arguments of every attack."""
    import torch

    from study.probes.attack import block_size

    data = splits_of(key, config, source)
    points = attacked_points(config, len(data.test), key.replicate)
    if block is not None:
        size = block_size(data.test.images.shape[1:])
        points = points[block * size : (block + 1) * size]
    return points, {
        "model": load_network(config, source, run, key, kept).to(device),
        "images": pixels(data.test.images[points]).to(device),
        "labels": torch.tensor(data.test.labels[points]).to(device),
        "num_classes": len(data.classes),
    }


def attack_block(
    key: Key, config: StudyConfig, source: "Source", run: RunDirectory, device: str, *, aim: Aim, block: int
) -> dict[str, Any]:
    """Attack one block of a model's test images and store every point's verdict, with the images that were found.

    What a smaller radius of the same norm broke is broken, and is not attacked again.

    Args:
        key: of the block's cell.
        config: the study.
        source: the data set.
        run: where weights and verdicts lie.
        device: where to compute.
        aim: norm, radius and weights.
        block: which images, from 0.
    """
    points, subject = under_attack(key, config, source, run, device, aim.kept, block)
    limits = None
    if not aim.kept and rejects(config):
        scores = read_scores(run.scores(key.at("evaluate")))
        limits = dar.thresholds(scores["validation/logits"], scores["validation/labels"])
    seed = derive(config.seed, "attack", key.replicate, aim.norm, repr(aim.eps), block)
    margin = _trained_margin(key, config, source, run)
    broken = _fallen_in_block(key, config, run, aim, block)
    arrays = attack_points(subject, aim, config.attacks, seed, margin, broken, limits) | {"points": points}
    write_atomic(run.scores(key), npz_bytes(arrays))
    return {"state": "complete"}


def attack_points(
    subject: dict[str, Any],
    aim: Aim,
    mode: str,
    seed: int,
    margin: float | list[float],
    broken: np.ndarray | None,
    limits: Mapping[str, Mapping[str, float]] | None,
) -> dict[str, np.ndarray]:
    """Attack a block of images; return the verdicts, what was found, and the logits of both.

    Args:
        subject: model, images, labels and num_classes, as every attack takes them.
        aim: norm and radius.
        mode: quick, standard or plus.
        seed: of the block.
        margin: of the attack on HEM's own loss.
        broken: points that fell at a smaller radius; None if none is known.
        limits: score → rule → threshold for the attack that has to pass the rejector; None to leave it out.
    """
    from study.probes.attack import attack, frozen
    from study.probes.attack_verdicts import verdicts_to_arrays
    from study.probes.transfer import changes

    found = attack(**subject, norm=aim.norm, eps=aim.eps, mode=mode, seed=seed, hem_margin=margin, broken=broken)
    broke = np.flatnonzero(found.clean & ~found.carried & ~found.robust)
    arrays = verdicts_to_arrays(found)
    with frozen(subject["model"]):
        arrays |= {
            "logits": _logits(subject["model"], subject["images"]),
            "found": broke,
            "found_change": changes(found.adversarial, subject["images"], broke),
            "found_logits": _logits(subject["model"], found.adversarial[broke].to(subject["images"])),
        }
    if limits is not None and not np.isnan([limits[score]["all"] for score in dar.SCORES]).any():
        arrays |= _adaptive(arrays["logits"], subject, aim, seed, limits)
    return arrays


def rejects(config: StudyConfig) -> bool:
    """Say whether the attack that has to pass the rejector is run too."""
    return config.attacks in LONG and bool(get_task(config.task).applies("rejection"))


def _logits(model: Any, images: Any) -> np.ndarray:  # noqa: ANN401
    import torch

    with torch.no_grad():
        logits: np.ndarray = model(images).float().cpu().numpy()
    return logits


def _adaptive(
    logits: np.ndarray, subject: dict[str, Any], aim: Aim, seed: int, limits: Mapping[str, Mapping[str, float]]
) -> dict[str, np.ndarray]:
    """Return for each score and rule which points still count for DAR after the adaptive attack (S, R, N)."""
    from study.probes.adaptive import adaptive_attack

    clean, right = dar.known(logits, subject["labels"].cpu().numpy())
    counts = [
        [
            dar.counted(clean[score], right, limit)
            & ~adaptive_attack(**subject, norm=aim.norm, eps=aim.eps, score=score, threshold=limit, seed=seed)
            for limit in limits[score].values()
        ]
        for score in dar.SCORES
    ]
    return {"adaptive": np.array(counts), "adaptive_limits": np.array([list(limits[s].values()) for s in dar.SCORES])}


def _fallen_in_block(key: Key, config: StudyConfig, run: RunDirectory, aim: Aim, block: int) -> np.ndarray | None:
    """Return which points of a block fell in the same block at a smaller radius; None if nothing is known of it."""
    from study.probes.attack_verdicts import robust

    fallen = None
    for norm, radius in config.radii:
        smaller = block_keys(radius_key(config, key, aim._replace(eps=radius)), block + 1)[block]
        cell = run.read_cell(smaller) if norm == aim.norm and radius < aim.eps else None
        if cell is not None and cell["state"] == "complete":
            arrays = read_scores(run.scores(smaller))
            broken = arrays["clean"] & ~robust(arrays)
            fallen = broken if fallen is None else fallen | broken
    return fallen


def _trained_margin(key: Key, config: StudyConfig, source: "Source", run: RunDirectory) -> float | list[float]:
    """Return the margin for an attack on HEM's own loss: the model's own, or HEM's literature value on these data."""
    import torch

    from hem.registry import get_loss

    cell = run.read_cell(key.at("confirm"))
    own = key.loss in ("hem", "hem+") and cell is not None
    counts = splits_of(key, config, source).class_counts
    parameters = cell["training"]["loss_parameters"] if own and cell is not None else {}
    margin = get_loss(key.loss if own else "hem").build(counts, **parameters).margin
    return margin.tolist() if isinstance(margin, torch.Tensor) else float(margin)
