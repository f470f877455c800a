"""How the process of a command ends."""

import os
import subprocess
import sys

import pytest

from tests.study.commands import ROOT, environment, run


@pytest.mark.parametrize("lines", [1, 100_000])
def test_output_that_nobody_reads_any_more(lines):
    """As after `| head`: found while printing, or only when what is left in the buffer is written."""
    program = f"from study.environment import leave\nleave(lambda: print('line\\n' * {lines}) or 0)"
    read, write = os.pipe()
    os.close(read)
    try:
        outcome = subprocess.run(
            [sys.executable, "-c", program],
            cwd=ROOT,
            env=environment(),
            stdout=write,
            stderr=subprocess.PIPE,
            check=False,
        )
    finally:
        os.close(write)
    assert (outcome.returncode, outcome.stderr) == (141, b"")


def test_another_pipe_that_breaks_is_an_error():
    outcome = run("-c", "from study.environment import leave\ndef main(): raise BrokenPipeError\nleave(main)")
    assert outcome.returncode == 1
    assert "BrokenPipeError" in outcome.stderr


def test_the_table_of_networks_takes_no_options():
    outcome = run("-m", "study.models", "--x")
    assert outcome.returncode == 2
    assert "unrecognized arguments: --x" in outcome.stderr
