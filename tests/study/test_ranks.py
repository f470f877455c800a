"""The post between trainings and the groups of ranks that do them, without Ray."""

import asyncio

from study.ranks import _Post
from study.run import Key
from study.trial import Training


def training(number):
    return Training(Key("confirm", "plain", "ce", "default", 0, number), {}, {}, 0).to_dict()


def played(scene, groups=1):
    """Play a scene: an async function of a post, of what takes for a group, and of what asks for a training."""

    async def play():
        post = _Post(groups)

        async def take(group=0, begins=False):
            await asyncio.wait_for(post.take(group, begins), 5)
            given = await post.current(group)
            return None if given is None else given["key"]["number"]

        async def ask(number):
            asked = asyncio.ensure_future(post.train(training(number)))
            await asyncio.sleep(0)  # so that it is left at the post
            return asked

        await scene(post, take, ask)

    asyncio.run(play())


def test_a_group_takes_one_training_after_another_and_each_is_answered_when_it_is_done():
    async def scene(post, take, ask):
        first, second = await ask(0), await ask(1)
        assert await take(begins=True) == 0
        assert not first.done()
        assert await take() == 1
        assert await first == ""
        await post.close()
        assert await take() is None
        assert await second == ""

    played(scene)


def test_whichever_group_is_free_takes_the_next():
    async def scene(post, take, ask):
        await ask(0)
        second = await ask(1)
        assert [await take(0, True), await take(1, True)] == [0, 1]
        third = await ask(2)
        assert await take(1) == 2
        assert await second == ""
        assert not third.done()

    played(scene, groups=2)


def test_a_training_that_is_asked_for_twice_is_done_once():
    async def scene(post, take, ask):
        asked = [await ask(0), await ask(0)]
        assert await take(begins=True) == 0
        await post.close()
        assert await take() is None
        assert await asyncio.gather(*asked) == ["", ""]

    played(scene)


def test_what_a_lost_group_was_at_goes_to_another_first_and_is_given_up_the_third_time():
    async def scene(post, take, ask):
        asked, other = await ask(0), await ask(1)
        for group in (0, 1, 0):
            assert await take(group, True) == 0
            await post.lost(group, f"rank 1: killed in group {group}")
        assert await asked == "rank 1: killed in group 0"
        assert await take(1, True) == 1, "a death is counted for the training that it interrupted"
        await post.lost(1, "again")
        assert await take(0, True) == 1
        assert not other.done()

    played(scene, groups=2)


def test_a_group_that_is_lost_while_it_waits_loses_no_training():
    async def scene(post, take, ask):
        stale = asyncio.ensure_future(post.take(0, True))  # of a rank that is killed before a training comes
        await asyncio.sleep(0)
        await post.lost(0, "killed")
        asked = await ask(0)
        await stale
        assert await take(begins=True) == 0, "what the dead rank was given is the next one's"
        assert not asked.done()
        await post.close()
        assert await take() is None
        assert await asked == ""

    played(scene)


def test_when_no_group_is_left_everything_is_answered():
    async def scene(post, take, ask):
        asked = [await ask(0), await ask(1)]
        assert await take(0, True) == 0
        await post.gone(0, "ValueError: no such device")
        assert await take(1, True) == 0
        await post.gone(1, "ValueError: no such device")
        assert await asyncio.gather(*asked) == ["ValueError: no such device"] * 2
        assert await (await ask(2)) == "ValueError: no such device"

    played(scene, groups=2)
