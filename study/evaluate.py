"""Measure a run's models again, or harder: `python -m study.evaluate RUN --attacks standard --eps 0.05 0.1 0.2`."""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from study.config import ATTACK_MODES, Resources, StudyConfig
from study.environment import leave
from study.errors import CannotGoOn, InputError, of_file, unknown
from study.options import Parser, attack_points
from study.radii import named, radius
from study.tasks import get_task

NORMS = ("Linf", "L2")
DEFAULT_L2 = (0.5,)


def parser() -> argparse.ArgumentParser:
    """Return the parser of `study.evaluate`."""
    top = Parser(
        prog="python -m study.evaluate",
        description="Measure and attack the models of a run; what was measured so before is not measured again. "
        "Tables and page are written anew. A file of outputs (npz: logits, labels, sets) in the place of a run is "
        "measured alone.",
        allow_abbrev=False,
    )
    top.add_argument("run", metavar="RUN", type=Path, help="a run directory, or outputs in an npz file")
    top.add_argument(
        "--add",
        metavar="NAME=SOURCE",
        nargs="+",
        default=[],
        help="models from elsewhere, measured like the run's and shown on its page: FILE.npz with outputs, FILE.pt "
        "with weights of --model, or package.module:function",
    )
    top.add_argument("--model", metavar="NAME", help="network that the weights of --add belong to (default: the run's)")
    top.add_argument("--attacks", metavar="MODE", help=f"{', '.join(ATTACK_MODES)} (default: as the run has it)")
    top.add_argument("--norms", metavar="NORM", nargs="+", help="Linf, L2 (default: as the run has it)")
    top.add_argument(
        "--eps",
        metavar="ε",
        type=radius,
        nargs="+",
        help="radii besides those the run has, pixel range [0, 1], as 0.1 or 8/255",
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
    top.add_argument("--gpus-per-trial", metavar="N", type=float, default=0.0, help="1, or a part of one (default: 0)")
    top.add_argument(
        "--max-concurrent", metavar="N", type=int, default=0, help="models at a time (default: all that fit)"
    )
    top.add_argument("--verbose", action="store_true", help="Ray's own output too")
    return top


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    try:
        values = parser().parse_args(argv)
        if values.run.suffix == ".npz":
            return measure_file(values.run)
        if values.add:
            return add_models(values)
        return rescore(values.run) if values.from_scores else evaluate(values)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except CannotGoOn as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"error: {of_file(error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\ninterrupted; what was finished is kept, and the same command goes on from there", file=sys.stderr)
        return 130


def asked_for(config: StudyConfig, values: argparse.Namespace) -> StudyConfig:
    """Return the run's config with the attacks that are asked for now.

    Raises:
        InputError: an unknown norm or mode, a radius that is not allowed, or attacks on what is not attacked.
    """
    _refuse_what_does_nothing(config, values)
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
        l2_eps = _with(l2_eps, values.eps or ()) or DEFAULT_L2
    elif values.eps:
        eps = _with(eps, values.eps)
    changes: dict[str, Any] = {"eps": eps, "l2_eps": l2_eps, "attacks": values.attacks or config.attacks}
    if values.attack_points:
        changes["attack_points"] = attack_points(values.attack_points)
    if values.attack_replicates is not None:
        if not 1 <= values.attack_replicates <= config.replicates:
            raise InputError(f"--attack-replicates: expected 1 to {config.replicates}, got {values.attack_replicates}")
        changes["attack_replicates"] = values.attack_replicates
    return replace(config, **changes)


def _with(had: Sequence[float], asked: Sequence[float]) -> tuple[float, ...]:
    """Return radii with others, each name once: that of the run stays as it is."""
    return tuple(sorted({**{named(eps): eps for eps in asked}, **{named(eps): eps for eps in had}}.values()))


def _refuse_what_does_nothing(config: StudyConfig, values: argparse.Namespace) -> None:
    """Refuse what is asked of attacks where there are none."""
    attacks, applies = values.attacks or config.attacks, get_task(config.task).applies("attack")
    given = [name for name in ("norms", "eps", "attack_points", "attack_replicates") if getattr(values, name)]
    given += ["attacks"] if values.attacks and attacks != "none" else []
    if not given or (applies and attacks != "none"):
        return
    option = f"--{given[0].replace('_', '-')}"
    if not applies:
        raise InputError(f"{option}: models of task {config.task} are not attacked: {applies.note}")
    modes = ", ".join(mode for mode in ATTACK_MODES if mode != "none")
    raise InputError(f"{option}: nothing is attacked here\nallowed with it: --attacks {modes}")


def evaluate(values: argparse.Namespace) -> int:
    """Measure what is missing on Ray, then write tables and page.

    Raises:
        InputError: something the user can mend.
    """
    from study import preflight, record, stages, tune
    from study.environment import prepare
    from study.run import RunDirectory, locked

    run = RunDirectory(values.run)
    run.refuse_copy(run.read_study())
    names = ("address", "max_concurrent", "cpus_per_trial", "gpus_per_trial", "verbose")
    resources = Resources(**{name: getattr(values, name) for name in names})
    prepare(resources.verbose)
    with locked(run):
        study = run.read_study()
        run.tell_damage()
        config = asked_for(StudyConfig.from_dict(study["config"]), values)
        preflight.tell_code(config)
        source = preflight.study_source(config, values.data_dir)
        preflight.same_data(study, source)
        preflight.tell_published(source)
        study = record.describe(study, config, source)
        context = stages.Context(config, resources, run, source, study, data_dir=values.data_dir)
        line = tune.command("study.evaluate")
        return tune.on_ray(context, stages.evaluate_only, line=line, again=("evaluate", "block", "attack"))


def measure_file(path: Path) -> int:
    """Print what follows from outputs in a file, and write all of it beside the file as CSV.

    Raises:
        InputError: the file cannot be used.
    """
    import pandas as pd
    from rich.console import Console
    from rich.table import Table

    from study.foreign import outputs_of
    from study.outputs import from_scores

    rows = pd.DataFrame(from_scores(outputs_of(path))["rows"])
    target = path.with_suffix(".metrics.csv")
    rows.to_csv(target, index=False)
    shown = rows[(rows["slice"].isin(["all", "raw", "mls"])) & (rows["probe"] != "posthoc") & rows["value"].notna()]
    table = Table(title=path.name, title_justify="left")
    for name in ("probe", "dataset", "slice", "metric", "value", "n"):
        table.add_column(name, justify="right" if name in ("value", "n") else "left")
    for row in shown.to_dict("records"):
        texts = [str(row[name]) for name in ("probe", "dataset", "slice", "metric")]
        table.add_row(*texts, f"{row['value']:.4f}", str(row["n"]))
    # Names of files and sets are text: rich would take what stands in brackets, or between colons, for its own.
    Console(width=None if sys.stdout.isatty() else 110, markup=False, emoji=False).print(table)
    print(f"{len(rows)} figures: {target}")
    return 0


def add_models(values: argparse.Namespace) -> int:
    """Measure models from elsewhere as the run measures its own, then write tables and page.

    Raises:
        InputError: something the user can mend.
    """
    from study import foreign, preflight, report
    from study.run import RunDirectory, locked

    run = RunDirectory(values.run)
    study = run.read_study()
    run.refuse_copy(study)
    config = StudyConfig.from_dict(study["config"])
    asked = foreign.parse_all(values.add, config.losses)
    sys.path.insert(0, str(Path.cwd()))
    with locked(run):
        study = run.read_study()
        run.tell_damage()
        source = preflight.study_source(config, values.data_dir)
        preflight.same_data(study, source)
        for model in asked:
            print(f"measuring {model.name} ({model.source})", flush=True)
            about = foreign.add(model, values.model or config.model, config, source, run)
            study.setdefault("foreign", {})[model.name] = about
            run.write_study(study)
    return report.report(values.run)


def rescore(path: Path) -> int:
    """Compute every metric that follows from RUN/scores again; cells that change are written, then tables and page.

    Raises:
        InputError: no run there.
    """
    from study import attack_join, measure, outputs, report
    from study.run import RunDirectory, locked

    run = RunDirectory(path)
    run.refuse_copy(run.read_study())
    with locked(run):
        run.tell_damage()
        for stage, functions in (("evaluate", outputs.from_scores), ("attack", attack_join.rows_from_verdicts)):
            for key, cell in run.cells(stage):
                stored = run.scores(key)
                if cell["state"] == "complete" and stored.is_file():
                    content = {name: value for name, value in cell.items() if name != "key"}
                    run.write_cell(key, {**content, **functions(measure.read_scores(stored))})
    return report.report(path)


if __name__ == "__main__":
    leave(main)
