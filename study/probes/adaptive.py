"""An attack that has to pass the rejector too: wrong, and accepted.

A rejector accepts a sample whose score is at least its threshold. An adversary who knows it looks for an image in the
ball that is misclassified and accepted: APGD maximises

    min( max_{j ≠ y} z_j − z_y,  s − t )

where s is the score that the best wrong class would have (mls: its logit; msp: the log of its probability) and t the
threshold on the same scale. Both terms above zero: the image is wrong and accepted.
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from study.errors import unknown
from study.probes.attack import HEM_MARGIN, check_ball, check_points, clean_logits, frozen, into_ball, own_randomness
from study.probes.attack_losses import margin
from study.probes.attack_suite import Settings, Suite

Score = Callable[[Tensor], Tensor]


def _mls(logits: Tensor) -> Tensor:
    return logits


def _log_msp(logits: Tensor) -> Tensor:
    return logits.log_softmax(1)


CLASS_SCORES: dict[str, Score] = {"mls": _mls, "msp": _log_msp}
"""Score → what each class's logit is worth (N, C); the largest decides. msp is compared as log msp."""


def as_threshold(score: str, threshold: float) -> float:
    """Return a threshold of `rejection.scores` on the scale of `CLASS_SCORES`: its logarithm for msp."""
    if score not in CLASS_SCORES:
        raise unknown("score of the adaptive attack", score, CLASS_SCORES)
    return float(np.log(threshold)) if score == "msp" else threshold


def deceives(logits: Tensor, target: Tensor, score: str, threshold: float) -> Tensor:
    """Return (N,) whether a sample is misclassified and accepted; the threshold is on the scale of `CLASS_SCORES`."""
    worth = CLASS_SCORES[score](logits.double()).amax(1)
    return (logits.argmax(1) != target) & (worth >= threshold)


def adaptive_attack(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    norm: str,
    eps: float,
    num_classes: int,
    score: str,
    threshold: float,
    seed: int,
) -> npt.NDArray[np.bool_]:
    """Return (N,) whether an image was found in the ball that is misclassified and accepted (the clean one included).

    Also samples that are misclassified on the clean image are attacked: the rejector may have caught them there.

    Args:
        model: raw logits, as in `attack.attack`.
        images: float32 (N, channels, H, W) in [0, 1].
        labels: int64 (N,).
        norm: "Linf" or "L2".
        eps: radius, at least 0.
        num_classes: C.
        score: "mls" or "msp".
        threshold: the smallest accepted score, as `rejection.scores` gives it.
        seed: at least 0.
    """
    check_ball(norm, eps)
    check_points(images, labels, num_classes)
    limit = as_threshold(score, threshold)
    with frozen(model), own_randomness():
        fell = deceives(clean_logits(model, images, num_classes), labels, score, limit)
        left = (~fell).nonzero()[:, 0]
        if eps > 0 and len(left):
            clean, target = images[left], labels[left]
            suite = Suite(model, Settings(norm, eps, "adaptive", num_classes, HEM_MARGIN))
            found = suite.run_on_all(
                clean,
                target,
                seed,
                lambda z, y: _loss(z, y, score, limit),
                lambda z, y: deceives(z, y, score, limit),
            )
            found = into_ball(found, clean, norm, eps, "apgd-adaptive")
            with torch.no_grad():
                fell[left] = deceives(model(found), target, score, limit)
    return fell.cpu().numpy()


def _loss(logits: Tensor, target: Tensor, score: str, limit: float) -> Tensor:
    worth = CLASS_SCORES[score](logits).scatter(1, target[:, None], -torch.inf).amax(1)
    return torch.minimum(margin(logits, target), worth - limit)
