"""Which classes come together, and which images stay in a continual learner's memory."""

import numpy as np
import pytest

from study.data.experiences import experiences, reservoir
from study.errors import InputError


def test_classes_are_dealt_out_equally_and_the_seed_says_how():
    parts = experiences(10, 5, order_seed=1)
    assert [len(part) for part in parts] == [2] * 5
    assert sorted(c for part in parts for c in part) == list(range(10))
    assert experiences(10, 5, order_seed=1) == parts
    assert experiences(10, 5, order_seed=2) != parts


@pytest.mark.parametrize(("count", "message"), [(1, "at least 2"), (3, "cannot be dealt out equally to 3")])
def test_experiences_that_cannot_be(count, message):
    with pytest.raises(InputError, match=message):
        experiences(10, count, order_seed=0)


def test_a_memory_with_room_takes_everything():
    assert reservoir([7], 1, np.array([3, 5]), 4, np.random.default_rng(0)) == [7, 3, 5]


def test_every_image_that_passed_is_remembered_with_the_same_probability():
    """60 images pass in two experiences of 20 and 40; each is in a memory of 6 with probability 1/10."""
    draws, seen = 4000, np.zeros(60)
    for draw in range(draws):
        generator = np.random.default_rng(draw)
        memory = reservoir([], 0, np.arange(20), 6, generator)
        memory = reservoir(memory, 20, np.arange(20, 60), 6, generator)
        assert len(set(memory)) == 6
        seen[memory] += 1
    # five standard deviations of a share of 1/10 in 4000 draws
    np.testing.assert_allclose(seen / draws, 0.1, atol=5 * np.sqrt(0.1 * 0.9 / draws))


def test_one_place_keeps_the_first_of_two_as_often_as_the_second():
    """Of 400 fair choices between 150 and 250 are one way, but in one of a million trials."""
    kept = [reservoir([], 0, np.arange(2), 1, np.random.default_rng(seed))[0] for seed in range(400)]
    assert 150 <= sum(kept) <= 250


def test_a_memory_needs_a_place():
    with pytest.raises(InputError, match="memory: expected at least 1 image, got 0"):
        reservoir([], 0, np.arange(3), 0, np.random.default_rng(0))
