"""What a study ran on: versions, machine, commit, and the memory of its processes."""

import os
import platform
import subprocess
import threading
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import TracebackType

PACKAGES = (
    "hem-study",
    "ray",
    "torch",
    "torchvision",
    "optuna",
    "pyautoattack",
    "numpy",
    "scipy",
    "pandas",
    "plotly",
    "scikit-learn",
    "mlxtend",
)
SAMPLE_SECONDS = 3.0


def versions() -> dict[str, str]:
    """Return the versions of Python and of every package that can change a number or a picture."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed as a package"
    return found


def git_commit() -> str:
    """Return the commit of this project's checkout, with "+changes" if files differ from it; "" outside a checkout."""
    where = Path(__file__).parent
    try:
        commit = subprocess.run(
            ["git", "rev-parse", "HEAD"], cwd=where, capture_output=True, text=True, check=True
        ).stdout.strip()
        changed = subprocess.run(
            ["git", "status", "--porcelain", "--untracked-files=no"],
            cwd=where,
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""
    return commit + ("+changes" if changed else "")


def machine() -> dict[str, str | int]:
    """Return the processor, cores and memory of this machine."""
    import psutil

    name = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        models = [
            line.partition(":")[2].strip() for line in info.read_text().splitlines() if line.startswith("model name")
        ]
        name = models[0] if models else name
    return {
        "processor": name,
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 0,
        "memory_bytes": psutil.virtual_memory().total,
        "system": f"{platform.system()} {platform.release()}",
    }


class PeakMemory:
    """Samples the proportional set size of this process and all its descendants, and keeps the largest sum."""

    def __init__(self, start: int = 0) -> None:
        self.peak = start
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)

    def __enter__(self) -> "PeakMemory":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()

    def _sample(self) -> None:
        while not self._stop.wait(SAMPLE_SECONDS):
            self.peak = max(self.peak, proportional_memory())


def proportional_memory() -> int:
    """Return the bytes that this process and its descendants hold (PSS: shared pages counted once)."""
    import psutil

    process = psutil.Process()
    total = 0
    for one in (process, *process.children(recursive=True)):
        try:
            total += _pss(one.pid)
        except (OSError, psutil.Error):
            continue
    return total


def _pss(pid: int) -> int:
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    return 0
