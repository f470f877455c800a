"""A trained model and what it is measured with. Raw outputs are stored first; every number is a function of them."""

import io
import struct
import zipfile
import zlib
from typing import TYPE_CHECKING, Any

import numpy as np

from study.config import StudyConfig
from study.errors import InputError
from study.recent import Recent, image_bytes
from study.run import Key, RunDirectory, npz_bytes, write_atomic
from study.seeds import derive
from study.tasks import get_task
from study.trial import build_network, splits, splits_of

if TYPE_CHECKING:
    import torch

    from study.data.types import OutsideSet, Source

OUTSIDE_IMAGES = 500
UNREADABLE = (
    *(OSError, ValueError, KeyError, TypeError, EOFError, NotImplementedError, MemoryError),
    *(zipfile.BadZipFile, zlib.error, struct.error),
)
"""What numpy and zipfile raise at a file that is no archive of plain arrays, or a damaged one."""

_OUTSIDE: "Recent[tuple[OutsideSet, ...]]" = Recent()


def outside(config: StudyConfig, source: "Source", replicate: int) -> "tuple[OutsideSet, ...]":
    """Return the sets from outside for a replicate: the same for every loss; kept, as `study.trial.splits` are.

    None for a task that the probe of rejection is not for.
    """
    from study.data.open_set import known_source
    from study.data.outside import outside_sets

    if not get_task(config.task).applies("rejection"):
        return ()

    data = splits(config, source, replicate, final=True)
    key = (source.fingerprint(), config.task, data.classes, config.seed, replicate, config.ood_sets)

    def make() -> "tuple[OutsideSet, ...]":
        made = outside_sets(
            known_source(source, data.classes),
            data,
            seed=derive(config.seed, "outside", replicate),
            n=OUTSIDE_IMAGES,
            extra=config.ood_sets,
        )
        return made if data.unknown is None else (data.unknown, *made)

    return _OUTSIDE.get(key, make, image_bytes)


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

    model = build_network(config, splits_of(key, config, source), key.loss, seed=0, normalised=False)
    path = run.model(key.at("confirm"))
    try:
        saved = torch.load(path, weights_only=True)
        model.load_state_dict(saved["kept"][kept] if kept else saved["weights"])
    except Exception as error:  # whatever torch trips over in a damaged file
        raise lost(path, run.cell(key.at("confirm")), error) from error
    return model.eval()


def evaluate_model(key: Key, config: StudyConfig, source: "Source", run: RunDirectory, device: str) -> dict[str, Any]:
    """Store a model's outputs on every set, and return the cell with the metrics that follow from them."""
    from study.outputs import Subject, collect, from_scores, write_examples

    subject = Subject(key, config, source, run, device)
    arrays = collect(subject)
    write_atomic(run.scores(key), npz_bytes(arrays))
    return {"state": "complete", **from_scores(arrays), "examples": write_examples(subject, arrays)}


def read_scores(path: Any) -> dict[str, np.ndarray]:  # noqa: ANN401
    """Return the arrays of a scores file.

    Raises:
        InputError: it is missing or damaged.
    """
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as file:
            return dict(file)
    except UNREADABLE as error:
        raise lost(path, path.parents[2] / "cells" / path.parent.name / f"{path.stem}.json", error) from error


def lost(path: Any, cell: Any, error: Exception) -> InputError:  # noqa: ANN401
    """Return the error for a file of a finished piece of work that cannot be read any more."""
    reason = (str(error) or type(error).__name__).splitlines()[0]
    return InputError(
        f"{path} cannot be read ({reason:.100})\nrestore it from a copy; or delete {cell} and resume the run, "
        "which makes both again"
    )
