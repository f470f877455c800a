"""A group of ranks: how Ray Train starts its processes, and what they hold of a cluster.

`TorchTrainer` takes twice the time: it starts four processes beside the ranks, one after the other, for what a study
has no use for or has a process for already, and imports torch in two of them.
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import ray.train
from ray import PlacementGroupID
from ray.train.v2._internal.execution.context import TrainRunContext
from ray.train.v2._internal.execution.controller import TrainController
from ray.train.v2._internal.execution.scaling_policy import FixedScalingPolicy
from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer
from ray.util.placement_group import PlacementGroup, placement_group_table, remove_placement_group

from study.config import DRIVER_CPU, Resources
from study.rank import RankBackend

NOT_NEEDED = {"DatasetsCallback", "PlacementGroupCleanerCallback"}
"""Callbacks of Ray Train's that start a process each: one deals out data sets of Ray Data, and a study has none; the
other does what `give_back` does, but only where Ray has its dashboard."""


class _FixedSize(FixedScalingPolicy):
    """A group has as many ranks as were asked for, and tells only Ray what it waits for.

    Ray Train would tell a process too that shares a cluster out between it and Ray Data. A cluster that grows sees what
    is waited for in the group's placement.
    """

    def after_controller_start(self, train_run_context: TrainRunContext) -> None:
        pass

    def _maybe_send_resource_request(self) -> None:
        pass


class RankTrainer(DataParallelTrainer):
    """Runs a function in every rank of a group: Ray Train's trainer that needs torch in the ranks alone.

    `fit()` returns when the function has returned in all ranks. It watches over them itself, in the thread that it is
    called in; Ray Train's own has an actor started for that. Called in an actor, it is over when the actor dies.

    Args:
        function: called in every rank, with `values`.
        values: what it is called with; has the number of its group under "group", and the run's path under "run".
        resources: what a rank may use, and how many make a group.

    Raises:
        WorkerGroupError: by `fit()`, a rank failed or died.
        ControllerError: by `fit()`, the ranks could not be started.
    """

    def __init__(
        self, function: Callable[[Mapping[str, Any]], None], values: dict[str, Any], resources: Resources
    ) -> None:
        super().__init__(
            function,
            train_loop_config=values,
            backend_config=RankBackend(),
            scaling_config=ray.train.ScalingConfig(
                num_workers=resources.workers_per_trial,
                use_gpu=bool(resources.gpus_per_worker),
                resources_per_worker=_bundle(resources),
            ),
            run_config=ray.train.RunConfig(
                name=f"group{values['group']}",
                storage_path=str(Path(values["run"]) / "tune" / "train"),
                failure_config=ray.train.FailureConfig(  # the post starts it again
                    max_failures=0, max_preemption_failures=0, controller_failure_limit=0
                ),
            ),
        )

    def _initialize_and_run_controller(self, **given: Any) -> ray.train.Result:  # noqa: ANN401
        controller = TrainController(**{**given, "scaling_policy": _FixedSize(self.scaling_config)})
        asyncio.run(controller.run())
        return controller.get_result()

    def _create_default_callbacks(self) -> list[Any]:
        return [one for one in super()._create_default_callbacks() if type(one).__name__ not in NOT_NEEDED]


def _bundle(resources: Resources) -> dict[str, float]:
    """Return what a rank holds."""
    gpus = {"GPU": float(resources.gpus_per_worker)} if resources.gpus_per_worker else {}
    return {"CPU": resources.cpus_per_worker - DRIVER_CPU, **gpus}


def give_back(resources: Resources, seconds: float = 0.0) -> None:
    """Give back what groups of this driver hold of the cluster.

    Ray keeps what an actor has laid hold of, and with it the CPUs, until the driver ends, should the actor be killed.
    What is the driver's is known by its id, what is a group's by its size. Where Ray does not answer, nothing is done.

    Args:
        resources: what a rank may use, and how many make a group.
        seconds: so long is looked for more of it.
    """
    job = ray.get_runtime_context().get_job_id()
    until = time.monotonic() + seconds
    while True:
        with suppress(ray.exceptions.RayError):
            for name, place in placement_group_table().items():
                held = place["state"] != "REMOVED" and name.endswith(job)
                if held and _is_group(place["bundles"], resources):
                    remove_placement_group(PlacementGroup(PlacementGroupID(bytes.fromhex(name))))
        if time.monotonic() >= until:
            return
        time.sleep(0.5)


def _is_group(bundles: Mapping[int, Mapping[str, float]], resources: Resources) -> bool:
    """Say whether this is what a group holds, to within Ray's four digits."""
    wanted = _bundle(resources)
    return len(bundles) == resources.workers_per_trial and all(
        bundle.keys() == wanted.keys() and all(abs(bundle[name] - wanted[name]) < 1e-3 for name in wanted)
        for bundle in bundles.values()
    )
