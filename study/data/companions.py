"""Outside sets by name or from a user's file: which a data set has, which are in the data directory, and their images.

They travel with the source (`Source.companions`), so no other process reads their files: of a named set some images, of
a user's file all. Nothing is ever fetched for them: `python -m study.data --fetch NAME` does that.
"""

import hashlib
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from study.data.adapters import has_files
from study.data.catalogue import CATALOGUE, OVERLAPS, UNAVAILABLE
from study.data.convert import to_shape
from study.data.npz import class_names, image_array, label_array, read_archive
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
    """Return a source with the outside sets that are named; a name with a colon is a user's file.

    Raises:
        InputError: an unknown name, the source's own, one of label maps, a set whose files are not there, or a user's
            file that cannot be used.
    """
    if not ood_sets:
        return source
    for name in ood_sets:
        if ":" not in name:
            _check(name, source, data_dir)
    made = tuple(_users_pool(name) if ":" in name else _pool(name, source, data_dir) for name in ood_sets)
    found = replace(source, companions=made)
    object.__setattr__(found, "kept", source.kept)
    found.__dict__["_digest"] = source.fingerprint()
    return found


def _check(name: str, source: Source, data_dir: Path) -> None:
    usable = [known for known, entry in CATALOGUE.items() if not entry.is_map]
    if name in UNAVAILABLE:
        raise InputError(f"--ood-sets: {name} cannot be had by name: {UNAVAILABLE[name]}")
    if name not in usable:
        raise unknown("outside set", name, [*usable, "npz:PATH", "near:npz:PATH", "far:npz:PATH"])
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


def users_file(name: str) -> tuple[str, Path]:
    """Return the group and the file that npz:PATH (group "user"), near:npz:PATH or far:npz:PATH name.

    Raises:
        InputError: another form, or a ~ that stands for nobody's home.
    """
    from study.data.registry import expanded

    group, _, rest = name.partition(":")
    if group not in ("near", "far"):
        group, rest = "user", name
    kind, _, argument = rest.partition(":")
    if kind != "npz" or not argument:
        raise InputError(f"outside set: expected npz:PATH, near:npz:PATH or far:npz:PATH, got {name!r}")
    return group, expanded(argument)


def _users_pool(name: str) -> OutsideSet:
    """Return all images of a user's file, as they are."""
    group, path = users_file(name)
    arrays, found = read_archive(path)
    part = next((part for part in ("test", "train") if f"x_{part}" in arrays), None)
    if part is None:
        raise InputError(f"{path}: expected a key x_test or x_train, got: {', '.join(found) or 'nothing'}")
    images = image_array(arrays, f"x_{part}", path)
    labels = label_array(arrays, f"y_{part}", f"x_{part}", path) if f"y_{part}" in arrays else None
    names = class_names(arrays, path)
    if names is None:
        names, labels = (path.stem,), None
    if labels is not None and labels.max() >= len(names):
        raise InputError(f"{path}: classes: expected names for the labels 0 to {labels.max()}, got {len(names)}")
    return OutsideSet(f"npz:{path.stem}", group, images, names, labels)


def fingerprints(source: Source) -> dict[str, str]:
    """Return for each of a source's companions the SHA-256 (hex) of its content: images, labels, class names."""
    return {pool.name: _fingerprint(pool) for pool in source.companions}


def _fingerprint(pool: OutsideSet) -> str:
    digest = hashlib.sha256(repr((pool.class_names, pool.images.shape, pool.labels is None)).encode())
    digest.update(pool.images.data)
    if pool.labels is not None:
        digest.update(pool.labels.astype("<i8").data)
    return digest.hexdigest()


def overlapping(known: str, outside: str) -> tuple[str, ...]:
    """Return the classes of an outside set that show a known class under another name."""
    return OVERLAPS.get((known, outside), ())
