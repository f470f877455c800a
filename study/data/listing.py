"""What lies in a folder of images, before any of it is decoded.

    folder:PATH   PATH/CLASS/…/image.png; or train/CLASS/…, with val/CLASS/… and test/CLASS/… if there are any
    masks:PATH    PATH/images/NAME.jpg with PATH/masks/NAME.png; or the same two folders in train/, val/ and test/, or
                  train/, val/ and test/ in each of the two;
                  PATH/classes.txt: the classes' names, one a line, that of label 0 first

The names of the parts may have capitals. Validation images are cut anew for every replicate, so `val` joins `train`
where there is a `test`, and is the test set where there is none. Files that are no images by their names, and hidden
ones, are left alone.
"""

import os
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from study.data.decode import EXTENSIONS
from study.data.types import Int64Array
from study.errors import InputError, some

TRAIN = ("train", "training")
VALIDATION = ("val", "valid", "validation")
TEST = ("test", "testing")
PARTS = (TRAIN, VALIDATION, TEST)
IMAGES, MASKS = "images", "masks"


@dataclass(frozen=True)
class Part:
    """Files of a part: images, and a label or a label map for each."""

    images: tuple[str, ...]
    labels: Int64Array | None = None
    maps: tuple[str, ...] | None = None

    def joined(self, other: "Part") -> "Part":
        """Return both parts as one."""
        labels = None if self.labels is None or other.labels is None else np.concatenate((self.labels, other.labels))
        maps = None if self.maps is None or other.maps is None else self.maps + other.maps
        return Part(self.images + other.images, labels, maps)


@dataclass(frozen=True)
class Listing:
    """A data set as files.

    Attributes:
        root: folder that names of files are told apart by; where it lies does not matter.
        train: files of all images that are not test.
        test: files of the official test set, or None.
        classes: names of the classes; None: after the labels, once the maps are read.
        licence: terms as stated by the owner.
        meaning: value in a label map → class, see `decode.read_map`.
        groups: of the files of `train`, see `Source.groups`.
    """

    root: Path
    train: Part
    test: Part | None
    classes: tuple[str, ...] | None
    licence: str = "the owner's"
    meaning: Mapping[int, int] | None = None
    groups: Int64Array | None = None


def list_folder(root: Path) -> Listing:
    """Return the images in class folders.

    Raises:
        InputError: no such folder, no or empty class folders, fewer than two of them, classes in one part and not in
            the other, or names that are no text.
    """
    parts = _parts(root)
    classes = _class_folders(parts[0])
    train = _classified(parts[0], classes)
    empty = [name for name, count in zip(classes, np.bincount(train.labels, minlength=len(classes)), strict=True)
             if not count]  # fmt: skip
    if empty:
        raise InputError(f"{parts[0]}: expected images in every class folder, got none in: {some(empty)}")
    rest = []
    for folder in parts[1:]:
        strange = sorted(set(_class_folders(folder)) - set(classes))
        if strange:
            raise InputError(f"{folder}: expected the classes of {parts[0]}, got also: {some(strange)}")
        rest.append(_classified(folder, classes))
    return _arranged(root, train, rest, classes)


def list_masks(root: Path) -> Listing:
    """Return images with their label maps.

    Raises:
        InputError: no such folder, or an image without its map or the other way round.
    """
    train, *rest = (_masked(images, masks) for images, masks in _mask_parts(root))
    return _arranged(root, train, rest, _names(root / "classes.txt"))


def _arranged(root: Path, train: Part, rest: list[Part], classes: tuple[str, ...] | None) -> Listing:
    """Return train alone; train and test; or train joined with validation, and test."""
    if len(rest) == 2:
        train = train.joined(rest[0])
    test = rest[-1] if rest else None
    for name, part in (("training", train), ("test", test)):
        if part is not None and not part.images:
            raise InputError(
                f"{root}: expected {name} images, got none\nimages end in: {', '.join(sorted(EXTENSIONS))}"
            )
    return Listing(root, train, test, classes)


def _mask_parts(root: Path) -> list[tuple[Path, Path]]:
    """Return the folders of images and of maps of training, validation and test, as far as they are there."""
    if not (root / IMAGES).is_dir():
        return [(folder / IMAGES, folder / MASKS) for folder in _parts(root)]
    inside = [root / IMAGES / entry.name for entry in _folders(root / IMAGES)]
    found = [folder for folder in _by_part(inside) if folder is not None]
    if not found or len(found) < len(inside) or found[0].name.casefold() not in TRAIN:
        return [(root / IMAGES, root / MASKS)]
    return [(folder, root / MASKS / folder.name) for folder in found]


def _by_part(folders: list[Path]) -> list[Path | None]:
    """Return which of some folders is that of training, of validation and of test; None where there is none."""
    found = [[folder for folder in folders if folder.name.casefold() in names] for names in PARTS]
    for several in found:
        if len(several) > 1:
            names = [folder.name for folder in several]
            raise InputError(f"{several[0].parent}: expected one folder for each part, got {some(names)}")
    return [several[0] if several else None for several in found]


def _parts(root: Path) -> list[Path]:
    """Return the folders of training, validation and test, as far as they are there."""
    if not root.is_dir():
        raise InputError(f"{root}: expected a folder, got {'a file' if root.exists() else 'no such folder'}")
    there = {root / entry.name: entry.name.casefold() for entry in _folders(root)}
    named = [folder for folder, name in there.items() if any(name in part for part in PARTS)]
    found = _by_part([folder for folder in named if _folders(folder)])  # without folders in it: a class of that name
    if not any(found):
        return [root]
    if found[0] is None:
        others = ", ".join(folder.name for folder in found if folder is not None)
        if set(there.values()) <= {*VALIDATION, *TEST}:
            raise InputError(f"{root}: expected a folder train beside {others}, got none")
        return [root]
    return [folder for folder in found if folder is not None]


def _folders(folder: Path) -> list["os.DirEntry[str]"]:
    with os.scandir(folder) as entries:
        return sorted(
            (entry for entry in entries if entry.is_dir() and not entry.name.startswith(".")), key=lambda e: e.name
        )


def _class_folders(folder: Path) -> tuple[str, ...]:
    names = tuple(entry.name for entry in _folders(folder))
    if len(names) < 2:
        raise InputError(
            f"{folder}: expected a folder for each class, at least two, got {some(names) if names else 'none'}"
        )
    for name in names:
        if any(unicodedata.category(character) in ("Cc", "Cs") for character in name):
            raise InputError(f"{folder}: expected names of folders that are text, got {name!r}")
    return names


def _classified(folder: Path, classes: tuple[str, ...]) -> Part:
    files: list[str] = []
    counts = []
    for name in classes:
        before = len(files)
        if (folder / name).is_dir():
            files += list_images(folder / name)
        counts.append(len(files) - before)
    return Part(tuple(files), np.repeat(np.arange(len(classes), dtype=np.int64), counts))


def list_images(folder: Path) -> Iterator[str]:
    """Yield the paths of all images in a folder and the folders in it, in the order of their names.

    Raises:
        InputError: a link to a folder that holds it, in which every image would be found again and again.
        OSError: a folder that cannot be read; its images would be left out without a word.
    """

    def refuse(error: OSError) -> None:
        raise error

    above = {str(folder): (os.path.realpath(folder),)}  # folder → real paths from the first one down to it
    for place, folders, files in os.walk(folder, onerror=refuse, followlinks=True):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in folders:
            path, way = os.path.join(place, name), above[place]
            real = os.path.realpath(path) if os.path.islink(path) else os.path.join(way[-1], name)
            if any(f"{passed}{os.sep}".startswith(f"{real}{os.sep}") for passed in way):
                raise InputError(f"{path}: expected a folder that ends somewhere, got a link to {real}, which holds it")
            above[path] = (*way, real)
        for name in sorted(files):
            if not name.startswith(".") and os.path.splitext(name)[1].lower() in EXTENSIONS:
                yield os.path.join(place, name)


def _masked(images: Path, masks: Path) -> Part:
    """Return the images of a folder with their maps in another one, paired by name without its end."""
    above = Path(os.path.commonpath((images, masks)))
    places = {IMAGES: images, MASKS: masks}
    shown = {kind: place.relative_to(above).as_posix() for kind, place in places.items()}
    found = {}
    for kind, place in places.items():
        if not place.is_dir():
            both = " and ".join(shown.values())
            raise InputError(f"{above}: expected the folders {both}, got no {shown[kind]}")
        by_name: dict[str, str] = {}
        for path in list_images(place):
            name = os.path.splitext(os.path.relpath(path, place))[0]
            if name in by_name:
                raise InputError(f"{place}: expected one file a name, got {by_name[name]} and {path}")
            by_name[name] = path
        found[kind] = by_name
    for one, other in ((IMAGES, MASKS), (MASKS, IMAGES)):
        alone = sorted(set(found[one]) - set(found[other]))
        if alone:
            raise InputError(
                f"{above}: expected the same names in {shown[one]} and {shown[other]}, "
                f"got only in {shown[one]}: {some(alone)}"
            )
    names = sorted(found[IMAGES])
    return Part(tuple(found[IMAGES][name] for name in names), maps=tuple(found[MASKS][name] for name in names))


def _names(path: Path) -> tuple[str, ...] | None:
    if not path.is_file():
        return None
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: expected a text file in UTF-8, one class name a line: {error}") from error
    return tuple(line.strip() for line in lines if line.strip())
