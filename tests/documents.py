"""What the project's Markdown says: code blocks, commands, words in code font, links; and what the code knows."""

import ast
import re
import shlex
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent
PAGES = tuple(sorted((ROOT / "docs").rglob("*.md")))
LOOSE = tuple(
    path
    for path in (*ROOT.glob("*.md"), *(ROOT / "deploy").glob("*.md"), *(ROOT / "examples").glob("*.md"))
    if path.name != "CHANGELOG.md"  # it speaks of names that are gone
)
"""Markdown outside of the pages that Sphinx builds."""
PACKAGES = ("hem", "study", "search_spaces", "dashboards", "benchmarks", "examples")
FENCE = re.compile(r"^```(\S*)[^\n]*\n(.*?)^```$", re.M | re.S)
SPAN = re.compile(r"`([^`\n]+)`")
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
INDENTED = re.compile(r"^ {4}(?:[\w=./]+ )*?(?=(?:python|make|pip|sbatch|ray) )(?:.*\\\n)*.*$", re.M)
RUNS_ON = re.compile(r"\\\n\s*")


def name(path: Path) -> str:
    """Return a file's name within the project, for test ids."""
    return str(path.relative_to(ROOT))


def fences(path: Path, language: str) -> list[str]:
    """Return the code blocks of a language."""
    return [text for found, text in FENCE.findall(path.read_text()) if found == language]


def prose(path: Path) -> str:
    """Return the text without code blocks."""
    return FENCE.sub("", path.read_text())


def spans(path: Path) -> list[str]:
    """Return what stands in code font within lines, paragraph by paragraph."""
    text = re.sub(r"^ {4}.*$", "", prose(path), flags=re.M)
    return [span.strip() for block in text.split("\n\n") for span in SPAN.findall(block.replace("\n", " "))]


def links(path: Path) -> list[str]:
    """Return the targets of links that lie in the project."""
    return [target for target in LINK.findall(prose(path)) if "://" not in target and not target.startswith("#")]


def commands(path: Path) -> list[list[str]]:
    """Return every command line: of bash blocks, of indented blocks, and in code font, as words."""
    lines = [line for block in fences(path, "bash") for line in RUNS_ON.sub(" ", block).splitlines()]
    lines += RUNS_ON.sub(" ", "\n".join(INDENTED.findall(prose(path)))).splitlines()
    lines += [span for span in spans(path) if span.startswith(("python -m ", "make "))]
    return [words for line in lines for words in _simple(line)]


def _simple(line: str) -> Iterator[list[str]]:
    words: list[str] = []
    for word in [*shlex.split(line, comments=True), "&&"]:
        if word in ("&&", "||", "|", ";"):
            if words:
                yield words
            words = []
        elif "python -m" in word:
            yield from _simple(word)
        else:
            words.append(word)


class Known(NamedTuple):
    """Words that the code knows."""

    names: frozenset[str]
    """Of modules, classes, functions, arguments, attributes and variables; and literal texts of one word."""
    texts: tuple[str, ...]
    """Every literal text, and the literal parts of formatted ones."""


@cache
def known() -> Known:
    """Return the words of all of the project's Python files, tests apart."""
    names: set[str] = set()
    texts: dict[str, None] = {}
    for package in PACKAGES:
        names.add(package)
        for path in (ROOT / package).rglob("*.py"):
            names.add(path.stem)
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Constant) and isinstance(node.value, str):
                    texts[node.value] = None
                    names.add(node.value)
                if isinstance(node, ast.Attribute) and node.attr == "split" and isinstance(node.value, ast.Constant):
                    names.update(node.value.value.split())
                for field in ("name", "arg", "attr", "id", "asname"):
                    value = getattr(node, field, None)
                    if isinstance(value, str):
                        names.add(value)
    return Known(frozenset(names), tuple(texts))


def is_known(word: str) -> bool:
    """Say whether a word is a name in the code, or one of its texts as a whole."""
    return word in known().names


def exists(dotted: str) -> bool:
    """Say whether a dotted name of the project is a module, or a name that stands at the top of one."""
    parts = dotted.split(".")
    for length in range(len(parts), 0, -1):
        place = ROOT.joinpath(*parts[:length])
        rest = parts[length:]
        for path in (place.with_suffix(".py"), place / "__init__.py"):
            if path.is_file():
                return not rest or _stands_in(path, rest[0])
    return False


def _stands_in(path: Path, wanted: str) -> bool:
    for node in ast.parse(path.read_text()).body:
        targets = [*getattr(node, "targets", ()), getattr(node, "target", None), node]
        if any(wanted in (getattr(t, "name", None), getattr(t, "id", None)) for t in targets):
            return True
        if isinstance(node, ast.ImportFrom) and wanted in [alias.asname or alias.name for alias in node.names]:
            return True
    return False
