"""Training as the loss alone has it, and deferred re-weighting."""

from hem.margins import class_balanced_weights
from study.methods.types import Job, Running
from study.training import fit

DRW_START = 0.8


def plain(job: Job) -> Running:
    """Train on all images at once; class weights come late where the loss itself declares so."""
    return _fit(job, deferred=job.spec.weight_schedule == "drw")


def drw(job: Job) -> Running:
    """Deferred re-weighting (Cao et al. 2019): class-balanced weights for the last fifth of the epochs."""
    return _fit(job, deferred=True)


def _fit(job: Job, *, deferred: bool) -> Running:
    loss = job.build_loss(job.data.class_counts)
    epochs = fit(
        job.model,
        loss,
        job.data.train,
        job.data.validation,
        job.recipe,
        sampler=job.spec.sampler,
        class_weights_after=(DRW_START, class_balanced_weights(job.data.class_counts)) if deferred else None,
        seed=job.seed,
        state=job.state,
        score=job.score,
        judge=job.judge,
        **job.place,
    )
    return Running(epochs, loss)
