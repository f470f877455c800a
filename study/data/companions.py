"""Outside sets by name: which a data set has, which of them are in the data directory, and some images of each.

They travel with the source (`Source.companions`), so no other process reads their files. Nothing is ever fetched for
them: `python -m study.data --fetch NAME` does that.
"""

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from study.data.adapters import has_files
from study.data.catalogue import CATALOGUE, OVERLAPS, UNAVAILABLE
from study.data.convert import to_shape
from study.data.types import OutsideSet, Source
from study.errors import InputError, unknown

POOL = 2000
"""Images of a set that travel; every replicate draws its own from them."""
_STREAM = 15


def groups(dataset: str) -> Mapping[str, tuple[str, ...]]:
    """Return the names of a data set's near and far outside sets."""
    entry = CATALOGUE.get(dataset)
    return {"near": entry.near, "far": entry.far} if entry else {"near": (), "far": ()}


def present(dataset: str, data_dir: Path) -> tuple[str, ...]:
    """Return a data set's outside sets whose files are in the data directory: near ones first."""
    named = [name for group in groups(dataset).values() for name in group]
    return tuple(name for name in named if name in CATALOGUE and has_files(name, data_dir))


def missing(dataset: str, ood_sets: Sequence[str]) -> str:
    """Return a line that names a data set's outside sets that a study does without, and why; "" if there are none."""
    parts = []
    for group, names in groups(dataset).items():
        absent = [name for name in names if name not in ood_sets]
        if absent:
            shown = [f"{name} (cannot be had: {UNAVAILABLE[name]})" if name in UNAVAILABLE else name for name in absent]
            parts.append(f"{group}: {', '.join(shown)}")
    if not parts:
        return ""
    return f"outside sets of {dataset} that were not in the data directory: {'; '.join(parts)}"


def with_companions(source: Source, ood_sets: Sequence[str], data_dir: Path) -> Source:
    """Return a source with the outside sets that are named; names with a colon are a user's files, read elsewhere.

    Raises:
        InputError: an unknown name, the source's own, one of label maps, or a set whose files are not there.
    """
    names = [name for name in ood_sets if ":" not in name]
    if not names:
        return source
    for name in names:
        _check(name, source, data_dir)
    made = tuple(_pool(name, source, data_dir) for name in names)
    found = replace(source, companions=made)
    object.__setattr__(found, "kept", source.kept)
    found.__dict__["_digest"] = source.fingerprint()
    return found


def _check(name: str, source: Source, data_dir: Path) -> None:
    usable = [known for known, entry in CATALOGUE.items() if not entry.is_map]
    if name in UNAVAILABLE:
        raise InputError(f"--ood-sets: {name} cannot be had by name: {UNAVAILABLE[name]}")
    if name not in usable:
        raise unknown("outside set", name, [*usable, "npz:PATH"])
    if name == source.name:
        raise InputError(f"--ood-sets: {name} is what is learnt; expected other data")
    if not has_files(name, data_dir):
        raise InputError(
            f"--ood-sets: {name} is not in {data_dir}; outside sets are not fetched on the way\n"
            f"first: python -m study.data --fetch {name} --data-dir {data_dir}"
        )


def _pool(name: str, source: Source, data_dir: Path) -> OutsideSet:
    """Return some test images of a set (training images where it has no test set) in the source's shape."""
    from study.data.registry import load_source

    other = load_source(name, data_dir)
    part = other.train if other.test is None else other.test
    generator = np.random.default_rng([_STREAM, zlib.crc32(name.encode())])
    chosen = part.take(np.sort(generator.permutation(len(part))[:POOL]))
    group = next((group for group, names in groups(source.name).items() if name in names), "user")
    return OutsideSet(name, group, to_shape(chosen.images, source.shape), other.classes, chosen.labels)


def overlapping(known: str, outside: str) -> tuple[str, ...]:
    """Return the classes of an outside set that show a known class under another name."""
    return OVERLAPS.get((known, outside), ())
