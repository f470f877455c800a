"""One smoke run for all tests that look at a finished one."""

import pytest

from tests.study import commands


@pytest.fixture(scope="session")
def smoke(tmp_path_factory):
    """A finished run directory, and what the command said."""
    path = tmp_path_factory.mktemp("smoke") / "run"
    finished = commands.run(*commands.SMOKE, "--output", path)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    return path, finished
