"""Decoded images on disk, and memory-mapped: a set is decoded once, by all cores, whatever asks for it later.

    DATA_DIR/decoded/KEY/train_images.npy, train_labels.npy[, test_images.npy, test_labels.npy][, groups.npy],
    about.json

KEY is the SHA-256 of the files' names, sizes and times of change, of their classes and groups, and of the size that was
asked for. A set appears whole or not at all; of two processes one decodes, the other waits.

A source from here is sent to another process as the place where its files lie, not as its images. Where that place
cannot be read (another node without a shared data directory), the source is loaded there again by its name; if that
does not work either, or gives other data, the error says so.
"""

import hashlib
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.lib.format import open_memmap

from study.data.decode import MAP_IGNORED, Header, UnreadableError, read_header, read_image, read_map
from study.data.listing import Listing, Part
from study.data.locks import held
from study.data.types import IGNORED, Images, Source
from study.errors import InputError

VERSION = 3
"""Raised when the same files would be decoded to other arrays."""
FOLDER = "decoded"
LARGEST_OWN = 256
"""Images that all have one size keep it up to so many pixels a side."""
DEFAULT_SIDE = 64
"""Side in pixels of images of mixed sizes, or of larger ones, if no other is asked for."""
DEFAULT_MAP_SIDE = 128
"""The same for images with label maps."""
CHUNK = 32
"""Files a piece of work."""
THREADS = 32
"""At most so many; Pillow decodes outside of Python's lock."""
LARGEST_LABEL = int(np.iinfo(np.int16).max)
SHOWN = 5


@dataclass(frozen=True)
class Asked:
    """How a source was asked for: enough to load it again elsewhere."""

    name: str
    data_dir: Path
    image_size: int


@dataclass(frozen=True)
class Kept:
    """Where a source's arrays lie, and what they are."""

    folder: Path
    fingerprint: str
    asked: Asked

    def reopen(self, changed: dict[str, Any]) -> Source:
        """Return the source in another process: memory-mapped, or loaded again by its name where the files are not.

        Args:
            changed: attributes that the source had besides its arrays.

        Raises:
            InputError: the files are not here, and the source cannot be loaded here or is another one.
        """
        from study.data.registry import load_source

        found = _open(self.folder, self.asked)
        if found is None or found.fingerprint() != self.fingerprint:
            where = f"{self.folder} cannot be read on {os.uname().nodename}"
            advice = "give a --data-dir that all nodes share"
            try:
                found = load_source(self.asked.name, self.asked.data_dir, self.asked.image_size)
            except InputError as error:
                raise InputError(f"{where}, and {self.asked.name} cannot be loaded there: {error}\n{advice}") from error
            if found.fingerprint() != self.fingerprint:
                raise InputError(f"{where}, and {self.asked.name} has other images there\n{advice}")
        for name, value in changed.items():
            object.__setattr__(found, name, value)
        return found


def decoded(listing: Listing, asked: Asked, *, default_side: int = 0) -> Source:
    """Return the images of a listing, decoded to one size; from the data directory if they were decoded before.

    Args:
        listing: which files.
        asked: under which name they were asked for, where decoded images are kept, and in which size: `image_size`
            pixels a side, or 0.
        default_side: size for 0; 0: the size that the images have if it is one and at most `LARGEST_OWN` a side, else
            `DEFAULT_SIDE`, or `DEFAULT_MAP_SIDE` with label maps.

    Raises:
        InputError: files that cannot be used, by name; classes that have no image; a folder that cannot be written to.
    """
    folder = asked.data_dir / FOLDER / _key(listing, asked.image_size, default_side)
    found = _open(folder, asked, check=True)
    if found is not None:
        return found
    with held(folder):
        found = _open(folder, asked, check=True)
        if found is None:
            _make(listing, asked, default_side, folder)
            found = _open(folder, asked)
    if found is None:
        raise InputError(f"{folder}: written and cannot be read again\nchoose another --data-dir")
    return found


def _key(listing: Listing, image_size: int, default_side: int) -> str:
    digest = hashlib.sha256(
        repr((VERSION, image_size, default_side, listing.classes, sorted((listing.meaning or {}).items()))).encode()
    )
    above = f"{listing.root}{os.sep}"
    for part in (listing.train, listing.test):
        digest.update(b"part")
        if part is None:
            continue
        for files in (part.images, part.maps or ()):
            for path in files:
                about = os.stat(path)
                digest.update(os.fsencode(path.removeprefix(above)))
                digest.update(f"/{about.st_size}/{about.st_mtime_ns}/".encode())
        if part.labels is not None:
            digest.update(part.labels.astype("<i8").data)
    if listing.groups is not None:
        digest.update(b"groups" + listing.groups.astype("<i8").tobytes())
    return digest.hexdigest()[:32]


def _open(folder: Path, asked: Asked, check: bool = False) -> Source | None:
    """Return the source that lies in a folder, None if there is none, or with `check` if its content was changed."""
    try:
        about = json.loads((folder / "about.json").read_text())
        source = _mapped(folder, about, asked.name)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if check and source.fingerprint() != about["fingerprint"]:
        return None
    source.__dict__["_digest"] = about["fingerprint"]
    object.__setattr__(source, "kept", Kept(folder, about["fingerprint"], asked))
    return source


class _Plan(NamedTuple):
    """What all images of a set become."""

    size: tuple[int, int]
    channels: int


def _make(listing: Listing, asked: Asked, default_side: int, folder: Path) -> None:
    """Decode a listing into a folder that appears whole."""
    temporary = _empty_beside(folder)
    try:
        parts = {"train": listing.train, **({"test": listing.test} if listing.test is not None else {})}
        headers = {name: _headers(part, f"{asked.name}: reading sizes of {name}") for name, part in parts.items()}
        plan = _plan([h for found in headers.values() for h in found], listing, asked.image_size or default_side)
        for name, part in parts.items():
            _decode(listing, part, headers[name], plan, temporary / name, f"{asked.name}: decoding {name}")
        classes = listing.classes
        if not classes or (listing.train.maps is not None and listing.meaning is None):
            numbered = _numbered(temporary, parts, asked.name)  # a user's maps may say too little for names, too
            classes = classes or numbered
        about = {"parts": list(parts), "classes": list(classes), "licence": listing.licence}
        if listing.groups is not None:
            np.save(temporary / "groups.npy", listing.groups)
            about["groups"] = True
        fingerprint = _mapped(temporary, about, asked.name).fingerprint()
        (temporary / "about.json").write_text(json.dumps({**about, "fingerprint": fingerprint}))
        if folder.exists():
            folder.rename(_empty_beside(folder) / "damaged")
        temporary.rename(folder)
    except OSError as error:
        raise InputError(f"{folder.parent}: decoded images cannot be kept there: {error.strerror or error}") from error
    finally:
        for leftover in folder.parent.glob(f".{folder.name}.*"):
            shutil.rmtree(leftover, ignore_errors=True)


def _empty_beside(folder: Path) -> Path:
    return Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))


def _mapped(folder: Path, about: dict[str, Any], name: str) -> Source:
    """Return the source whose arrays lie in a folder, memory-mapped and checked as every source is."""
    parts = {
        part: Images(
            *(
                np.load(folder / f"{part}_{what}.npy", mmap_mode="r", allow_pickle=False)
                for what in ("images", "labels")
            )
        )
        for part in about["parts"]
    }
    groups = np.load(folder / "groups.npy", allow_pickle=False) if about.get("groups") else None
    return Source(name, parts["train"], parts.get("test"), tuple(about["classes"]), about["licence"], groups=groups)


def _headers(part: Part, what: str) -> list[Header]:
    return _each(lambda index: read_header(part.images[index]), part.images, what)


def _plan(headers: Sequence[Header], listing: Listing, side: int) -> _Plan:
    sizes = {(header.height, header.width) for header in headers}
    channels = 1 if all(header.grey for header in headers) else 3
    if side:
        return _Plan((side, side), channels)
    if len(sizes) == 1 and max(next(iter(sizes))) <= LARGEST_OWN:
        return _Plan(next(iter(sizes)), channels)
    side = DEFAULT_SIDE if listing.train.maps is None else DEFAULT_MAP_SIDE
    return _Plan((side, side), channels)


def _decode(listing: Listing, part: Part, headers: Sequence[Header], plan: _Plan, target: Path, what: str) -> None:
    """Write TARGET_images.npy and TARGET_labels.npy."""
    count = len(part.images)
    images = _new_map(Path(f"{target}_images.npy"), np.uint8, (count, *plan.size, plan.channels))
    shape = (count,) if part.maps is None else (count, *plan.size)
    labels = _new_map(Path(f"{target}_labels.npy"), np.int64 if part.maps is None else np.int16, shape)
    if part.labels is not None:
        labels[:] = part.labels

    def image(index: int) -> None:
        images[index] = read_image(part.images[index], plan.size, plan.channels)

    def label_map(index: int) -> None:
        full = (headers[index].height, headers[index].width)
        found = read_map((part.maps or ())[index], plan.size, full, listing.meaning)
        if found.max() > LARGEST_LABEL:
            raise UnreadableError(f"expected labels up to {LARGEST_LABEL}, got {found.max()}")
        labels[index] = found

    _each(image, part.images, what)
    if part.maps is not None:
        _each(label_map, part.maps, f"{what}, label maps")
    images.flush()
    labels.flush()


def _new_map(path: Path, dtype: type[np.generic], shape: tuple[int, ...]) -> np.memmap[Any, Any]:
    """Return a new array in a file, whose room on the disk is taken: a store where there is none ends the process.

    Raises:
        OSError: there is not as much room.
    """
    array: np.memmap[Any, Any] = open_memmap(path, "w+", dtype, shape)
    with path.open("r+b") as file:
        os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    return array


def _numbered(folder: Path, parts: Sequence[str] | dict[str, Part], name: str) -> tuple[str, ...]:
    """Return a name for each label of the maps, or raise where they say too little."""
    found = np.unique(
        np.concatenate(
            [np.unique(np.load(folder / f"{p}_labels.npy", mmap_mode="r", allow_pickle=False)) for p in parts]
        )
    )
    classes = found[found != IGNORED]
    if len(classes) < 2:
        advice = (
            f"{MAP_IGNORED} means no label; write 1 for the foreground" if IGNORED in found else "label them 0, 1, …"
        )
        raise InputError(f"{name}: expected at least two classes in the label maps, got only {classes[0]}; {advice}")
    return tuple(f"class {label}" for label in range(int(classes[-1]) + 1))


def _each(work: Callable[[int], Any], files: Sequence[str], what: str) -> list[Any]:
    """Return work(0), work(1), … for every file, done by many threads.

    Raises:
        InputError: the files that cannot be used, the first `SHOWN` of them by name and reason.
    """
    broken: list[tuple[int, str]] = []

    def chunk(start: int) -> list[Any]:
        results = []
        for index in range(start, min(start + CHUNK, len(files))):
            try:
                results.append(work(index))
            except UnreadableError as error:
                broken.append((index, str(error)))
        return results

    starts = range(0, len(files), CHUNK)
    done: list[Any] = []
    with ThreadPoolExecutor(min(THREADS, len(os.sched_getaffinity(0)))) as pool:
        for number, results in enumerate(pool.map(chunk, starts), start=1):
            done += results
            _tell(what, min(number * CHUNK, len(files)), len(files))
    if broken:
        lines = [f"{files[index]}: {reason}" for index, reason in sorted(broken)[:SHOWN]]
        more = [f"and {len(broken) - SHOWN} more"] if len(broken) > SHOWN else []
        raise InputError("\n".join([f"{len(broken)} of {len(files)} files cannot be used", *lines, *more]))
    return done


def _tell(what: str, done: int, total: int) -> None:
    """Show how far it is, on a terminal."""
    if sys.stderr.isatty():
        print(f"\r{what}: {done:,} of {total:,}", end="\n" if done == total else "", file=sys.stderr, flush=True)
