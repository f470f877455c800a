"""A user's own function: `package.module:function`, which returns a `Source` or a dict with the keys of npz files.

    def my_images():
        return {"x_train": images, "y_train": labels, "classes": ["cat", "dog"]}

It is called without arguments, in the process that was started, and nowhere else. A module is imported because the
user names it, and for no other reason.
"""

import importlib
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from study.data.npz import KEYS, check_spelling, source_of
from study.data.types import Source, describe
from study.errors import InputError

NAME = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")


def is_own(name: str) -> bool:
    """Say whether a name has the form package.module:function."""
    return NAME.fullmatch(name) is not None


def load_own(name: str) -> Source:
    """Return what package.module:function gives, under that name.

    Raises:
        InputError: it cannot be imported, is no function, raises, or returns something else or a misspelt key.
    """
    module_name, _, attribute = name.partition(":")
    try:
        module = importlib.import_module(module_name)
    except Exception as error:  # whatever a user's module does
        raise InputError(
            f"data set {name}: cannot import {module_name!r} ({type(error).__name__}: {error}); "
            "is its folder on the path?"
        ) from error
    function = getattr(module, attribute, None)
    if not callable(function):
        known = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
        raise InputError(
            f"data set {name}: expected a function {attribute} in {module_name}; it has: {', '.join(known) or 'none'}"
        )
    try:
        made = function()
    except InputError:
        raise
    except Exception as error:
        raise InputError(f"data set {name}: {attribute}() raised {type(error).__name__}: {error}") from error
    if isinstance(made, Source):
        return replace(made, name=name)
    if not isinstance(made, Mapping):
        raise InputError(
            f"data set {name}: expected {attribute}() to return a Source or a dict with {', '.join(KEYS)}, "
            f"got {type(made).__name__}"
        )
    found = [str(key) for key in made]
    check_spelling(found, name)
    arrays = {key: _array(value, f"{name}: {key}") for key, value in made.items() if key in KEYS and value is not None}
    return source_of(arrays, found, name, name)


def _array(value: Any, where: str) -> np.ndarray[Any, Any]:  # noqa: ANN401
    """Return what NumPy makes of a list, an array or another package's array; raise InputError where it makes none."""
    try:
        return np.asarray(value)
    except (ValueError, TypeError, RuntimeError) as error:
        raise InputError(
            f"{where}: expected an array, or lists of one shape, got {describe(value)}: {error}"
        ) from error
