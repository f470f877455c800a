"""Outlier exposure: any loss, with images from outside that the network is to be unsure of."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from study.data.photographs import outlier_pool
from study.methods.plain import weights_of_loss
from study.methods.types import Job, Running
from study.training import fit, predict
from study.training.batches import as_bytes, to_unit_range

if TYPE_CHECKING:
    from study.data.types import Images
    from study.training.loop import Judge
    from study.training.parallel import Regime

POOL = 1000
"""Outliers to learn from: patches of the half of a photograph that is for training (`outlier_pool`)."""
WEIGHT = 0.5


def outlier_exposure(job: Job) -> Running:
    """Train on loss(known) + 0.5 · CE(uniform ‖ softmax(z_out)) (Hendrycks et al. 2019, eq. 1 and section 4.2).

    A step sees as many outliers as known images, in one forward pass, so that batch norm sees both. The pool is the
    same for every loss of a replicate.
    """
    loss = job.build_loss(job.data.class_counts)
    height, width, channels = job.data.train.images.shape[1:]
    outliers = as_bytes(outlier_pool("train", (height, width, channels), POOL, job.data_seed)).to(job.device)
    epochs = fit(
        job.model,
        loss,
        job.data.train,
        job.data.validation,
        job.recipe,
        sampler=job.spec.sampler,
        class_weights_after=weights_of_loss(job),
        seed=job.seed,
        state=job.state,
        score=job.score,
        judge=job.judge,
        regime=exposed_to(outliers),
        **job.place,
    )
    return Running(epochs, loss)


def exposed_to(outliers: Tensor) -> "Regime":
    """Return the regime that adds as many outliers as there are images, drawn with replacement.

    Args:
        outliers: uint8 (M, H, W, C), on the training device.
    """

    def regime(model: nn.Module, loss: nn.Module, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor | None]:
        count = len(images)
        if not count:
            return model(images), None
        drawn = torch.randint(len(outliers), (count,), device=outliers.device)  # there: a copy would wait for it
        together = torch.cat((images, to_unit_range(outliers.index_select(0, drawn))))
        logits = model(together)
        return logits[:count], WEIGHT * uniform_cross_entropy(logits[count:])

    return regime


def uniform_cross_entropy(logits: Tensor) -> Tensor:
    """Return the mean over samples of CE(uniform ‖ softmax(z)) = −(1/C) Σ_j log softmax(z)_j.

    Args:
        logits: (N, C); N at least 1.
    """
    return -F.log_softmax(logits.float(), 1).mean()


def outlier_judge(validation: "Images", outliers: np.ndarray, *, device: str, every: Callable[[int], bool]) -> "Judge":
    """Return the judge that gives `outlier_auroc`: AUROC of validation images against outliers by the maximum logit.

    Args:
        validation: images of known classes.
        outliers: uint8 (M, H, W, C), other ones than those to train on or to test with.
        device: where the network is.
        every: epoch (from 1) → whether to judge after it.
    """
    from study.probes.rejection import auroc, scores  # they bring scipy, which other methods do without

    def judge(model: nn.Module, epoch: int) -> dict[str, float]:
        if not every(epoch):
            return {}
        inside, outside = (
            scores(predict(model, images, device=device))["mls"] for images in (validation.images, outliers)
        )
        return {"outlier_auroc": auroc(inside, outside)}

    return judge
