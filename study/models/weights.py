"""Weights from a file: of this study's models, of one of its networks, or with torchvision's own names.

A file is what `torch.save` wrote of a state dict (name → tensor), or of a dict that has one under "weights", as the
models in a run directory do. Everything has to fit; but the buffers of the normalising layer, which belong to the data,
may be missing, and whoever fine-tunes may have another head than the file.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from study.errors import InputError
from study.models.layers import Network
from study.models.registry import MODELS

FROM_DATA = ("normalise.mean", "normalise.std")
"""Buffers of the normalising layer, taken from this data set where weights do not bring them."""
AUXILIARY = "aux_classifier."
"""Torchvision's heads of deep supervision: no network here has one."""
_SHOWN = 5


@dataclass(frozen=True)
class Loaded:
    """What became of the weights in a file."""

    head: str
    """Empty if the file's head was loaded, else why the network kept its own new one."""
    left_out: int
    """Tensors of auxiliary heads, which no network here has."""


def read(path: Path, sha256: str = "") -> Mapping[str, Tensor]:
    """Return the tensors of a file by name.

    Args:
        path: of the file.
        sha256: its expected fingerprint in hexadecimal digits; empty: any.

    Raises:
        InputError: no file, another fingerprint, or something else than weights.
    """
    import io

    try:
        content = path.read_bytes()
    except OSError as error:
        reason = f"no such file: {path}" if isinstance(error, FileNotFoundError) else f"{path}: {error.strerror}"
        raise InputError(f"weights: {reason}") from error
    if sha256 and (found := hashlib.sha256(content).hexdigest()) != sha256:
        raise InputError(
            f"the weights in {path} are not those this run began with\n"
            f"expected the fingerprint {sha256[:16]}…, got {found[:16]}…\nrestore the file, or start a new run"
        )
    try:
        saved = torch.load(io.BytesIO(content), weights_only=True, map_location="cpu")
    except Exception as error:  # whatever torch trips over in a file that is none of its own
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise InputError(f"{path}: expected weights that torch.load(weights_only=True) reads, got: {reason}") from error
    weights = saved.get("weights", saved) if isinstance(saved, dict) else saved
    if not isinstance(weights, dict) or not all(isinstance(value, Tensor) for value in weights.values()):
        raise InputError(f"{path}: expected a state dict (name → tensor), got {type(weights).__name__}")
    return weights


def load(model: Network, name: str, weights: Mapping[str, Tensor], path: Path, *, new_head: bool = False) -> Loaded:
    """Give a network the weights of a file.

    Args:
        model: a network as `build_model` makes it.
        name: its name in `MODELS`.
        weights: of `read`.
        path: where they came from, for messages.
        new_head: whether the network may keep its own head where the file has none that fits.

    Raises:
        InputError: a tensor is missing, has another shape, or belongs to nothing in the network.
    """
    given, left_out = _by_our_names(weights, MODELS[name].torchvision_head)
    own = model.state_dict()
    head = _misfit(own, given) if new_head else ""
    if head:
        given = {key: value for key, value in given.items() if not key.startswith("head.")}
        given |= {key: value for key, value in own.items() if key.startswith("head.")}
    missing = [key for key in own if key not in given and key not in FROM_DATA]
    strange = [key for key in given if key not in own]
    shapes = [key for key in given if key in own and own[key].shape != given[key].shape]
    for what, keys in (("lack", missing), ("have besides", strange), ("have in another shape", shapes)):
        if keys:
            raise InputError(f"{path}: not the weights of {name} for these data: they {what} {_some(keys, own, given)}")
    model.load_state_dict({**own, **given})
    return Loaded(head, left_out)


def _by_our_names(weights: Mapping[str, Tensor], heads: tuple[str, ...]) -> tuple[dict[str, Tensor], int]:
    """Return the weights by the names of `Network`, and how many tensors of auxiliary heads were left out."""
    if not heads or any(name.startswith("body.") for name in weights):
        return dict(weights), 0
    renamed: dict[str, Tensor] = {}
    left_out = 0
    of_head: dict[str, dict[str, Tensor]] = {}
    for name, value in weights.items():
        layer, _, kind = name.rpartition(".")
        if layer in heads:
            of_head.setdefault(kind, {})[layer] = value
        elif name.startswith(AUXILIARY):
            left_out += 1
        else:
            renamed[f"body.{name}"] = value
    for kind, by_layer in of_head.items():
        values = [by_layer[layer] for layer in heads if layer in by_layer]
        # Layers whose results are added: weights side by side, as their inputs are, and the sum of the biases.
        renamed[f"head.{kind}"] = torch.cat(values, 1) if kind == "weight" else torch.stack(values).sum(0)
    return renamed, left_out


def _misfit(own: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> str:
    """Return why the file's head is not the network's, or nothing if it is."""
    expected, found = (
        {key.removeprefix("head."): tuple(value.shape) for key, value in state.items() if key.startswith("head.")}
        for state in (own, given)
    )
    if expected == found:
        return ""
    if "weight" not in found:
        return "the file has no head"
    if found["weight"] != expected["weight"]:
        return f"the file's has {found['weight'][0]} classes, these data {expected['weight'][0]}"
    return "the file's is of another kind"


def _some(keys: Iterable[str], own: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> str:
    names = list(keys)
    texts = [
        f"{key} {tuple(given[key].shape)}, expected {tuple(own[key].shape)}" if key in own and key in given else key
        for key in names[:_SHOWN]
    ]
    return ", ".join(texts) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")
