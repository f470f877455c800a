"""What an attack's blocks say together: joined, with the other losses' images tried on the model, and the rows of it.

Joining is cheap and is done again whenever what it is made of has changed: a loss was added, or a smaller radius.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from study import examples
from study.attack_block import LONG, under_attack
from study.config import StudyConfig
from study.ledger import Aim, block_keys, radius_key
from study.measure import read_scores
from study.probes import dar
from study.run import Key, RunDirectory, npz_bytes, write_atomic
from study.trial import splits_of

if TYPE_CHECKING:
    from study.data.types import Source

Arrays = Mapping[str, np.ndarray]
FORM = 2
"""Raised when the same blocks would be joined to other verdicts: what has another is joined again."""


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
    """Say whether an attack was joined in another way, or from other parts, than it would be now, or will be."""
    cell = run.read_cell(key)
    if cell is None or cell["state"] != "complete":
        return False
    other = cell.get("form") != FORM or cell["made_of"] != complete(run, parts)
    return other or any(run.read_cell(part) is None for part in parts)


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
    shown = _write_examples(key, config, source, run, aim)
    return {"state": "complete", "form": FORM, "made_of": used, **rows_from_verdicts(arrays), "examples": shown}


def _write_examples(key: Key, config: StudyConfig, source: "Source", run: RunDirectory, aim: Aim) -> list[Any]:
    """Write pictures of the first images that fell, at the smallest radius of the norm."""
    smallest = min(eps for norm, eps in config.radii if norm == aim.norm)
    if aim.kept or aim.eps > smallest or not examples.is_shown(key, config):
        return []
    first = read_scores(run.scores(block_keys(key, 1)[0]))
    images = splits_of(key, config, source).test.images[first["points"][first["found"]]]
    return list(examples.attacked(run, key, images, first["found_change"], aim.norm, aim.eps))


SHARED = ("attacks", "norm", "mode", "eps", "seed", "num_classes", "adaptive_limits")
JOINED = ("clean", "carried", "points", "logits", "found_logits")
PER_ATTACK = ("stands", "adaptive")


def join_blocks(blocks: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Return the arrays of all points; images that were found stay with the blocks, but for which they are and logits.

    `found` are positions among all points under attack.
    """
    first = blocks[0]
    starts = np.cumsum([0, *(len(block["points"]) for block in blocks[:-1])])
    arrays = {name: first[name] for name in SHARED if name in first}
    arrays |= {name: np.concatenate([block[name] for block in blocks]) for name in JOINED}
    arrays["found"] = np.concatenate([block["found"] + start for block, start in zip(blocks, starts, strict=True)])
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
    from study.probes.attack import block_size

    size, others = block_size(splits_of(key, config, source).test.images.shape[1:]), []
    for block in made_of(config, run, key, aim, count):
        if block.stage == "block" and block.loss != key.loss and complete(run, [block]):
            theirs = read_scores(run.scores(block))
            start = size * int(block.variant.rpartition("~b")[2])
            others.append((theirs["found"] + start, theirs["found_change"]))
    if not others:
        return arrays
    _, subject = under_attack(key, config, source, run, device, aim.kept)
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
    for radius in sorted((eps for norm, eps in config.radii if norm == aim.norm and eps < aim.eps), reverse=True):
        smaller = radius_key(config, key, aim._replace(eps=radius))
        if complete(run, [smaller]):
            theirs = read_scores(run.scores(smaller))
            fallen |= theirs["clean"] & ~robust(theirs)
            arrays = with_found(arrays, theirs)
    stands = np.where(fallen, -1, arrays["stands"]).astype(np.int8)
    return arrays | {"carried": fallen, "stands": stands}


def with_found(arrays: Arrays, smaller: Arrays) -> dict[str, np.ndarray]:
    """Return verdicts with what a smaller radius found, which lies in this ball too, of points not attacked again.

    Else the images that broke a model would be those of its hardest points alone, others for every loss.
    """
    more = ~np.isin(smaller["found"], arrays["found"])
    return dict(arrays) | {
        name: np.concatenate([arrays[name], smaller[name][more]]) for name in ("found", "found_logits")
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
