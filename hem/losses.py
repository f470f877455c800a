"""The losses as modules: they hold arguments, the mathematics is in ``hem.functional``.

loss = HEMLoss(num_samples=50_000)
loss(model(images), target).backward()
"""

from collections.abc import Sequence
from typing import Any, TypedDict, Unpack

import torch.distributed as dist
from torch import Tensor, nn

from hem import functional as functions
from hem import margins as margin_rules
from hem._inputs import Reduction


class Shared(TypedDict, total=False):
    """Keyword arguments of every loss module."""

    weight: Tensor | None
    ignore_index: int
    reduction: Reduction
    process_group: dist.ProcessGroup | None


class ClassificationLoss(nn.Module):
    """What all losses have in common; a loss of one's own may be any module of (logits, target) instead.

    Attributes:
        weight: buffer, (C,) class weights or None.
        ignore_index: targets of this value are no samples.
        reduction: "mean" | "sum" | "none".
        process_group: ranks that train one model together, see ``hem.functional``; may be set later.
    """

    weight: Tensor | None

    def __init__(
        self,
        *,
        weight: Tensor | None = None,
        ignore_index: int = -100,
        reduction: Reduction = "mean",
        process_group: dist.ProcessGroup | None = None,
    ) -> None:
        super().__init__()
        self.ignore_index = ignore_index
        self.reduction = reduction
        self.process_group = process_group
        self.register_buffer("weight", None, persistent=False)
        self.set_class_weight(weight)

    def set_class_weight(self, weight: Tensor | None) -> None:
        """Set the class weights (C,), or none; deferred re-weighting does so in the middle of a training."""
        if weight is not None and (weight.dim() != 1 or not weight.is_floating_point()):
            raise ValueError(f"weight: expected a floating tensor (C,), got {weight.dtype} {tuple(weight.shape)}")
        self.weight = weight

    def shared(self) -> dict[str, Any]:
        """Return the arguments that every function of ``hem.functional`` takes."""
        return {
            "weight": self.weight,
            "ignore_index": self.ignore_index,
            "reduction": self.reduction,
            "process_group": self.process_group,
        }

    def extra_repr(self) -> str:
        """Return the arguments that differ between losses."""
        names = [name for name in vars(self) if not name.startswith("_") and name not in ("training", "process_group")]
        return ", ".join(f"{name}={getattr(self, name)!r}" for name in names)


class HEMLoss(ClassificationLoss):
    """High error margin loss as a module; see ``hem.hem_loss`` for the formula.

    The margin is, in this order: the one that is given; one a class from the class counts, μ_i = sqrt(M / (C n_i))
    (HEM+); one for all from the number of training samples, μ = sqrt(M / S); and with none of them μ = 0.2, which is
    what the paper's M = 2000 gives for the 50,000 images of CIFAR.

    Args:
        margin: μ ≥ 0, or (C,) one a class.
        num_samples: S, the training samples.
        class_counts: n_i, the training samples of each class.
        M: scales the margin where it is not given.
        **shared: of ``ClassificationLoss``.

    Raises:
        ValueError: a number outside its range.

    Source:
        Spratling and Schütt, "A margin-based replacement for cross-entropy loss", arXiv 2501.12191.
    """

    margin: float | Tensor

    def __init__(
        self,
        margin: float | Tensor | None = None,
        num_samples: float | None = None,
        class_counts: Sequence[float] | None = None,
        M: float = margin_rules.M_LITERATURE,
        **shared: Unpack[Shared],
    ) -> None:
        super().__init__(**shared)
        if margin is None:
            if class_counts is not None:
                margin = margin_rules.class_margins(class_counts, M)
            elif num_samples is not None:
                margin = margin_rules.hem_margin(num_samples, M)
            else:
                margin = 0.2
        if isinstance(margin, Tensor):
            if margin.dim() > 1 or not margin.is_floating_point() or not (margin.is_meta or _in_range(margin)):
                raise ValueError(f"margin: expected finite numbers >= 0, floating, one a class, got {margin!r}")
            self.register_buffer("margin", margin.detach(), persistent=False)
        else:
            if not 0.0 <= margin < float("inf"):
                raise ValueError(f"margin: expected a finite number >= 0 or a tensor of one a class, got {margin!r}")
            self.margin = margin

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return the loss of logits (N, C, ...) and target (N, ...)."""
        return functions.hem_loss(logits, target, self.margin, **self.shared())


def _in_range(margin: Tensor) -> bool:
    return bool(((margin >= 0.0) & margin.isfinite()).all())


class MMLoss(ClassificationLoss):
    """Multi-class margin loss as a module; see ``hem.mm_loss`` for formula, ranges and source.

    Args:
        margin: of ``hem.mm_loss``.
        **shared: of ``ClassificationLoss``.
    """

    def __init__(self, margin: float = 1.0, **shared: Unpack[Shared]) -> None:
        super().__init__(**shared)
        self.margin = margin

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return the loss of logits (N, C, ...) and target (N, ...)."""
        return functions.mm_loss(logits, target, self.margin, **self.shared())


class CELoss(ClassificationLoss):
    """Cross-entropy as a module; see ``hem.ce_loss`` for formula, ranges and source.

    Args:
        label_smoothing: of ``hem.ce_loss``.
        **shared: of ``ClassificationLoss``.
    """

    def __init__(self, label_smoothing: float = 0.0, **shared: Unpack[Shared]) -> None:
        super().__init__(**shared)
        self.label_smoothing = label_smoothing

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return the loss of logits (N, C, ...) and target (N, ...)."""
        return functions.ce_loss(logits, target, self.label_smoothing, **self.shared())


class LogitNormLoss(ClassificationLoss):
    """Cross-entropy of logits of constant norm as a module; see ``hem.logitnorm_loss`` for formula, ranges and source.

    Args:
        tau: of ``hem.logitnorm_loss``.
        **shared: of ``ClassificationLoss``.
    """

    def __init__(self, tau: float = 0.04, **shared: Unpack[Shared]) -> None:
        super().__init__(**shared)
        self.tau = tau

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return the loss of logits (N, C, ...) and target (N, ...)."""
        return functions.logitnorm_loss(logits, target, self.tau, **self.shared())


class LogitAdjustedLoss(ClassificationLoss):
    """Cross-entropy of logits with the classes' priors added, as a module; see ``hem.logit_adjusted_loss``.

    Args:
        class_counts: n_i > 0; π_i = n_i / S.
        tau: τ ≥ 0.
        **shared: of ``ClassificationLoss``.
    """

    log_prior: Tensor

    def __init__(self, class_counts: Sequence[float], tau: float = 1.0, **shared: Unpack[Shared]) -> None:
        super().__init__(**shared)
        self.tau = tau
        self.register_buffer("log_prior", margin_rules.log_prior(class_counts), persistent=False)

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return the loss of logits (N, C, ...) and target (N, ...)."""
        return functions.logit_adjusted_loss(logits, target, self.log_prior, self.tau, **self.shared())


class LDAMLoss(ClassificationLoss):
    """Label-distribution-aware margin loss as a module; see ``hem.ldam_loss``. It needs a cosine head.

    Args:
        class_counts: n_i > 0; the margins follow from them, see ``hem.ldam_margins``.
        max_margin: of the rarest class, in units of the cosine.
        scale: s > 0, the scale that the head gives the cosine.
        **shared: of ``ClassificationLoss``.
    """

    class_margins: Tensor

    def __init__(
        self, class_counts: Sequence[float], max_margin: float = 0.5, scale: float = 30.0, **shared: Unpack[Shared]
    ) -> None:
        super().__init__(**shared)
        self.scale = scale
        self.register_buffer("class_margins", margin_rules.ldam_margins(class_counts, max_margin), persistent=False)

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return the loss of logits (N, C, ...) and target (N, ...)."""
        return functions.ldam_loss(logits, target, self.class_margins, self.scale, **self.shared())


class FocalLoss(ClassificationLoss):
    """Focal loss as a module; see ``hem.focal_loss`` for formula, ranges and source.

    Args:
        gamma: of ``hem.focal_loss``.
        **shared: of ``ClassificationLoss``.
    """

    def __init__(self, gamma: float = 2.0, **shared: Unpack[Shared]) -> None:
        super().__init__(**shared)
        self.gamma = gamma

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return the loss of logits (N, C, ...) and target (N, ...)."""
        return functions.focal_loss(logits, target, self.gamma, **self.shared())


class DICELoss(ClassificationLoss):
    """Soft DICE as a module; see ``hem.dice_loss`` for formula, ranges and source.

    Args:
        smooth: of ``hem.dice_loss``.
        **shared: of ``ClassificationLoss``.
    """

    def __init__(self, smooth: float = 1.0, **shared: Unpack[Shared]) -> None:
        super().__init__(**shared)
        self.smooth = smooth

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return the loss of logits (N, C, ...) and target (N, ...)."""
        return functions.dice_loss(logits, target, self.smooth, **self.shared())


class CEDICELoss(DICELoss):
    """Cross-entropy plus soft DICE as a module; see ``hem.ce_dice_loss`` for formula, ranges and source.

    Args:
        smooth: of ``hem.dice_loss``.
        **shared: of ``ClassificationLoss``.
    """

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return the loss of logits (N, C, ...) and target (N, ...)."""
        return functions.ce_dice_loss(logits, target, self.smooth, **self.shared())
