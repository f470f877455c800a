"""Rebuild a run's tables, verdict and page from its cells: `python -m study.report RUN [--out report.html]`."""

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from study.config import StudyConfig
from study.run import Key, RunDirectory, write_json


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
    from study.confirm import winners
    from study.search import edge_flags

    named = winners(config, run)
    status = "incomplete" if failed else "complete"
    record.finish(study, asked=asked, failed=failed, flags=edge_flags(named), run=run, status=status)
    built = tables.build(config, run, named)
    comparison = compare.compare(built["evaluation"], study=study)
    verdict = compare.verdict(comparison, built["evaluation"], study=study)
    built["comparison"] = tables.frame("comparison", comparison.to_dict("records"))
    for name, data in built.items():
        tables.write(run, name, data)
    write_json(run.path / "verdict.json", verdict)
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
            row["verdict"] or "exploratory",
        )
    console.print()
    console.print(table)
    console.print(verdict["headline"])


def _points(value: float) -> str:
    return "n/a" if value != value else f"{100 * value:.1f}"


def _difference(row: Mapping[str, Any]) -> str:
    if row["difference"] != row["difference"]:
        return "—" if row["loss"] == "ce" else "n/a"
    if row["difference_low"] != row["difference_low"]:
        return f"{100 * row['difference']:+.1f}"
    return f"{100 * row['difference']:+.1f} [{100 * row['difference_low']:+.1f}, {100 * row['difference_high']:+.1f}]"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m study.report",
        description="Rebuild a run's tables and its page from what the run holds. Nothing is trained.",
        allow_abbrev=False,
    )
    parser.add_argument("run", metavar="RUN", type=Path, help="a run directory")
    parser.add_argument("--out", metavar="FILE", type=Path, help="where the page goes (default: RUN/dashboard.html)")
    values = parser.parse_args(argv)
    try:
        return report(values.run, values.out)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


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
        config = StudyConfig.from_dict(study["config"])
        keys = ledger.asked(config, run)
        verdict = finish_run(run, config, study, asked=len(keys), failed=ledger.failures(config, run))
        print_summary(run, verdict)
        print(f"\n{dashboards.build(run.path, out)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
