"""Margins, class weights and priors from the number of training samples of each class.

S is the number of training samples, n_i that of class i, C the number of classes. Every n_i must be above 0, but need
not be whole: a class of few pixels has less than 1 if n_i is S times its share of them. A class that no sample has
leaves the logits instead: it gets no margin, weight or prior.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

M_LITERATURE = 2000.0


def hem_margin(num_samples: float, M: float = M_LITERATURE) -> float:
    """Return HEM's margin μ = sqrt(M / S), in logit units.

    With the paper's M = 2000 this is 0.2 on CIFAR (50,000 images) and 0.0395 on ImageNet.

    Args:
        num_samples: S > 0, what is really trained on.
        M: ≥ 0.

    Raises:
        ValueError: a number outside its range.

    Source:
        Spratling and Schütt, arXiv 2501.12191.
    """
    if not 0.0 < num_samples < math.inf:
        raise ValueError(f"num_samples: expected a finite number > 0, got {num_samples!r}")
    return math.sqrt(_checked_m(M) / num_samples)


def class_margins(class_counts: Sequence[float], M: float = M_LITERATURE) -> Tensor:
    """Return HEM+'s margin of each class, μ_i = sqrt(M / (C n_i)), float32 (C,). Equal counts give ``hem_margin``.

    Args:
        class_counts: n_i > 0.
        M: ≥ 0.

    Raises:
        ValueError: a number outside its range.

    Source:
        Spratling and Schütt, arXiv 2501.12191.
    """
    counts = checked_counts(class_counts)
    return (_checked_m(M) / (len(counts) * counts)).sqrt().float()


def class_balanced_weights(class_counts: Sequence[float], beta: float = 0.9999) -> Tensor:
    """Return class-balanced weights w_i ∝ (1 − β) / (1 − β^{n_i}) with Σ w = C, float32 (C,).

    Args:
        class_counts: n_i > 0.
        beta: β in [0, 1); 0 gives equal weights, β → 1 weights by 1/n_i.

    Raises:
        ValueError: a number outside its range.

    Source:
        Cui et al., "Class-balanced loss based on effective number of samples", CVPR 2019, equation 2.
    """
    counts = checked_counts(class_counts)
    if not 0.0 <= beta < 1.0:
        raise ValueError(f"beta: expected a number in [0, 1), got {beta!r}")
    # 1 − β^n without cancellation for β near 1.
    weights = torch.ones_like(counts) if beta == 0.0 else (1.0 - beta) / -torch.expm1(counts * math.log(beta))
    return (weights * (len(counts) / weights.sum())).float()


def ldam_margins(class_counts: Sequence[float], max_margin: float = 0.5) -> Tensor:
    """Return LDAM's margins m_i = max_margin · n_i^(−1/4) / max_k n_k^(−1/4), in units of the cosine, float32 (C,).

    Args:
        class_counts: n_i > 0.
        max_margin: of the rarest class, ≥ 0.

    Raises:
        ValueError: a number outside its range.

    Source:
        Cao et al., NeurIPS 2019, equation 11; 0.5 in the authors' code.
    """
    if not 0.0 <= max_margin < math.inf:
        raise ValueError(f"max_margin: expected a finite number >= 0, got {max_margin!r}")
    roots = checked_counts(class_counts) ** -0.25
    return (max_margin * roots / roots.max()).float()


def log_prior(class_counts: Sequence[float]) -> Tensor:
    """Return log π_i = log(n_i / S), float32 (C,).

    Args:
        class_counts: n_i > 0.

    Raises:
        ValueError: a count that is not above 0.

    Source:
        Menon et al., ICLR 2021.
    """
    counts = checked_counts(class_counts)
    return (counts / counts.sum()).log().float()


def checked_counts(class_counts: Sequence[float]) -> Tensor:
    """Return class counts as a float64 tensor (C,).

    Raises:
        ValueError: no class, or a class whose count is not a finite number above 0; the message names it.
    """
    counts = torch.as_tensor(class_counts, dtype=torch.float64)
    if counts.dim() != 1 or len(counts) == 0:
        raise ValueError(f"class_counts: expected one number a class, got {class_counts!r}")
    bad = [(i, n) for i, n in enumerate(counts.tolist()) if not 0.0 < n < math.inf]
    if bad:
        named = ", ".join(f"class {i} has {n:g}" for i, n in bad[:5])
        raise ValueError(f"class_counts: expected a finite number > 0 for each class, but {named}")
    return counts


def _checked_m(value: float) -> float:
    if not 0.0 <= value < math.inf:
        raise ValueError(f"M: expected a finite number >= 0, got {value!r}")
    return value
