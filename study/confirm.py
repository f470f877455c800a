"""From searches to models: name each search's winner, retrain the three arms with fresh seeds, map the margin.

Nothing here sees the test set: a winner is named by validation alone, and it is a configuration, not a verdict.
"""

from collections.abc import Mapping
from typing import Any

from search_spaces.shared import SHARED
from study.config import StudyConfig
from study.run import Key, RunDirectory
from study.search import point_of, searched, training_of
from study.seeds import derive
from study.spaces import Point, loss_space, own_name
from study.tasks import get_task
from study.trial import Training

Search = tuple[str, str, int]
"""(method, loss, replicate)"""
Winner = tuple[int, Mapping[str, Any]]
"""(trial number, its cell)"""

SWEPT = ("hem", "hem+")
SWEPT_PARAMETER = "M"
M_STEP, RATE_STEP = 10.0, 3.0


def searches(config: StudyConfig) -> list[Search]:
    """Return every search of a study."""
    return [(method, loss, r) for r in range(config.replicates) for method, loss in config.pairs]


def best_trials(config: StudyConfig, run: RunDirectory, search: Search, metric: str = "") -> list[Winner]:
    """Return a search's best trials, best first; equal ones in the order they were tried.

    Args:
        config: the study.
        run: where its cells are.
        search: which search.
        metric: by which validation metric; the study's objective if none is given.
    """
    cells = searched(config, run, *search)
    complete = [(slot, cell) for slot, cell in sorted(cells.items()) if cell["state"] == "complete"]
    return sorted(complete, key=lambda item: -_value(item[1], metric))[: config.rescored]


def _value(cell: Mapping[str, Any], metric: str) -> float:
    return float(cell["metrics"][metric] if metric else cell["objective"])


def _metrics(config: StudyConfig) -> tuple[str, ...]:
    """Return by what winners are named: the objective ("") and the metrics of a task's further arms."""
    return ("", *get_task(config.task).selections.values())


def rescored_key(search: Search, slot: int) -> Key:
    """Return the cell of a trial's second score."""
    method, loss, replicate = search
    return Key("rescore", method, loss, "", replicate, slot)


def rescore_trainings(config: StudyConfig, run: RunDirectory, recipe: Mapping[str, Any]) -> list[Training]:
    """Return the second trainings of every search's best trials that are not done yet."""
    trainings = []
    for search in searches(config):
        method, _, replicate = search
        seed = derive(config.seed, "rescore", method, replicate)
        best = dict(pair for metric in _metrics(config) for pair in best_trials(config, run, search, metric))
        for slot, cell in sorted(best.items()):
            trainings.append(training_of(recipe, rescored_key(search, slot), point_of(cell), seed))
    return missing(run, trainings)


def winner(config: StudyConfig, run: RunDirectory, search: Search, metric: str = "") -> Winner | None:
    """Return the trial with the best mean of its two scores; None if none has both.

    Args:
        config: the study.
        run: where its cells are.
        search: which search.
        metric: by which validation metric; the study's objective if none is given.
    """
    best: tuple[float, Winner] | None = None
    for slot, cell in best_trials(config, run, search, metric):
        again = run.read_cell(rescored_key(search, slot))
        if again is None or again["state"] != "complete":
            continue
        score = (_value(cell, metric) + _value(again, metric)) / 2
        if best is None or score > best[0]:
            best = (score, (slot, cell))
    return best[1] if best else None


def winners(config: StudyConfig, run: RunDirectory, metric: str = "") -> dict[Search, Winner]:
    """Return the winner (by the study's objective, or another validation metric) of every search that has one."""
    named = {search: winner(config, run, search, metric) for search in searches(config)}
    return {search: value for search, value in named.items() if value is not None}


def confirm_keys(config: StudyConfig) -> list[Key]:
    """Return the cells of all retrainings that a study asks for."""
    return [
        Key("confirm", method, loss, arm, replicate, index)
        for method, loss, replicate in searches(config)
        for arm in config.arms
        for index in range(config.seeds)
    ]


def confirm_trainings(
    config: StudyConfig, run: RunDirectory, recipe: Mapping[str, Any], num_classes: int
) -> list[Training]:
    """Return the retrainings that are not done and can be done: an arm without a winner cannot."""
    selections = get_task(config.task).selections
    named = {metric: winners(config, run, metric) for metric in _metrics(config)}
    trainings = []
    for key in confirm_keys(config):
        point = arm_point(key, named[selections.get(key.arm, "")], num_classes)
        if point is not None:
            seed = derive(config.seed, "confirm", key.replicate, key.number)
            trainings.append(training_of(recipe, key, point, seed, keep_weights=True))
    return missing(run, trainings)


def arm_point(key: Key, named: Mapping[Search, Winner], num_classes: int) -> Point | None:
    """Return the hyperparameters of a retraining (the recipe fills in the rest), or None if its search has no winner.

    `default`: the literature recipe and the loss's literature parameters. `dropin`: the training hyperparameters of
    cross-entropy's winner (same method and replicate) and the loss's literature parameters. `tuned`, and arms that a
    task adds: the loss's winner.
    """
    literature = {own_name(k): v for k, v in loss_space(key.loss).literature(num_classes).items()}
    if key.arm == "default":
        return literature
    loss = "ce" if key.arm == "dropin" else key.loss
    found = named.get((key.method, loss, key.replicate))
    if found is None:
        return None
    point = point_of(found[1])
    return {**{k: point[k] for k in SHARED}, **literature} if key.arm == "dropin" else point


def sweep_trainings(config: StudyConfig, run: RunDirectory, recipe: Mapping[str, Any]) -> list[Training]:
    """Return the trainings of the margin × learning-rate map around hem's winners that are not done yet."""
    if config.sweep == 0:
        return []
    trainings = []
    for loss in SWEPT:
        search = (config.methods[0], loss, 0)
        found = winner(config, run, search) if loss in config.losses else None
        if found is None:
            continue
        seed = derive(config.seed, "sweep", *search[::2])
        for number in range(config.sweep**2):
            point = sweep_point(config, point_of(found[1]), number)
            trainings.append(training_of(recipe, Key("sweep", search[0], loss, "", 0, number), point, seed))
    return missing(run, trainings)


def sweep_factors(config: StudyConfig, number: int) -> tuple[float, float]:
    """Return what a point of the map multiplies M and the learning rate by."""
    half = (config.sweep - 1) / 2
    row, column = divmod(number, config.sweep)
    return M_STEP ** (row - half), RATE_STEP ** (column - half)


def sweep_point(config: StudyConfig, point: Point, number: int) -> Point:
    """Return a point of the map around a winner."""
    m, rate = sweep_factors(config, number)
    name = own_name(SWEPT_PARAMETER)
    return {**point, name: point[name] * m, "learning_rate": point["learning_rate"] * rate}


def missing(run: RunDirectory, trainings: list[Training]) -> list[Training]:
    """Return the trainings whose cells are not written."""
    return [training for training in trainings if run.read_cell(training.key) is None]
