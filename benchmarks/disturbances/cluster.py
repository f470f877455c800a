"""Ranks and nodes that are lost: a local Ray, and a cluster of several nodes on this machine."""

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from benchmarks.disturbances.runs import PATIENCE, Process, expect, resume, small, whole

SLOW = "benchmarks.disturbances.losses:Slow"
HANGS = "benchmarks.disturbances.losses:Hangs"
RANK_PROCESS = "RayTrainWorker"
OLD_ENOUGH = 15.0
"""Seconds after which a rank has begun to train."""


@contextmanager
def local_ray() -> Iterator[Any]:
    """Give a local Ray with two CPUs, without its dashboard: what stopped ranks held comes back without it too."""
    from study.environment import prepare

    prepare(verbose=False)
    import ray

    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    try:
        yield ray
    finally:
        ray.shutdown()


def train(path: Path, *losses: str, epochs: int = 30, **resources: Any) -> Any:  # noqa: ANN401
    """Train these losses through the pool, one training each; return the run."""
    import ray

    from study.config import Resources
    from study.data.embedded import digits
    from study.options import study_config
    from study.pool import ListFeed, run_pool
    from study.progress import StageProgress, totals_by_loss
    from study.run import Key, RunDirectory
    from study.tasks import get_task
    from study.trial import Training

    source = digits()
    recipe = dict(get_task("imbalanced").recipe(source))
    work = [Training(Key("confirm", "plain", loss, "default", 0, 0), recipe, {}, 3) for loss in losses]
    given = {"task": "imbalanced", "preset": "smoke", "losses": losses, "replicates": 1, "trials": 2, "epochs": epochs}
    run = RunDirectory(path)
    progress = StageProgress("confirm", totals_by_loss(one.key for one in work))
    run_pool(iter([(ListFeed(work), progress)]), study_config(given), Resources(**resources), run, ray.put(source))
    return run


def ranks_in_training() -> list[psutil.Process]:
    """Return the processes of ranks that have begun to train, oldest first."""
    found = []
    for one in psutil.process_iter():
        try:
            if RANK_PROCESS in " ".join(one.cmdline()) and time.time() - one.create_time() > OLD_ENOUGH:
                found.append(one)
        except psutil.Error:
            continue
    return sorted(found, key=lambda one: one.pid)


def rank_killed(folder: Path, which: int = 0) -> str:
    """One of two ranks killed in the middle of a training."""
    killed: list[int] = []

    def kill() -> None:
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until:
            ranks = ranks_in_training()
            if len(ranks) == 2:
                ranks[which].kill()
                killed.append(ranks[which].pid)
                return
            time.sleep(0.2)

    with local_ray():
        threading.Thread(target=kill, daemon=True).start()
        run = train(folder / "run", SLOW, epochs=80, workers_per_trial=2)
    ((_, cell),) = run.cells("confirm")
    expect(bool(killed), "no rank was found to kill")
    expect(cell["state"] == "complete", f"{cell}")
    expect(len(cell["epochs"]) == 80, f"{len(cell['epochs'])} epochs")
    return "one of two ranks killed while it trained: the group started again, 80 epochs are there, complete"


def other_rank_killed(folder: Path) -> str:
    """The other of two ranks killed: the first one sees its connection closed."""
    return rank_killed(folder, which=1)


def cpus_return(folder: Path) -> str:
    """Two ranks that hang: ended at the time limit, their CPUs free for the next training."""
    with local_ray() as ray:
        run = train(folder / "run", HANGS, "ce", workers_per_trial=2, trial_timeout=30.0)
        until = time.monotonic() + 60
        while ray.available_resources().get("CPU", 0.0) < 2 and time.monotonic() < until:
            time.sleep(0.2)
        free = ray.available_resources().get("CPU", 0.0)
    states = {key.loss: cell.get("reason") or cell["state"] for key, cell in run.cells("confirm")}
    expect(states == {HANGS: "timeout", "ce": "complete"}, f"{states}")
    expect(free == 2, f"{free} of 2 CPUs are free")
    return "the hanging training ended as 'timeout', the next one of two ranks was complete, and 2 of 2 CPUs are free"


@contextmanager
def three_nodes() -> Iterator[Any]:
    """Give a cluster on this machine: a head without CPUs, and two nodes with two each."""
    from ray.cluster_utils import Cluster

    from study.environment import prepare

    prepare(verbose=False)
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    try:
        cluster.nodes = [cluster.add_node(num_cpus=2) for _ in range(2)]
        yield cluster
    finally:
        cluster.shutdown()


def start(cluster: Any, folder: Path, *more: object) -> tuple[Process, Path]:  # noqa: ANN401
    """Start a study of one loss on the cluster."""
    path = folder / "run"
    arguments = (
        *small("ce"),
        "--epochs",
        20,
        "--attacks",
        "none",
        "--address",
        cluster.address,
        "--output",
        path,
        *more,
    )
    return Process(folder / "log", *arguments), path


def spread(folder: Path) -> str:
    """Trainings of two ranks over two nodes; one node is killed, the other takes over."""
    with three_nodes() as cluster:
        process, path = start(cluster, folder, "--workers-per-trial", 2)
        process.wait_for(path, "search", 1, delay=3.0)
        cluster.remove_node(cluster.nodes[0], allow_graceful=False)
        process.end().ended(0).says("took")
        whole(path)
    return (
        "two ranks a training, two nodes: one node killed in the middle of the search, the study went on on the other"
    )


def joined(folder: Path) -> str:
    """The only node with room is killed; another joins later."""
    with three_nodes() as cluster:
        cluster.remove_node(cluster.nodes[1])
        process, path = start(cluster, folder)
        process.wait_for(path, "search", 2)
        cluster.remove_node(cluster.nodes[0], allow_graceful=False)
        process.wait_for_words("waiting up to 600 s for one to join")
        cluster.add_node(num_cpus=2)
        process.end().ended(0).says("there is room again; going on")
        whole(path)
    return "no node left: said so and waited; went on when a node joined, complete"


def given_up(folder: Path) -> str:
    """The only node with room is killed, and none joins."""
    with three_nodes() as cluster:
        cluster.remove_node(cluster.nodes[1])
        process, path = start(cluster, folder, "--node-timeout", 20)
        process.wait_for(path, "search", 2)
        cluster.remove_node(cluster.nodes[0], allow_graceful=False)
        process.end().ended(1).says("no node joined within 20 s (--node-timeout)", "--resume")
    resume(path).ended(0)
    whole(path)
    return "no node left: ended after the stated 20 s with exit code 1; resumed on this machine, complete"


DISTURBANCES: Mapping[str, Callable[[Path], str]] = {
    "rank killed": rank_killed,
    "other rank killed": other_rank_killed,
    "CPUs return": cpus_return,
    "node lost": spread,
    "node lost, another joins": joined,
    "node lost, none joins": given_up,
}
