"""The fair search: one Optuna study per (method, loss, replicate), all of them advancing at the same pace.

A search has slots, the same number for every loss. A slot is done when its cell is written. An interrupted attempt is a
failed Optuna trial marked `interrupted`; its parameters are tried again in the same slot, and it counts for nothing.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from statistics import median
from typing import TYPE_CHECKING, Any

import optuna
from optuna.trial import FrozenTrial, TrialState, create_trial

from search_spaces.shared import SHARED
from study.config import StudyConfig
from study.errors import InputError
from study.run import Key, RunDirectory
from study.seeds import derive
from study.spaces import Point, declared_ranges, distributions, near_edge, opening, split_point
from study.storage import open_storage, writing
from study.trial import Training, splits

if TYPE_CHECKING:
    from study.data.types import Source

FEWEST_TRIALS = 4
SLOWER_ALLOWED = 1.6
ENOUGH_MEASURED = 2
EPOCHS_BEFORE_MEASURE = 1


def training_of(recipe: Mapping[str, Any], key: Key, point: Point, seed: int, **more: Any) -> Training:  # noqa: ANN401
    """Return the training for a point of a search space; what the point does not name comes from the recipe."""
    shared, own = split_point(point)
    return Training(key, {**recipe, **shared}, own, seed, **more)


def starting_counts(config: StudyConfig, source: "Source") -> dict[tuple[str, int], tuple[float, ...]]:
    """Return (method, replicate) → n_i (C,) of what a search's losses first train on: their margins follow from it."""
    from study.methods import first_counts

    return {
        (method, replicate): first_counts(method, splits(config, source, replicate, final=False))
        for replicate in range(config.replicates)
        for method in config.methods
    }


@dataclass
class _Search:
    """One search and its slots: Optuna's record of it in optuna.db, and the same trials in memory for the sampler.

    The sampler asks for every trial again and again, and the database answers twenty times more slowly.
    """

    method: str
    loss: str
    replicate: int
    record: optuna.storages.BaseStorage
    optuna_study: optuna.Study
    """In memory."""
    opening: list[tuple[str, Point]]
    again: dict[int, tuple[str, Point]] = field(default_factory=dict)
    """Slots whose attempt was interrupted, with what they tried."""
    numbers: dict[int, tuple[int, int]] = field(default_factory=dict)
    """Slot → (identity in the record, number in memory), for trainings that run now."""
    handed: int = 0
    finished: set[int] = field(default_factory=set)
    study_id: int = field(init=False)
    """In the record."""

    def __post_init__(self) -> None:
        self.study_id = self.record.get_study_id_from_name(study_name(self.method, self.loss, self.replicate))

    def key(self, slot: int) -> Key:
        return Key("search", self.method, self.loss, "", self.replicate, slot)

    def trials(self) -> list[FrozenTrial]:
        """Return all that the record has."""
        return self.record.get_all_trials(self.study_id, deepcopy=False)

    def identity(self, trial: FrozenTrial) -> int:
        """Return by what the record knows a trial."""
        return self.record.get_trial_id_from_study_id_trial_number(self.study_id, trial.number)

    def begin(self, slot: int, source: str) -> Point:
        """Let the sampler ask, and enter what it says into the record in one step."""
        space = distributions(self.loss)
        trial = self.optuna_study.ask(space)
        entry = create_trial(
            state=TrialState.RUNNING,
            params=trial.params,
            distributions=space,
            user_attrs={"slot": slot, "source": source},
        )
        self.numbers[slot] = self.enter(entry), trial.number
        return dict(trial.params)

    @writing
    def enter(self, entry: FrozenTrial) -> int:
        """Enter a trial into the record; return by what the record knows it."""
        return self.record.create_new_trial(self.study_id, template_trial=entry)

    @writing
    def end(self, identity: int, cell: Mapping[str, Any]) -> None:
        """End a trial in the record with what its cell says."""
        if cell["state"] == "complete":
            self.record.set_trial_state_values(identity, TrialState.COMPLETE, [cell["objective"]])
        else:
            self.fail(identity, error=cell["error"])

    @writing
    def fail(self, identity: int, **attrs: Any) -> None:  # noqa: ANN401
        """End a trial in the record as failed, with the reason in its attributes."""
        for name, value in attrs.items():
            self.record.set_trial_user_attr(identity, name, value)
        self.record.set_trial_state_values(identity, TrialState.FAIL)

    def tell(self, slot: int, cell: Mapping[str, Any]) -> None:
        """End the trial that a slot runs, in the record and for the sampler."""
        identity, number = self.numbers.pop(slot)
        self.end(identity, cell)
        complete = cell["state"] == "complete"
        self.optuna_study.tell(
            number,
            cell["objective"] if complete else None,
            state=TrialState.COMPLETE if complete else TrialState.FAIL,
        )
        self.finished.add(slot)


class SearchFeed:
    """Takes turns over all searches: whoever has been given least so far is next."""

    def __init__(
        self,
        config: StudyConfig,
        run: RunDirectory,
        recipe: Mapping[str, Any],
        counts: Mapping[tuple[str, int], tuple[float, ...]],
        *,
        trials: int | None = None,
        lowered: Callable[[int, str], None] | None = None,
    ) -> None:
        """Open every search and take over what is done.

        Args:
            config: the study.
            run: where cells and optuna.db lie.
            recipe: the literature recipe.
            counts: of `starting_counts`.
            trials: per search; None takes the config's, which may be lowered after the first trainings.
            lowered: told the number of trials and the reason once it is fixed.
        """
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.config, self.run, self.recipe = config, run, recipe
        self.trials = trials or config.trials_per_search
        self.decided = trials is not None or config.planned_seconds is None
        self.lowered = lowered
        self.measured: list[float] = []
        storage = open_storage(run)
        self.searches = [
            self._open(storage, method, loss, replicate, counts[method, replicate])
            for replicate in range(config.replicates)
            for method, loss in config.pairs
        ]
        for search in self.searches:
            self._take_over(search)

    @writing
    def _open(
        self, storage: optuna.storages.BaseStorage, method: str, loss: str, replicate: int, counts: tuple[float, ...]
    ) -> _Search:
        name, sampler = study_name(method, loss, replicate), optuna.samplers.RandomSampler(seed=0)
        optuna.create_study(
            storage=storage, study_name=name, direction="maximize", load_if_exists=True, sampler=sampler
        )
        study = optuna.create_study(direction="maximize", sampler=sampler)
        points = opening(
            loss,
            self.recipe,
            seed=self.config.seed,
            method=method,
            replicate=replicate,
            num_classes=len(counts),
            num_samples=sum(counts),
            trials=self.config.trials_per_search,
        )
        return _Search(method, loss, replicate, storage, study, points)

    def _take_over(self, search: _Search) -> None:
        """Bring Optuna's record and the cells together after an interruption, and give the sampler what the cells say.

        So it knows every slot once, and in their order, whatever attempts the record holds besides.
        """
        cells = searched(self.config, self.run, search.method, search.loss, search.replicate)
        trials = search.trials()
        latest = {trial.user_attrs.get("slot"): trial for trial in trials}
        for trial in trials:
            slot = trial.user_attrs.get("slot")
            if trial.state == TrialState.RUNNING and latest[slot] is trial and slot in cells:
                search.end(search.identity(trial), cells[slot])
            elif trial.state == TrialState.RUNNING:
                search.fail(search.identity(trial), interrupted=True)
            if slot not in cells and "source" in trial.user_attrs:
                # Of an attempt that was marked as interrupted before, too: a run may be stopped again before its turn.
                if _entry(search.loss, TrialState.RUNNING, trial.params, {}) is not None:
                    search.again[slot] = (trial.user_attrs["source"], dict(trial.params))
        for slot, cell in cells.items():
            search.finished.add(slot)
            entry, trial = _trial_from_cell(search.loss, slot, cell), latest.get(slot)
            if entry is None:
                continue
            search.optuna_study.add_trial(entry)
            if (
                trial is None
                or trial.user_attrs.get("interrupted")
                or trial.state not in (TrialState.RUNNING, entry.state)
            ):
                search.enter(entry)
        search.handed = len(search.finished)

    def finished(self) -> bool:
        """Say whether every slot was handed out."""
        return self.decided and not any(self._open_slot(search) is not None for search in self.searches)

    def next(self) -> Training | None:
        """Return the next trial of the search that has been given least, or None to wait."""
        if not self.decided and self._all_fed() and not any(search.numbers for search in self.searches):
            self._measure_finished()
        waiting = [(search, slot) for search in self.searches if (slot := self._open_slot(search)) is not None]
        if not waiting:
            return None
        search, slot = min(waiting, key=lambda pair: (pair[0].handed, len(pair[0].numbers)))
        source, point = self._ask(search, slot)
        search.handed += 1
        seed = derive(self.config.seed, "trial", search.method, search.replicate, slot)
        return training_of(self.recipe, search.key(slot), point, seed, source=source)

    def done(self, training: Training, cell: dict[str, Any]) -> None:
        """Tell the search what came out."""
        key = training.key
        search = next(
            s for s in self.searches if (s.method, s.loss, s.replicate) == (key.method, key.loss, key.replicate)
        )
        search.tell(key.number, cell)
        if not self.decided:
            self._measure(cell)
            if len(self.measured) >= ENOUGH_MEASURED or self._all_fed():
                self._decide()

    def _all_fed(self) -> bool:
        return all(self._open_slot(search) is None for search in self.searches)

    def _limit(self) -> int:
        return self.trials if self.decided else min(self.trials, FEWEST_TRIALS)

    def _open_slot(self, search: _Search) -> int | None:
        for slot in range(self._limit()):
            if slot not in search.finished and slot not in search.numbers:
                return slot
        return None

    def _measure(self, cell: Mapping[str, Any]) -> None:
        """Take the time of a training."""
        if cell["state"] == "complete":
            seconds = [epoch["seconds"] for epoch in cell["epochs"]][EPOCHS_BEFORE_MEASURE:]
            if seconds:
                self.measured.append(median(seconds) * self.config.epochs)

    def _measure_finished(self) -> None:
        """Decide by trainings that were done before the study was interrupted, and had not decided."""
        for search in self.searches:
            for slot in search.finished:
                self._measure(self.run.read_cell(search.key(slot)) or {"state": "lost"})
        self._decide()

    def _decide(self) -> None:
        """Fix the number of trials: the same for every loss."""
        planned = self.config.planned_seconds or 0.0
        took = min(self.measured, default=planned)
        reason = ""
        if took > SLOWER_ALLOWED * planned:
            self.trials = max(min(FEWEST_TRIALS, self.trials), int(self.trials * SLOWER_ALLOWED * planned / took))
            reason = f"a first training took {took:.1f} s where {planned:.1f} s were planned"
        self.decided = True
        if self.lowered is not None:
            self.lowered(self.trials, reason)

    def _ask(self, search: _Search, slot: int) -> tuple[str, Point]:
        """Return (source, point) of a slot, which runs from now on."""
        given = search.again.pop(slot, None) or (search.opening[slot] if slot < len(search.opening) else None)
        if given is None:
            seed = derive(self.config.seed, "tpe", search.method, search.replicate, slot)
            search.optuna_study.sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=0)
        else:
            search.optuna_study.enqueue_trial(given[1])
        source = given[0] if given else "tpe"
        return source, search.begin(slot, source)


def refuse_other_space(
    config: StudyConfig, run: RunDirectory, trials: int, own_ranges: Mapping[str, Any] | None = None
) -> None:
    """Refuse to go on with a search that was begun with other parameters, or ranges of them, than its loss has now.

    Args:
        config: the study.
        run: where its cells are.
        trials: of a search; one that has them all is not gone on with.
        own_ranges: of losses of one's own, as the record has them.

    Raises:
        InputError: it was begun with another version of this project, or of a user's own loss.
    """
    for replicate in range(config.replicates):
        for method, loss in config.pairs:
            done = searched(config, run, method, loss, replicate)
            if len(done) >= trials:
                continue
            space = set(distributions(loss))
            other = [point for cell in done.values() if set(point := point_of(cell)) != space]
            then, now = (own_ranges or {}).get(loss), declared_ranges(loss) if ":" in loss else None
            if other:
                before, after = (", ".join(sorted(names)) for names in (other[0], space))
            elif then is not None and then != now:
                before, after = (f"the ranges {json.dumps(ranges)}" for ranges in (then, now))
            else:
                continue
            raise InputError(
                f"the search of {loss} was begun with {before}\nnow it has {after}\n"
                "finish the run with the version that began it (sessions in study.json has the commit; a loss of "
                "your own is yours to restore), or start another"
            )


def study_name(method: str, loss: str, replicate: int) -> str:
    """Return the name of a search in optuna.db."""
    return f"{method}/{loss}/r{replicate}"


def _trial_from_cell(loss: str, slot: int, cell: Mapping[str, Any]) -> FrozenTrial | None:
    """Return what Optuna is to know of a trial that has a cell; None as `_entry`."""
    attrs = {"slot": slot, "source": cell["training"]["source"]}
    if cell["state"] == "complete":
        return _entry(loss, TrialState.COMPLETE, point_of(cell), attrs, cell["objective"])
    return _entry(loss, TrialState.FAIL, point_of(cell), {**attrs, "error": cell["error"]})


def _entry(
    loss: str, state: TrialState, point: Mapping[str, Any], attrs: dict[str, Any], value: float | None = None
) -> FrozenTrial | None:
    """Return a trial as Optuna knows it; None if its point is not one of the space that the loss has now."""
    try:
        return create_trial(
            state=state, value=value, params=dict(point), distributions=distributions(loss), user_attrs=attrs
        )
    except ValueError:
        return None


def point_of(cell: Mapping[str, Any]) -> Point:
    """Return the searched point of a trial from its cell."""
    training = cell["training"]
    shared = {k: training["recipe"][k] for k in SHARED}
    return {**shared, **{f"loss.{k}": v for k, v in training["loss_parameters"].items()}}


def searched(
    config: StudyConfig, run: RunDirectory, method: str, loss: str, replicate: int
) -> dict[int, dict[str, Any]]:
    """Return slot → cell of the finished trials of one search."""
    keys = [Key("search", method, loss, "", replicate, slot) for slot in range(config.trials_per_search)]
    return {key.number: cell for key in keys if (cell := run.read_cell(key)) is not None}


def edge_flags(
    winners: Mapping[tuple[str, str, int], tuple[int, Mapping[str, Any]]], own_ranges: Mapping[str, Any]
) -> list[str]:
    """Return a sentence for every winner that lies within 5 % of an end of a range.

    Args:
        winners: search → (slot, cell).
        own_ranges: of losses of one's own, as the record has them: nothing is imported for this.
    """
    flags = []
    for (method, loss, replicate), (slot, cell) in sorted(winners.items(), key=lambda item: item[0]):
        for parameter in near_edge(point_of(cell), loss, own_ranges.get(loss, {})):
            name = parameter.removeprefix("loss.")
            value = point_of(cell)[parameter]
            flags.append(
                f"{method}/{loss} replicate {replicate}: the winner (trial {slot}) has {name} = {value:.3g}, "
                "within 5 % of an end of its range"
            )
    return flags
