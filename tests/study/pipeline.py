"""The study's stages without Ray, one training at a time: what a pool would do with one process."""

from study import confirm
from study.search import SearchFeed
from study.tasks import get_task
from study.trial import run_training, splits


def train_everything(config, run, source):
    """Search, re-score, retrain and sweep."""
    recipe = dict(get_task(config.task).recipe(source))
    counts = {r: splits(config, source, r, final=False).class_counts for r in range(config.replicates)}
    feed = SearchFeed(config, run, recipe, counts)
    while (training := feed.next()) is not None:
        feed.done(training, run_training(training, config, source, run))
    for training in confirm.rescore_trainings(config, run, recipe):
        run_training(training, config, source, run)
    for training in confirm.confirm_trainings(config, run, recipe, source.num_classes):
        run_training(training, config, source, run)
    for training in confirm.sweep_trainings(config, run, recipe):
        run_training(training, config, source, run)
