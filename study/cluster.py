"""Ray: start or join it, say where its dashboard is, and export the study's numbers as Ray metrics."""

import logging
from collections.abc import Mapping
from typing import Any

from study.config import Resources
from study.errors import InputError

CONNECT_SECONDS = 10.0
LOCAL: Mapping[str, Any] = {"include_dashboard": True, "dashboard_host": "127.0.0.1"}
"""How a Ray of one's own is started: its dashboard answers this machine alone. A cluster has its own settings."""


def connect(resources: Resources) -> str:
    """Start a local Ray, or join a cluster; return what a person should know about its dashboard.

    Raises:
        InputError: no cluster at the address.
    """
    import ray

    if not ray.is_initialized():
        _knock(resources.address)
        try:
            ray.init(
                address=resources.address or "local",
                **({} if resources.address else LOCAL),
                logging_level=logging.INFO if resources.verbose else logging.ERROR,
                log_to_driver=resources.verbose,
            )
        except (ConnectionError, ValueError) as error:
            if resources.address is None:
                raise
            raise _nobody(resources.address, str(error).splitlines()[0]) from error
    url = ray._private.worker.get_dashboard_url()
    if not url:
        return "Ray dashboard: off"
    token = "" if _open_access() else "  (token: ray get-auth-token)"
    return f"Ray dashboard: http://{url}{token}"


def _knock(address: str | None) -> None:
    """Refuse an address at which nothing listens; Ray itself would wait for minutes, and then end the process."""
    import socket

    if (address or "").startswith("ray://"):
        raise InputError(
            f"--address {address}: a study cannot be driven through Ray Client\n"
            "allowed: start it on a node of the cluster with --address auto, or submit it as a Ray job"
        )
    host, colon, port = (address or "").rpartition(":")
    if not (host and colon and port.isdecimal()):
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise _nobody(str(address), str(error)) from error


def _nobody(address: str, reason: str) -> InputError:
    return InputError(
        f"--address {address}: no Ray cluster answers there ({reason})\n"
        "allowed: the address of a running one, auto, or none to start a local one"
    )


def _open_access() -> bool:
    import os

    return os.environ.get("RAY_AUTH_MODE", "token") == "disabled"


class Gauges:
    """Exports each loss's progress as Ray metrics `ray_study_<name>` with tags task, stage and loss.

    They stand on the metrics port of the driver's node, where Prometheus finds them, some seconds after they change.
    """

    NAMES: Mapping[str, str] = {
        "cells_done": "cells finished, failed ones among them",
        "cells_failed": "cells failed",
        "cells_running": "cells being made",
        "best_value": "best validation objective so far",
        "images_per_second": "images that finished trainings saw, per second since the stage began",
    }

    def __init__(self, task: str) -> None:
        from ray.util.metrics import Gauge

        self.task = task
        self.gauges: dict[str, Any] = {
            name: Gauge(f"study_{name}", description=text, tag_keys=("task", "stage", "loss"))
            for name, text in self.NAMES.items()
        }

    def set(self, stage: str, loss: str, values: Mapping[str, float]) -> None:
        """Export the values of one loss in one stage."""
        for name, value in values.items():
            self.gauges[name].set(value, tags={"task": self.task, "stage": stage, "loss": loss})
