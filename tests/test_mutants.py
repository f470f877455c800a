"""A planted fault stands in the file once, or the list of faults has gone stale and says so."""

import pytest

from benchmarks.faults import Fault
from benchmarks.mutants import Outcome, Stale, chosen, planted, report

FAULT = Fault("sign", "Gains count as losses.", "study/x.py", "a - b", "b - a", ("tests/test_x.py",))


def test_a_fault_replaces_its_text_and_nothing_else():
    assert planted("x = a - b\ny = 1\n", FAULT) == "x = b - a\ny = 1\n"


@pytest.mark.parametrize(("text", "times"), [("x = 1", 0), ("a - b\na - b", 2)])
def test_a_text_that_does_not_stand_there_once_is_stale(text, times):
    with pytest.raises(Stale, match=rf"sign: expected its text once in study/x.py, found {times} times:\na - b"):
        planted(text, FAULT)


def test_an_unknown_name_is_refused():
    with pytest.raises(Stale, match="unknown faults: no-such-fault"):
        chosen(["no-such-fault"])


def test_the_report_counts_and_names_what_was_missed():
    outcomes = [Outcome(FAULT, "tests/test_x.py::test_sign", False, 1.0), Outcome(FAULT, "", True, 2.0)]
    text = report(outcomes, "python -m benchmarks.mutants")
    assert "2 faults, one at a time: 1 caught, 1 missed" in text
    assert "| sign | Gains count as losses. | `study/x.py` | `tests/test_x.py`, `test_sign` |" in text
    assert "| sign | Gains count as losses. | `study/x.py` | MISSED |" in text
