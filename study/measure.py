"""What is measured on a trained model: raw outputs first, then every number as a function of them.

`collect` and `attack_model` need the network; `from_scores` and `rows_from_verdicts` need only what those two
stored, so that every metric can be computed again without it.
"""

import io
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from study.config import StudyConfig
from study.run import Key, RunDirectory, npz_bytes, write_atomic
from study.seeds import derive
from study.trial import build_network, pixels, splits

if TYPE_CHECKING:
    import torch

    from study.data.types import OutsideSet, Source

OUTSIDE_IMAGES = 500
SHIFTED = "shifted-known"
Arrays = Mapping[str, np.ndarray]

_OUTSIDE: dict[tuple[Any, ...], "tuple[OutsideSet, ...]"] = {}


def outside(config: StudyConfig, source: "Source", replicate: int) -> "tuple[OutsideSet, ...]":
    """Return the sets from outside for a replicate: the same for every loss, made once per process."""
    from study.data.outside import outside_sets

    key = (source.fingerprint(), config.task, config.imbalance_ratio, config.seed, replicate, config.ood_sets)
    if key not in _OUTSIDE:
        _OUTSIDE[key] = outside_sets(
            source,
            splits(config, source, replicate),
            seed=derive(config.seed, "outside", replicate),
            n=OUTSIDE_IMAGES,
            extra=config.ood_sets,
        )
    return _OUTSIDE[key]


def load_network(config: StudyConfig, source: "Source", run: RunDirectory, key: Key) -> "torch.nn.Module":
    """Return a confirmed model with its weights, in evaluation mode."""
    import torch

    saved = torch.load(run.model(_confirmed(key)), weights_only=True)
    model = build_network(config, splits(config, source, key.replicate), key.loss, seed=0)
    model.load_state_dict(saved["weights"])
    return model.eval()


def _confirmed(key: Key) -> Key:
    return Key("confirm", key.method, key.loss, key.arm, key.replicate, key.number)


def evaluate_model(key: Key, config: StudyConfig, source: "Source", run: RunDirectory, device: str) -> dict[str, Any]:
    """Store a model's outputs on every set, and return the cell with the metrics that follow from them."""
    arrays = collect(key, config, source, run, device)
    write_atomic(run.scores(key), npz_bytes(arrays))
    return {"state": "complete", **from_scores(arrays)}


def collect(key: Key, config: StudyConfig, source: "Source", run: RunDirectory, device: str) -> dict[str, np.ndarray]:
    """Return a model's logits (float32) and the labels of every set, with what the metrics need to know besides."""
    import torch

    from study.training import predict

    data = splits(config, source, key.replicate)
    model = load_network(config, source, run, key)
    about: dict[str, Any] = {"class_counts": data.class_counts, "classes": data.classes, "outside": []}
    arrays: dict[str, np.ndarray] = {}

    def add(name: str, images: np.ndarray, labels: np.ndarray | None) -> None:
        arrays[f"{name}/logits"] = predict(model, images, device=torch.device(device))
        if labels is not None:
            arrays[f"{name}/labels"] = labels

    add("validation", data.validation.images, data.validation.labels)
    add("test", data.test.images, data.test.labels)
    for index, out in enumerate(outside(config, source, key.replicate)):
        about["outside"].append({"name": out.name, "group": out.group})
        add(f"outside{index}", out.images, out.labels if out.group == SHIFTED else None)
    arrays["about"] = np.frombuffer(json.dumps(about).encode(), dtype=np.uint8)
    return arrays


def read_scores(path: Any) -> dict[str, np.ndarray]:  # noqa: ANN401
    """Return the arrays of a scores file."""
    with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as file:
        return dict(file)


def from_scores(arrays: Arrays) -> dict[str, list[dict[str, Any]]]:
    """Return the rows of evaluation.parquet and of curves.parquet that follow from a model's stored outputs."""
    from study.probes import accuracy, calibration, curves, rejection

    about = json.loads(arrays["about"].tobytes())
    counts, classes = about["class_counts"], about["classes"]
    logits, labels = arrays["test/logits"], arrays["test/labels"]
    held = arrays["validation/logits"], arrays["validation/labels"]
    sets = {entry["name"]: (entry["group"], f"outside{i}") for i, entry in enumerate(about["outside"])}
    out = {name: (group, arrays[f"{at}/logits"]) for name, (group, at) in sets.items() if group != SHIFTED}
    rows = [
        *accuracy.rows(logits, labels, counts, classes),
        *accuracy.rows(*held, counts, classes, dataset="validation"),
        *accuracy.posthoc_rows(logits, labels, *held, counts, classes),
        *rejection.rows(logits, labels, out),
        *calibration.rows(logits, labels, *held),
    ]
    for name, (group, at) in sets.items():
        if group == SHIFTED:
            rows += accuracy.shifted_rows(name, arrays[f"{at}/logits"], arrays[f"{at}/labels"])
    temperature = calibration.fit_temperature(*held)
    lines = [
        *curves.roc(logits, {name: value for name, (_, value) in out.items()}),
        *curves.risk_coverage(logits, labels),
        *curves.reliability(logits, labels, temperature),
    ]
    return {"rows": [dict(row) for row in rows], "curves": [dict(line) for line in lines]}


def attack_model(
    key: Key, config: StudyConfig, source: "Source", run: RunDirectory, device: str, *, norm: str, eps: float
) -> dict[str, Any]:
    """Attack a model, store every point's verdict, and return the cell with what follows from them."""
    from study.probes.attack import attack
    from study.probes.attack_verdicts import verdicts_to_arrays

    points, subject = _under_attack(key, config, source, run, device)
    seed = derive(config.seed, "attack", key.replicate, norm, repr(eps))
    margin = _trained_margin(key, config, source, run)
    arrays = verdicts_to_arrays(
        attack(**subject, norm=norm, eps=eps, mode=config.attacks, seed=seed, hem_margin=margin)
    )
    arrays["points"] = points
    write_atomic(run.scores(key), npz_bytes(arrays))
    return {"state": "complete", **rows_from_verdicts(arrays)}


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

    cell = run.read_cell(_confirmed(key))
    own = key.loss in ("hem", "hem+") and cell is not None
    counts = splits(config, source, key.replicate).class_counts
    parameters = cell["training"]["loss_parameters"] if own and cell is not None else {}
    margin = get_loss(key.loss if own else "hem").build(counts, **parameters).margin
    return margin.tolist() if isinstance(margin, torch.Tensor) else float(margin)


def _under_attack(
    key: Key, config: StudyConfig, source: "Source", run: RunDirectory, device: str
) -> tuple[np.ndarray, dict[str, Any]]:
    """Return the attacked test images' indices, and the model with them as arguments of every attack."""
    import torch

    data = splits(config, source, key.replicate)
    points = attacked_points(config, len(data.test), key.replicate)
    return points, {
        "model": load_network(config, source, run, key).to(device),
        "images": pixels(data.test.images[points]).to(device),
        "labels": torch.tensor(data.test.labels[points]).to(device),
        "num_classes": len(data.classes),
    }


def rows_from_verdicts(arrays: Arrays) -> dict[str, list[dict[str, Any]]]:
    """Return the rows of evaluation.parquet, curves.parquet and health.parquet that follow from stored verdicts."""
    from study.probes import attack_health, attack_verdicts, curves

    return {
        "rows": [dict(row) for row in attack_verdicts.rows_from_verdicts(arrays)],
        "curves": [dict(line) for line in curves.attack([arrays])],
        "health": [dict(row) for row in attack_health.square_rows(arrays)],
    }


def attacked_points(config: StudyConfig, available: int, replicate: int) -> np.ndarray:
    """Return the indices of the test images under attack: the same for every model of a replicate."""
    order = np.random.default_rng(derive(config.seed, "points", replicate)).permutation(available)
    return np.sort(order[: config.attack_points or available])
