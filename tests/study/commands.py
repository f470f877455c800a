"""Runs the project's commands as a user does: in a process of their own."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
SMOKE = ("-m", "study.tune", "--task", "imbalanced", "--preset", "smoke")


def environment():
    values = {**os.environ, "PYTHONPATH": str(ROOT), "RAY_AUTH_MODE": "disabled", "PYTHONWARNINGS": "default"}
    values.pop("RAY_ADDRESS", None)
    return values


def run(*arguments, timeout=600):
    """Run to the end; return the finished process with what it said."""
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


def start(*arguments, log):
    """Start in a process group of its own."""
    with log.open("w") as file:
        return subprocess.Popen(
            [sys.executable, *map(str, arguments)],
            cwd=ROOT,
            env=environment(),
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def wait_for_cells(process, run_directory, stage, count, timeout=300):
    """Return when so many cells of a stage are there."""
    until = time.monotonic() + timeout
    while time.monotonic() < until:
        if len(list((run_directory / "cells" / stage).glob("*.json"))) >= count:
            return
        assert process.poll() is None, "it ended before"
        try:
            process.wait(0.05)
        except subprocess.TimeoutExpired:
            continue
    raise AssertionError(f"no {count} cells of {stage} within {timeout} s")


def stop(process, number=signal.SIGKILL):
    """Send a signal to the driver alone."""
    process.send_signal(number)
    return process.wait(60)
