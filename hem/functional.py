"""Losses as functions of (logits, target): HEM, and those it is compared with.

All take logits (N, C) or (N, C, d1, ...) of any floating dtype and target (N) or (N, d1, ...) of int64; dense targets
make every position a sample of its own. All compute in float32 (float64 for float64 logits), whatever autocast says;
the gradient has the logits' dtype. Keyword arguments that all of them share:

weight: (C,) class weights on the logits' device, or None. The loss of a sample is multiplied by the weight of its
    target class, and the mean divides by the sum of the weights of the samples it counts (DICE: a weighted mean over
    classes).
ignore_index: a target of this value is no sample: loss 0, gradient 0, not counted; for HEM and MM whatever its logits
    are, for the others as long as they are finite (nan and inf go into the gradient, with torch's cross-entropy too).
reduction: "mean" | "sum" | "none" (per-sample losses in the target's shape, 0 where ignored; DICE: (C,), per class).
    A mean over no sample is 0, where ``torch.nn.functional.cross_entropy`` returns nan.
process_group: ranks that train one model together. "mean" then returns R · Σ_local / Σ_all ranks of the denominator:
    DistributedDataParallel averages gradients over the R ranks, and so arrives at what one process with the whole batch
    gets; so does the average of the returned values. A rank may have nothing to count. "sum" and "none" stay local
    (but for DICE, whose sums always run over the whole group).

All raise ValueError for wrong shapes and dtypes, and on the CPU for targets outside [0, C). On other devices the range
is not checked, as that would make the host wait for the device; nothing here does. Dense logits are not copied, but for
one copy in ``logit_adjusted_loss`` and ``ldam_loss`` and one to widen half precision where cross-entropy is computed.
HEM and MM are linear where they are smooth and have a second derivative of 0; LogitNorm and DICE raise RuntimeError
when their gradient is asked for with create_graph=True.
"""

from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor

from hem._fused import TINY, FusedClassSums, FusedNormalisedRows, addition_dtype, few_operations, per_class
from hem._inputs import Reduction, check_inputs, check_number, check_per_class, split_target, widened
from hem._margin_rows import margin_loss, small_mean
from hem._reduce import cross_entropy, reduce_rows, sum_over_ranks
from hem._softmax_rows import ClassSums, NormalisedRows


def hem_loss(
    logits: Tensor,
    target: Tensor,
    margin: float | Tensor = 0.2,
    *,
    weight: Tensor | None = None,
    ignore_index: int = -100,
    reduction: Reduction = "mean",
    process_group: dist.ProcessGroup | None = None,
) -> Tensor:
    """High error margin loss: the mean of a sample's above-average errors, over the samples still in error.

        e_j = max(0, z_j − z_y + μ) for j ≠ y,  e_y = 0
        t   = (1/C) Σ_j e_j                          a constant: no gradient flows through it
        H   = {j : e_j ≥ t and e_j > 0}
        ℓ   = (1/|H|) Σ_{j∈H} e_j                    0 if H is empty: z_y leads by the margin, the sample is done
        L   = Σ_n ℓ_n / #{n : ℓ_n > 0}               "mean"; 0 if every sample is done

    The gradient of ℓ is +1/|H| on H and −1 at y; the second derivative is 0. HEM(c z, c μ) = c HEM(z, μ).
    With class weights the mean is Σ_n w_y ℓ_n / Σ_{n : ℓ_n > 0} w_y.

    Args:
        logits: (N, C) or (N, C, d1, ...), floating.
        target: (N) or (N, d1, ...), int64, in [0, C) or ``ignore_index``.
        margin: μ ≥ 0, or (C,) one margin a class, floating, of which a sample uses its target's (HEM+); its numbers
            are not looked at. A constant: no gradient. The default is the paper's on CIFAR, see ``hem_margin``.
        weight: see the module.
        ignore_index: see the module.
        reduction: see the module.
        process_group: see the module.

    Returns:
        A scalar, or the target's shape for "none"; at least float32.

    Raises:
        ValueError: wrong shapes, dtypes, reduction, margin, or (CPU) a target outside [0, C).

    Source:
        Spratling and Schütt, "A margin-based replacement for cross-entropy loss", arXiv 2501.12191.
    """
    if reduction == "mean" and weight is None and process_group is None:
        loss = small_mean(logits, target, margin, True, ignore_index)
        if loss is not None:
            return loss
    return margin_loss(logits, target, margin, True, weight, ignore_index, reduction, process_group)


def mm_loss(
    logits: Tensor,
    target: Tensor,
    margin: float = 1.0,
    *,
    weight: Tensor | None = None,
    ignore_index: int = -100,
    reduction: Reduction = "mean",
    process_group: dist.ProcessGroup | None = None,
) -> Tensor:
    """Multi-class margin loss: ℓ = (1/C) Σ_{j≠y} max(0, μ − z_y + z_j), the mean over all samples.

    As ``torch.nn.functional.multi_margin_loss`` with p = 1, which divides by C and not by C − 1, and for dense targets
    too. A sample without error counts in the mean, unlike in ``hem_loss``.

    Args:
        logits: (N, C) or (N, C, d1, ...), floating.
        target: (N) or (N, d1, ...), int64, in [0, C) or ``ignore_index``.
        margin: μ ≥ 0.
        weight: see the module.
        ignore_index: see the module.
        reduction: see the module.
        process_group: see the module.

    Returns:
        A scalar, or the target's shape for "none"; at least float32.

    Raises:
        ValueError: wrong shapes, dtypes, reduction, margin, or (CPU) a target outside [0, C).

    Source:
        Crammer and Singer, "On the algorithmic implementation of multiclass kernel-based vector machines", JMLR 2001,
        in the summed form of Weston and Watkins, ESANN 1999.
    """
    if reduction == "mean" and weight is None and process_group is None:
        loss = small_mean(logits, target, margin, False, ignore_index)
        if loss is not None:
            return loss
    return margin_loss(logits, target, margin, False, weight, ignore_index, reduction, process_group)


def ce_loss(
    logits: Tensor,
    target: Tensor,
    label_smoothing: float = 0.0,
    *,
    weight: Tensor | None = None,
    ignore_index: int = -100,
    reduction: Reduction = "mean",
    process_group: dist.ProcessGroup | None = None,
) -> Tensor:
    """Cross-entropy: ℓ = −(1 − ε) w_y log p_y − (ε/C) Σ_c w_c log p_c, p = softmax(z); the mean is Σ ℓ / Σ w_y.

    Args:
        logits: (N, C) or (N, C, d1, ...), floating.
        target: (N) or (N, d1, ...), int64, in [0, C) or ``ignore_index``.
        label_smoothing: ε in [0, 1].
        weight: see the module.
        ignore_index: see the module.
        reduction: see the module.
        process_group: see the module.

    Returns:
        A scalar, or the target's shape for "none"; at least float32.

    Raises:
        ValueError: wrong shapes, dtypes, reduction, label_smoothing, or (CPU) a target outside [0, C).

    Source:
        ``torch.nn.functional.cross_entropy``; label smoothing: Szegedy et al., arXiv 1512.00567, section 7.
    """
    check_inputs(logits, target, weight, reduction)
    check_number("label_smoothing", label_smoothing, 0.0, 1.0)
    z = widened(logits)
    return cross_entropy(z, target, weight, ignore_index, reduction, process_group, label_smoothing)


def logitnorm_loss(
    logits: Tensor,
    target: Tensor,
    tau: float = 0.04,
    *,
    weight: Tensor | None = None,
    ignore_index: int = -100,
    reduction: Reduction = "mean",
    process_group: dist.ProcessGroup | None = None,
) -> Tensor:
    """Cross-entropy of logits of constant norm: CE(z / (τ (‖z‖₂ + 1e-7)), y). At test time z is used as it is.

    Args:
        logits: (N, C) or (N, C, d1, ...), floating; ‖z‖₂ below 1e19 unless they are float64, as it is squared.
        target: (N) or (N, d1, ...), int64, in [0, C) or ``ignore_index``.
        tau: τ > 0; 0.04 on 10 classes, 0.0085 on 100 (``hem.registry.logitnorm_tau``).
        weight: see the module.
        ignore_index: see the module.
        reduction: see the module.
        process_group: see the module.

    Returns:
        A scalar, or the target's shape for "none"; at least float32.

    Raises:
        ValueError: wrong shapes, dtypes, reduction, tau, or (CPU) a target outside [0, C).

    Source:
        Wei et al., "Mitigating neural network overconfidence with logit normalization", ICML 2022, equation 5.
    """
    check_inputs(logits, target, weight, reduction)
    check_number("tau", tau, 0.0, strict=True)
    index, valid = split_target(target, logits.shape[1], ignore_index)
    core = FusedNormalisedRows if few_operations(logits) else NormalisedRows
    rows: Tensor = core.apply(logits, index, tau)
    return reduce_rows(rows, index, valid, valid, weight, reduction, process_group)


def logit_adjusted_loss(
    logits: Tensor,
    target: Tensor,
    log_prior: Tensor,
    tau: float = 1.0,
    *,
    weight: Tensor | None = None,
    ignore_index: int = -100,
    reduction: Reduction = "mean",
    process_group: dist.ProcessGroup | None = None,
) -> Tensor:
    """Cross-entropy of logits with the classes' priors added: CE(z + τ log π, y). At test time z is used as it is.

    Args:
        logits: (N, C) or (N, C, d1, ...), floating.
        target: (N) or (N, d1, ...), int64, in [0, C) or ``ignore_index``.
        log_prior: (C,) log π, see ``hem.log_prior``.
        tau: τ ≥ 0; 0 is cross-entropy.
        weight: see the module.
        ignore_index: see the module.
        reduction: see the module.
        process_group: see the module.

    Returns:
        A scalar, or the target's shape for "none"; at least float32.

    Raises:
        ValueError: wrong shapes, dtypes, reduction, tau, or (CPU) a target outside [0, C).

    Source:
        Menon et al., "Long-tail learning via logit adjustment", ICLR 2021, equation 10.
    """
    check_inputs(logits, target, weight, reduction)
    check_per_class("log_prior", log_prior, logits.shape[1])
    check_number("tau", tau, 0.0)
    z = widened(logits)
    z = z + per_class((tau * log_prior).to(z.dtype), z)
    return cross_entropy(z, target, weight, ignore_index, reduction, process_group)


def ldam_loss(
    logits: Tensor,
    target: Tensor,
    class_margins: Tensor,
    scale: float = 30.0,
    *,
    weight: Tensor | None = None,
    ignore_index: int = -100,
    reduction: Reduction = "mean",
    process_group: dist.ProcessGroup | None = None,
) -> Tensor:
    """Label-distribution-aware margin loss: CE(z − s m_y 1_y, y), for logits z = s · cosine.

    Args:
        logits: (N, C) or (N, C, d1, ...), floating: s times the cosine of features and class weights. The scale is in
            them already, as everywhere a model with a cosine head is used.
        target: (N) or (N, d1, ...), int64, in [0, C) or ``ignore_index``.
        class_margins: (C,) m, in units of the cosine, see ``hem.ldam_margins``.
        scale: s > 0, the scale that the logits have.
        weight: see the module.
        ignore_index: see the module.
        reduction: see the module.
        process_group: see the module.

    Returns:
        A scalar, or the target's shape for "none"; at least float32.

    Raises:
        ValueError: wrong shapes, dtypes, reduction, scale, or (CPU) a target outside [0, C).

    Source:
        Cao et al., "Learning imbalanced datasets with label-distribution-aware margin loss", NeurIPS 2019, equations
        10 to 13; s = 30 in the authors' code.
    """
    check_inputs(logits, target, weight, reduction)
    check_per_class("class_margins", class_margins, logits.shape[1])
    check_number("scale", scale, 0.0, strict=True)
    index, _ = split_target(target, logits.shape[1], ignore_index)
    z = widened(logits)
    z = z.scatter_add(1, index.unsqueeze(1), (-scale * class_margins).to(z.dtype)[index].unsqueeze(1))
    return cross_entropy(z, target, weight, ignore_index, reduction, process_group)


def focal_loss(
    logits: Tensor,
    target: Tensor,
    gamma: float = 2.0,
    *,
    weight: Tensor | None = None,
    ignore_index: int = -100,
    reduction: Reduction = "mean",
    process_group: dist.ProcessGroup | None = None,
) -> Tensor:
    """Focal loss: ℓ = −w_y (1 − p_y)^γ log p_y, p = softmax(z): class weights stay outside p. The mean is Σ ℓ / Σ w_y.

    Args:
        logits: (N, C) or (N, C, d1, ...), floating.
        target: (N) or (N, d1, ...), int64, in [0, C) or ``ignore_index``.
        gamma: γ ≥ 0; 0 is cross-entropy.
        weight: see the module.
        ignore_index: see the module.
        reduction: see the module.
        process_group: see the module.

    Returns:
        A scalar, or the target's shape for "none"; at least float32.

    Raises:
        ValueError: wrong shapes, dtypes, reduction, gamma, or (CPU) a target outside [0, C).

    Source:
        Lin et al., "Focal loss for dense object detection", arXiv 1708.02002, equation 4, with softmax for sigmoid.
    """
    check_inputs(logits, target, weight, reduction)
    check_number("gamma", gamma, 0.0)
    index, valid = split_target(target, logits.shape[1], ignore_index)
    entropy = F.cross_entropy(widened(logits), target, ignore_index=ignore_index, reduction="none")
    # The clamp only keeps the slope of the power finite at p_y = 1, where the loss is 0.
    other = (1.0 - torch.exp(-entropy)).clamp_min(TINY)
    return reduce_rows(other**gamma * entropy, index, valid, valid, weight, reduction, process_group)


def ce_dice_loss(
    logits: Tensor,
    target: Tensor,
    smooth: float = 1.0,
    *,
    weight: Tensor | None = None,
    ignore_index: int = -100,
    reduction: Reduction = "mean",
    process_group: dist.ProcessGroup | None = None,
) -> Tensor:
    """Cross-entropy plus soft DICE with equal weights: L = CE + DICE, the usual loss of segmentation.

    Args:
        logits: (N, C) or (N, C, d1, ...), floating.
        target: (N) or (N, d1, ...), int64, in [0, C) or ``ignore_index``.
        smooth: of ``dice_loss``.
        weight: of both; see ``ce_loss`` and ``dice_loss``.
        ignore_index: see the module.
        reduction: "mean"; the two have no other unit in common.
        process_group: see the module.

    Returns:
        A scalar, at least float32.

    Raises:
        ValueError: what ``ce_loss`` and ``dice_loss`` raise, or another reduction.

    Source:
        Isensee et al., "nnU-Net", arXiv 1809.10486, section 2.2.
    """
    if reduction != "mean":
        raise ValueError(f"reduction: expected 'mean' (cross-entropy counts samples, DICE classes), got {reduction!r}")
    shared: dict[str, Any] = {"weight": weight, "ignore_index": ignore_index, "process_group": process_group}
    return ce_loss(logits, target, **shared) + dice_loss(logits, target, smooth, **shared)


def dice_loss(
    logits: Tensor,
    target: Tensor,
    smooth: float = 1.0,
    *,
    weight: Tensor | None = None,
    ignore_index: int = -100,
    reduction: Reduction = "mean",
    process_group: dist.ProcessGroup | None = None,
) -> Tensor:
    """Soft DICE: L = mean_c (1 − D_c), D_c = (2 Σ p_c y_c + s) / (Σ p_c + Σ y_c + s), p = softmax(z).

    Sums run over the batch and its positions, without those ignored, and over all ranks of a process group
    (differentiably). In plain classification the batch plays the positions' part. Every class counts, present or not.

    Args:
        logits: (N, C) or (N, C, d1, ...), floating.
        target: (N) or (N, d1, ...), int64, in [0, C) or ``ignore_index``.
        smooth: s > 0.
        weight: (C,) weights of the classes in the mean over classes, which divides by their sum.
        ignore_index: see the module.
        reduction: "mean" or "sum" over classes, or "none": the (C,) losses of the classes.
        process_group: see the module.

    Returns:
        A scalar, or (C,) for "none"; at least float32.

    Raises:
        ValueError: wrong shapes, dtypes, reduction, smooth, or (CPU) a target outside [0, C).

    Source:
        Milletari et al., "V-Net", arXiv 1606.04797, section 3, with plain instead of squared sums in the denominator.
    """
    check_inputs(logits, target, weight, reduction)
    check_number("smooth", smooth, 0.0, strict=True)
    classes = logits.shape[1]
    index, valid = split_target(target, classes, ignore_index)
    core = FusedClassSums if few_operations(logits) else ClassSums
    wide = addition_dtype(logits)
    sums: Tensor = core.apply(logits, index, valid)
    ones = sums.new_ones((), dtype=wide).expand(index.numel()) if valid is None else valid.reshape(-1).to(wide)
    present = sums.new_zeros(classes, dtype=wide).scatter_add(0, index.reshape(-1), ones).to(sums.dtype)
    predicted, both, present = sum_over_ranks((sums[0], sums[1], present), process_group)
    losses = 1.0 - (2.0 * both + smooth) / (predicted + present + smooth)
    if weight is not None:
        losses = losses * weight.to(losses.dtype)
    if reduction == "none":
        return losses
    if reduction == "sum":
        return losses.sum()
    return losses.mean() if weight is None else losses.sum() / weight.to(losses.dtype).sum().clamp_min(TINY)
