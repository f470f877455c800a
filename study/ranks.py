"""Trainings as several data-parallel ranks through Ray Train: the same loop, each rank its slice of every batch.

To start ranks takes seconds (processes, imports, their meeting) and a search has hundreds of trainings. So groups of
ranks are started once, by the study's own process, and each trains one training after another, as the pool's processes
do. A training is left at the post, an actor, and the first group that is free takes it.
"""

import asyncio
import contextlib
import threading
from collections import Counter, deque
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ray
import ray.train
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from study.config import Resources, StudyConfig
from study.run import Key, RunDirectory
from study.trial import DEATHS_ALLOWED, Training, run_training

if TYPE_CHECKING:
    from ray.actor import ActorHandle
    from ray.train.torch import TorchTrainer

    from study.data.types import Source

DRIVER_CPU = 0.01
"""What the process holds that waits for a training of several ranks; the ranks do with that much less."""
CLOSE_SECONDS = 20.0
"""So long is waited for the ranks to end that have nothing more to do."""


def train_ranks(training: Training, run: RunDirectory, post: "ActorHandle[Any]") -> dict[str, Any]:
    """Have a group of ranks train this, and return the cell that its rank 0 wrote.

    R ranks with batches of b/R give what one process with batches of b gives (batch normalisation apart). A training
    whose group is lost goes on from its state in the next free one, twice at most.

    Raises:
        RuntimeError: no group wrote a cell; says what ended the last one.
    """
    cell = run.read_cell(training.key)
    if cell is None:
        words = ray.get(post.train.remote(training.to_dict()))
        cell = run.read_cell(training.key)
        if cell is None:
            raise RuntimeError(words or "the ranks ended without a cell")
    return cell


@contextlib.contextmanager
def rank_groups(
    config: StudyConfig, source: "ray.ObjectRef[Source]", run: RunDirectory, resources: Resources, groups: int
) -> Iterator["ActorHandle[Any]"]:
    """Start groups of ranks, give the post for their trainings, and end them.

    Args:
        config: the study.
        source: the data set in Ray's object store.
        run: where cells go.
        resources: what a rank may use, and how many make a group.
        groups: how many of them.
    """
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    post = ray.remote(num_cpus=0, scheduling_strategy=here)(_Post).remote(groups)
    threads = []
    for group in range(groups):
        values = {
            "group": group,
            "post": post,
            "config": config.to_dict(),
            "source": source,
            "run": str(run.path),
            "timeout": resources.trial_timeout,
            "threads": max(1, int(resources.cpus_per_worker)),
        }
        threads.append(threading.Thread(target=_run_group, args=(_trainer(values, resources), values), daemon=True))
        threads[-1].start()
    try:
        yield post
    finally:
        post.close.remote()
    for thread in threads:
        thread.join(CLOSE_SECONDS)


def _trainer(values: dict[str, Any], resources: Resources) -> "TorchTrainer":
    from ray.train.torch import TorchTrainer

    return TorchTrainer(
        _rank,
        train_loop_config=values,
        scaling_config=ray.train.ScalingConfig(
            num_workers=resources.workers_per_trial,
            use_gpu=resources.gpus_per_worker > 0,
            resources_per_worker={
                "CPU": resources.cpus_per_worker - DRIVER_CPU,
                **({"GPU": resources.gpus_per_worker} if resources.gpus_per_worker else {}),
            },
        ),
        run_config=ray.train.RunConfig(
            name=f"group{values['group']}",
            storage_path=str(Path(values["run"]) / "tune" / "train"),
            failure_config=ray.train.FailureConfig(max_failures=-1),  # the post counts a training's
            callbacks=[_Lost(values["post"], values["group"])],
        ),
    )


def _run_group(trainer: "TorchTrainer", values: Mapping[str, Any]) -> None:
    try:
        trainer.fit()
    except Exception as error:
        with contextlib.suppress(Exception):  # where Ray itself has ended nobody waits for an answer
            values["post"].gone.remote(values["group"], f"{type(error).__name__}: {error}")


class _Lost(ray.train.UserCallback):
    """Tells the post that a group has lost a rank, as soon as Ray Train knows."""

    def __init__(self, post: "ActorHandle[Any]", group: int) -> None:
        self.post, self.group = post, group

    def after_exception(self, run_context: Any, worker_exceptions: Mapping[int, Exception]) -> None:  # noqa: ANN401
        rank, error = min(worker_exceptions.items())
        self.post.lost.remote(self.group, f"rank {rank}: {str(error).strip().splitlines()[-1]}")


class _Post:
    """An actor between those that want a training done and the groups of ranks that do it."""

    def __init__(self, groups: int) -> None:
        self.groups = set(range(groups))
        self.waiting: deque[dict[str, Any]] = deque()
        self.at_work: dict[int, dict[str, Any]] = {}
        self.answers: dict[Key, asyncio.Future[str]] = {}
        self.deaths: Counter[Key] = Counter()
        self.closed = False
        self.words = ""
        self.news = asyncio.Condition()

    async def train(self, training: dict[str, Any]) -> str:
        """Return when a group is done with a training, or it is given up: then what ended the last group."""
        key = Key(**training["key"])
        if not self.groups:
            return self.words
        if key not in self.answers:  # else whoever asked has died, and asks again
            self.answers[key] = asyncio.get_running_loop().create_future()
            self.waiting.append(training)
            await self._tell()
        return await asyncio.shield(self.answers[key])

    async def take(self, group: int, begins: bool) -> None:
        """Wait for a group's next training, or the end; called by its rank 0, which is done with the one before."""
        if group in self.at_work and not begins:
            self._answer(self.at_work.pop(group), "")
        async with self.news:
            await self.news.wait_for(lambda: self.waiting or self.closed or group in self.at_work)
            if self.waiting and group not in self.at_work:
                self.at_work[group] = self.waiting.popleft()

    async def current(self, group: int) -> dict[str, Any] | None:
        """Return the training that a group is to do; None: it is to end."""
        return self.at_work.get(group)

    async def lost(self, group: int, words: str) -> None:
        """Give a training to whichever group is free, since its own has lost a rank; or give it up."""
        training = self.at_work.pop(group, None)
        if training is None:
            return
        key = Key(**training["key"])
        self.deaths[key] += 1
        if self.deaths[key] > DEATHS_ALLOWED:
            self._answer(training, words)
        else:
            self.waiting.appendleft(training)
            await self._tell()

    async def gone(self, group: int, words: str) -> None:
        """Do without a group that Ray Train has given up; with the last one everything is given up."""
        self.words = words
        self.groups.discard(group)
        await self.lost(group, words)
        if not self.groups:
            for answer in self.answers.values():
                answer.set_result(words)
            self.answers.clear()

    async def close(self) -> None:
        """Let every group end that has nothing to do."""
        self.closed = True
        await self._tell()

    def _answer(self, training: dict[str, Any], words: str) -> None:
        self.answers.pop(Key(**training["key"])).set_result(words)

    async def _tell(self) -> None:
        async with self.news:
            self.news.notify_all()


def _rank(values: Mapping[str, Any]) -> None:
    """One rank: the same trainings as the others of its group, its slice of every batch."""
    import ray.train.torch
    import torch
    from ray.train.collective import barrier

    torch.set_num_threads(values["threads"])
    context = ray.train.get_context()
    rank, world_size = context.get_world_rank(), context.get_world_size()
    post, group, source = values["post"], values["group"], ray.get(values["source"])
    begins = True
    while True:
        if rank == 0:
            ray.get(post.take.remote(group, begins))
        barrier()
        given = ray.get(post.current.remote(group))
        if given is None:
            return
        cell = run_training(
            Training.from_dict(given),
            StudyConfig.from_dict(values["config"]),
            source,
            RunDirectory(Path(values["run"])),
            timeout=values["timeout"],
            device=str(ray.train.torch.get_device()),
            rank=rank,
            world_size=world_size,
        )
        if cell["state"] == "failed" and cell["reason"] != "diverged":
            # The others may not have failed, and would wait for this rank for ever: its failure has to end the group.
            raise RuntimeError(f"rank {rank}: {cell['error']}")
        begins = False
