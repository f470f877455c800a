"""Attacks on a run's models: what is to be done, in which order.

    block    model × weights × norm × ε × 500 test images    verdicts and the images that were found (`attack_block`)
    attack   model × weights × norm × ε                      its blocks joined, and the rows of it (`attack_join`)
    checks   model × norm                                    whether the attacks can be believed

A verdict does not depend on how many workers there are: a block has its own seed and always the same images.
"""

import math
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from study.attack_block import attack_block, under_attack
from study.attack_join import is_stale, join_attack, made_of
from study.config import StudyConfig
from study.ledger import attack_keys, block_keys, health_keys
from study.run import Key, RunDirectory
from study.seeds import derive
from study.trial import splits_of
from study.work import Job

if TYPE_CHECKING:
    from study.data.types import Source


def attack_jobs(config: StudyConfig, run: RunDirectory, source: "Source") -> list[Job]:
    """Return blocks of attacks, small radii first, the attacks that are made of them, and the checks.

    A block waits for the same block of the next smaller radius, which tells it what has fallen. An attack is joined
    again if what it is made of has changed since.
    """
    from study.probes.attack import block_size

    jobs: list[Job] = []
    before: dict[Any, list[Key]] = {}
    for key, aim in attack_keys(config, run).items():
        test = splits_of(key, config, source).test
        points = min(config.attack_points or len(test), len(test))
        count = math.ceil(points / block_size(test.images.shape[1:]))
        blocks = block_keys(key, count)
        line = (replace(key, variant=""), aim.norm, aim.kept)
        for number, (block, smaller) in enumerate(
            zip(blocks, before[line] if line in before else [None] * count, strict=True)
        ):
            first = () if smaller is None else (smaller,)
            jobs.append(Job(block, partial(attack_block, aim=aim, block=number), first))
        before[line] = blocks
        parts = made_of(config, run, key, aim, count)
        if is_stale(run, key, parts):
            run.cell(key).unlink()
        jobs.append(Job(key, partial(join_attack, aim=aim, count=count), tuple(parts)))
    checks = [Job(key, partial(check_model, norm=norm)) for key, norm in health_keys(config, run).items()]
    return [*jobs, *checks]


def check_model(
    key: Key, config: StudyConfig, source: "Source", run: RunDirectory, device: str, *, norm: str
) -> dict[str, Any]:
    """Ask whether attacks on a model can be believed, and return the cell with a row for every check."""
    from study.probes.attack_health import health_rows

    _, subject = under_attack(key, config, source, run, device)
    eps = [radius for other, radius in config.radii if other == norm]
    seed = derive(config.seed, "health", key.replicate, norm)
    return {"state": "complete", "health": [dict(row) for row in health_rows(**subject, norm=norm, eps=eps, seed=seed)]}
