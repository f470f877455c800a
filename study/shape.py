"""Whether a value read from JSON has the shape that its readers count on: shapes are data, a mismatch is a sentence.

str, bool, int            that type (true is no int)
float                     a number; MAYBE: or null, which stands for NaN and the infinities
object                    anything
None                      null
[shape]                   a list (or tuple) of such
{str: shape}              an object with any names
{"a": shape, "b?": shape} an object with these members at least; b may be absent
(shape, shape)            one of them
"""

from typing import Any

from search_spaces.shared import SHARED

Shape = Any
MAYBE: Shape = (float, None)
WORDS = {str: "a text", bool: "true or false", int: "a whole number", float: "a number", None: "null"}


def mismatch(value: Any, shape: Shape, at: str = "") -> str:  # noqa: ANN401
    """Return the first place where a value has another shape, in words; "" if there is none.

    Args:
        value: from JSON.
        shape: as the module describes it.
        at: where the value stands in the file.
    """
    if isinstance(shape, tuple):
        found = [mismatch(value, one, at) for one in shape]
        return "" if "" in found else found[0]
    if isinstance(shape, list):
        if not isinstance(value, list | tuple):
            return _expected(at, "a list", value)
        return _first(mismatch(one, shape[0], f"{at}[{index}]") for index, one in enumerate(value))
    if isinstance(shape, dict):
        if not isinstance(value, dict):
            return _expected(at, "an object", value)
        return _first(_members(value, shape, at))
    fits = {
        object: True,
        None: value is None,
        str: isinstance(value, str),
        bool: isinstance(value, bool),
        int: isinstance(value, int) and not isinstance(value, bool),
        float: isinstance(value, int | float) and not isinstance(value, bool),
    }[shape]
    return "" if fits else _expected(at, WORDS[shape], value)


def _members(value: dict[str, Any], shape: dict[Any, Shape], at: str) -> Any:  # noqa: ANN401
    dot = f"{at}." if at else ""
    for name, inner in shape.items():
        if name is str:
            yield from (mismatch(one, inner, f"{dot}{key}") for key, one in value.items())
        elif (key := name.removesuffix("?")) in value:
            yield mismatch(value[key], inner, f"{dot}{key}")
        elif key == name:
            yield f"{dot}{key} is missing"


def _first(found: Any) -> str:  # noqa: ANN401
    return next((text for text in found if text), "")


def _expected(at: str, what: str, value: Any) -> str:  # noqa: ANN401
    return f"{at or 'the whole'}: expected {what}, got {value!r:.60}"


_ROW = {"probe": str, "dataset": str, "slice": str, "metric": str, "value": MAYBE, "n": MAYBE}
_CURVE = {"kind": str, "dataset": str, "slice": str, "x": MAYBE, "y": MAYBE, "n": MAYBE}
_HEALTH = {"norm": str, "eps": MAYBE, "check": str, "value": MAYBE, "flag": bool, "message": str}
_EXAMPLE = {
    "file": str,
    "kind": str,
    "loss": str,
    "rows": [str],
    "columns": [str],
    "width": int,
    "height": int,
    "about": str,
}
_RECIPE = dict.fromkeys(SHARED, object)
_TRAINING = {
    "training": {"recipe": _RECIPE, "loss_parameters": {str: float}, "source": str},
    "margin?": (None, [MAYBE]),
    "kept?": [str],
    "images?": int,
}
_TRAINED = {**_TRAINING, "objective": float, "metrics": {str: MAYBE}, "epochs": [{"epoch": int, "seconds": MAYBE}]}
_RETRAINED = {**_TRAINED, "objective": MAYBE}
"""A task may retrain without validation images."""
_MEASURED = {"rows?": [_ROW], "curves?": [_CURVE], "health?": [_HEALTH], "examples?": [_EXAMPLE], "made_of?": [str]}
_KEY = {"stage": str, "method": str, "loss": str, "arm": str, "replicate": int, "number": int, "variant": str}
_TRAININGS = ("search", "rescore", "confirm", "sweep")
_STEP = {"loss": str, "step_seconds": float, "epoch_seconds": float, "images": int}


def cell_shape(stage: str, state: object) -> Shape:
    """Return the shape of a cell of a stage that is complete or failed."""
    if state != "complete":
        more = {**(_TRAINING if stage in _TRAININGS else {}), "error": str}
    elif stage in _TRAININGS:
        more = _RETRAINED if stage == "confirm" else _TRAINED
    else:
        more = {"steps": [_STEP], "missing?": {str: str}} if stage == "cost" else _MEASURED
    return {"key": _KEY, "state": str, "seconds": MAYBE, **more}


_CUT = {
    "classes": [str],
    "experiences": [[int]],
    "class_counts": [float],
    "n_train": int,
    "n_validation": int,
    "n_test": int,
    "n_pool": int,
    "test_train_ratio": float,
}
_SPLIT = {"replicate": int, **_CUT, "search?": _CUT}
_ENDPOINT = {
    **dict.fromkeys(("probe", "dataset", "slice", "metric", "method", "label", "arm", "kind"), str),
    "higher_is_better": bool,
    "delta": float,
}
STUDY: Shape = {
    **dict.fromkeys(("name", "created", "command", "status", "task", "dataset", "model", "preset", "objective"), str),
    "config": {str: object},
    "losses": [str],
    "methods": [str],
    "arms": [str],
    "replicates": int,
    "notes": [str],
    "budget": {"planned_trials": int, "trials": (None, int), "reason": str},
    "stages": {str: float},
    "peak_memory_bytes": int,
    "primary": _ENDPOINT,
    "probes": {str: {"applies": str, "note": str}},
    "attack": {"mode": str, "norms": [str], "eps": [float], "l2_eps": [float], "points": int, "replicates": int},
    "seeds": {str: object},
    "data": {
        "name": str,
        "fingerprint": str,
        "licence": str,
        "shape": [int],
        "classes": [str],
        "splits": [_SPLIT],
        "outside": [{"name": str, "group": str, "n": int}],
        "companions?": {str: str},
    },
    "calibration?": {str: object},
    "versions": {str: str},
    "git_commit": str,
    "host": {str: object},
    "sessions?": [{str: object}],
    "foreign?": {str: {"source": str}},
    "margins?": [{"method": str, "loss": str, "arm": str, "replicate": int, "margin_low": MAYBE, "margin_high": MAYBE}],
    "edge_flags?": [str],
    "cells?": {"asked": int, "complete": int, "failed": [{"key": str, "error": str}]},
    "weights?": (
        None,
        {"path": str, "sha256": str, "freeze_body": bool, "new_heads": {str: str}, "left_out": int},
    ),
    "own_ranges?": {str: {str: {"low": float, "high": float, "scale": str}}},
}
"""Shape of study.json."""
