"""Ends a process whose work hangs, or whose GPU is lost to it."""

import os
import sys
import threading
from collections.abc import Mapping
from typing import Any

from study.run import Key, RunDirectory


class Watchdog:
    """Ends this process if a piece of work hangs, after its cell says so.

    Args:
        run: where the cell goes.
        key: of the cell.
        timeout: seconds that the work may take (some more are granted before it counts as hanging); 0: any time.
        content: what else the cell says.
    """

    def __init__(self, run: RunDirectory, key: Key, timeout: float, content: Mapping[str, Any] | None = None) -> None:
        error = f"hangs: no end of it for {timeout:g} s (--trial-timeout); its process was ended"
        cell = {"state": "failed", "reason": "timeout", "error": error, "seconds": timeout, **(content or {})}
        self.timer = threading.Timer(1.2 * timeout + 10, self._end, (run, key, cell)) if timeout else None

    def __enter__(self) -> None:
        if self.timer is not None:
            self.timer.daemon = True
            self.timer.start()

    def __exit__(self, *_: object) -> None:
        if self.timer is not None:
            self.timer.cancel()

    @staticmethod
    def _end(run: RunDirectory, key: Key, cell: Mapping[str, Any]) -> None:
        try:
            if run.read_cell(key) is None:  # another rank's may be there
                run.write_cell(key, cell)
        finally:  # also where nothing can be written
            os._exit(75)


def end_if_gpu_is_lost(device: str) -> None:
    """End this process if its GPU answers nothing but errors any more; what it was at is tried again in another one.

    An illegal access or a fault of the hardware stays with a process: whatever it computes there afterwards fails. It
    would fail at once, be free at once, and so take one piece of work after the other. Want of memory passes.

    Args:
        device: where the work was done that has failed.
    """
    import torch

    if not device.startswith("cuda") or not torch.cuda.is_initialized():
        return
    try:
        torch.cuda.synchronize()
    except Exception as error:  # whatever the driver says
        print(f"its GPU is lost to this process, which ends: {error}", file=sys.stderr, flush=True)
        os._exit(os.EX_IOERR)
