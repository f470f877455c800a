"""The verdicts of an attack, point by point: kept as plain arrays, from which every figure is computed again.

The arrays of one (norm, ε), as `verdicts_to_arrays` gives them and a caller stores them in an npz file:
    clean    bool (N,)      the clean image is classified correctly
    attacks  str (A,)       the attacks, in the order in which they are counted
    carried  bool (N,)      fallen within a smaller ball of the same norm: not attacked again (absent: none)
    stands   int8 (A, N)    1 correct after this attack, 0 fallen, −1 not attacked (misclassified or fallen before)
    norm, mode              str ()
    eps                     float64 ()
    seed, num_classes       int64 ()
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from study.errors import InputError
from study.probes.rows import BoolArray, Row, mean, row
from study.statistics import wilson

if TYPE_CHECKING:
    from torch import Tensor

Verdicts = Mapping[str, npt.NDArray[Any]]
GRADIENT_FREE = {"square": "Square", "transfer": "what broke another loss's model"}
"""Attacks that ask for no gradient of the model → how they are called in a message."""
KEYS = ("clean", "attacks", "stands", "norm", "mode", "eps", "seed", "num_classes")


@dataclass(frozen=True, eq=False)
class AttackResult:
    """What an attack found.

    Attributes:
        norm: "Linf" or "L2".
        eps: radius; images are in [0, 1].
        mode: "short", "quick", "standard" or "plus".
        num_classes: C.
        seed: the seed it was run with.
        attacks: names, in the order in which they are counted.
        clean: (N,) the clean image is classified correctly.
        carried: (N,) fallen within a smaller ball of the same norm, and not attacked again.
        stands: (A, N) 1 correct after this attack, 0 fallen, −1 not attacked.
        adversarial: float32 (N, channels, H, W) on the CPU: the image that broke the point first, else the clean one.
    """

    norm: str
    eps: float
    mode: str
    num_classes: int
    seed: int
    attacks: tuple[str, ...]
    clean: BoolArray
    carried: BoolArray
    stands: npt.NDArray[np.int8]
    adversarial: "Tensor"

    @property
    def robust(self) -> BoolArray:
        """(N,) classified correctly whatever was tried."""
        return robust(verdicts_to_arrays(self))

    @property
    def figure(self) -> str:
        """What the robust accuracy may be called: `figure_name` of the mode."""
        return figure_name(self.mode)


def figure_name(mode: str) -> str:
    """Return "worst case over all attacks" for standard and plus, "upper bound" for every shorter mode."""
    return "worst case over all attacks" if mode in ("standard", "plus") else "upper bound"


def verdicts_to_arrays(result: AttackResult) -> dict[str, npt.NDArray[Any]]:
    """Return the arrays of a result, for `numpy.savez`; none of them needs pickle."""
    return {
        "clean": result.clean,
        "carried": result.carried,
        "attacks": np.array(result.attacks, dtype=np.str_),
        "stands": result.stands,
        "norm": np.array(result.norm),
        "mode": np.array(result.mode),
        "eps": np.array(result.eps, dtype=np.float64),
        "seed": np.array(result.seed, dtype=np.int64),
        "num_classes": np.array(result.num_classes, dtype=np.int64),
    }


def check_verdicts(arrays: Verdicts) -> tuple[str, float]:
    """Return norm and ε of stored verdicts.

    Raises:
        InputError: a missing array, or shapes or values that cannot be verdicts.
    """
    missing = [key for key in KEYS if key not in arrays]
    if missing:
        raise InputError(f"verdicts: expected the arrays {', '.join(KEYS)}, got none named {', '.join(missing)}")
    clean, stands = arrays["clean"], arrays["stands"]
    expected = (len(arrays["attacks"]), len(clean))
    if stands.shape != expected or not np.isin(stands, (-1, 0, 1)).all():
        raise InputError(f"stands: expected values −1, 0 or 1 of shape {expected}, got shape {stands.shape}")
    before = fallen_before(arrays)
    if before.shape != clean.shape or (before & ~clean).any():
        raise InputError(f"carried: expected a part of the {int(clean.sum())} points with a correct clean image")
    if (stands[:, ~clean | before] != -1).any():
        raise InputError("stands: expected −1 for points that are misclassified or fell before: they are not attacked")
    return str(arrays["norm"]), float(arrays["eps"])


def fallen_before(arrays: Verdicts) -> BoolArray:
    """Return (N,) whether a point fell within a smaller ball of the same norm."""
    return arrays.get("carried", np.zeros(len(arrays["clean"]), dtype=np.bool_))


def standing_after(arrays: Verdicts, attacks: int | None = None) -> BoolArray:
    """Return (N,) whether a point is correct on the clean image and after the first `attacks` attacks (None: all).

    A point that fell within a smaller ball is not.
    """
    return arrays["clean"] & ~fallen_before(arrays) & (arrays["stands"][:attacks] != 0).all(0)


def robust(arrays: Verdicts) -> BoolArray:
    """Return (N,) whether a point is classified correctly whatever was tried: the worst case over all attacks."""
    return standing_after(arrays)


def slice_name(norm: str, eps: float) -> str:
    """Return the slice of a (norm, ε), for example "Linf-0.1"."""
    return f"{norm}-{eps:g}"


def rows_from_verdicts(arrays: Verdicts, dataset: str = "test") -> list[Row]:
    """Return the rows of probe "attack" for one (norm, ε); n is the number of points.

    clean_accuracy; robust_accuracy, the worst case over all attacks (`figure_name` says what it may be called), with
    robust_accuracy_low and robust_accuracy_high, Wilson's 95 % interval; robust_accuracy.<attack>, the share that is
    still correct after this attack and all that are counted before it. So robust_accuracy.square under "standard" (and
    .fab-t under "plus") is AutoAttack's own figure, before the extra attacks. Attack "transfer": images that broke the
    models of the other losses.

    Args:
        arrays: as `verdicts_to_arrays` gives them.
        dataset: the name of the set in the table.

    Raises:
        InputError: the arrays cannot be verdicts.
    """
    norm, eps = check_verdicts(arrays)
    part, n = slice_name(norm, eps), len(arrays["clean"])
    standing = robust(arrays)
    low, high = wilson(int(standing.sum()), n)
    values = {
        "clean_accuracy": mean(arrays["clean"]),
        "robust_accuracy": mean(standing),
        "robust_accuracy_low": low,
        "robust_accuracy_high": high,
    }
    for k, name in enumerate(arrays["attacks"]):
        values[f"robust_accuracy.{name}"] = mean(standing_after(arrays, k + 1))
    return [row("attack", dataset, part, metric, value, n) for metric, value in values.items()]
