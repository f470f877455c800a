"""What a study asks for, what of it is done, and what failed: functions of the config and the cells alone."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from study.config import StudyConfig
from study.confirm import Search, best_trials, confirm_keys, rescored_key, winners
from study.cost import cost_key
from study.radii import named
from study.run import BEST, STAGES, Key, RunDirectory
from study.search import searched
from study.tasks import get_task


def evaluation_keys(config: StudyConfig, run: RunDirectory) -> list[Key]:
    """Return the cells of every evaluation that is possible: one for each confirmed model."""
    return [
        key.at("evaluate")
        for key, cell in run.cells("confirm")
        if cell["state"] == "complete" and key.loss in config.losses
    ]


def attack_key(config: StudyConfig, key: Key, norm: str, what: str) -> Key:
    """Return the cell of one attack on one model, or of its checks; mode and points are part of what it is."""
    return key.at("attack", f"{norm}-{what}-{config.attack_points or 'all'}")


class Aim(NamedTuple):
    """What an attack aims at, besides the model."""

    norm: str
    """Linf or L2."""
    eps: float
    """Radius, in units of the pixel range [0, 1]."""
    kept: str = ""
    """Which weights: "" for those after the last epoch."""


def radius_key(config: StudyConfig, key: Key, aim: Aim) -> Key:
    """Return the cell of the attack with one radius on one state of a model."""
    return attack_key(config, key, aim.norm, f"{named(aim.eps)}-{config.attacks}{aim.kept and '-' + aim.kept}")


def block_keys(attack: Key, count: int) -> list[Key]:
    """Return the cells of an attack's blocks of points."""
    return [attack.at("block", f"{attack.variant}~b{block}") for block in range(count)]


def attacked(config: StudyConfig, run: RunDirectory) -> list[Key]:
    """Return the models under attack: the tuned ones of the first seed, in the first replicates.

    Where robustness is the endpoint, those of every arm and seed.
    """
    task = get_task(config.task)
    if config.attacks == "none" or not task.applies("attack"):
        return []
    if task.endpoint.probe == "attack":
        return [key for key in evaluation_keys(config, run) if key.replicate < config.attack_replicates]
    return [
        key
        for key in evaluation_keys(config, run)
        if key.arm == "tuned" and key.number == 0 and key.replicate < config.attack_replicates
    ]


def attack_keys(config: StudyConfig, run: RunDirectory) -> dict[Key, Aim]:
    """Return the cells of every attack that is possible, with what it aims at; small radii first."""
    aims = [Aim(norm, eps) for norm, eps in sorted(config.radii, key=lambda radius: radius[1])]
    return {
        radius_key(config, key, aim): aim
        for radius in aims
        for key in attacked(config, run)
        for aim in (radius, *(radius._replace(kept=name) for name in _kept_best(key, run)))
    }


def _kept_best(key: Key, run: RunDirectory) -> list[str]:
    """Return ["best"] for a trained defence, whose best epoch was kept beside the last; else []."""
    return [name for name in kept_weights(run, key) if name == BEST]


def kept_weights(run: RunDirectory, key: Key) -> list[str]:
    """Return the names of the further weights that were kept of a confirmed model; `key` is any cell of it."""
    cell = run.read_cell(key.at("confirm")) or {}
    return list(cell.get("kept", ()))


def health_keys(config: StudyConfig, run: RunDirectory) -> dict[Key, str]:
    """Return the cells that say whether the attacks on a model can be believed, with the norm."""
    radii = {norm: [named(eps) for other, eps in config.radii if other == norm] for norm, _ in config.radii}
    return {
        attack_key(config, key, norm, f"health-{','.join(eps)}-{config.attacks}"): norm
        for key in attacked(config, run)
        if key.arm == "tuned" and key.number == 0
        for norm, eps in radii.items()
    }


def asked(config: StudyConfig, run: RunDirectory) -> list[Key]:
    """Return every cell that must be complete for the study to be complete."""
    return [
        *confirm_keys(config),
        cost_key(config),
        *evaluation_keys(config, run),
        *attack_keys(config, run),
        *health_keys(config, run),
    ]


def failures(config: StudyConfig, run: RunDirectory) -> dict[Key, str]:
    """Return the cells that failed or are missing, with the reason.

    A trial or a point of the map that diverged is a result of the search and not a failure. Nor is, any more, a trial
    that was lost in a search whose winner was retrained: it stays in the table of trials with its reason, and cannot be
    made up for.
    """
    failed, settled = {}, _settled(run)
    for stage in (stage for stage in STAGES if stage != "block"):  # a failed block fails its attack, with its reason
        for key, cell in run.cells(stage):
            result = stage in ("search", "rescore", "sweep") and cell.get("reason") == "diverged"
            result |= stage in ("search", "rescore") and (key.method, key.loss, key.replicate) in settled
            if cell["state"] != "complete" and not result and key.loss in config.losses:
                failed[key] = cell["error"]
    named = winners(config, run)
    for key in asked(config, run):
        if key not in failed and run.read_cell(key) is None:
            loss = "ce" if key.arm == "dropin" else key.loss
            search = (key.method, loss, key.replicate)
            of_winner = key.arm not in ("", "default") and search not in named
            failed[key] = (of_winner and _without_winner(config, run, search)) or "not done yet"
    return failed


def _without_winner(config: StudyConfig, run: RunDirectory, search: Search) -> str:
    """Return why a search has no winner; "" if it may have one yet."""
    _, loss, replicate = search
    best = best_trials(config, run, search)
    if not best and searched(config, run, *search):
        return f"no trial of {loss} finished in replicate {replicate}"
    if best and all(run.read_cell(rescored_key(search, slot)) is not None for slot, _ in best):
        return f"no trial of {loss} finished again, with a fresh seed, in replicate {replicate}"
    return ""


def forget_failures(run: RunDirectory, stages: Sequence[str] = STAGES) -> None:
    """Let a resumed run try failed cells of some stages again, where that cannot change what was built on them.

    What diverged would diverge again. A search whose winner was retrained (for the drop-in arm of any loss:
    cross-entropy's) stays as it is. A measurement of costs that lacks a loss is made again.
    """
    built_on = _settled(run)
    for stage in stages:
        for key, cell in run.cells(stage):
            settled = stage in ("search", "rescore") and (key.method, key.loss, key.replicate) in built_on
            failed = cell["state"] != "complete" and cell.get("reason") != "diverged"
            if (failed and not settled) or cell.get("missing"):
                run.cell(key).unlink()


def tried_again(config: StudyConfig, run: RunDirectory, failed: Iterable[Key]) -> int:
    """Return how many of the failed cells `--resume` does anew: neither what diverged nor what waits for it alone."""
    diverged = Counter(
        (key.method, key.loss, key.replicate)
        for key, cell in run.cells("search")
        if cell["state"] != "complete" and cell.get("reason") == "diverged"
    )
    count = 0
    for key in failed:
        cell = run.read_cell(key)
        loss = "ce" if key.arm == "dropin" else key.loss
        lost = key.arm not in ("", "default") and diverged[key.method, loss, key.replicate] >= config.trials_per_search
        count += not lost if cell is None else cell.get("reason") != "diverged"
    return count


def _settled(run: RunDirectory) -> set[Search]:
    """Return the searches whose winner was retrained: nothing of them can be tried again."""
    return {
        (key.method, "ce" if key.arm == "dropin" else key.loss, key.replicate)
        for key, _ in run.cells("confirm")
        if key.arm != "default"
    }
