"""The post between trainings and the groups of ranks that do them, without a running Ray."""

import asyncio

import pytest

from study.config import Resources
from study.errors import CannotGoOn
from study.pool import _Kept
from study.rank_group import NOT_NEEDED, RankTrainer, _FixedSize
from study.ranks import _Post, _words
from study.run import Key, RunDirectory
from study.trial import Training

FAILED = {"state": "failed", "reason": "error", "error": "ArithmeticError: no such number"}


def training(number):
    return Training(Key("confirm", "plain", "ce", "default", 0, number), {}, {}, 0)


def cell(path, number):
    content = RunDirectory(path).read_cell(training(number).key)
    return {name: value for name, value in content.items() if name != "key"}


@pytest.fixture
def play(tmp_path):
    """Play a scene: an async function of a post, of what takes for a group, and of what asks for a training."""

    def played(scene, groups=1):
        async def play():
            post = _Post(str(tmp_path), groups, ranks=2)

            async def take(group=0, attempt=0):
                given = await asyncio.wait_for(post.take(group, attempt), 5)
                return None if given is None else Training.from_dict(given).key.number

            async def ask(number):
                asked = asyncio.ensure_future(post.train(training(number).to_dict()))
                await asyncio.sleep(0)  # so that it is left at the post
                return asked

            await scene(post, take, ask)

        asyncio.run(play())

    return played


def test_a_group_takes_one_training_after_another_and_each_is_answered_when_it_is_done(play):
    async def scene(post, take, ask):
        first, second = await ask(0), await ask(1)
        assert await take() == 0
        assert not first.done()
        assert await take() == 1
        assert await first == ""
        await post.close()
        assert await take() is None
        assert await second == ""

    play(scene)


def test_whichever_group_is_free_takes_the_next(play):
    async def scene(post, take, ask):
        await ask(0)
        second = await ask(1)
        assert [await take(0), await take(1)] == [0, 1]
        third = await ask(2)
        assert await take(1) == 2
        assert await second == ""
        assert not third.done()

    play(scene, groups=2)


def test_a_training_that_is_asked_for_twice_is_done_once(play):
    async def scene(post, take, ask):
        asked = [await ask(0), await ask(0)]
        assert await take() == 0
        await post.close()
        assert await take() is None
        assert await asyncio.gather(*asked) == ["", ""]

    play(scene)


def test_what_a_lost_group_was_at_goes_to_another_first_and_is_given_up_the_third_time(play, tmp_path):
    async def scene(post, take, ask):
        asked, other = await ask(0), await ask(1)
        for group, attempt in ((0, 0), (1, 0), (0, 1)):
            assert await take(group, attempt) == 0
            await post.failed(group, attempt, 0, FAILED)  # which may follow from the other's death
            assert await post.lost(group, attempt, f"rank 1: killed in group {group}")
        assert await asked == ""
        assert cell(tmp_path, 0)["reason"] == "process"
        assert cell(tmp_path, 0)["error"] == "its ranks died 3 times, at last: rank 1: killed in group 0"
        assert await take(1, 1) == 1, "a death is counted for the training that it interrupted"
        assert await post.lost(1, 1, "again")
        assert await take(0, 2) == 1
        assert not other.done()

    play(scene, groups=2)


def test_what_all_ranks_failed_at_has_failed_and_is_not_tried_again(play, tmp_path):
    async def scene(post, take, ask):
        asked = await ask(0)
        assert await take() == 0
        for rank in (1, 0):
            await post.failed(0, 0, rank, FAILED)
        assert await post.lost(0, 0, "rank 0: ArithmeticError")
        assert await asked == ""
        assert cell(tmp_path, 0) == FAILED

    play(scene)


def test_what_ranks_failed_at_differently_is_tried_again(play):
    async def scene(post, take, ask):
        asked = await ask(0)
        assert await take() == 0
        await post.failed(0, 0, 1, FAILED)
        await post.failed(0, 0, 0, FAILED | {"error": "RuntimeError: connection closed by peer"})
        assert await post.lost(0, 0, "rank 1: ArithmeticError")
        assert await take(0, 1) == 0
        for rank in (0, 1):
            await post.failed(0, 0, rank, FAILED)  # of ranks that are gone
        assert await post.lost(0, 1, "killed")
        assert await take(0, 2) == 0
        assert not asked.done()

    play(scene)


def test_for_room_any_time_is_waited(play):
    async def scene(post, take, ask):
        assert all([await post.lost(0, attempt, "no room", started=False) for attempt in range(9)])
        await post.close()
        assert not await post.lost(0, 9, "no room", started=False)

    play(scene)


def test_a_cell_that_was_written_before_its_group_was_lost_counts(play, tmp_path):
    async def scene(post, take, ask):
        asked = await ask(0)
        assert await take() == 0
        RunDirectory(tmp_path).write_cell(training(0).key, {"state": "complete"})
        assert await post.lost(0, 0, "rank 1: killed")
        assert await asked == ""

    play(scene)
    assert cell(tmp_path, 0) == {"state": "complete"}


def test_a_cell_that_cannot_be_read_now_is_said_to_who_waits_for_it(play, monkeypatch):
    def fails(run, key):
        raise OSError(5, "Input/output error", "cell.json")

    async def scene(post, take, ask):
        asked = await ask(0)
        assert await take() == 0
        monkeypatch.setattr(RunDirectory, "read_cell", fails)
        assert await post.lost(0, 0, "rank 1: killed")
        assert await asked == "cell.json: Input/output error"

    play(scene)


def test_a_rank_of_a_group_that_was_lost_takes_nothing(play):
    async def scene(post, take, ask):
        stale = asyncio.ensure_future(take(0, 0))
        await asyncio.sleep(0)
        assert await post.lost(0, 0, "killed")
        assert await stale is None
        asked = await ask(0)
        assert await take(0, 0) is None
        assert await take(0, 1) == 0
        assert await take(0, 0) is None
        assert not asked.done(), "nor does it end what the next ones are at"

    play(scene)


def test_groups_that_cannot_be_kept_up_are_given_up_and_with_the_last_the_study(play):
    async def scene(post, take, ask):
        asked = [await ask(0), await ask(1)]
        assert [await post.lost(0, attempt, "no such device") for attempt in range(3)] == [True, True, False]
        assert await take(1) == 0
        assert await post.lost(1, 0, "killed")
        assert await take(1, 1) == 0
        assert await take(1, 1) == 1
        assert await asked[0] == ""
        assert [await post.lost(1, attempt, "no such device") for attempt in (1, 2, 3, 4)] == [True, True, True, False]
        words = "ranks cannot be kept up: no such device"
        assert await asked[1] == words
        assert await (await ask(2)) == words

    play(scene, groups=2)


def test_where_nothing_can_be_written_the_study_does_not_go_on(play, monkeypatch):
    async def scene(post, take, ask):
        asked, other = await ask(0), await ask(1)
        assert await take() == 0
        for rank in (0, 1):
            await post.failed(0, 0, rank, FAILED)
        monkeypatch.setattr(RunDirectory, "write_cell", full)
        await post.lost(0, 0, "rank 0: ArithmeticError")
        assert await asked == "the disk is full"
        await post.stop("the disk is full")
        assert await other == "the disk is full"
        assert await take(0, 1) is None

    def full(run, key, content):
        raise CannotGoOn("the disk is full")

    play(scene)


@pytest.mark.filterwarnings("ignore:.use_.* is deprecated:DeprecationWarning")  # defaults of Ray Data's own
def test_a_group_has_the_callbacks_of_ray_train_but_for_two(tmp_path):
    from ray.train.torch import TorchTrainer

    values = {"group": 0, "run": str(tmp_path)}
    whole = TorchTrainer(print)._create_default_callbacks()
    ours = RankTrainer(print, values, Resources(workers_per_trial=2))._create_default_callbacks()
    names = [type(callback).__name__ for callback in whole]
    assert set(names) >= NOT_NEEDED, "another name would let it in again"
    assert [type(callback).__name__ for callback in ours] == [name for name in names if name not in NOT_NEEDED]


@pytest.mark.parametrize("ours", [RankTrainer, _FixedSize, _Kept])
def test_what_is_overridden_still_has_its_name_in_ray(ours):
    names = {name for name, value in vars(ours).items() if callable(value)}
    assert names
    assert names <= set(dir(ours.__base__))


def test_what_ended_a_group_is_said_in_a_line():
    from ray.train import WorkerGroupError

    assert _words(MemoryError()) == "MemoryError: MemoryError"
    failures = {1: RuntimeError("Traceback:\n  …\nOSError: killed\n"), 0: ValueError("closed")}
    assert _words(WorkerGroupError("long", failures)) == "rank 0: closed; rank 1: OSError: killed"
