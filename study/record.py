"""The record of a study (study.json): everything somebody needs to believe a number, or to make it again."""

import json
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from study import comparison, finetuning
from study.config import Resources, StudyConfig
from study.host import git_commit, machine, versions
from study.run import VERSION, Key, RunDirectory
from study.seeds import derive
from study.spaces import declared_ranges
from study.tasks import PROBES, get_task
from study.trial import splits

if TYPE_CHECKING:
    from study.data.types import Source, Splits

PAPER_MARGINS = (0.03, 1.0)
"""Margins that the paper's own experiments span; one outside of them is marked."""


def new(config: StudyConfig, source: "Source", run: RunDirectory, command: str) -> dict[str, Any]:
    """Return the record of a study that begins now."""
    study: dict[str, Any] = {
        "version": VERSION,
        "name": run.path.name,
        "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "command": command,
        "status": "running",
        "notes": [],
        "budget": {"planned_trials": config.trials, "trials": None, "reason": ""},
        "stages": {},
        "peak_memory_bytes": 0,
    }
    return describe(study, config, source)


def session(study: dict[str, Any], resources: Resources, command: str) -> None:
    """Note who works on the run now: a run may be searched on one machine and attacked on another."""
    study.setdefault("sessions", []).append(
        {
            "began": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "command": command,
            "versions": versions(),
            "git_commit": git_commit(),
            "host": machine(),
            "resources": asdict(resources),
        }
    )


def describe(study: dict[str, Any], config: StudyConfig, source: "Source") -> dict[str, Any]:
    """Fill in (again, after losses were added) what follows from the config and the data."""
    task = get_task(config.task)
    if config.planned_seconds is None:
        study["budget"]["trials"] = config.trials
    study.update(
        task=config.task,
        dataset=source.name,
        model=config.model,
        preset=config.preset,
        config=config.to_dict(),
        weights=_weights(study.get("weights"), config, source),
        losses=list(config.losses),
        methods=list(config.methods),
        arms=list(config.arms),
        # Those that were searched: a search that is done keeps them, and one that is not is refused others.
        own_ranges={
            loss: study.get("own_ranges", {}).get(loss, declared_ranges(loss)) for loss in config.losses if ":" in loss
        },
        replicates=config.replicates,
        objective=config.objective,
        primary=task.endpoint_on(config.dataset).to_dict(),
        probes={name: {"applies": task.applies(name).answer, "note": task.applies(name).note} for name in PROBES},
        attack={
            "mode": config.attacks,
            "norms": sorted({norm for norm, _ in config.radii}),
            "eps": list(config.eps),
            "l2_eps": list(config.l2_eps),
            "points": config.attack_points,
            "replicates": config.attack_replicates,
        },
        seeds={
            "seed": config.seed,
            "split": [derive(config.seed, "split", r) for r in range(config.replicates)],
            "order": [derive(config.seed, "order", r) for r in range(config.replicates)],
            "confirm": [
                [derive(config.seed, "confirm", r, i) for i in range(config.seeds)] for r in range(config.replicates)
            ],
        },
        data=_data(config, source),
        calibration=json.loads((Path(comparison.__file__).parent / "calibration.json").read_text()),
    )
    for name, value in (("versions", versions), ("git_commit", git_commit), ("host", machine)):
        if name not in study:
            study[name] = value()
    return study


def _weights(before: dict[str, Any] | None, config: StudyConfig, source: "Source") -> dict[str, Any] | None:
    """Return what is recorded of the weights that trainings begin with; the file is read again for new losses only."""
    if before is not None and set(config.losses) <= set(before["new_heads"]):
        return before
    return finetuning.describe(config, source)


def _data(config: StudyConfig, source: "Source") -> dict[str, Any]:
    from study.data.companions import fingerprints, missing
    from study.measure import outside

    cuts = [_split(config, source, r) for r in range(config.replicates)]
    return {
        "name": source.name,
        "fingerprint": source.fingerprint(),
        "licence": source.licence,
        "corruptions": str(source.official_corruptions or "own, from the published formulas"),
        "shape": list(source.shape),
        "classes": cuts[0]["classes"] if get_task(config.task).dense else list(source.classes),
        "splits": cuts,
        "outside": [
            {"name": out.name, "group": out.group, "n": len(out.images), "left_out": list(out.dropped)}
            for out in outside(config, source, 0)
        ],
        "companions": fingerprints(source),
        "outside_missing": missing(source.name, config.ood_sets) if get_task(config.task).applies("rejection") else "",
    }


def _split(config: StudyConfig, source: "Source", replicate: int) -> dict[str, Any]:
    """Return a replicate's cut for retraining, and under "search" that of its search if it is another."""
    final, search = (_cut(splits(config, source, replicate, final=final)) for final in (True, False))
    return {"replicate": replicate, **final, **({} if search == final else {"search": search})}


def _cut(cut: "Splits") -> dict[str, Any]:
    return {
        "classes": list(cut.classes),
        "class_order": list(cut.class_order),
        "experiences": [list(part) for part in cut.experiences],
        "class_counts": list(cut.class_counts),
        "n_train": len(cut.train),
        "n_validation": len(cut.validation),
        "n_test": len(cut.test),
        "n_pool": cut.n_pool,
        "test_train_ratio": cut.test_train_ratio,
    }


def margins(run: RunDirectory) -> list[dict[str, Any]]:
    """Return the margins that HEM's confirmed models were trained with, and whether the paper's range holds them."""
    found = []
    for key, cell in run.cells("confirm"):
        m = cell["training"]["loss_parameters"].get("M")
        if m is None or key.number != 0 or not cell.get("margin"):
            continue
        low, high = cell["margin"]
        found.append(
            {
                "method": key.method,
                "loss": key.loss,
                "arm": key.arm,
                "replicate": key.replicate,
                "M": m,
                "margin_low": low,
                "margin_high": high,
                "beyond_paper_range": low < PAPER_MARGINS[0] or high > PAPER_MARGINS[1],
            }
        )
    return found


def finish(
    study: dict[str, Any], *, asked: int, failed: Mapping[Key, str], flags: list[str], run: RunDirectory, status: str
) -> dict[str, Any]:
    """Fill in what is known at the end."""
    study.update(
        status=status,
        margins=margins(run),
        edge_flags=flags,
        cells={
            "asked": asked,
            "complete": asked - sum(key.stage in ("confirm", "cost", "evaluate", "attack") for key in failed),
            "failed": [{"key": str(key), "error": error} for key, error in sorted(failed.items())],
        },
    )
    return study


def default_output(task: str, dataset: str) -> Path:
    """Return results/TASK-DATASET-TIME, with a file's name for its path."""
    kind, _, argument = dataset.partition(":")
    name = (Path(argument).expanduser().resolve().stem or kind) if argument else dataset
    return Path("results") / f"{task}-{name}-{time.strftime('%Y%m%d-%H%M%S')}"
