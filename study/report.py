"""Rebuild tables, verdicts and pages from cells: `python -m study.report RUN [RUN …] [--out report.html]`."""

import argparse
import os
import shlex
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from study.config import StudyConfig
from study.environment import leave
from study.errors import CannotGoOn, InputError, of_file
from study.options import Parser
from study.run import VERSION, Key, RunDirectory, write_json

if TYPE_CHECKING:
    from study.scoreboard import Finished


ONE_OF_SEVERAL = (
    "This run is one of several: its verdict counts its own task alone. What the paper claims is decided over all of "
    "them together (Holm), in scoreboard.html."
)


def finish_run(
    run: RunDirectory, config: StudyConfig, study: dict[str, Any], *, asked: int, failed: Mapping[Key, str]
) -> dict[str, Any]:
    """Write the record's end, every table and the verdict; return the verdict.

    Args:
        run: the run directory.
        config: its study.
        study: study.json as it is.
        asked: how many cells the study asks for.
        failed: cells that failed, with the reason.
    """
    from study import compare, record, tables
    from study.comparison import published
    from study.confirm import winners
    from study.search import edge_flags
    from study.several import is_several

    named = winners(config, run)
    status = "incomplete" if failed else "complete"
    record.finish(
        study, asked=asked, failed=failed, flags=edge_flags(named, study.get("own_ranges", {})), run=run, status=status
    )
    built = tables.build(config, run, named)
    comparison = compare.compare(built["evaluation"], study=study)
    verdict = compare.verdict(comparison, built["evaluation"], study=study)
    verdict["published"] = published.beside(comparison, study=study)
    together = [ONE_OF_SEVERAL] if is_several(run.path.parent) else []
    verdict["notes"] = [verdict["published"]["text"], *together, *verdict["notes"]]
    built["comparison"] = tables.frame("comparison", comparison.to_dict("records"))
    for name, data in built.items():
        tables.write(run, name, data)
    write_json(run.path / "verdict.json", verdict)
    write_json(run.path / "examples.json", {"version": VERSION, "examples": tables.examples(config, run)})
    run.write_study(study)
    return verdict


def print_summary(run: RunDirectory, verdict: Mapping[str, Any]) -> None:
    """Print the verdict and a short table of the primary endpoint."""
    import pandas as pd
    from rich.console import Console
    from rich.table import Table

    console = Console(width=None if sys.stdout.isatty() else 100)
    primary = verdict["primary"]
    data = pd.read_parquet(run.path / "comparison.parquet")
    chosen = data[(data["method"] == primary["method"]) & (data["arm"] == primary["arm"])]
    for name in ("probe", "dataset", "slice", "metric"):
        chosen = chosen[chosen[name] == primary[name]]
    table = Table(title=f"{primary['label']}, arm {primary['arm']}, method {primary['method']}", title_justify="left")
    for title in ("loss", "mean ± sd", "difference to ce [95 %]", "replicates", "verdict"):
        table.add_column(title, justify="left" if title in ("loss", "verdict") else "right")
    for row in chosen.sort_values("mean", ascending=False).to_dict("records"):
        table.add_row(
            row["loss"],
            f"{_points(row['mean'])} ± {_points(row['sd'])}",
            _difference(row),
            str(row["n"]),
            row["verdict"] or ("none" if row["loss"] == verdict["lead_variant"] else "exploratory"),
        )
    console.print()
    console.print(table)
    console.print(verdict["headline"])


def _points(value: float) -> str:
    return "n/a" if value != value else f"{100 * value:.1f}"


def _signed(share: float) -> str:
    """Return a share in points with its sign; what rounds to nothing is +0.0."""
    return f"{round(100 * share, 1) + 0.0:+.1f}"


def _difference(row: Mapping[str, Any]) -> str:
    if row["difference"] != row["difference"]:
        return "—" if row["loss"] == "ce" else "n/a"
    if row["difference_low"] != row["difference_low"]:
        return f"{_signed(row['difference'])}"
    return f"{_signed(row['difference'])} [{_signed(row['difference_low'])}, {_signed(row['difference_high'])}]"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    parser = Parser(
        prog="python -m study.report",
        description="Rebuild a run's tables and its page from what the run holds. Nothing is trained.\n"
        "Of several runs: the claims decided over all of them, and the scoreboard of tasks and losses.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "runs", metavar="RUN", type=Path, nargs="+", help="a run directory, or one of --task all with its tasks in it"
    )
    parser.add_argument(
        "--out",
        metavar="FILE",
        type=Path,
        help="where the page goes (default: RUN/dashboard.html; of several runs: scoreboard.html here)",
    )
    try:
        values = parser.parse_args(argv)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    try:
        return _report(values.runs, values.out)
    except (InputError, _page_error()) as error:
        print(f"error: {error}", file=sys.stderr)
    except CannotGoOn as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"error: {of_file(error)}", file=sys.stderr)
    except KeyboardInterrupt:
        print("\ninterrupted; nothing is lost, and the same command makes tables and page again", file=sys.stderr)
        return 130
    return 2


def _page_error() -> type[Exception]:
    """Return what the pages raise when a table cannot be read."""
    import dashboards

    return dashboards.TableError


def _report(paths: Sequence[Path], out: Path | None) -> int:
    from study.several import asked, is_several, run_directories

    runs = [run for path in paths for run in run_directories(path)]
    for run in runs:
        run.refuse_copy(run.read_study())
    if len(paths) == 1 and not is_several(paths[0]):
        return report(paths[0], out)
    for run in runs:
        report(run.path)
    declared = sum(len(asked(path)[0]) if is_several(path) else 1 for path in paths)
    folder = paths[0] if len(paths) == 1 else Path()
    command = asked(folder)[1] if len(paths) == 1 else shlex.join(["python", "-m", "study.report", *map(str, paths)])
    print(f"\n{write_scoreboard(runs, out or folder / 'scoreboard.html', command, declared)}")
    return 0


def report(path: Path, out: Path | None = None) -> int:
    """Rebuild tables, verdict and page of a run, finished or not.

    Raises:
        InputError: no run there.
    """
    import dashboards
    from study import ledger
    from study.run import locked

    run = RunDirectory(path)
    study = run.read_study()
    with locked(run):
        run.tell_damage()
        config = StudyConfig.from_dict(study["config"])
        keys = ledger.asked(config, run)
        verdict = finish_run(run, config, study, asked=len(keys), failed=ledger.failures(config, run))
        print_summary(run, verdict)
        print(f"\n{dashboards.build(run.path, out)}")
    return 0


def write_scoreboard(runs: Sequence[RunDirectory], out: Path, command: str, declared: int = 0) -> Path:
    """Write the scoreboard of finished or unfinished runs beside each other, as JSON and as a page; return the page.

    `declared` is how many runs there are to be, where some have not begun.

    Raises:
        InputError: a run without tables, or two runs of one name.
    """
    import dashboards
    from study.scoreboard import scoreboard

    finished = _told_apart([_finished(run, out.parent) for run in runs], runs, out.parent)
    created = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    content = scoreboard(finished, created=created, command=command, declared=declared)
    source = out.with_suffix(".json")
    write_json(source, content)
    _print_claims(content)
    return dashboards.build_scoreboard(source, out)


def _finished(run: RunDirectory, folder: Path) -> "Finished":
    import pandas as pd

    from study.scoreboard import Finished

    tables = {name: run.path / f"{name}.parquet" for name in ("evaluation", "comparison")}
    missing = [str(path) for path in tables.values() if not path.is_file()]
    if missing:
        raise InputError(
            f"{run.path}: no tables yet ({', '.join(missing)})\nfinish it, or: python -m study.report {run.path}"
        )
    study, page = run.read_study(), run.path / "dashboard.html"
    return Finished(
        {
            **study,
            "name": f"{run.path.parent.name}/{run.path.name}" if run.path.name == study["task"] else study["name"],
        },
        pd.read_parquet(tables["evaluation"]),
        pd.read_parquet(tables["comparison"]),
        os.path.relpath(page, folder.resolve()) if page.is_file() else "",
    )


def _told_apart(finished: "list[Finished]", runs: Sequence[RunDirectory], folder: Path) -> "list[Finished]":
    """Return the runs, those of one name under their paths from a folder.

    Raises:
        InputError: a run that is given twice, or with a copy of it: the same name and begin.
    """
    names = [run.name for run in finished]
    begun = [(run.name, run.study["created"]) for run in finished]
    twice = sorted({name for name, created in begun if begun.count((name, created)) > 1})
    if twice:
        raise InputError(f"expected every run once, got more than once: {', '.join(twice)}")
    paths = [os.path.relpath(run.path, folder.resolve()) for run in runs]
    return [
        replace(one, study={**one.study, "name": path}) if names.count(one.name) > 1 else one
        for one, path in zip(finished, paths, strict=True)
    ]


def _print_claims(content: dict[str, Any]) -> None:
    """Print the claims table."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title="claims of the paper", title_justify="left")
    several = len({claim["claim"] for claim in content["claims"]}) < len(content["claims"])
    for title in ("claim", *(["run"] if several else []), "difference [95 %], points", "verdict"):
        table.add_column(title, justify="right" if title.startswith("difference") else "left", overflow="fold")
    for claim in content["claims"]:
        values = [claim[name] for name in ("difference", "low", "high")]
        text = "n/a" if values[0] is None else f"{_signed(values[0])}"
        if None not in values:
            text += f" [{_signed(values[1])}, {_signed(values[2])}]"
        table.add_row(claim["claim"], *([Text(claim["run"])] if several else []), text, claim["verdict"])
    console = Console(width=None if sys.stdout.isatty() else 100)
    console.print()
    console.print(table)


if __name__ == "__main__":
    leave(main)
