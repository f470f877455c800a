"""One synthetic run, one page made from it and one browser for all tests of this folder."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from dashboards import build
from dashboards.summary import View, make_view
from dashboards.tables import Run, read_run
from tests.dashboards.browser import Browser
from tests.dashboards.fake_run import FakeRun


@pytest.fixture(scope="session")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return FakeRun().write(tmp_path_factory.mktemp("runs") / "full")


@pytest.fixture(scope="session")
def run(run_dir: Path) -> Run:
    return read_run(run_dir)


@pytest.fixture(scope="session")
def view(run: Run) -> View:
    return make_view(run)


@pytest.fixture(scope="session")
def page(run_dir: Path) -> Path:
    return build(run_dir)


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    started = Browser(tmp_path_factory.mktemp("chromium") / "profile")
    yield started
    started.close()


@pytest.fixture
def bare_dir(tmp_path: Path) -> Path:
    """A run directory with nothing but a study.json that says almost nothing."""
    (tmp_path / "study.json").write_text(json.dumps({"version": 1, "name": "bare"}), encoding="utf-8")
    return tmp_path
