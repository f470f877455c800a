"""Errors that a user can mend: what was wrong, what was given, what is allowed."""

from collections.abc import Iterable, Sequence
from difflib import get_close_matches

SHOWN = 5
"""So many names are listed in an error."""


class InputError(ValueError):
    """The user's input cannot be used; the message says what was expected, given and allowed."""


class CannotGoOn(RuntimeError):
    """The machines do not let a study go on: a full disk, no node with room. Everything finished is kept."""


def unknown(kind: str, given: str, known: Iterable[str]) -> InputError:
    """Return the error for a name that is in no registry.

    Args:
        kind: what the name should have been, for example "loss".
        given: the name as it was given.
        known: the names that would have been understood.
    """
    names = sorted(known)
    lines = [f"unknown {kind}: {given!r}", f"known: {', '.join(names)}"]
    near = get_close_matches(given, names, n=1, cutoff=0.5)
    if near:
        lines.append(f"did you mean {near[0]!r}?")
    return InputError("\n".join(lines))


def some(names: Sequence[str]) -> str:
    """Return the first five names, and how many more there are."""
    shown = ", ".join(name if name.isprintable() else repr(name) for name in names[:SHOWN])
    return shown + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")


def without_locks(folder: object, error: OSError) -> InputError:
    """Return the error for a folder on a file system that does not lock files."""
    return InputError(
        f"{folder}: its file system has no locks (flock): {error.strerror}\n"
        "choose a folder on another one, or mount it with flock"
    )


def of_file(error: OSError) -> InputError:
    """Return the error for a file or folder that cannot be read or written as it lies there.

    Raises:
        OSError: the same again, if it is about no file.
    """
    if error.filename is None:
        raise error
    return InputError(f"{error.filename}: {error.strerror}\nmend that, or choose another place")
