"""The driver killed with SIGKILL at random moments over all stages, and resumed: nothing lost, nothing done twice."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from benchmarks.disturbances.runs import (
    ALONE,
    SMALL,
    Moment,
    Process,
    cells,
    moments,
    nothing_twice,
    resume,
    run,
    same_tables,
    whole,
)


def killed_drivers(folder: Path, kills: int) -> str:
    """Kill and resume; every run ends complete, with an undisturbed run's tables. Return what was counted.

    Args:
        folder: an empty one.
        kills: so many moments are drawn; every run is killed once in each stage, in their order.
    """
    calm, hit, late = folder / "calm", Counter[str](), 0
    run(*SMALL, *ALONE, "--output", calm).ended(0)
    chains = moments(kills, calm, seed=0)
    for number, chain in enumerate(chains):
        path = folder / f"killed-{number}"
        late += _killed(path, folder / "log", chain, hit)
        before = cells(path)
        go_on = resume(path) if (path / "study.json").is_file() else run(*SMALL, *ALONE, "--output", path)
        go_on.ended(0)
        nothing_twice(before, path)
        whole(path)
        same_tables(path, calm)
        print(f"killed-{number}: complete and equal after {sum(hit.values())} kills so far", flush=True)
    told = ", ".join(f"{stage} {count}" for stage, count in hit.items())
    return (
        f"{sum(hit.values())} kills in {len(chains)} runs ({told}; {late} moments came after the end). Every run was "
        "complete after its last resumption; no finished cell was made twice or lost; budgets were equal; tables were "
        "those of an undisturbed run, but for times"
    )


def _killed(path: Path, log: Path, chain: Sequence[Moment], hit: Counter[str]) -> int:
    """Start or resume a run and kill it, moment after moment; return 1 if it ended before its last moment, else 0."""
    for stage, count, delay in chain:
        started = (path / "study.json").is_file()
        before = cells(path)
        go_on = ("-m", "study.tune", "--resume", path, "--no-dashboard", *ALONE)
        process = Process(log, *(go_on if started else (*SMALL, *ALONE, "--output", path)))
        if not process.wait_for(path, "search" if stage == "start" else stage.removesuffix(" (all)"), count, delay):
            process.end().ended(0)
            return 1
        process.kill()
        hit[stage] += 1
        nothing_twice(before, path)
    return 0
