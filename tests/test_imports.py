"""The walls between the rooms: an AST walk over every import, lazy ones and those for type checkers too."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROOMS = ("hem", "search_spaces", "study", "dashboards")
HOUSE = {"study", "hem", "search_spaces", "dashboards", "tests", "benchmarks", "examples"}

# Modules of `study` that may use Ray, and those that may make the page. All others may not.
ON_RAY = ("tune", "stages", "pool", "nodes", "cluster", "ranks", "rank_group", "rank")
RAY = {f"study.{module}" for module in ON_RAY}
PAGE = {"study.tune", "study.report"}


def modules(room):
    for path in sorted((ROOT / room).rglob("*.py")):
        yield ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"), path


def imported(path):
    """Every module that a file names in an import statement, wherever it stands."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def tops(path):
    return {name.partition(".")[0] for name in imported(path)}


ALL = [pytest.param(name, path, id=name) for room in ROOMS for name, path in modules(room)]


def of(*rooms):
    return [case for case in ALL if case.values[0].partition(".")[0] in rooms]


@pytest.mark.parametrize(("name", "path"), of("hem"))
def test_hem_imports_torch_alone(name, path):
    assert tops(path) - set(sys.stdlib_module_names) <= {"torch", "hem"}


@pytest.mark.parametrize(("name", "path"), of("search_spaces"))
def test_search_spaces_import_distributions_alone(name, path):
    outside = {module for module in imported(path) if module.partition(".")[0] not in sys.stdlib_module_names}
    assert {m for m in outside if not m.startswith(("optuna.distributions", "search_spaces"))} == set()


@pytest.mark.parametrize(("name", "path"), of("dashboards"))
def test_dashboards_know_tables_and_pictures_only(name, path):
    allowed = {"pandas", "numpy", "pyarrow", "plotly", "jinja2", "markupsafe", "dashboards"}
    assert tops(path) - set(sys.stdlib_module_names) <= allowed


@pytest.mark.parametrize(("name", "path"), of("study"))
def test_only_the_named_modules_know_ray_and_the_page(name, path):
    used = tops(path)
    assert "ray" not in used or name in RAY
    assert "dashboards" not in used or name in PAGE
    assert not used & {"tests", "benchmarks", "examples"}


@pytest.mark.parametrize("room", ["tasks", "data", "models", "probes", "comparison", "training"])
def test_the_inner_rooms_of_study_do_not_know_its_stages(room):
    stages = {
        "tune",
        "evaluate",
        "report",
        "stages",
        "pool",
        "nodes",
        "cluster",
        "trial",
        "search",
        "confirm",
        "ledger",
    }
    for name, path in modules("study"):
        if name.startswith(f"study.{room}"):
            inner = {module.split(".")[1] for module in imported(path) if module.startswith("study.")}
            assert not inner & stages, name


@pytest.mark.parametrize("command", ["study.tune", "study.evaluate", "study.report"])
def test_nothing_heavy_is_imported_to_parse_a_line(command):
    code = (
        f"import sys\nfrom {command} import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit:\n    pass\n"
        "print(sorted({'torch', 'ray', 'pandas', 'plotly', 'sklearn', 'scipy', 'torchvision'} & set(sys.modules)))"
    )
    answer = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert answer.stdout.splitlines()[-1] == "[]"


def test_the_project_speaks_of_no_machine():
    for path in sorted(ROOT.rglob("*")):
        if path.suffix in {".py", ".md", ".toml", ".html", ".js", ".css"} and ".venv" not in path.parts:
            if "results" in path.parts and path.suffix == ".html":
                continue
            text = path.read_text()
            assert "/" + "work/" not in text, path
            assert "/" + "root/" not in text, path
