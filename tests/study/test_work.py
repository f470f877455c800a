"""Which job can be done now."""

import pytest

from study.run import Key
from study.work import Job, JobFeed

FIRST, SECOND, THIRD = (Key("attack", "plain", "ce", "tuned", 0, n) for n in range(3))


def job(key, *after):
    return Job(key, lambda *_: {}, after)


def test_a_job_waits_for_those_before_it_and_for_nobody_who_is_not_asked_for():
    feed = JobFeed([job(SECOND, FIRST), job(FIRST, THIRD)])
    first = feed.next()
    assert first.key == FIRST
    assert feed.next() is None
    assert not feed.finished()
    feed.done(first, {})
    assert feed.next().key == SECOND
    assert feed.finished()


def test_jobs_that_wait_for_each_other_are_an_error_and_not_a_wait_for_ever():
    feed = JobFeed([job(FIRST), job(SECOND, THIRD), job(THIRD, SECOND)])
    first = feed.next()
    assert feed.next() is None, "the first one still runs"
    feed.done(first, {})
    with pytest.raises(RuntimeError, match="wait for each other"):
        feed.next()
