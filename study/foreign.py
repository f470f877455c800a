"""Models that this study did not train, measured like its own: outputs in a file, weights, or a function.

    outputs.npz               logits float (N, C); labels int (N,), anything for unknown samples; sets text (N,):
                              "test", "validation", "near:NAME", "far:NAME", "unrecognisable:NAME", "user:NAME", or
                              "shifted-known:NAME" (known classes from elsewhere, with labels); optional: classes (C,),
                              class_counts (C,), the training images of each class. Without `sets` all is "test".
    weights.pt                a state dict of one of the study's networks, loaded strictly (`study.models.weights`)
    package.module:function   called without arguments; returns a torch.nn.Module from float images (N, channels, H, W)
                              in [0, 1] to logits (N, C)

A network sees the first replicate's test images and outside sets, and the run's own attacks but for images from other
models. It was not tuned here and there is one of it: figures, no test.

Every attacked block is a cell at once, from which an interrupted command goes on. Figures come from cells that are
written when all is measured: until then the page shows what it showed before.
"""

import hashlib
import importlib
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from study.attack_block import attack_points, attacked_points, rejects
from study.attack_join import join_blocks, rows_from_verdicts, with_found
from study.config import StudyConfig
from study.data.npz import class_names
from study.data.types import check_class_names
from study.errors import InputError, unknown
from study.ledger import Aim, block_keys, radius_key
from study.measure import UNREADABLE, read_scores
from study.outputs import SHIFTED, Subject, collect, from_scores
from study.run import Key, RunDirectory, npz_bytes, write_atomic
from study.seeds import derive
from study.tasks import get_task
from study.trial import build_network, pixels, splits

if TYPE_CHECKING:
    import torch

    from study.data.types import Source

FOREIGN = "foreign"
"""Method and arm of a foreign model's cells; the loss is its name."""
OUTSIDE = ("near", "far", "unrecognisable", "user", SHIFTED)
Arrays = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Foreign:
    """A model to be added: how the page calls it, and where it comes from."""

    name: str
    source: str

    @property
    def key(self) -> Key:
        """The cell of its outputs."""
        return Key("evaluate", FOREIGN, self.name, FOREIGN, 0, 0)


def parse(text: str, taken: tuple[str, ...] = ()) -> Foreign:
    """Return what NAME=SOURCE asks for.

    Raises:
        InputError: not of that form, a name that one of the run's losses has, or a source of an unknown kind.
    """
    name, equals, source = text.partition("=")
    if not (name and equals and source):
        raise InputError(f"--add: expected NAME=SOURCE, got {text!r}\nallowed sources: {_SOURCES}")
    if name in taken:
        raise InputError(f"--add: the run has a loss {name!r}; choose another name for the model")
    if Path(source).suffix not in (".npz", ".pt", ".pth") and ":" not in source:
        raise InputError(f"--add {name}: expected a source of a known kind, got {source!r}\nallowed: {_SOURCES}")
    return Foreign(name, source)


_SOURCES = "FILE.npz, FILE.pt (weights), package.module:function"


def parse_all(texts: Sequence[str], taken: tuple[str, ...] = ()) -> list[Foreign]:
    """Return what several NAME=SOURCE ask for.

    Raises:
        InputError: one that `parse` refuses, or a name that is given twice.
    """
    asked = [parse(text, taken) for text in texts]
    again = [name for name, n in Counter(model.name for model in asked).items() if n > 1]
    if again:
        raise InputError(f"--add: expected a name for each model, got more than once: {', '.join(again)}")
    return asked


def add(model: Foreign, network: str, config: StudyConfig, source: "Source", run: RunDirectory) -> dict[str, Any]:
    """Measure a foreign model and write its cells; return what the record says of it.

    Args:
        model: name and source.
        network: name of the network that weights belong to.
        config: the study.
        source: the data set.
        run: where cells and scores go.

    Raises:
        InputError: something that the user can mend.
    """
    path = Path(model.source)
    digest = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None
    made: list[tuple[Key, Arrays, Mapping[str, Any]]]
    if path.suffix == ".npz":
        data = splits(config, source, 0, final=True)
        arrays = outputs_of(path, data.classes, data.class_counts)
        made = [(model.key, arrays, from_scores(arrays))]
    else:
        loaded = _from_weights(path, network, config, source) if path.suffix in (".pt", ".pth") else _from_code(model)
        _check_module(model, loaded, config, source)
        arrays = collect(Subject(model.key, config, source, run, "cpu", loaded.eval()))
        made = [(model.key, arrays, from_scores(arrays))]
        if config.attacks != "none" and get_task(config.task).applies("attack"):
            made += _attacks(model, _identity(model, digest, arrays), loaded, arrays, config, source, run)
    for stage in ("evaluate", "attack"):
        for key, _ in run.cells(stage):
            if (key.method, key.loss) == (FOREIGN, model.name):  # of a model that had this name before
                run.cell(key).unlink()
    for key, arrays, content in made:
        write_atomic(run.scores(key), npz_bytes(arrays))
        run.write_cell(key, {"state": "complete", "seconds": 0.0, **content})
    return {"source": model.source, "network": network if path.suffix in (".pt", ".pth") else None, "sha256": digest}


def _identity(model: Foreign, sha256: str | None, scores: Arrays) -> str:
    """Return a digest (hex) of what tells a model from others of its name: source, content of the file, all logits."""
    digest = hashlib.sha256(repr((model.source, sha256)).encode())
    for name in sorted(name for name in scores if name.endswith("/logits")):
        digest.update(scores[name].tobytes())
    return digest.hexdigest()


def _attacks(
    model: Foreign,
    identity: str,
    loaded: "torch.nn.Module",
    scores: Arrays,
    config: StudyConfig,
    source: "Source",
    run: RunDirectory,
) -> list[tuple[Key, Arrays, Mapping[str, Any]]]:
    """Attack a foreign model with the run's radii, small ones first, block by block; return cells with their scores."""
    import torch

    from study.probes import dar
    from study.probes.attack import HEM_MARGIN, block_size
    from study.probes.attack_verdicts import robust

    data = splits(config, source, 0, final=True)
    points = attacked_points(config, len(data.test), 0)
    size = block_size(data.test.images.shape[1:])
    starts = range(0, len(points), size)
    limits = (
        dar.thresholds(*(scores[f"validation/{part}"] for part in ("logits", "labels"))) if rejects(config) else None
    )

    def attacked(aim: Aim, number: int, before: np.ndarray | None) -> dict[str, np.ndarray]:
        part = points[starts[number] : starts[number] + size]
        subject = {
            "model": loaded,
            "images": pixels(data.test.images[part]),
            "labels": torch.tensor(data.test.labels[part]),
            "num_classes": len(data.classes),
        }
        seed = derive(config.seed, "attack", 0, aim.norm, repr(aim.eps), number)
        return attack_points(subject, aim, config.attacks, seed, HEM_MARGIN, before, limits) | {"points": part}

    fallen: dict[str, np.ndarray] = {}
    found: dict[str, Arrays] = {}
    made: list[tuple[Key, Arrays, Mapping[str, Any]]] = []
    for norm, eps in sorted(config.radii, key=lambda radius: radius[1]):
        aim, blocks = Aim(norm, eps), []
        key = radius_key(config, model.key, aim)
        for number, block in enumerate(block_keys(key, len(starts))):
            before = fallen[norm][starts[number] : starts[number] + size] if norm in fallen else None
            of = hashlib.sha256(identity.encode() + (b"" if before is None else before.tobytes())).hexdigest()
            blocks.append(_once(run, block, of, partial(attacked, aim, number, before)))
        arrays = join_blocks(blocks) | {"kept": np.array("")}
        arrays = with_found(arrays, found[norm]) if norm in found else arrays
        fallen[norm], found[norm] = arrays["clean"] & ~robust(arrays), arrays
        made.append((key, arrays, rows_from_verdicts(arrays)))
    return made


def _once(run: RunDirectory, key: Key, of: str, attacked: Callable[[], dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Return a block's verdicts: stored ones if they were made `of` the same model and fallen points, else new ones."""
    cell = run.read_cell(key)
    if cell is not None and cell.get("made_of") == [of] and run.scores(key).is_file():
        return read_scores(run.scores(key))
    run.cell(key).unlink(missing_ok=True)
    arrays = attacked()
    write_atomic(run.scores(key), npz_bytes(arrays))
    run.write_cell(key, {"state": "complete", "seconds": 0.0, "made_of": [of]})
    return arrays


def _from_weights(path: Path, network: str, config: StudyConfig, source: "Source") -> "torch.nn.Module":
    """Return a network of the study with foreign weights; only the normalising layer may be left to this data set."""
    from study.models import MODELS, weights

    if network not in MODELS:
        raise unknown("--model", network, MODELS)
    given = weights.read(path)
    model = build_network(replace(config, model=network), splits(config, source, 0, final=True), "ce", seed=0)
    weights.load(model, network, given, path)
    return model


def _from_code(model: Foreign) -> "torch.nn.Module":
    """Return what package.module:function makes."""
    from torch import nn

    name, _, attribute = model.source.partition(":")
    try:
        function = getattr(importlib.import_module(name), attribute)
    except Exception as error:  # whatever a user's module does
        raise InputError(f"--add {model.name}: cannot import {model.source!r} ({error})") from error
    try:
        made = function()
    except Exception as error:
        raise InputError(f"--add {model.name}: {model.source}() raised {type(error).__name__}: {error}") from error
    if not isinstance(made, nn.Module):
        raise InputError(
            f"--add {model.name}: expected a torch.nn.Module from {model.source}(), got {type(made).__name__}"
        )
    return made


def _check_module(model: Foreign, loaded: "torch.nn.Module", config: StudyConfig, source: "Source") -> None:
    """Refuse a network that does not give logits of the study's classes for its images."""
    import torch

    data = splits(config, source, 0, final=True)
    images, expected = pixels(data.test.images[:2]), (2, len(data.classes))
    if get_task(config.task).dense:
        expected = (*expected, *data.test.labels.shape[1:])
    try:
        with torch.no_grad():
            logits = loaded.eval()(images)
    except Exception as error:
        shape = f"float32 {tuple(images.shape)} in [0, 1]"
        raise InputError(f"--add {model.name}: it fails on images {shape}: {type(error).__name__}: {error}") from error
    if not isinstance(logits, torch.Tensor) or tuple(logits.shape) != expected or not torch.isfinite(logits).all():
        given = tuple(logits.shape) if isinstance(logits, torch.Tensor) else type(logits).__name__
        raise InputError(f"--add {model.name}: expected finite logits {expected} for two images, got {given}")


def outputs_of(
    path: Path, classes: tuple[str, ...] | None = None, class_counts: tuple[int, ...] | None = None
) -> dict[str, np.ndarray]:
    """Return the outputs in a file as `outputs.from_scores` takes them.

    Args:
        path: an npz archive as the module describes it.
        classes: the study's classes, which the file must agree with in number; None takes the file's, or numbers.
        class_counts: the study's training images of each class; None takes the file's, or 1 each.

    Raises:
        InputError: something in the file is missing or cannot be.
    """
    given = _read(path)
    logits, labels, sets = given["logits"], given["labels"], given["sets"]
    count = logits.shape[1]
    named = class_names(given, path)
    names = classes or named or tuple(map(str, range(count)))
    check_class_names(names, f"{path}: classes")
    if len(names) != count:
        raise InputError(f"{path}: logits: expected {len(names)} classes, got {count}")
    if named is not None and named != names and sorted(named) == sorted(names):
        raise InputError(f"{path}: classes: expected the order {', '.join(names)}, got {', '.join(named)}")
    counts = class_counts or _class_counts(given, count, path)
    outside = [str(name) for name in dict.fromkeys(sets) if name not in ("test", "validation")]
    _check_outside(outside, path)
    for name in ("test", "validation", *(name for name in outside if name.startswith(SHIFTED))):
        of_set = labels[sets == name]
        if len(of_set) and not (of_set.min() >= 0 and of_set.max() < count):
            raise InputError(
                f"{path}: labels of {name}: expected 0 to {count - 1}, got {of_set.min()} to {of_set.max()}"
            )
    about = {
        "class_counts": counts,
        "classes": names,
        "experiences": [],
        "outside": [{"name": name.partition(":")[2], "group": name.partition(":")[0]} for name in outside],
        "probes": ["accuracy", "posthoc", "rejection", "calibration"],
    }
    arrays = {"about": np.frombuffer(json.dumps(about).encode(), dtype=np.uint8)}
    for name in ("test", "validation"):
        arrays[f"{name}/logits"], arrays[f"{name}/labels"] = logits[sets == name], labels[sets == name]
    for index, name in enumerate(outside):
        arrays[f"outside{index}/logits"] = logits[sets == name]
        if name.startswith(SHIFTED):
            arrays[f"outside{index}/labels"] = labels[sets == name]
    return arrays


def _class_counts(given: Arrays, count: int, path: Path) -> tuple[int, ...]:
    """Return the file's training images of each class, or 1 each."""
    counts = given.get("class_counts", np.ones(count, dtype=np.int64))
    if counts.shape != (count,) or counts.dtype.kind not in "iu" or counts.min() < 1:
        shown = counts.tolist() if counts.size <= count + 1 else f"{counts.dtype} {counts.shape}"
        raise InputError(f"{path}: class_counts: expected {count} whole numbers of at least 1, got {shown}")
    return tuple(int(n) for n in counts)


def _check_outside(sets: list[str], path: Path) -> None:
    """Refuse sets whose figures could not be told from those of others: every table knows a set by its NAME."""
    seen: dict[str, str] = {}
    for text in sets:
        group, _, name = text.partition(":")
        if group not in OUTSIDE or not name:
            raise InputError(
                f"{path}: sets: expected test, validation or one of {', '.join(OUTSIDE)} with :NAME, got {text!r}"
            )
        if name in ("test", "validation") or name.partition(":")[0] in ("group", "adversarial"):
            raise InputError(f"{path}: sets: {text!r} has the name of figures of the tables; choose another name")
        if name in seen:
            raise InputError(f"{path}: sets: expected different names, got {seen[name]!r} and {text!r}")
        seen[name] = text


def _read(path: Path) -> dict[str, np.ndarray]:
    """Return the file's arrays, checked one by one."""
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            given = {name: file[name] for name in file.files}
    except FileNotFoundError as error:
        raise InputError(f"no such file: {path}") from error
    except UNREADABLE as error:
        raise InputError(f"{path}: expected an archive as numpy.savez writes it: {error}") from error
    missing = [name for name in ("logits", "labels") if name not in given]
    if missing:
        raise InputError(f"{path}: expected the arrays logits and labels, got: {', '.join(given) or 'nothing'}")
    logits, labels = given["logits"], given["labels"]
    if logits.ndim != 2 or logits.dtype.kind not in "fiu" or logits.shape[1] < 2:
        raise InputError(f"{path}: logits: expected finite numbers (N, C), C ≥ 2, got {logits.dtype} {logits.shape}")
    with np.errstate(over="ignore"):
        logits = logits.astype(np.float32)
    bad = np.flatnonzero(~np.isfinite(logits).all(1))
    if len(bad):
        raise InputError(
            f"{path}: logits: expected finite numbers in float32's range, got others in {len(bad)} of {len(logits)} "
            f"rows, the first in row {bad[0]}"
        )
    if labels.shape != logits.shape[:1] or labels.dtype.kind not in "iu":
        raise InputError(f"{path}: labels: expected {len(logits)} whole numbers, got {labels.dtype} {labels.shape}")
    sets = given.get("sets", np.full(len(logits), "test"))
    if sets.shape != labels.shape or sets.dtype.kind != "U":
        raise InputError(f"{path}: sets: expected {len(logits)} texts, got {sets.dtype} {sets.shape}")
    if not (sets == "test").any():
        there = ", ".join(sorted(set(map(str, sets)))[:5]) or "no samples"
        raise InputError(f"{path}: sets: expected samples of the set test, got none but: {there}")
    return {**given, "logits": logits, "labels": labels.astype(np.int64), "sets": sets}
