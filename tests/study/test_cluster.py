"""Ray as the study starts it: dashboard for this machine alone, token on, the study's numbers on the metrics port."""

import time
import urllib.request

import pytest

from study.cluster import Gauges, connect
from study.config import Resources
from study.environment import prepare
from study.progress import StageProgress
from study.run import Key

SECONDS = 60.0
OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@pytest.fixture
def started(monkeypatch):
    """What ray.init was called with; Ray itself is not started."""
    import ray

    calls = []
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", lambda **values: calls.append(values))
    monkeypatch.setattr(ray._private.worker, "get_dashboard_url", lambda: "127.0.0.1:8265")
    return calls


def test_a_ray_of_ones_own_shows_its_dashboard_to_this_machine_alone(started):
    connect(Resources())
    assert started[0]["address"] == "local"
    assert started[0]["dashboard_host"] == "127.0.0.1"
    assert started[0]["include_dashboard"] is True


def test_a_cluster_keeps_its_own_settings(started):
    connect(Resources(address="auto"))
    assert started[0]["address"] == "auto"
    assert not {"dashboard_host", "include_dashboard"} & set(started[0])


def test_the_token_of_ray_is_left_on(started, monkeypatch):
    import os

    monkeypatch.delenv("RAY_AUTH_MODE", raising=False)
    prepare(verbose=False)
    assert "RAY_AUTH_MODE" not in os.environ
    assert "ray get-auth-token" in connect(Resources())


def metrics(port):
    """Return the study's samples as (name, labels, value)."""
    from prometheus_client.parser import text_string_to_metric_families

    text = OPENER.open(f"http://127.0.0.1:{port}/metrics", timeout=10).read().decode()
    return {
        (sample.name, *(sample.labels.get(name) for name in ("task", "stage", "loss"))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name.startswith("ray_study_")
    }


def test_the_metrics_port_says_how_far_the_study_is(capsys, monkeypatch):
    import ray

    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    prepare(verbose=False)
    ray.init(
        num_cpus=1,
        include_dashboard=False,
        log_to_driver=False,
        logging_level="ERROR",
        _system_config={"metrics_report_interval_ms": 200},
    )
    try:
        gauges = Gauges("imbalanced")
        shown = StageProgress(
            "search", {"hem+": 3}, metric="accuracy", gauges=lambda loss, values: gauges.set("search", loss, values)
        )
        keys = [Key("search", "plain", "hem+", "", 0, number) for number in range(3)]
        for key in keys:
            shown.started(key)
        shown.done(keys[0], {"state": "complete", "objective": 0.75, "seconds": 2.0, "images": 800})
        shown.done(keys[1], {"state": "failed", "error": "diverged", "seconds": 1.0})
        expected = {"cells_done": 2.0, "cells_failed": 1.0, "cells_running": 1.0, "best_value": 0.75}
        wanted = {(f"ray_study_{name}", "imbalanced", "search", "hem+"): value for name, value in expected.items()}
        port, until, found = ray.nodes()[0]["MetricsExportPort"], time.monotonic() + SECONDS, {}
        while not wanted.items() <= found.items():
            assert time.monotonic() < until, found
            try:
                found = metrics(port)
            except OSError:  # the port is not open yet
                continue
        assert found["ray_study_images_per_second", "imbalanced", "search", "hem+"] > 0
    finally:
        ray.shutdown()
        capsys.readouterr()
