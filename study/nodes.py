"""The nodes of a Ray cluster: how many trainings they hold, and what to do when none is left that holds one."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import ray

from study.config import Resources
from study.errors import CannotGoOn, InputError

LOOK_SECONDS = 5.0
SAY_SECONDS = 10.0
"""A node that comes back within this time is not worth a word."""

Nodes = Sequence[Mapping[str, Any]]


def concurrency(resources: Resources) -> int:
    """Return how many trainings the cluster holds at a time.

    Raises:
        InputError: not a single one.
    """
    nodes = ray.nodes()
    held = room(resources, nodes)
    if held < 1:
        raise InputError(f"{_asked(resources, nodes)}\nask for less, or --address another")
    return min(held, resources.max_concurrent or held)


def room(resources: Resources, nodes: Nodes) -> int:
    """Return how many trainings the living nodes hold at a time; a worker lies within one node."""
    need = _need(resources)
    there = [node["Resources"] for node in nodes if node["Alive"]]
    fits = (min(int(node.get(name, 0.0) / amount + 1e-9) for name, amount in need.items()) for node in there)
    return sum(fits) // resources.workers_per_trial


def _need(resources: Resources) -> dict[str, float]:
    workers = resources.workers_per_trial
    return {name: amount / workers for name, amount in resources.per_training.items() if amount > 0}


def _asked(resources: Resources, nodes: Nodes) -> str:
    need, workers = _need(resources), resources.workers_per_trial
    each = "one of its workers" if workers > 1 else "one training"
    given = ", ".join(f"{amount:g} {name}" for name, amount in need.items())
    there = "; ".join(
        ", ".join(f"{node['Resources'].get(name, 0.0):g} {name}" for name in need) for node in nodes if node["Alive"]
    )
    return f"{each} asks for {given}, {workers} at a time; the nodes of the cluster have: {there or 'nothing'}"


class NodeWatch:
    """Waits, and says so, while no living node has room for a training; gives up after a while.

    Args:
        resources: what a training needs, and how long to wait.
        nodes: what gives the cluster's nodes.
        clock: what gives the time in seconds.
        say: what tells the user.
    """

    def __init__(
        self,
        resources: Resources,
        nodes: Callable[[], Nodes] = ray.nodes,
        clock: Callable[[], float] = time.monotonic,
        say: Callable[[str], None] = print,
    ) -> None:
        self.resources, self.nodes, self.clock, self.say = resources, nodes, clock, say
        self.looked = clock()
        self.since: float | None = None
        self.said = False

    def look(self) -> None:
        """Look at the nodes, once in a few seconds however often this is called.

        Raises:
            CannotGoOn: there was no room for as long as `node_timeout` allows.
        """
        now = self.clock()
        if now - self.looked < LOOK_SECONDS:
            return
        self.looked, nodes = now, self.nodes()
        if room(self.resources, nodes) >= 1:
            if self.said:
                self.say("there is room again; going on")
            self.since, self.said = None, False
            return
        self.since = self.since if self.since is not None else now
        waited, limit = now - self.since, self.resources.node_timeout
        if waited >= limit:
            raise CannotGoOn(f"{_asked(self.resources, nodes)}\nno node joined within {limit:g} s (--node-timeout)")
        if waited >= SAY_SECONDS and not self.said:
            self.said = True
            self.say(f"{_asked(self.resources, nodes)}; waiting up to {limit:g} s for one to join")
