"""Two directives that read the code, so that no table of options, losses or budgets is typed by hand.

{command} study.tune: the options of a command, from its own parser. {facts} presets: a table, one of `TABLES`.
"""

import argparse
import importlib
import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NoReturn
from unittest import mock

from docutils import nodes
from docutils.parsers.rst import Directive

Rows = Iterable[Sequence[str]]
Table = tuple[Sequence[str], Rows]
"""Heads and rows; a cell in `backquotes` is code."""


class _Caught(Exception):
    """A command has handed its command line to this parser."""

    def __init__(self, parser: argparse.ArgumentParser) -> None:
        self.parser = parser


def parser_of(module: str) -> argparse.ArgumentParser:
    """Return the parser that `python -m module` uses, at the moment when it is given the command line.

    Args:
        module: dotted name of a module with a function main(argv), or main() that reads the process's own.
    """

    def caught(parser: argparse.ArgumentParser, *_: object, **__: object) -> NoReturn:
        raise _Caught(parser)

    found = importlib.import_module(module)
    if hasattr(found, "__path__"):
        found = importlib.import_module(f"{module}.__main__")
    try:
        with mock.patch.object(argparse.ArgumentParser, "parse_known_args", caught):
            found.main(*([[]] if inspect.signature(found.main).parameters else []))
    except _Caught as answer:
        return answer.parser
    raise LookupError(f"{module}: main() parses no command line")


def losses() -> Table:
    """Return every loss with its own search space."""
    from search_spaces.losses import LOSS_SPACES

    rows = []
    for name, space in LOSS_SPACES.items():
        published = ", ".join(f"{key} = {value:g}" for key, value in space.literature(10).items())
        searched = "; ".join(f"{key} {_range(found)}" for key, found in space.distributions.items())
        first = "; ".join(", ".join(f"{k} = {v:.4g}" for k, v in p.items()) for p in space.first_points(1000))
        rows.append((f"`{name}`", published, searched, first))
    return ("loss", "literature (10 classes)", "searched", "first two shared points (S = 1000)"), rows


def shared() -> Table:
    """Return the training hyperparameters that every loss searches."""
    from search_spaces.shared import SHARED

    return ("hyperparameter", "searched"), [(f"`{name}`", _range(found)) for name, found in SHARED.items()]


def _range(found: Any) -> str:  # noqa: ANN401
    if hasattr(found, "choices"):
        return " or ".join(map(str, found.choices))
    return f"{found.low:g} to {found.high:g}{', logarithmic' if found.log else ''}"


def recipes() -> Table:
    """Return the literature recipe of every kind of data, task by task where they differ."""
    from study.tasks import TASKS

    spaces = {name: importlib.import_module(f"search_spaces.{name}").RECIPES for name in TASKS}
    rows: dict[tuple[str, str], list[str]] = {}
    for task, found in spaces.items():
        for data, recipe in found.items():
            rows.setdefault((data, ", ".join(f"{k} {v}" for k, v in recipe.items())), []).append(task)
    return ("data", "tasks", "recipe"), [(f"`{d}`", ", ".join(tasks), text) for (d, text), tasks in rows.items()]


SPENT = ("dataset", "model", "replicates", "trials", "seeds", "epochs", "attacks", "attack_points", "losses", "methods")


def presets() -> Table:
    """Return what each preset of each task spends."""
    from study.options import study_config
    from study.tasks import TASKS

    rows = []
    for task in TASKS.values():
        for preset in task.presets:
            config = study_config({"task": task.name, "preset": preset}).to_dict()
            cells = [config[name] for name in SPENT]
            texts = [str(len(cell)) if isinstance(cell, list | tuple) else str(cell) for cell in cells]
            rows.append((f"`{task.name}`", f"`{preset}`", *texts))
    return ("task", "preset", *(name.replace("_", " ") for name in SPENT)), rows


def paper() -> Table:
    """Return what preset `paper` spends."""
    heads, rows = presets()
    return ("task", *heads[2:]), [(row[0], *row[2:]) for row in rows if row[1] == "`paper`"]


def tasks() -> Table:
    """Return every task with its objective, endpoint and methods."""
    from study.tasks import TASKS

    rows = [
        (
            f"`{task.name}`",
            ", ".join(task.objectives),
            task.endpoint.label,
            ", ".join(task.methods),
            "; ".join(f"{loss}: {why}" for loss, why in task.unusable.items()) or "–",
        )
        for task in TASKS.values()
    ]
    return ("task", "objectives (first: default)", "primary endpoint", "methods (first: default)", "unusable"), rows


def probes() -> Table:
    """Return which probe applies to which task."""
    from study.tasks import PROBES, TASKS

    rows = [[f"`{name}`", *(task.applies(name).answer for task in TASKS.values())] for name in PROBES]
    return ("probe", *TASKS), rows


def claims() -> Table:
    """Return the paper's claims as the code decides them."""
    from study.comparison.claims import CLAIMS

    rows = [(claim.text, "confirmatory" if claim.confirmatory else "exploratory") for claim in CLAIMS]
    return ("claim", "role"), rows


def models() -> Table:
    """Return the networks by name."""
    from study.models.registry import MODELS

    rows = [
        (f"`{spec.name}`", str(spec.min_size), "a class a pixel" if spec.dense else "a class an image")
        for spec in MODELS.values()
    ]
    return ("network", "smallest side, pixels", "gives"), rows


def data() -> Table:
    """Return the data sets of the catalogue."""
    from study.data.__main__ import HEAD, _cells
    from study.data.catalogue import CATALOGUE

    return HEAD, [_cells(name, entry) for name, entry in CATALOGUE.items()]


SHOWN = (losses, shared, recipes, presets, paper, tasks, probes, claims, models, data)
TABLES: Mapping[str, Callable[[], Table]] = {function.__name__: function for function in SHOWN}


def _cell(text: str) -> nodes.entry:
    code = len(text) > 2 and text[0] == text[-1] == "`"
    inline = nodes.literal("", text[1:-1]) if code else nodes.Text(text)
    return nodes.entry("", nodes.paragraph("", "", inline))


def table(heads: Sequence[str], rows: Rows) -> nodes.table:
    """Return a table."""
    group = nodes.tgroup("", *(nodes.colspec(colwidth=1) for _ in heads), cols=len(heads))
    for part, lines in ((nodes.thead(), [heads]), (nodes.tbody(), rows)):
        part += [nodes.row("", *map(_cell, line)) for line in lines]
        group += part
    return nodes.table("", group, classes=["colwidths-auto"])


class Facts(Directive):
    """A table of `TABLES`."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Return the table."""
        if self.arguments[0] not in TABLES:
            raise self.error(f"unknown table {self.arguments[0]!r}; known: {', '.join(TABLES)}")
        return [table(*TABLES[self.arguments[0]]())]


class Command(Directive):
    """The options of a command, group by group as `--help` has them."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Return its description and a list of definitions for each group of options."""
        parser = parser_of(self.arguments[0])
        found: list[nodes.Node] = []
        if parser.description:
            found.append(nodes.paragraph("", " ".join(parser.description.split())))
        for group in parser._action_groups:
            shown = [a for a in group._group_actions if a.help != argparse.SUPPRESS]
            if shown:
                found += [nodes.rubric("", group.title or ""), nodes.definition_list("", *map(_option, shown))]
        return found


def _option(action: argparse.Action) -> nodes.definition_list_item:
    metavar = action.metavar if isinstance(action.metavar, str) else ("" if action.nargs == 0 else action.dest.upper())
    values = {"+": f"{metavar} …", "*": f"[{metavar} …]"}.get(str(action.nargs), metavar)
    name = f"{', '.join(action.option_strings)} {values}".strip()
    text = (action.help or "").replace("%(default)s", str(action.default)).replace("%%", "%")
    return nodes.definition_list_item(
        "", nodes.term("", "", nodes.literal("", name)), nodes.definition("", nodes.paragraph("", text))
    )


def setup(app: Any) -> Mapping[str, bool]:  # noqa: ANN401
    """Tell Sphinx of the directives."""
    app.add_directive("command", Command)
    app.add_directive("facts", Facts)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
