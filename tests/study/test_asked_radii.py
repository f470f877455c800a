"""Radii as they are typed and named: one radius has one name, whoever types it and however."""

import argparse
from dataclasses import replace

import pytest

from study import evaluate
from study.errors import InputError
from study.options import study_config
from study.radii import named, radius


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0.1", 0.1),
        ("8/255", 8 / 255),
        ("0.0313725", 8 / 255),
        ("0.00392157", 1 / 255),
        ("0.00196078", 0.5 / 255),
        ("0.5/255", 0.5 / 255),
        ("0.0314", 0.0314),
        ("0.2", 0.2),
        ("0", 0.0),
        ("1", 1.0),
    ],
)
def test_a_radius_is_what_its_name_says(text, value):
    assert radius(text) == value
    assert radius(named(value)) == value


@pytest.mark.parametrize("text", ["8/0", "x", "", "8/255/2"])
def test_what_is_no_radius_is_refused(text):
    with pytest.raises(argparse.ArgumentTypeError, match="expected a number or a fraction"):
        radius(text)


def asked(config, *words):
    return evaluate.asked_for(config, evaluate.parser().parse_args(["RUN", *words]))


NATURAL = study_config({"task": "adversarial", "dataset": "cifar10", "preset": "full"})


def test_a_radius_that_the_run_has_is_not_asked_for_again():
    level = next(eps for eps in NATURAL.eps if eps == round(eps * 255) / 255 and named(eps) != repr(eps))
    assert asked(NATURAL, "--norms", "Linf", "--eps", named(level)) == NATURAL
    assert asked(NATURAL, "--norms", "Linf", "--eps", "16/255").eps == (*NATURAL.eps, 16 / 255)


def test_a_radius_that_was_recorded_as_it_was_typed_is_the_one_that_is_asked_for():
    typed = replace(NATURAL, eps=(0.00392157, 0.1), l2_eps=())
    for word in ("0.00392157", "1/255"):
        assert asked(typed, "--eps", word) == typed
    assert replace(NATURAL, eps=(0.1, 0.1)).eps == (0.1, 0.1), "as a run may have them"


def test_two_radii_of_one_name_are_refused():
    with pytest.raises(InputError, match=r"first six digits, got Linf 0\.0313725 twice"):
        replace(NATURAL, eps=(8 / 255, 0.0313725))


def test_attacks_are_asked_for_where_there_are_some():
    none, continual = replace(NATURAL, attacks="none"), study_config({"task": "continual", "preset": "smoke"})
    with pytest.raises(InputError, match=r"--eps: nothing is attacked here\nallowed with it: --attacks quick"):
        asked(none, "--eps", "0.1")
    with pytest.raises(InputError, match="--attacks: models of task continual are not attacked: the field reports"):
        asked(continual, "--attacks", "standard")
    assert asked(none, "--attacks", "quick", "--norms", "Linf", "--eps", "16/255").attacks == "quick"
    assert asked(NATURAL, "--attacks", "none").attacks == "none"
    assert asked(continual) == continual
