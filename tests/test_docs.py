"""The documentation builds, and what it names exists: files, modules, commands, options, losses, columns, messages."""

import importlib.util
import re
import subprocess
import sys
from functools import cache
from types import ModuleType

import pytest

from study import tables
from tests.documents import (
    LOOSE,
    PACKAGES,
    PAGES,
    ROOT,
    commands,
    exists,
    fences,
    is_known,
    known,
    links,
    name,
    prose,
    spans,
)

EVERY = (*PAGES, *LOOSE)
FETCHED = re.compile(
    r"<(?:script|link|img|iframe)[^>]+(?:src|href)=\"(?:https?:)?//|@import|url\(\s*['\"]?(?:https?:)?//"
)
"""What would make a browser ask another machine."""
COMPOSED = {
    *("square_beyond_gradients", "transfer_beyond_gradients", "attack_best"),
    *("accepted_all", "accepted_correct", "dar_all", "dar_correct", "scoreboard.json"),
}
"""Names that the code puts together from two texts."""
FOREIGN = {"torch", "numpy", "pandas", "package", "my_package"}
"""First parts of dotted names that are not this project's."""
ELSEWHERE = {"pip", "ray", "git", "kill", "cd"}
"""Commands of other programs."""
PLACEHOLDER = re.compile(r"\b(?:PATH|RUN|NAME|OTHER|DIR|TASK|STAGE|LOSS|METHOD|ARM|KIND|FILE)\b|…|\*|[{}<>]")
COMMANDS = ("python ", "make ", "pip ", "ray ")
SUFFIXES = (".py", ".md", ".txt", ".toml", ".yaml", ".sh", ".json", ".db", ".html", ".parquet")
RUNS = {"results", "tune", "train", "test", "val", ".venv", "~", "ray:"}
"""First parts of paths in a run, in somebody's data, or made by a command."""
OPTION = re.compile(r"(?<!\S)--[a-z][a-z-]*")


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    out = tmp_path_factory.mktemp("docs")
    answer = subprocess.run(
        [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-n", "-q", "-b", "html", ROOT / "docs", out],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    return answer, out


def test_the_pages_build_without_a_warning(built):
    answer, out = built
    assert (answer.returncode, answer.stderr) == (0, "")
    assert {path.relative_to(ROOT / "docs").with_suffix(".html") for path in PAGES} <= {
        path.relative_to(out) for path in out.rglob("*.html")
    }


def test_the_built_pages_fetch_nothing(built):
    for path in built[1].rglob("*"):
        if path.suffix in (".html", ".css", ".js"):
            assert not FETCHED.search(path.read_text()), path


def test_the_reference_lists_every_option(built):
    page = (built[1] / "reference" / "commands.html").read_text()
    shown = set(re.findall(r"--[a-z][a-z-]*", page))
    for command in ("tune", "evaluate", "report", "data"):
        for action in parser_of(f"study.{command}")._actions:
            assert set(action.option_strings) - {"-h"} <= shown, command


@cache
def facts() -> ModuleType:
    spec = importlib.util.spec_from_file_location("facts", ROOT / "docs" / "extensions" / "facts.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@cache
def parser_of(module):
    return facts().parser_of(module)


@pytest.mark.parametrize("path", EVERY, ids=name)
def test_commands_are_understood(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    for words in commands(path):
        understand(words)


def understand(words):
    while "=" in words[0]:  # variables that a command is given
        words = words[1:]
    program, *rest = words
    if program == "make":
        targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.M))
        assert {word for word in rest if "=" not in word} <= targets, words
    elif program in ("sbatch", "bash"):
        script, *arguments = rest
        assert (ROOT / script).is_file(), words
        tune(arguments)
    elif program == "python" and rest[:1] == ["-m"]:
        python(rest[1], rest[2:])
    elif program == "python":
        assert (ROOT / rest[0]).is_file(), words
    else:
        assert program in ELSEWHERE, words


def python(module, arguments):
    if module == "…":  # "the commands are written as python -m …"
        return
    if module.partition(".")[0] not in PACKAGES:
        assert module in ("pip", "pytest", "sphinx", "venv"), module
        return
    assert exists(module), module
    if module == "study.tune" and arguments and "--help" not in arguments:
        tune(arguments)
    elif arguments and "--help" not in arguments:
        _, rest = parser_of(module).parse_known_args(arguments)
        assert not rest, (module, rest)


def tune(arguments):
    from hem.registry import get_loss
    from study.data.registry import SOURCES
    from study.models.registry import MODELS
    from study.options import parse

    if arguments == ["…"]:
        return
    for word in arguments:
        if word.endswith((".pt", ".pth")) and not word.startswith("/"):
            open(word, "wb").close()  # a file of weights has to be there
    request = parse([word for word in arguments if word != "…"])
    for config in filter(None, (request.config, *request.tasks)):
        assert config.model in MODELS, arguments
        for data in (config.dataset, *config.ood_sets):
            assert data.partition(":")[0] in SOURCES or exists(data.replace(":", ".")), data
        for loss in config.losses:
            if ":" in loss and loss.partition(".")[0] in PACKAGES:
                get_loss(loss)


@pytest.mark.parametrize("path", EVERY, ids=name)
def test_links_lead_somewhere(path):
    for target in links(path):
        file = (path.parent / target.partition("#")[0]).resolve()
        assert file.exists(), target


def is_command(path):
    text = path.read_text()
    return "ArgumentParser(" in text and "def main(argv" in text


@cache
def options():
    modules = [f"study.{name}" for name in ("tune", "evaluate", "report", "data")]
    modules += [f"benchmarks.{path.stem}" for path in sorted((ROOT / "benchmarks").glob("*.py")) if is_command(path)]
    return {text for module in modules for action in parser_of(module)._actions for text in action.option_strings}


@pytest.mark.parametrize("path", EVERY, ids=name)
def test_what_is_named_exists(path):
    beside = words_beside(path) if path in LOOSE and path.parent != ROOT else set()
    wrong = [span for span in spans(path) if not (span_exists(span) or span in beside)]
    assert not wrong


def words_beside(path):
    """Return the names of the files beside a README, and the words in them."""
    files = [file for file in path.parent.iterdir() if file.is_file() and file != path]
    return {file.name for file in files} | {word for file in files for word in re.findall(r"\w+", file.read_text())}


def span_exists(span):
    span = span.removeprefix("ray_study_")  # as Ray exports the study's metrics
    if span in COMPOSED or PLACEHOLDER.search(span.replace("_", " ")) or span.startswith(COMMANDS):
        return True
    if span.startswith("/tmp/ray/"):  # Ray makes it where it runs, which may not have been here
        return True
    if span.startswith("--"):
        return set(OPTION.findall(span)) <= options()
    if "/" in span or span.endswith(SUFFIXES):
        return file_exists(span)
    if re.fullmatch(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+(:\w+)?", span):
        return dotted_exists(span.replace(":", "."))
    if re.fullmatch(r"[A-Za-z_][\w+-]*", span):
        return is_known(span)
    return True


def dotted_exists(span):
    first, *_ = parts = span.split(".")
    return exists(span) if first in PACKAGES else first in FOREIGN or all(map(is_known, parts))


def file_exists(span):
    top = span.partition("/")[0]
    if (ROOT / span).exists() or " " in span or top in RUNS:
        return True
    if (ROOT / top).is_dir():
        return False
    if span.endswith(".parquet"):
        return span.removesuffix(".parquet") in tables.SCHEMAS
    return is_known(span.rstrip("/"))


BLOCKS = [(path, text) for path in EVERY for text in fences(path, "python")]


@pytest.mark.parametrize(("path", "text"), BLOCKS, ids=[f"{name(path)}-{i}" for i, (path, _) in enumerate(BLOCKS)])
def test_examples_run(path, text, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    exec(compile(text, name(path), "exec"), {"__name__": "example"})


def cells(path, column=0):
    lines = [line for line in path.read_text().splitlines() if line.startswith("| ") and "---" not in line]
    return [re.split(r"(?<!\\)\|", line)[column + 1].strip() for line in lines]


def test_every_message_that_is_explained_is_one_of_the_code():
    for cell in cells(ROOT / "docs" / "reference" / "errors.md"):
        if cell.startswith("`"):
            for part in cell.strip("`").split("…"):
                if len(part.strip()) > 2:
                    assert any(part.strip() in text for text in known().texts), cell


@pytest.mark.parametrize("table", tables.SCHEMAS)
def test_every_column_is_described_and_no_other(table):
    page = (ROOT / "docs" / "reference" / "tables.md").read_text()
    section = page.partition(f"\n## {table}\n")[2].partition("\n#")[0]
    rows = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]
    assert [word for row in rows for word in re.findall(r"`(\w+)`", row)] == list(tables.SCHEMAS[table])


def test_every_section_of_the_page_is_explained():
    found = set()
    for path in (ROOT / "dashboards" / "sections").glob("*.py"):
        text = path.read_text()
        found |= set(re.findall(r'Section\(\s*"[\w-]+",\s*"([^"]+)"', text))
        for both in re.findall(r'^    title(?:, \w+)? = "([^"]+)"(?: if \w+ else "([^"]+)")?', text, re.M):
            found |= {title.partition(":")[0] for title in both if title}
    explained = {part.strip() for cell in cells(ROOT / "docs" / "reading.md") for part in cell.split(";")}
    assert len(found) > 20
    assert found <= explained


def test_every_exit_code_and_reason_of_failure_is_explained():
    page = ROOT / "docs" / "howto" / "survival.md"
    assert {"0", "1", "2", "130"} <= set(cells(page))
    reasons = {"diverged", "timeout", "process", "error", "input"}
    assert {f"`{reason}`" for reason in reasons} <= set(cells(page))
    sources = "".join((ROOT / "study" / f"{module}.py").read_text() for module in ("trial", "pool"))
    assert set(re.findall(r'"reason": "(\w+)"', sources)) == reasons


def test_pages_have_no_word_of_a_machine_and_stay_short():
    for path in PAGES:
        assert len(path.read_text().splitlines()) < 250, path
        assert "TODO" not in prose(path), path
