"""What every loss asks of its arguments, and how ignored targets are set apart."""

import math
from typing import Literal, TypeAlias

import torch
from torch import Tensor

Reduction: TypeAlias = Literal["mean", "sum", "none"]
REDUCTIONS = ("mean", "sum", "none")


def check_inputs(logits: Tensor, target: Tensor, weight: Tensor | None, reduction: str) -> None:
    """Raise ValueError unless logits, target, weight and reduction fit together; looks at no value of a tensor."""
    shape = logits.shape
    if len(shape) < 2:
        raise ValueError(f"logits: expected shape (N, C) or (N, C, d1, ...), got {tuple(shape)}")
    if not logits.is_floating_point():
        raise ValueError(f"logits: expected a floating dtype, got {logits.dtype}")
    if target.dtype is not torch.int64:
        raise ValueError(f"target: expected class indices of dtype torch.int64, got {target.dtype}")
    if shape[:1] + shape[2:] != target.shape:
        wanted = tuple(shape[:1] + shape[2:])
        raise ValueError(f"target: expected shape {wanted} for logits {tuple(shape)}, got {tuple(target.shape)}")
    if logits.device != target.device:
        raise ValueError(f"target: expected the device of the logits, {logits.device}, got {target.device}")
    if reduction not in REDUCTIONS:
        raise ValueError(f"reduction: expected one of {', '.join(REDUCTIONS)}, got {reduction!r}")
    if weight is not None:
        check_per_class("weight", weight, shape[1])


def check_per_class(name: str, values: Tensor, num_classes: int) -> None:
    """Raise ValueError unless ``values`` is a floating tensor with one entry a class."""
    if values.shape != (num_classes,) or not values.is_floating_point():
        raise ValueError(
            f"{name}: expected a floating tensor of shape ({num_classes},), one entry a class, "
            f"got {values.dtype} of shape {tuple(values.shape)}"
        )


def split_target(target: Tensor, num_classes: int, ignore_index: int) -> tuple[Tensor, Tensor | None]:
    """Return class indices that are safe to gather with, and where the target counts.

    Args:
        target: class indices in [0, C) or ``ignore_index``, any shape.
        num_classes: C.
        ignore_index: the value that marks a target as none.

    Returns:
        (index, valid): ``index`` is the target with 0 in place of ``ignore_index``; ``valid`` is a bool tensor, or
        None when it is known that nothing is ignored. That, and whether the range is kept, is looked up on the CPU
        only: elsewhere it would make the host wait for the device.

    Raises:
        ValueError: a target on the CPU is neither in [0, C) nor ``ignore_index``.
    """
    looks = target.is_cpu and type(target) is Tensor and target.numel() > 0 and not torch.compiler.is_compiling()
    if looks and not 0 <= ignore_index < num_classes and _in_range(target, num_classes):
        return target, None
    ignored = target == ignore_index
    index = target.masked_fill(ignored, 0)
    if looks and not _in_range(index, num_classes):
        low, high = (int(bound) for bound in index.aminmax())
        raise ValueError(
            f"target: expected classes in [0, {num_classes}) or ignore_index {ignore_index}, "
            f"got values from {low} to {high}"
        )
    return index, ~ignored


def _in_range(target: Tensor, num_classes: int) -> bool:
    low, high = target.aminmax()
    return int(low) >= 0 and int(high) < num_classes


def compute_dtype(logits: Tensor) -> torch.dtype:
    """Return the dtype a loss is computed in: float64 for float64 logits, else float32."""
    return torch.float64 if logits.dtype is torch.float64 else torch.float32


def widened(logits: Tensor) -> Tensor:
    """Return logits in the dtype the loss is computed in (the same tensor for float32 and float64)."""
    return logits.to(compute_dtype(logits))


def check_number(name: str, value: float, low: float, high: float = math.inf, *, strict: bool = False) -> None:
    """Raise ValueError unless value is finite and in [low, high]; strict: in (low, high]."""
    try:
        inside = math.isfinite(value) and low <= value <= high and not (strict and value == low)
    except (TypeError, ValueError, RuntimeError):  # no number: class weights given by position, as torch has them
        inside = False
    if not inside:
        upper = "" if high == math.inf else f" and <= {high:g}"
        raise ValueError(f"{name}: expected a finite number {'>' if strict else '>='} {low:g}{upper}, got {value!r}")
