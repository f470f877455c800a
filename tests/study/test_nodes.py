"""A cluster that loses and gains nodes, seen through what it says of itself; time is a number here."""

import pytest

from study.config import Resources
from study.errors import CannotGoOn, InputError
from study.nodes import LOOK_SECONDS, NodeWatch, room


def node(alive=True, **resources):
    return {"Alive": alive, "Resources": resources}


@pytest.mark.parametrize(
    ("asked", "nodes", "holds"),
    [
        ({}, [node(CPU=2.0), node(CPU=3.0)], 5),
        ({}, [node(CPU=2.0), node(alive=False, CPU=3.0)], 2),
        ({"cpus_per_trial": 2.0}, [node(CPU=3.0), node(CPU=3.0)], 2),
        ({"gpus_per_trial": 0.25}, [node(CPU=8.0, GPU=1.0), node(CPU=64.0)], 4),
        ({"gpus_per_trial": 0.25}, [node(CPU=2.0, GPU=1.0)], 2),
        ({"workers_per_trial": 2}, [node(CPU=1.0), node(CPU=2.0)], 1),
        ({"workers_per_trial": 4, "cpus_per_worker": 2.0}, [node(CPU=3.0)] * 4, 1),
        ({"workers_per_trial": 4, "cpus_per_worker": 2.0}, [node(CPU=7.0)], 0),
        ({}, [], 0),
    ],
)
def test_a_worker_lies_within_one_node(asked, nodes, holds):
    assert room(Resources(**asked), nodes) == holds


class Cluster:
    """A clock that is set, nodes that are given, words that are kept."""

    def __init__(self, limit):
        self.now, self.there, self.words, self.looks = 0.0, [node(CPU=2.0)], [], 0
        self.watch = NodeWatch(Resources(node_timeout=limit), self._nodes, lambda: self.now, self.words.append)

    def _nodes(self):
        self.looks += 1
        return self.there

    def until(self, end):
        while self.now < end:
            self.now += 1
            self.watch.look()


def test_it_waits_says_so_once_and_goes_on_when_a_node_joins():
    cluster = Cluster(limit=60)
    cluster.until(20)
    assert not cluster.words
    assert cluster.looks == 20 / LOOK_SECONDS
    cluster.there = [node(alive=False, CPU=2.0)]
    cluster.until(60)
    (words,) = cluster.words
    assert "one training asks for 1 CPU" in words
    assert "the cluster have: nothing; waiting up to 60 s" in words
    cluster.there = [node(CPU=1.0)]
    cluster.until(200)
    assert cluster.words[1:] == ["there is room again; going on"]


def test_it_ends_after_the_stated_time_and_not_before():
    cluster = Cluster(limit=60)
    cluster.there = [node(CPU=0.5)]
    cluster.until(64)  # looked at from second 5 on
    with pytest.raises(CannotGoOn, match=r"no node joined within 60 s \(--node-timeout\)") as raised:
        cluster.until(66)
    assert "have: 0.5 CPU" in str(raised.value)


def test_a_short_gap_is_not_worth_a_word_and_starts_no_sum():
    cluster = Cluster(limit=30)
    for _ in range(10):
        cluster.there = []
        cluster.until(cluster.now + 8)
        cluster.there = [node(CPU=2.0)]
        cluster.until(cluster.now + 6)
    assert not cluster.words


def test_a_negative_limit_is_refused():
    with pytest.raises(InputError, match="--node-timeout"):
        Resources(node_timeout=-1)
