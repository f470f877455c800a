"""Measure a run's models again, or harder: `python -m study.evaluate RUN --attacks standard --eps 0.05 0.1 0.2`."""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from study.config import ATTACK_MODES, Resources, StudyConfig
from study.errors import InputError, unknown
from study.options import attack_points

NORMS = ("Linf", "L2")
DEFAULT_L2 = (0.5,)


def parser() -> argparse.ArgumentParser:
    """Return the parser of `study.evaluate`."""
    top = argparse.ArgumentParser(
        prog="python -m study.evaluate",
        description="Measure and attack the models of a run; what was measured so before is not measured again. "
        "Tables and page are written anew.",
        allow_abbrev=False,
    )
    top.add_argument("run", metavar="RUN", type=Path, help="a run directory")
    top.add_argument("--attacks", metavar="MODE", help=f"{', '.join(ATTACK_MODES)} (default: as the run has it)")
    top.add_argument("--norms", metavar="NORM", nargs="+", help="Linf, L2 (default: as the run has it)")
    top.add_argument(
        "--eps", metavar="ε", type=float, nargs="+", help="radii besides those the run has, pixel range [0, 1]"
    )
    top.add_argument("--attack-points", metavar="N", help="test images under attack, or all")
    top.add_argument("--attack-replicates", metavar="R", type=int, help="replicates whose tuned models are attacked")
    top.add_argument(
        "--from-scores", action="store_true", help="compute every metric again from RUN/scores; no network"
    )
    top.add_argument("--data-dir", metavar="DIR", type=Path, help="downloaded data (default: ~/.cache/hem-study)")
    top.add_argument("--address", metavar="ADDR", help="Ray cluster, or auto (default: a local one)")
    top.add_argument(
        "--cpus-per-trial", metavar="N", type=float, default=1.0, help="of a model's evaluation (default: 1)"
    )
    top.add_argument("--gpus-per-trial", metavar="N", type=float, default=0.0, help="may be a fraction (default: 0)")
    top.add_argument(
        "--max-concurrent", metavar="N", type=int, default=0, help="models at a time (default: all that fit)"
    )
    top.add_argument("--verbose", action="store_true", help="Ray's own output too")
    return top


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    values = parser().parse_args(argv)
    try:
        return rescore(values.run) if values.from_scores else evaluate(values)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def asked_for(config: StudyConfig, values: argparse.Namespace) -> StudyConfig:
    """Return the run's config with the attacks that are asked for now.

    Raises:
        InputError: an unknown norm or mode, or a radius that is not allowed.
    """
    norms = values.norms or [norm for norm, _ in (("Linf", config.eps), ("L2", config.l2_eps)) if _]
    for norm in norms:
        if norm not in NORMS:
            raise unknown("norm", norm, NORMS)
    if values.eps and len(norms) > 1:
        raise InputError(
            f"--eps: radii of {' and '.join(norms)} cannot be told apart\nallowed: one of the --norms at a time"
        )
    eps, l2_eps = config.eps, config.l2_eps
    if "L2" in norms:
        l2_eps = tuple(sorted({*l2_eps, *(values.eps or ())})) or DEFAULT_L2
    elif values.eps:
        eps = tuple(sorted({*eps, *values.eps}))
    changes: dict[str, Any] = {"eps": eps, "l2_eps": l2_eps, "attacks": values.attacks or config.attacks}
    if values.attack_points:
        changes["attack_points"] = attack_points(values.attack_points)
    if values.attack_replicates is not None:
        if not 1 <= values.attack_replicates <= config.replicates:
            raise InputError(f"--attack-replicates: expected 1 to {config.replicates}, got {values.attack_replicates}")
        changes["attack_replicates"] = values.attack_replicates
    return replace(config, **changes)


def evaluate(values: argparse.Namespace) -> int:
    """Measure what is missing on Ray, then write tables and page.

    Raises:
        InputError: something the user can mend.
    """
    from study import preflight, record, stages, tune
    from study.data.registry import load_source
    from study.environment import prepare
    from study.run import RunDirectory, locked

    run = RunDirectory(values.run)
    run.read_study()
    names = ("address", "max_concurrent", "cpus_per_trial", "gpus_per_trial", "verbose")
    resources = Resources(**{name: getattr(values, name) for name in names})
    prepare(resources.verbose)
    with locked(run):
        study = run.read_study()
        config = asked_for(StudyConfig.from_dict(study["config"]), values)
        source = load_source(config.dataset, values.data_dir)
        preflight.same_data(study, source)
        context = stages.Context(config, resources, run, source, record.describe(study, config, source))
        return tune.on_ray(context, stages.evaluate_only, again=("evaluate", "block", "attack"))


def rescore(path: Path) -> int:
    """Compute every metric that follows from RUN/scores again; cells that change are written, then tables and page.

    Raises:
        InputError: no run there.
    """
    from study import attack_join, measure, outputs, report
    from study.run import RunDirectory, locked

    run = RunDirectory(path)
    run.read_study()
    with locked(run):
        for stage, functions in (("evaluate", outputs.from_scores), ("attack", attack_join.rows_from_verdicts)):
            for key, cell in run.cells(stage):
                stored = run.scores(key)
                if cell["state"] == "complete" and stored.is_file():
                    content = {name: value for name, value in cell.items() if name != "key"}
                    run.write_cell(key, {**content, **functions(measure.read_scores(stored))})
    return report.report(path)


if __name__ == "__main__":
    sys.exit(main())
