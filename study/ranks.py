"""Trainings as several data-parallel ranks through Ray Train: the same loop, each rank its slice of every batch.

To start ranks takes seconds (processes, imports, their meeting) and a search has hundreds of trainings. So groups of
ranks are started once, and each trains one training after another, as the pool's processes do. The post, an actor,
keeps them up: a training is left there, and the first group that is free takes it.

A group in which a rank fails, hangs or dies ends as a whole and is started again; what it was at goes on from its state
in whichever group is free. A failure that all ranks have come upon is the training's own and not tried again.
"""

import asyncio
import contextlib
import itertools
import os
import threading
from collections import Counter, deque
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ray
import ray.train
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from study.config import Resources, StudyConfig
from study.errors import CannotGoOn
from study.rank import run_rank
from study.run import Key, RunDirectory
from study.trial import DEATHS_ALLOWED, Training, failed_cell

if TYPE_CHECKING:
    from ray.actor import ActorHandle

    from study.data.types import Source

CLOSE_SECONDS = 20.0
"""So long is waited for the ranks to end that have nothing more to do."""
ORPHAN_SECONDS = 2.0
"""So long what is killed may still lay hold of something."""


def train_ranks(training: Training, run: RunDirectory, post: "ActorHandle[Any]") -> dict[str, Any]:
    """Have a group of ranks train this, and return the cell.

    R ranks with batches of b/R give what one process with batches of b gives, but for batch normalisation and random
    starts of adversarial training. A training whose group is lost goes on in the next free one, twice at most.

    Raises:
        CannotGoOn: there is no group of ranks any more, or nothing can be written.
    """
    cell = run.read_cell(training.key)
    if cell is not None:
        return cell
    try:
        trouble = ray.get(post.train.remote(training.to_dict()))
    except ray.exceptions.RayActorError as error:
        raise CannotGoOn(f"the process that gives trainings to ranks has died: {error}") from error
    cell = run.read_cell(training.key) if trouble else run.awaited_cell(training.key)
    if cell is None:
        raise CannotGoOn(trouble or f"{training.key}: the ranks ended without a cell")
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
    from study.rank_group import give_back  # not above: Tune's processes, which import this module, need none of it

    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    post = ray.remote(num_cpus=0, scheduling_strategy=here)(_Post).remote(
        str(run.path), groups, resources.workers_per_trial
    )
    values = {
        "config": config.to_dict(),
        "source": source,
        "run": str(run.path),
        "timeout": resources.trial_timeout,
        "threads": max(1, int(resources.cpus_per_worker)),
    }
    settings = {name: value for name, value in os.environ.items() if name.startswith("RAY_TRAIN_")}
    settings["RAY_WARN_BLOCKING_GET_INSIDE_ASYNC"] = "0"  # the post's threads wait for ranks, the post itself does not
    ended = False
    try:
        post.open.remote(values, resources, settings)
        yield post
        post.close.remote()
        with contextlib.suppress(ray.exceptions.RayError):  # they are not done yet, or the post is dead
            ray.get(post.ended.remote(), timeout=CLOSE_SECONDS)
            ended = True
    finally:
        ray.kill(post)  # and with it the processes that it still keeps up
        give_back(resources, 0.0 if ended else ORPHAN_SECONDS)


def _started(error: Exception) -> bool:
    """Say whether there was room for the ranks that ended with this error: for room any time is waited."""
    why = getattr(error, "controller_failure", None)
    return type(why).__name__ != "WorkerGroupStartupTimeoutError"


def _words(error: Exception) -> str:
    """Return what ended a group, in a line."""
    if not isinstance(error, ray.train.WorkerGroupError):
        return f"{type(error).__name__}: {_last_line(error)}"
    return "; ".join(f"rank {rank}: {_last_line(one)}" for rank, one in sorted(error.worker_failures.items()))


def _last_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[-1].strip()


class _Post:
    """An actor between those that want a training done and the groups of ranks that do it, which it keeps up.

    A training that is asked for is either `waiting` or `at_work` in one group, and has an answer to come: "" when its
    cell is written, or why the study cannot go on.
    """

    def __init__(self, run_path: str, groups: int, ranks: int) -> None:
        self.run, self.ranks = RunDirectory(Path(run_path)), ranks
        self.groups = set(range(groups))
        self.waiting: deque[Training] = deque()
        self.at_work: dict[int, Training] = {}
        self.answers: dict[Key, asyncio.Future[str]] = {}
        self.told: dict[int, dict[int, dict[str, Any]]] = {group: {} for group in range(groups)}
        self.deaths: Counter[Key] = Counter()
        self.attempts: Counter[int] = Counter()
        self.fruitless: Counter[int] = Counter()
        self.closed = False
        self.trouble = ""
        self.news = asyncio.Condition()
        self.threads: list[threading.Thread] = []

    async def open(self, values: dict[str, Any], resources: Resources, settings: Mapping[str, str]) -> None:
        """Begin to keep up the groups; `settings` are the driver's for Ray Train, which this node need not have."""
        os.environ.update(settings)
        loop, values = asyncio.get_running_loop(), {**values, "post": ray.get_runtime_context().current_actor}
        for group in self.groups:
            work = (loop, {**values, "group": group}, resources)
            self.threads.append(threading.Thread(target=self._keep_up, args=work, daemon=True))
            self.threads[-1].start()

    def _keep_up(self, loop: asyncio.AbstractEventLoop, values: Mapping[str, Any], resources: Resources) -> None:
        """Start a group of ranks, and again whenever it is lost, until it is closed or given up."""
        from study.rank_group import RankTrainer

        for attempt in itertools.count():
            try:
                RankTrainer(run_rank, {**values, "attempt": attempt}, resources).fit()
                return
            except Exception as error:
                lost = self.lost(values["group"], attempt, _words(error), _started(error))
                if not asyncio.run_coroutine_threadsafe(lost, loop).result():
                    return

    async def train(self, values: dict[str, Any]) -> str:
        """Return the training's answer, when it is there."""
        if self.trouble:
            return self.trouble
        training = Training.from_dict(values)
        answer = self.answers.get(training.key)
        if answer is None:  # else whoever asked has died, and asks again
            answer = self.answers[training.key] = asyncio.get_running_loop().create_future()
            self.waiting.append(training)
            await self._tell_groups()
        return await asyncio.shield(answer)

    async def take(self, group: int, attempt: int) -> dict[str, Any] | None:
        """Return a group's next training; None: it is to end. Its ranks are done with the one before.

        Args:
            group: which group.
            attempt: how often it was started before; a rank of an attempt that is over gets nothing.
        """
        if attempt == self.attempts[group] and group in self.at_work:
            self.fruitless[group] = 0
            self._answer(self.at_work.pop(group))
        async with self.news:
            await self.news.wait_for(lambda: self.waiting or self.closed or attempt != self.attempts[group])
            if attempt != self.attempts[group] or self.closed:
                return None
            self.at_work[group] = self.waiting.popleft()
            return self.at_work[group].to_dict()

    async def failed(self, group: int, attempt: int, rank: int, cell: dict[str, Any]) -> None:
        """Hear from a rank that its training has failed: the cell that it would write."""
        if attempt == self.attempts[group]:
            self.told[group][rank] = cell

    async def lost(self, group: int, attempt: int, words: str, started: bool = True) -> bool:
        """Hear that all ranks of a group have ended, or found no room, and why; say whether to start it again."""
        told, self.told[group] = self.told[group], {}
        self.attempts[group] = attempt + 1
        training = self.at_work.pop(group, None)
        if training is not None:
            self.fruitless[group] = 0
            self._try_again(training, told, words)
        else:
            self.fruitless[group] += started
        if self.fruitless[group] > DEATHS_ALLOWED:
            self.groups.discard(group)
        if not self.groups:
            await self.stop(f"ranks cannot be kept up: {words}")
        await self._tell_groups()
        return group in self.groups and not self.closed

    def _try_again(self, training: Training, told: Mapping[int, dict[str, Any]], words: str) -> None:
        """Leave the training of a lost group to another one, or write that it failed."""
        try:
            if self.run.read_cell(training.key) is not None:
                return self._answer(training)
        except OSError as error:
            return self._answer(training, f"{error.filename}: {error.strerror}")
        self.deaths[training.key] += 1
        own = len(told) == self.ranks and len({cell["error"] for cell in told.values()}) == 1
        if not own and self.deaths[training.key] <= DEATHS_ALLOWED:
            return self.waiting.appendleft(training)
        died = {"reason": "process", "error": f"its ranks died {self.deaths[training.key]} times, at last: {words}"}
        try:
            self.run.write_cell(training.key, told[0] if own else failed_cell(training.described(), died))
        except CannotGoOn as error:
            return self._answer(training, str(error))
        self.run.checkpoint(training.key).unlink(missing_ok=True)
        return self._answer(training)

    async def stop(self, trouble: str) -> None:
        """Answer everything that is asked, and will be, with why the study cannot go on."""
        self.trouble = self.trouble or trouble
        self.waiting.clear()
        for answer in self.answers.values():
            answer.set_result(self.trouble)
        self.answers.clear()
        await self.close()

    async def close(self) -> None:
        """Let every group end that is not at work."""
        self.closed = True
        self.waiting.clear()
        await self._tell_groups()

    async def ended(self) -> None:
        """Wait until all groups have."""
        for thread in self.threads:
            await asyncio.to_thread(thread.join)

    def _answer(self, training: Training, trouble: str = "") -> None:
        if training.key in self.answers:  # `stop` may have been before
            self.answers.pop(training.key).set_result(trouble)

    async def _tell_groups(self) -> None:
        async with self.news:
            self.news.notify_all()
