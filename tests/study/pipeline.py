"""The study's stages without Ray, one training at a time: what a pool would do with one process."""

from study import confirm
from study.attacks import attack_jobs
from study.ledger import evaluation_keys
from study.measure import evaluate_model
from study.search import SearchFeed, starting_counts
from study.tasks import get_task
from study.trial import run_training
from study.work import first_ready


def train_everything(config, run, source):
    """Search, re-score, retrain and sweep."""
    recipe = dict(get_task(config.task).recipe(source))
    feed = SearchFeed(config, run, recipe, starting_counts(config, source))
    while (training := feed.next()) is not None:
        feed.done(training, run_training(training, config, source, run))
    for training in confirm.rescore_trainings(config, run, recipe):
        run_training(training, config, source, run)
    for training in confirm.confirm_trainings(config, run, recipe, source.num_classes):
        run_training(training, config, source, run)
    for training in confirm.sweep_trainings(config, run, recipe):
        run_training(training, config, source, run)


def attack_everything(config, run, source, last_first=False):
    """Measure what attacks need and do their jobs, in their order or as nearly backwards as they allow."""
    for key in evaluation_keys(config, run):
        if run.read_cell(key) is None:
            run.write_cell(key, {**evaluate_model(key, config, source, run, "cpu"), "seconds": 0.0})
    waiting = [job for job in attack_jobs(config, run, source) if run.read_cell(job.key) is None]
    if last_first:
        waiting.reverse()
    unfinished = {job.key for job in waiting}
    done = []
    while waiting:
        job = first_ready(waiting, unfinished)
        waiting.remove(job)
        run.write_cell(job.key, {**job.work(job.key, config, source, run, "cpu"), "seconds": 0.0})
        unfinished.discard(job.key)
        done.append(job.key)
    return done
