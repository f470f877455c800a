"""The data sets by name, and how each is cut for the imbalanced task.

To add one that torchvision has: a line in `catalogue.CATALOGUE`. Any other: a function `(argument, asked) -> Source`
and a line in `SOURCES`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from study.data import embedded
from study.data.adapters import load_named
from study.data.catalogue import CATALOGUE
from study.data.convert import fit_source
from study.data.kept import Asked, decoded
from study.data.listing import list_folder, list_masks
from study.data.npz import load_npz
from study.data.own_code import is_own, load_own
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
        load: function of (what follows the colon in the name, how it was asked for).
        cut: defaults of the imbalanced task.
        argument: what has to follow the name after a colon, "" if nothing.
        downloads: whether files may be fetched from the network.
    """

    load: Callable[[str, Asked], Source]
    cut: CutDefaults
    argument: str = ""
    downloads: bool = False


OWN_RATIO = 10.0
"""Default ratio for a user's own data that are not imbalanced by nature."""
AS_IT_IS = CutDefaults(None, None, None)
OWN_CODE = "package.module:function"


def _arrays(load: Callable[[str, Path], Source]) -> Callable[[str, Asked], Source]:
    """Return the loader of a source that comes as arrays: (what follows the colon, data directory) → source."""
    return lambda argument, asked: fit_source(load(argument, asked.data_dir), asked.image_size)


def expanded(path: str | Path) -> Path:
    """Return a path with the home that a ~ at its beginning stands for.

    Raises:
        InputError: nobody has that home.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise InputError(f"{path}: expected a path, got a ~ for a home that is not known\nwrite it out") from error


SOURCES: dict[str, SourceEntry] = {
    "digits": SourceEntry(_arrays(lambda _, __: embedded.digits()), CutDefaults(40, 20, 10.0)),
    "mnist5k": SourceEntry(_arrays(lambda _, __: embedded.mnist5k()), CutDefaults(100, 50, 50.0)),
    **{
        name: SourceEntry(
            lambda _, asked: load_named(asked),
            CutDefaults(None, entry.validation, entry.ratio),
            downloads=bool(entry.files),
        )
        for name, entry in CATALOGUE.items()
    },
    "npz": SourceEntry(_arrays(lambda path, _: load_npz(expanded(path))), AS_IT_IS, "PATH"),
    "folder": SourceEntry(lambda path, asked: decoded(list_folder(expanded(path)), asked), AS_IT_IS, "PATH"),
    "masks": SourceEntry(lambda path, asked: decoded(list_masks(expanded(path)), asked), AS_IT_IS, "PATH"),
}


def source_names() -> tuple[str, ...]:
    """Return the names as a user writes them, with npz:PATH for a file."""
    named = (f"{name}:{entry.argument}" if entry.argument else name for name, entry in SOURCES.items())
    return (*named, OWN_CODE)


def resolved(data_dir: Path | None) -> Path:
    """Return where downloaded and decoded data are: the folder that was given, or `DEFAULT_DATA_DIR`."""
    return expanded(data_dir if data_dir is not None else DEFAULT_DATA_DIR).resolve()


def load_source(name: str, data_dir: Path | None = None, image_size: int = 0) -> Source:
    """Return a data set by its name, one of `source_names`.

    Args:
        name: the name; PATH is taken relative to the working directory.
        data_dir: where downloaded and decoded data are, or are put; None means `DEFAULT_DATA_DIR`. digits, mnist5k,
            npz and a function do not need it.
        image_size: height and width that all images get, in pixels; 0: the data's own, or a default (`kept`).

    Raises:
        InputError: if the name is unknown, a file cannot be used, or data cannot be fetched.
    """
    asked = Asked(name, resolved(data_dir), image_size)
    entry = _entry(name)
    return entry.load(name.partition(":")[2], asked)


def _entry(name: str) -> SourceEntry:
    """Return the line of the table that a name means.

    Raises:
        InputError: no such line, an argument that is missing, or one too many.
    """
    kind, colon, argument = name.partition(":")
    entry = SOURCES.get(kind)
    if entry is None and is_own(name):
        return SourceEntry(_arrays(lambda _, __: _own(name)), AS_IT_IS)
    if entry is None:
        error = unknown("data set", name, source_names())
        raise InputError(f"{error}\nfor a file of your own write npz:{name}") if name.endswith(".npz") else error
    if entry.argument and not argument:
        raise InputError(f"{kind}: expected {kind}:{entry.argument}, got {name!r}")
    if colon and not entry.argument:
        raise InputError(f"{kind}: expected nothing after the name, got {name!r}")
    return entry


def _own(name: str) -> Source:
    """Return what a user's function gives; a mistyped kind of data has the form of a function, too."""
    try:
        return load_own(name)
    except InputError as error:
        near = get_close_matches(name.partition(":")[0], SOURCES, n=1, cutoff=0.6)
        if not near or not isinstance(error.__cause__, ImportError):
            raise
        raise InputError(f"{error}\ndid you mean {near[0]}:{name.partition(':')[2]}?") from error


def cut_defaults(source: Source) -> CutDefaults:
    """Return how a source is cut for the imbalanced task unless the user says otherwise.

    A user's own data keep their imbalance if they have one (`is_imbalanced`), else they get ratio `OWN_RATIO`.
    """
    cut = _entry(source.name).cut
    if cut.ratio is None and not is_imbalanced(source):
        return CutDefaults(cut.test_per_class, cut.validation_per_class, OWN_RATIO)
    return cut
