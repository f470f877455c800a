"""Assembles the page of a run: one HTML file that works from disk without a network."""

import json
import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import plotly.offline
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from dashboards.blocks import Section
from dashboards.sections import (
    accuracy,
    continual,
    corruption,
    definitions,
    dynamics,
    examples,
    foreign,
    methods,
    published,
    rejection,
    robustness,
    search,
    segmentation,
    settings,
    training,
    verdict,
)
from dashboards.summary import View, make_view
from dashboards.tables import Run, read_run

TEMPLATES = Path(__file__).parent / "templates"

#: The sections in the order of the page, each with the probe that it shows ("" for none): without the probe on a
#: task there is no such section.
SECTIONS: tuple[tuple[str, Callable[[View], Section | None]], ...] = (
    ("", verdict.verdict_section),
    ("", verdict.claims_section),
    ("", published.published_section),
    ("", verdict.arms_section),
    ("", verdict.forest_section),
    ("", methods.methods_section),
    ("accuracy", accuracy.classes_section),
    ("posthoc", accuracy.posthoc_section),
    ("continual", continual.continual_section),
    ("segmentation", segmentation.segmentation_section),
    ("attack", robustness.robustness_section),
    ("rejection", rejection.roc_section),
    ("rejection", rejection.rejection_section),
    ("corruption", corruption.corruption_section),
    ("calibration", rejection.calibration_section),
    ("", foreign.foreign_section),
    ("", examples.examples_section),
    ("", search.search_section),
    ("", search.parameters_section),
    ("", search.sensitivity_section),
    ("", dynamics.lead_section),
    ("", training.training_section),
    ("", dynamics.margins_section),
    ("", training.cost_section),
    ("", training.other_section),
    ("", definitions.definitions_section),
    ("", settings.settings_section),
    ("", settings.notes_section),
    ("", settings.failed_section),
)


def build(run_dir: Path, out: Path | None = None) -> Path:
    """Write the page of a run and return where it is.

    Args:
        run_dir: the run directory; only its parquet tables, verdict.json and study.json are read.
        out: the file to write; `dashboard.html` in the run directory by default. It is replaced in one step, so that
            a reader sees the old page or the new one, never a part.

    Raises:
        TableError: the directory or its study.json is missing, or a table is not what it should be.
    """
    target = Path(out) if out is not None else Path(run_dir) / "dashboard.html"
    write_atomically(target, render(read_run(Path(run_dir))))
    return target


def render(run: Run) -> str:
    """Return the page of a run as HTML text."""
    study = run.study
    facts = [study.get(name) for name in ("task", "dataset", "model", "preset")]
    facts.append(str(study.get("created") or "").replace("T", " ")[:16])
    title = str(study.get("name") or run.directory.name)
    return page_of(title, [str(fact) for fact in facts if fact], _unfinished(run), sections_of(make_view(run)))


def page_of(title: str, facts: Sequence[str], warning: str, sections: Sequence[Section]) -> str:
    """Return a page as HTML text.

    Args:
        title: its heading.
        facts: a few words each, below the heading.
        warning: shown above everything else; "" for none.
        sections: what it shows.
    """
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["embedded"] = embedded
    return environment.get_template("page.html").render(
        title=title,
        facts=facts,
        warning=warning,
        sections=sections,
        style=_static("style.css"),
        script=_static("page.js"),
        plotly=plotly.offline.get_plotlyjs(),
    )


def sections_of(view: View) -> list[Section]:
    """Return the sections of the page in their order; a section that does not apply to the run is left out."""
    made = (make(view) for probe, make in SECTIONS if view.applies(probe))
    return [section for section in made if section is not None]


def embedded(value: object) -> str:
    r"""Return a value, or a plotly figure, as JSON that may stand in a script element.

    The characters <, > and & are written as \u003c, \u003e and \u0026, so that no text of a run can end the
    element.
    """
    text = json.dumps(value, ensure_ascii=False) if not hasattr(value, "to_json") else str(value.to_json())
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def write_atomically(path: Path, text: str) -> None:
    """Write a file beside its place and move it there in one step."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        os.chmod(name, 0o644)
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _static(name: str) -> str:
    return (TEMPLATES / name).read_text(encoding="utf-8")


def _unfinished(run: Run) -> str:
    """Say that a run is not complete, "" if it is or says nothing about it."""
    status = str(run.study.get("status") or "")
    if status in ("", "complete"):
        return ""
    cells = dict(run.study.get("cells") or {})
    count = f": {cells.get('complete')} of {cells.get('asked')} cells are there" if cells else ""
    return f"This run is {status}{count}. What follows is what it has so far."
