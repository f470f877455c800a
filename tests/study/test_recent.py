"""What a process keeps: how many bytes, and in which order things go."""

import numpy as np
import pytest

from study import measure
from study.data.embedded import digits
from study.recent import KEPT_BYTES, Recent, image_bytes
from tests.study.test_search import config


@pytest.fixture
def asked():
    """Ask for things of as many bytes as their names have letters, and note which had to be made."""
    kept, made = Recent(10), []

    def ask(name):
        return kept.get(name, lambda: made.append(name) or name.upper(), len)

    return kept, made, ask


def test_what_was_not_asked_for_longest_goes_first(asked):
    kept, made, ask = asked
    assert [ask(name) for name in ("aaaa", "bbb", "ccc", "aaaa")] == ["AAAA", "BBB", "CCC", "AAAA"]
    assert (made, kept.bytes, len(kept)) == (["aaaa", "bbb", "ccc"], 10, 3)
    ask("d")  # 11 bytes with it: bbb goes, as aaaa was asked for since
    assert (kept.bytes, len(kept)) == (8, 3)
    ask("aaaa")
    ask("ccc")
    ask("bbb")
    assert made == ["aaaa", "bbb", "ccc", "d", "bbb"]


def test_what_is_asked_for_stays_however_large_it_is(asked):
    kept, made, ask = asked
    for name in ("a", "b" * 11, "b" * 11):
        ask(name)
    assert (made, kept.bytes) == (["a", "b" * 11], 11)
    ask("a")
    assert (kept.bytes, len(kept)) == (1, 1)


def test_sets_from_outside_do_not_heap_up(monkeypatch):
    """Of digits of 8x8 pixels; letters and known digits have a label of 8 bytes each."""
    study, source = config(dataset="digits"), digits()
    monkeypatch.setattr(measure, "_OUTSIDE", Recent())
    assert measure._OUTSIDE.limit == KEPT_BYTES
    first = measure.outside(study, source, 0)
    size = sum(len(out) * (64 + 8 * (out.labels is not None)) for out in first)
    assert measure._OUTSIDE.bytes == image_bytes(first) == size > 7 * 300 * 64
    assert measure.outside(study, source, 0) is first
    measure._OUTSIDE.limit = size
    assert measure.outside(study, source, 1) is not first
    assert len(measure._OUTSIDE) == 1
    for out, again in zip(first, measure.outside(study, source, 0), strict=True):
        assert np.array_equal(out.images, again.images)
