"""The data sets by name, and how each is cut for the imbalanced task.

To add one: write a function `(argument, data_dir) -> Source` and add a line to `SOURCES`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from study.data import cifar, embedded
from study.data.npz import load_npz
from study.data.tail import is_imbalanced
from study.data.types import Source
from study.errors import InputError, unknown

DEFAULT_DATA_DIR = Path("~/.cache/hem-study")
"""Where downloaded data are kept if no folder is given."""


@dataclass(frozen=True)
class CutDefaults:
    """Arguments of `cut_imbalanced` that are a matter of the data set.

    Attributes:
        test_per_class: test images of each class; None: the official test set, or else a fifth of each class.
        validation_per_class: validation images of each class; None: a share, see `cut_imbalanced`.
        ratio: training images of the most frequent class for one of the least frequent; None: as the data are.
    """

    test_per_class: int | None
    validation_per_class: int | None
    ratio: float | None


@dataclass(frozen=True)
class SourceEntry:
    """A line of the table: how a source is loaded and how it is cut.

    Attributes:
        load: function of (what follows the colon in the name, folder of downloaded data).
        cut: defaults of the imbalanced task.
        argument: what has to follow the name after a colon, "" if nothing.
        downloads: whether files may be fetched from the network.
    """

    load: Callable[[str, Path], Source]
    cut: CutDefaults
    argument: str = ""
    downloads: bool = False


NPZ_RATIO = 10.0
"""Default ratio for a user's own data that are not imbalanced by nature."""

SOURCES: dict[str, SourceEntry] = {
    "digits": SourceEntry(lambda _, __: embedded.digits(), CutDefaults(40, 20, 10.0)),
    "mnist5k": SourceEntry(lambda _, __: embedded.mnist5k(), CutDefaults(100, 50, 50.0)),
    "cifar10": SourceEntry(lambda _, folder: cifar.cifar10(folder), CutDefaults(None, 100, 100.0), downloads=True),
    "cifar100": SourceEntry(lambda _, folder: cifar.cifar100(folder), CutDefaults(None, 20, 100.0), downloads=True),
    "npz": SourceEntry(lambda path, _: load_npz(Path(path).expanduser()), CutDefaults(None, None, None), "PATH"),
}


def source_names() -> tuple[str, ...]:
    """Return the names as a user writes them, with npz:PATH for a file."""
    return tuple(f"{name}:{entry.argument}" if entry.argument else name for name, entry in SOURCES.items())


def load_source(name: str, data_dir: Path | None = None) -> Source:
    """Return a data set by its name: digits, mnist5k, cifar10, cifar100 or npz:PATH.

    Args:
        name: the name; PATH is taken relative to the working directory.
        data_dir: where downloaded data are, or are put; None means `DEFAULT_DATA_DIR`. digits, mnist5k and npz do
            not need it.

    Raises:
        InputError: if the name is unknown, a file cannot be used, or data cannot be fetched.
    """
    kind, colon, argument = name.partition(":")
    entry = SOURCES.get(kind)
    if entry is None:
        error = unknown("data set", name, source_names())
        raise InputError(f"{error}\nfor a file of your own write npz:{name}") if name.endswith(".npz") else error
    if entry.argument and not argument:
        raise InputError(f"{kind}: expected {kind}:{entry.argument}, got {name!r}")
    if colon and not entry.argument:
        raise InputError(f"{kind}: expected nothing after the name, got {name!r}")
    folder = data_dir if data_dir is not None else DEFAULT_DATA_DIR
    return entry.load(argument, folder.expanduser())


def cut_defaults(source: Source) -> CutDefaults:
    """Return how a source is cut for the imbalanced task unless the user says otherwise.

    Data from a file keep their own imbalance if they have one (`is_imbalanced`), else they get ratio `NPZ_RATIO`.
    """
    kind = source.name.partition(":")[0]
    if kind not in SOURCES:
        raise unknown("data set", source.name, source_names())
    cut = SOURCES[kind].cut
    if cut.ratio is None and not is_imbalanced(source):
        return CutDefaults(cut.test_per_class, cut.validation_per_class, NPZ_RATIO)
    return cut
