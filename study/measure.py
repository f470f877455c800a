"""What is done to a trained model: it is measured (`outputs`), attacked, and the attacks on it are checked.

Raw outputs and verdicts are stored first; every number is a function of them.
"""

import io
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from study.config import StudyConfig
from study.run import Key, RunDirectory, npz_bytes, write_atomic
from study.seeds import derive
from study.tasks import get_task
from study.trial import build_network, pixels, splits, splits_of

if TYPE_CHECKING:
    import torch

    from study.data.types import OutsideSet, Source

OUTSIDE_IMAGES = 500
Arrays = Mapping[str, np.ndarray]

_OUTSIDE: dict[tuple[Any, ...], "tuple[OutsideSet, ...]"] = {}


def outside(config: StudyConfig, source: "Source", replicate: int) -> "tuple[OutsideSet, ...]":
    """Return the sets from outside for a replicate: the same for every loss, made once per process.

    None for a task that the probe of rejection is not for.
    """
    from study.data.open_set import known_source
    from study.data.outside import outside_sets

    if not get_task(config.task).applies("rejection"):
        return ()

    data = splits(config, source, replicate, final=True)
    key = (source.fingerprint(), config.task, data.classes, config.seed, replicate, config.ood_sets)
    if key not in _OUTSIDE:
        made = outside_sets(
            known_source(source, data.classes),
            data,
            seed=derive(config.seed, "outside", replicate),
            n=OUTSIDE_IMAGES,
            extra=config.ood_sets,
        )
        _OUTSIDE[key] = made if data.unknown is None else (data.unknown, *made)
    return _OUTSIDE[key]


def load_network(
    config: StudyConfig, source: "Source", run: RunDirectory, key: Key, kept: str = ""
) -> "torch.nn.Module":
    """Return a confirmed model with its weights, in evaluation mode.

    Args:
        config: the study.
        source: the data set.
        run: where the weights lie.
        key: of any cell of the model.
        kept: name of further weights that were kept; "" for those after the last epoch.
    """
    import torch

    saved = torch.load(run.model(key.at("confirm")), weights_only=True)
    model = build_network(config, splits_of(key, config, source), key.loss, seed=0)
    model.load_state_dict(saved["kept"][kept] if kept else saved["weights"])
    return model.eval()


def evaluate_model(key: Key, config: StudyConfig, source: "Source", run: RunDirectory, device: str) -> dict[str, Any]:
    """Store a model's outputs on every set, and return the cell with the metrics that follow from them."""
    from study.outputs import collect, from_scores

    arrays = collect(key, config, source, run, device)
    write_atomic(run.scores(key), npz_bytes(arrays))
    return {"state": "complete", **from_scores(arrays)}


def read_scores(path: Any) -> dict[str, np.ndarray]:  # noqa: ANN401
    """Return the arrays of a scores file."""
    with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as file:
        return dict(file)


def attack_model(
    key: Key,
    config: StudyConfig,
    source: "Source",
    run: RunDirectory,
    device: str,
    *,
    norm: str,
    eps: float,
    kept: str = "",
) -> dict[str, Any]:
    """Attack a model, store every point's verdict, and return the cell with what follows from them.

    What a smaller radius of the same norm broke is broken: `broken_before` reads it from the verdicts that are there.

    Args:
        key: of the cell.
        config: the study.
        source: the data set.
        run: where weights and verdicts lie.
        device: where to compute.
        norm: "Linf" or "L2".
        eps: radius in units of the pixel range.
        kept: which further weights are attacked; "" for those after the last epoch.
    """
    from study.probes.attack import attack
    from study.probes.attack_verdicts import verdicts_to_arrays

    points, subject = _under_attack(key, config, source, run, device, kept)
    seed = derive(config.seed, "attack", key.replicate, norm, repr(eps))
    margin = _trained_margin(key, config, source, run)
    arrays = verdicts_to_arrays(
        attack(
            **subject,
            norm=norm,
            eps=eps,
            mode=config.attacks,
            seed=seed,
            hem_margin=margin,
            broken=broken_before(key, config, run, points, norm=norm, eps=eps, kept=kept),
        )
    )
    arrays |= {"points": points, "kept": np.array(kept)}
    write_atomic(run.scores(key), npz_bytes(arrays))
    return {"state": "complete", **rows_from_verdicts(arrays)}


def broken_before(
    key: Key, config: StudyConfig, run: RunDirectory, points: np.ndarray, *, norm: str, eps: float, kept: str
) -> np.ndarray:
    """Return which attacked points fell at a smaller radius of the same norm, in verdicts of the same attacks.

    Args:
        key: of the attack.
        config: the study.
        run: where verdicts lie.
        points: indices of the attacked test images.
        norm: "Linf" or "L2".
        eps: radius.
        kept: which weights are attacked.
    """
    from study.ledger import radius_key
    from study.probes.attack_verdicts import robust

    broken = np.zeros(len(points), dtype=np.bool_)
    for other, radius in config.radii:
        smaller = radius_key(config, key, other, radius, kept)
        cell = run.read_cell(smaller) if other == norm and radius < eps else None
        if cell is not None and cell["state"] == "complete":
            arrays = read_scores(run.scores(smaller))
            if np.array_equal(arrays["points"], points):
                broken |= arrays["clean"] & ~robust(arrays)
    return broken


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
    key: Key, config: StudyConfig, source: "Source", run: RunDirectory, device: str, kept: str = ""
) -> tuple[np.ndarray, dict[str, Any]]:
    """Return the attacked test images' indices, and the model with them as arguments of every attack."""
    import torch

    data = splits_of(key, config, source)
    points = attacked_points(config, len(data.test), key.replicate)
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

    kept = str(arrays.get("kept", ""))
    if kept:
        rows = attack_verdicts.rows_from_verdicts(arrays)
        return {"rows": [{**row, "probe": f"attack_{kept}"} for row in rows], "curves": [], "health": []}
    return {
        "rows": [dict(row) for row in attack_verdicts.rows_from_verdicts(arrays)],
        "curves": [dict(line) for line in curves.attack([arrays])],
        "health": [dict(row) for row in attack_health.square_rows(arrays)],
    }


def attacked_points(config: StudyConfig, available: int, replicate: int) -> np.ndarray:
    """Return the indices of the test images under attack: the same for every model of a replicate."""
    order = np.random.default_rng(derive(config.seed, "points", replicate)).permutation(available)
    return np.sort(order[: config.attack_points or available])
