"""Trainings that begin from given weights (`--weights`), with the whole network or with its head alone to train.

All losses, arms, replicates and seeds of a study begin from the same file. A head that the file has none for (another
number of classes, another kind) is new for each training, from its seed, as without a file.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from study.config import StudyConfig
from study.trial import build_network, splits

if TYPE_CHECKING:
    from study.data.types import Source


def describe(config: StudyConfig, source: "Source") -> dict[str, Any] | None:
    """Return what the record says of the weights that trainings begin with; None without any.

    Raises:
        InputError: the file is not there, has changed, or does not fit the network.
    """
    from hem.registry import get_loss
    from study.models import weights

    if config.weights is None:
        return None
    data, path = splits(config, source, 0, final=True), Path(config.weights)
    found: dict[str, weights.Loaded] = {}
    for loss in config.losses:
        kind = get_loss(loss).head
        if kind not in found:
            model = build_network(config, data, loss, seed=0)
            found[kind] = weights.load(
                model, config.model, weights.read(path, config.weights_sha256), path, new_head=True
            )
    return {
        "path": config.weights,
        "sha256": config.weights_sha256,
        "freeze_body": config.freeze_body,
        "new_heads": {loss: found[get_loss(loss).head].head for loss in config.losses},
        "left_out": next(iter(found.values())).left_out,
    }


def said(about: dict[str, Any]) -> str:
    """Return the line that tells the user what was loaded."""
    replaced: dict[str, list[str]] = {}
    for loss, reason in about["new_heads"].items():
        if reason:
            replaced.setdefault(reason, []).append(loss)
    heads = "; ".join(f"new heads for {', '.join(losses)} ({reason})" for reason, losses in replaced.items())
    parts = [
        f"weights: {about['path']} ({about['sha256'][:16]}…)",
        heads or "the head too",
        *(["the body stays as it is"] if about["freeze_body"] else []),
        *([f"{about['left_out']} tensors of auxiliary heads left out"] if about["left_out"] else []),
    ]
    return "; ".join(parts)
