"""Attacks on a run's models. The unit of work is a block of test images; an attack is what its blocks say together.

    block    model × weights × norm × ε × 250 test images    verdicts and the images that were found, stored when done
    attack   model × weights × norm × ε                      its blocks joined, images from the other losses' models
                                                             tried on it, and the rows that follow
    checks   model × norm                                    whether the attacks can be believed

A block has its own seed and always the same images, so a verdict does not depend on how many workers there are. Joining
is cheap and is done again whenever what it is made of has changed: a loss was added, or a smaller radius.
"""

import math
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from study.config import StudyConfig
from study.ledger import Aim, attack_keys, block_keys, health_keys, radius_key
from study.measure import load_network, read_scores
from study.run import Key, RunDirectory, npz_bytes, write_atomic
from study.seeds import derive
from study.tasks import get_task
from study.trial import pixels, splits_of
from study.work import Job

if TYPE_CHECKING:
    from study.data.types import Source

Arrays = Mapping[str, np.ndarray]
LONG = ("standard", "plus")
"""Modes with images from other models, and with the attack that has to pass the rejector."""


def attacked_points(config: StudyConfig, available: int, replicate: int) -> np.ndarray:
    """Return the indices of the test images under attack: the same for every model of a replicate."""
    order = np.random.default_rng(derive(config.seed, "points", replicate)).permutation(available)
    return np.sort(order[: config.attack_points or available])


def attack_jobs(config: StudyConfig, run: RunDirectory, source: "Source") -> list[Job]:
    """Return blocks of attacks, small radii first, the attacks that are made of them, and the checks.

    A block waits for the same block of the next smaller radius, which tells it what has fallen. An attack is joined
    again if what it is made of has changed since.
    """
    from study.probes.attack import BLOCK

    jobs: list[Job] = []
    before: dict[Any, list[Key]] = {}
    for key, aim in attack_keys(config, run).items():
        images = len(splits_of(key, config, source).test)
        count = math.ceil(min(config.attack_points or images, images) / BLOCK)
        blocks = block_keys(key, count)
        line = (replace(key, variant=""), aim.norm, aim.kept)
        for number, (block, smaller) in enumerate(
            zip(blocks, before[line] if line in before else [None] * count, strict=True)
        ):
            first = () if smaller is None else (smaller,)
            jobs.append(Job(block, partial(attack_block, aim=aim, block=number), first))
        before[line] = blocks
        parts = made_of(config, run, key, aim, count)
        if is_stale(run, key, parts):
            run.cell(key).unlink()
        jobs.append(Job(key, partial(join_attack, aim=aim, count=count), tuple(parts)))
    checks = [Job(key, partial(check_model, norm=norm)) for key, norm in health_keys(config, run).items()]
    return [*jobs, *checks]


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
    from study.probes.attack import BLOCK, attack, frozen
    from study.probes.attack_verdicts import verdicts_to_arrays
    from study.probes.transfer import changes

    points, subject = _under_attack(key, config, source, run, device, aim.kept, block)
    seed = derive(config.seed, "attack", key.replicate, aim.norm, repr(aim.eps), block)
    found = attack(
        **subject,
        norm=aim.norm,
        eps=aim.eps,
        mode=config.attacks,
        seed=seed,
        hem_margin=_trained_margin(key, config, source, run),
        block=BLOCK,
        broken=_fallen_in_block(key, config, run, aim, block),
    )
    arrays = verdicts_to_arrays(found)
    broke = np.flatnonzero(found.clean & ~found.carried & ~found.robust)
    with frozen(subject["model"]):
        arrays |= {
            "points": points,
            "logits": _logits(subject["model"], subject["images"]),
            "found": broke,
            "found_change": changes(found.adversarial, subject["images"], broke),
            "found_logits": _logits(subject["model"], found.adversarial[broke].to(subject["images"])),
        }
    if rejects(config) and not aim.kept:
        arrays |= _adaptive(key, run, subject, aim, seed)
    write_atomic(run.scores(key), npz_bytes(arrays))
    return {"state": "complete"}


def rejects(config: StudyConfig) -> bool:
    """Say whether the attack that has to pass the rejector is run too."""
    return config.attacks in LONG and bool(get_task(config.task).applies("rejection"))


def _logits(model: Any, images: Any) -> np.ndarray:  # noqa: ANN401
    import torch

    with torch.no_grad():
        logits: np.ndarray = model(images).float().cpu().numpy()
    return logits


def _adaptive(key: Key, run: RunDirectory, subject: dict[str, Any], aim: Aim, seed: int) -> dict[str, np.ndarray]:
    """Return for each score and rule which points still count for DAR after the adaptive attack (S, R, N)."""
    from study.probes import dar
    from study.probes.adaptive import adaptive_attack

    scores = read_scores(run.scores(key.at("evaluate")))
    if not len(scores["validation/labels"]):
        return {}
    limits = dar.thresholds(scores["validation/logits"], scores["validation/labels"])
    clean, right = dar.known(_logits(subject["model"], subject["images"]), subject["labels"].cpu().numpy())
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


def made_of(config: StudyConfig, run: RunDirectory, key: Key, aim: Aim, count: int) -> list[Key]:
    """Return all that an attack's verdict is made of, done or not: its blocks, other models' blocks, smaller radii.

    Args:
        config: the study.
        run: where its cells are.
        key: the attack's cell.
        aim: norm, radius and weights.
        count: blocks.
    """
    losses = [loss for method, loss in config.pairs if method == key.method] if config.attacks in LONG else [key.loss]
    blocks = [block for loss in losses for block in block_keys(replace(key, loss=loss), count)]
    smaller = [
        radius_key(config, key, aim._replace(eps=radius))
        for norm, radius in config.radii
        if norm == aim.norm and radius < aim.eps
    ]
    return [*blocks, *smaller]


def complete(run: RunDirectory, keys: list[Key]) -> list[str]:
    """Return the names of those cells that are complete."""
    return [str(key) for key in keys if (run.read_cell(key) or {}).get("state") == "complete"]


def is_stale(run: RunDirectory, key: Key, parts: list[Key]) -> bool:
    """Say whether an attack was joined from other parts than there are now, or will be."""
    cell = run.read_cell(key)
    if cell is None or cell["state"] != "complete":
        return False
    return any(run.read_cell(part) is None for part in parts) or cell["made_of"] != complete(run, parts)


def join_attack(
    key: Key, config: StudyConfig, source: "Source", run: RunDirectory, device: str, *, aim: Aim, count: int
) -> dict[str, Any]:
    """Join an attack's blocks, try the other losses' images, store the verdicts, and return the cell with its rows.

    Args:
        key: of the attack's cell.
        config: the study.
        source: the data set.
        run: where weights and verdicts lie.
        device: where to compute.
        aim: norm, radius and weights.
        count: blocks.
    """
    parts = block_keys(key, count)
    for part in parts:
        cell = run.read_cell(part) or {"state": "failed", "error": "not done"}
        if cell["state"] != "complete":
            return {
                "state": "failed",
                "reason": cell.get("reason", "error"),
                "error": f"{part.variant}: {cell['error']}",
            }
    used = complete(run, made_of(config, run, key, aim, count))
    arrays = join_blocks([read_scores(run.scores(part)) for part in parts])
    if config.attacks in LONG:
        arrays = _with_transfer(arrays, key, config, source, run, device, aim, count)
    arrays = _without_fallen(arrays, key, config, run, aim) | {"kept": np.array(aim.kept)}
    write_atomic(run.scores(key), npz_bytes(arrays))
    return {"state": "complete", "made_of": used, **rows_from_verdicts(arrays)}


SHARED = ("attacks", "norm", "mode", "eps", "seed", "num_classes", "adaptive_limits")
JOINED = ("clean", "carried", "points", "logits", "found_logits")
PER_ATTACK = ("stands", "adaptive")


def join_blocks(blocks: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Return the arrays of all points; what was found stays with the blocks, but for its logits."""
    first = blocks[0]
    arrays = {name: first[name] for name in SHARED if name in first}
    arrays |= {name: np.concatenate([block[name] for block in blocks]) for name in JOINED}
    return arrays | {
        name: np.concatenate([block[name] for block in blocks], axis=-1) for name in PER_ATTACK if name in first
    }


def _with_transfer(
    arrays: dict[str, np.ndarray],
    key: Key,
    config: StudyConfig,
    source: "Source",
    run: RunDirectory,
    device: str,
    aim: Aim,
    count: int,
) -> dict[str, np.ndarray]:
    """Return verdicts with one attack more: the images that broke the models of the other losses."""
    from study.probes import transfer
    from study.probes.attack import BLOCK

    others = []
    for block in made_of(config, run, key, aim, count):
        if block.stage == "block" and block.loss != key.loss and complete(run, [block]):
            theirs = read_scores(run.scores(block))
            start = BLOCK * int(block.variant.rpartition("~b")[2])
            others.append((theirs["found"] + start, theirs["found_change"]))
    if not others:
        return arrays
    _, subject = _under_attack(key, config, source, run, device, aim.kept)
    images, labels = subject["images"], subject["labels"]
    fell = transfer.fell(subject["model"], images, labels, others, aim.norm, aim.eps)
    attacked = arrays["clean"] & ~arrays["carried"]
    stands = np.where(attacked, 1 - fell.astype(np.int8), -1).astype(np.int8)
    return arrays | {
        "attacks": np.append(arrays["attacks"], transfer.TRANSFER),
        "stands": np.concatenate([arrays["stands"], stands[None]]),
    }


def _without_fallen(
    arrays: dict[str, np.ndarray], key: Key, config: StudyConfig, run: RunDirectory, aim: Aim
) -> dict[str, np.ndarray]:
    """Return verdicts in which what a smaller radius of the same norm broke is broken, whenever it was attacked."""
    from study.probes.attack_verdicts import robust

    fallen = arrays["carried"].copy()
    for norm, radius in config.radii:
        smaller = radius_key(config, key, aim._replace(eps=radius))
        if norm == aim.norm and radius < aim.eps and complete(run, [smaller]):
            theirs = read_scores(run.scores(smaller))
            fallen |= theirs["clean"] & ~robust(theirs)
    stands = np.where(fallen, -1, arrays["stands"]).astype(np.int8)
    return arrays | {"carried": fallen, "stands": stands}


def check_model(
    key: Key, config: StudyConfig, source: "Source", run: RunDirectory, device: str, *, norm: str
) -> dict[str, Any]:
    """Ask whether attacks on a model can be believed, and return the cell with a row for every check."""
    from study.probes.attack_health import health_rows

    _, subject = _under_attack(key, config, source, run, device)
    eps = [radius for other, radius in config.radii if other == norm]
    seed = derive(config.seed, "health", key.replicate, norm)
    return {"state": "complete", "health": [dict(row) for row in health_rows(**subject, norm=norm, eps=eps, seed=seed)]}


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


def _under_attack(
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

    from study.probes.attack import BLOCK

    data = splits_of(key, config, source)
    points = attacked_points(config, len(data.test), key.replicate)
    if block is not None:
        points = points[block * BLOCK : (block + 1) * BLOCK]
    return points, {
        "model": load_network(config, source, run, key, kept).to(device),
        "images": pixels(data.test.images[points]).to(device),
        "labels": torch.tensor(data.test.labels[points]).to(device),
        "num_classes": len(data.classes),
    }


def rows_from_verdicts(arrays: Arrays) -> dict[str, list[dict[str, Any]]]:
    """Return the rows of evaluation.parquet, curves.parquet and health.parquet that follow from stored verdicts.

    Of the best epoch's weights there are only rows, of a probe of their own.
    """
    from study.probes import attack_health, attack_verdicts, curves

    rows = attack_verdicts.rows_from_verdicts(arrays)
    kept = str(arrays.get("kept", ""))
    if kept:
        return {"rows": [{**row, "probe": f"attack_{kept}"} for row in rows], "curves": [], "health": []}
    return {
        "rows": [dict(line) for line in (*rows, *_rejection_rows(arrays))],
        "curves": [dict(line) for line in curves.attack([arrays])],
        "health": [dict(row) for row in attack_health.gradient_free_rows(arrays)],
    }


def _rejection_rows(arrays: Arrays) -> list[Any]:
    """Return how well a rejector does that the attack did not know of, and DAR under the attack that did."""
    from study.probes import dar
    from study.probes.attack_verdicts import robust, slice_name
    from study.probes.rejection import adversarial_rows
    from study.probes.rows import NOT_AVAILABLE, mean, row

    place = dar.ADVERSARIAL + slice_name(str(arrays["norm"]), float(arrays["eps"]))
    rows = adversarial_rows(place, arrays["logits"], arrays["found_logits"])
    if "adaptive" not in arrays:
        return rows
    n = arrays["adaptive"].shape[-1]
    for i, score in enumerate(dar.SCORES):
        for j, rule in enumerate(dar.RULES):
            none = np.isnan(arrays["adaptive_limits"][i, j])
            value = NOT_AVAILABLE if none else mean(arrays["adaptive"][i, j])
            rows.append(row(dar.PROBE, place, score, f"dar_{rule}", value, n))
    return [*rows, *dar.reference_rows(place, mean(robust(arrays)), 1.0 - mean(arrays["clean"]), n)]
