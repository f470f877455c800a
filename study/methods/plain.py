"""Training as the loss alone has it, and deferred re-weighting."""

from torch import Tensor

from hem.margins import class_balanced_weights
from study.methods.types import Job, Running
from study.training import fit

DRW_START = 0.8


def plain(job: Job) -> Running:
    """Train on all images at once; class weights come late where the loss itself declares so."""
    return _fit(job, weights_of_loss(job))


def drw(job: Job) -> Running:
    """Deferred re-weighting (Cao et al. 2019): class-balanced weights for the last fifth of the epochs."""
    return _fit(job, _deferred(job))


def weights_of_loss(job: Job) -> tuple[float, Tensor] | None:
    """Return when which class weights (C,) come where the loss itself declares that; None: they never come.

    Returns:
        `class_weights_after` of `study.training.fit`: share of the epochs, class-balanced weights of the training part.
    """
    return _deferred(job) if job.spec.weight_schedule == "drw" else None


def _deferred(job: Job) -> tuple[float, Tensor]:
    return DRW_START, class_balanced_weights(job.data.class_counts)


def _fit(job: Job, class_weights_after: tuple[float, Tensor] | None) -> Running:
    loss = job.build_loss(job.data.class_counts)
    epochs = fit(
        job.model,
        loss,
        job.data.train,
        job.data.validation,
        job.recipe,
        sampler=job.spec.sampler,
        class_weights_after=class_weights_after,
        seed=job.seed,
        state=job.state,
        score=job.score,
        judge=job.judge,
        **job.place,
    )
    return Running(epochs, loss)
