"""Methods: how a task trains whatever loss it is given. One file a family, one line here."""

from collections.abc import Callable

from study.errors import unknown
from study.methods.adversarial import adversarial
from study.methods.continual import first_counts, joint, naive, replay
from study.methods.outliers import outlier_exposure
from study.methods.plain import drw, plain
from study.methods.types import Epochs, Job, Running

METHODS: dict[str, Callable[[Job], Running]] = {
    "plain": plain,
    "drw": drw,
    "outlier_exposure": outlier_exposure,
    "naive": naive,
    "replay": replay,
    "joint": joint,
    **{name: adversarial(name, own_objective=False) for name in ("pgd", "fast", "trades")},
    **{f"{name}_own": adversarial(name, own_objective=True) for name in ("pgd", "fast", "trades")},
}


def get_method(name: str) -> Callable[[Job], Running]:
    """Return the method of that name: a function that begins a training.

    Raises:
        InputError: no such method; the message lists the known ones and the nearest match.
    """
    if name not in METHODS:
        raise unknown("method", name, METHODS)
    return METHODS[name]


__all__ = ["METHODS", "Epochs", "Job", "Running", "first_counts", "get_method"]
