"""From a named data set's files to a source: torchvision's classes say what is where, `kept` decodes it."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from pickle import PickleError
from typing import Any

import numpy as np

from study.data.catalogue import CATALOGUE, SBD_ROOT, Entry
from study.data.convert import fit_source
from study.data.fetch import ensure, is_there
from study.data.kept import Asked, decoded
from study.data.listing import Listing, Part, list_images
from study.data.types import Images, Source
from study.errors import InputError


def load_named(asked: Asked) -> Source:
    """Return a data set of the catalogue; its files are fetched if they are not there.

    Raises:
        InputError: files that are missing and cannot be fetched, or that are damaged.
    """
    entry, data_dir = CATALOGUE[asked.name], asked.data_dir
    if entry.by_hand and not by_hand_is_there(entry, data_dir):
        raise InputError(_by_hand(asked.name, entry, data_dir))
    ensure(asked.name, entry.files, data_dir)
    try:
        return READERS[entry.reader](entry, asked)
    except InputError:
        raise
    except _DAMAGED as error:
        if entry.by_hand:
            raise InputError(f"{_by_hand(asked.name, entry, data_dir)} ({_line(error)})") from error
        ensure(asked.name, entry.files, data_dir, again=True)
    try:
        return READERS[entry.reader](entry, asked)
    except _DAMAGED as error:
        raise InputError(f"{asked.name}: its files in {data_dir} are not as expected: {_line(error)}") from error


_DAMAGED = (RuntimeError, OSError, EOFError, ValueError, KeyError, AssertionError, IndexError, PickleError)
"""What torchvision's classes raise for files that are missing, damaged or others."""


def has_files(name: str, data_dir: Path) -> bool:
    """Say whether a data set can be read without fetching anything."""
    entry = CATALOGUE[name]
    return by_hand_is_there(entry, data_dir) if entry.by_hand else is_there(entry.files, data_dir)


def by_hand_is_there(entry: Entry, data_dir: Path) -> bool:
    """Say whether there is anything in the folder of a set that cannot be fetched."""
    return (data_dir / entry.root).is_dir()


def _by_hand(name: str, entry: Entry, data_dir: Path) -> str:
    return (
        f"{name}: {data_dir / entry.root} is missing or incomplete and cannot be fetched; by hand: "
        f"{entry.by_hand.replace('DATA_DIR', str(data_dir))}"
    )


def _line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _opened(entry: Entry, arguments: Mapping[str, Any], data_dir: Path) -> Any:  # noqa: ANN401
    """Return torchvision's data set, which checks its files as it does."""
    from torchvision import datasets

    return getattr(datasets, entry.dataset)(str(data_dir / entry.root), **arguments)


def _arrays(entry: Entry, asked: Asked) -> Source:
    """Read a set that torchvision has in memory."""
    return _array_source(entry, asked, lambda opened: (_channels_last(np.asarray(opened.data)), _labels_of(opened)))


def _emnist(entry: Entry, asked: Asked) -> Source:
    """Read EMNIST, whose images lie on their side and whose letters are numbered from 1."""

    def part(opened: Any) -> tuple[np.ndarray, np.ndarray]:  # noqa: ANN401
        images, labels = np.asarray(opened.data).transpose(0, 2, 1), _labels_of(opened)
        return images[..., None], labels - 1 if opened.split == "letters" else labels

    return _array_source(entry, asked, part)


def _array_source(entry: Entry, asked: Asked, part: Callable[[Any], tuple[np.ndarray, np.ndarray]]) -> Source:
    data_dir = asked.data_dir
    opened = _opened(entry, entry.train, data_dir)
    train = Images(*_tidy(part(opened)))
    classes = entry.classes or tuple(opened.classes)
    test = None if entry.test is None else Images(*_tidy(part(_opened(entry, entry.test, data_dir))))
    corruptions = data_dir / entry.corruptions if entry.corruptions else None
    source = Source(
        asked.name,
        train,
        test,
        classes,
        entry.licence,
        official_corruptions=corruptions if corruptions is not None and corruptions.is_dir() else None,
    )
    return fit_source(source, asked.image_size)


def _tidy(arrays: tuple[np.ndarray, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    return np.ascontiguousarray(arrays[0], dtype=np.uint8), np.asarray(arrays[1], dtype=np.int64)


def _labels_of(opened: Any) -> np.ndarray:  # noqa: ANN401
    return np.asarray(opened.targets if hasattr(opened, "targets") else opened.labels, dtype=np.int64)


def _channels_last(images: np.ndarray) -> np.ndarray:
    if images.ndim == 3:
        return images[..., None]
    return images.transpose(0, 2, 3, 1) if images.shape[1] == 3 and images.shape[3] != 3 else images


def _files(entry: Entry, asked: Asked) -> Source:
    """Read a set of files with a label each."""
    return decoded(_file_listing(entry, asked), asked, default_side=entry.side)


def _tracks(entry: Entry, asked: Asked) -> Source:
    """Read a set of files with a label each; those for training are frames, FOLDER/TRACK_FRAME.ppm, a track a group."""
    listing = _file_listing(entry, asked)
    _, groups = np.unique([path.rpartition("_")[0] for path in listing.train.images], return_inverse=True)
    return decoded(replace(listing, groups=groups.astype(np.int64)), asked, default_side=entry.side)


def _file_listing(entry: Entry, asked: Asked) -> Listing:
    data_dir = asked.data_dir
    parts, classes = [], entry.classes
    for arguments in (entry.train, entry.also, entry.test):
        if arguments is None:
            parts.append(None)
            continue
        opened = _opened(entry, arguments, data_dir)
        images, labels = _listed(entry, opened)
        parts.append(Part(tuple(map(str, images)), np.asarray(labels, dtype=np.int64)))
        classes = classes or tuple(name if isinstance(name, str) else name[0] for name in _classes(opened))
    train, also, test = parts
    return Listing(data_dir, train.joined(also) if also else train, test, _different(classes), entry.licence)


def _listed(entry: Entry, opened: Any) -> tuple[Any, Any]:  # noqa: ANN401
    """Return paths and labels of torchvision's data set, whose classes keep them under several names."""
    if entry.dataset == "Caltech101":
        folder = Path(opened.root) / "101_ObjectCategories"
        names = zip(opened.y, opened.index, strict=True)
        return [folder / opened.categories[y] / f"image_{index:04}.jpg" for y, index in names], opened.y
    for name in ("samples", "_samples"):
        if hasattr(opened, name):
            paths, labels = zip(*getattr(opened, name), strict=True)
            return paths, labels
    return getattr(opened, "_image_files", None) or opened._images, opened._labels


def _classes(opened: Any) -> Any:  # noqa: ANN401
    return opened.categories if hasattr(opened, "categories") else opened.classes


def _different(classes: tuple[str, ...]) -> tuple[str, ...]:
    """Return class names of which none comes twice: ImageNet has two cranes and two maillots."""
    seen: dict[str, int] = {}
    named = []
    for name in classes:
        seen[name] = seen.get(name, 0) + 1
        named.append(name if seen[name] == 1 else f"{name} ({seen[name]})")
    return tuple(named)


def _map_listing(entry: Entry, asked: Asked, part: Callable[[Any], tuple[Any, Any]]) -> Source:
    data_dir = asked.data_dir
    parts = []
    for arguments in (entry.train, entry.test):
        images, maps = part(_opened(entry, arguments or {}, data_dir))
        parts.append(Part(tuple(map(str, images)), maps=tuple(map(str, maps))))
    listing = Listing(data_dir, parts[0], parts[1], entry.classes, entry.licence, entry.meaning)
    return decoded(listing, asked, default_side=entry.side)


def _maps(entry: Entry, asked: Asked) -> Source:
    return _map_listing(entry, asked, lambda opened: (opened.images, opened.masks))


def _voc_and_sbd(entry: Entry, asked: Asked) -> Source:
    """Read VOC, and join to its training part what the SBD has besides: its images that VOC has in neither part."""
    data_dir = asked.data_dir
    own, test = (_opened(entry, arguments or {}, data_dir) for arguments in (entry.train, entry.test))
    known = {Path(path).stem for opened in (own, test) for path in opened.images}
    further = []
    for part in ("train", "val"):
        arguments = {"image_set": part, "mode": "segmentation"}
        opened = _opened(replace(entry, dataset="SBDataset", root=SBD_ROOT), arguments, data_dir)
        further += [pair for pair in zip(opened.images, opened.masks, strict=True) if Path(pair[0]).stem not in known]
    images, maps = zip(*further, strict=True) if further else ((), ())
    train = Part((*own.images, *images), maps=(*own.masks, *maps))
    listing = Listing(
        data_dir, train, Part(tuple(test.images), maps=tuple(test.masks)), entry.classes, entry.licence, entry.meaning
    )
    return decoded(listing, asked, default_side=entry.side)


def _pet_maps(entry: Entry, asked: Asked) -> Source:
    return _map_listing(entry, asked, lambda opened: (opened._images, opened._segs))


def _cityscapes(entry: Entry, asked: Asked) -> Source:
    def part(opened: Any) -> tuple[Any, Any]:  # noqa: ANN401
        pairs = sorted(zip(opened.images, (targets[0] for targets in opened.targets), strict=True))
        return zip(*pairs, strict=True)  # type: ignore[return-value]

    return _map_listing(entry, asked, part)


def _camvid(entry: Entry, asked: Asked) -> Source:
    root, parts = asked.data_dir / entry.root, []
    for name in ("train", "val", "test"):
        pair = [tuple(list_images(root / folder)) for folder in (name, f"{name}annot")]
        names = [[Path(path).stem for path in paths] for paths in pair]
        if not pair[0] or names[0] != names[1]:
            raise ValueError(f"{root}: expected the same names in {name} and {name}annot, at least one")
        parts.append(Part(pair[0], maps=pair[1]))
    train = parts[0].joined(parts[1])
    return decoded(
        Listing(root, train, parts[2], entry.classes, entry.licence, entry.meaning), asked, default_side=entry.side
    )


def _tiny_imagenet(entry: Entry, asked: Asked) -> Source:
    """Read train/ID/images/*.JPEG, val/images/*.JPEG with val_annotations.txt, wnids.txt and words.txt."""
    root = asked.data_dir / entry.root
    ids = sorted((root / "wnids.txt").read_text().split())
    words = dict(line.split("\t", 1) for line in (root / "words.txt").read_text().splitlines() if "\t" in line)
    number = {wnid: index for index, wnid in enumerate(ids)}
    files, labels = [], []
    for wnid in ids:
        found = list(list_images(root / "train" / wnid))
        files += found
        labels += [number[wnid]] * len(found)
    held_out = [line.split("\t")[:2] for line in (root / "val" / "val_annotations.txt").read_text().splitlines()]
    test = Part(
        tuple(str(root / "val" / "images" / name) for name, _ in held_out),
        np.array([number[wnid] for _, wnid in held_out], dtype=np.int64),
    )
    classes = _different(tuple(words[wnid].split(",")[0].strip() for wnid in ids))
    listing = Listing(root, Part(tuple(files), np.array(labels, dtype=np.int64)), test, classes, entry.licence)
    return decoded(listing, asked, default_side=entry.side)


READERS: dict[str, Callable[[Entry, Asked], Source]] = {
    "arrays": _arrays,
    "emnist": _emnist,
    "files": _files,
    "tracks": _tracks,
    "maps": _maps,
    "voc_and_sbd": _voc_and_sbd,
    "pet_maps": _pet_maps,
    "cityscapes": _cityscapes,
    "camvid": _camvid,
    "tiny_imagenet": _tiny_imagenet,
}
