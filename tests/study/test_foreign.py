"""Models from elsewhere get the figures that the run's own would get."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from study import confirm, foreign, tables
from study.data.embedded import digits
from study.errors import InputError
from study.evaluate import main
from study.foreign import Foreign, add, outputs_of, parse, parse_all
from study.ledger import Aim, attack_keys, radius_key
from study.measure import outside, read_scores
from study.options import study_config
from study.outputs import from_scores
from study.probes.attack_verdicts import robust
from study.run import RunDirectory
from study.training import predict
from tests.study.pipeline import attack_everything, train_everything

FIGURE = ["probe", "dataset", "slice", "metric"]


def build():
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))


class InBetween(nn.Module):
    """Has features and a head, with something in between that only it knows of."""

    def __init__(self, features, between, head):
        super().__init__()
        self.features, self.between, self.head = features, between, head

    def forward(self, images):
        return self.head(self.between(self.features(images)))


def flattens():
    torch.manual_seed(0)
    return InBetween(nn.Conv2d(1, 4, 8), nn.Flatten(), nn.Linear(4, 10))


def rectifies():
    torch.manual_seed(0)
    return InBetween(nn.Sequential(nn.Flatten(), nn.Linear(64, 16)), nn.ReLU(), nn.Linear(16, 10))


def composes():
    torch.manual_seed(0)
    return InBetween(nn.Sequential(nn.Flatten(), nn.Linear(64, 16)), nn.Identity(), nn.Linear(16, 10))


def wrong_classes():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 7))


def fails():
    raise RuntimeError("no such file")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A study of one loss whose models were measured and attacked at two radii."""
    given = {"losses": ("ce",), "replicates": 1, "trials": 2, "epochs": 2, "eps": (0.05, 0.1), "attack_points": 20}
    config = study_config({"task": "imbalanced", "preset": "smoke", **given})
    run = RunDirectory(tmp_path_factory.mktemp("finished"))
    train_everything(config, run, digits())
    attack_everything(config, run, digits())
    return config, run


def figures(config, run, name):
    built = tables.build(config, run, confirm.winners(config, run))
    if name == "ce":
        own = built["evaluation"]
        own = own[(own["arm"] == "tuned") & (own["seed"] == 0)]
    else:
        own = built["foreign"][built["foreign"]["loss"] == name]
        assert set(own["method"]) == set(own["arm"]) == {"foreign"}
    return own.set_index(FIGURE)["value"].sort_index()


def stored(config, run):
    """The tuned model's outputs as somebody else would hand them over."""
    key = next(key for key in attack_keys(config, run) if key.arm == "tuned")
    arrays = read_scores(run.scores(key.at("evaluate")))
    about = json.loads(arrays["about"].tobytes())
    logits, labels, sets = [], [], []
    names = [("test", "test"), ("validation", "validation")]
    names += [(f"outside{i}", f"{entry['group']}:{entry['name']}") for i, entry in enumerate(about["outside"])]
    for place, name in names:
        logits.append(arrays[f"{place}/logits"])
        labels.append(arrays.get(f"{place}/labels", np.full(len(logits[-1]), -1)))
        sets += [name] * len(logits[-1])
    return {"logits": np.concatenate(logits), "labels": np.concatenate(labels), "sets": np.array(sets)}


def test_the_runs_own_weights_give_the_runs_own_figures(finished):
    config, run = finished
    weights = run.path / "models" / "plain" / "ce" / "tuned-0-0.pt"
    about = add(Foreign("again", str(weights)), "mlp", config, digits(), run)
    assert about["network"] == "mlp"
    assert len(about["sha256"]) == 64
    mine, theirs = figures(config, run, "ce"), figures(config, run, "again")
    pd.testing.assert_series_equal(mine[mine.index.isin(theirs.index)], theirs)
    assert set(mine.index) == set(theirs.index)
    assert "ce" in set(tables.build(config, run, confirm.winners(config, run))["evaluation"]["loss"])


def test_outputs_in_a_file_give_the_runs_own_figures(finished, tmp_path):
    config, run = finished
    np.savez(tmp_path / "outputs.npz", **stored(config, run))
    add(Foreign("file", str(tmp_path / "outputs.npz")), "", config, digits(), run)
    mine, theirs = figures(config, run, "ce"), figures(config, run, "file")
    pd.testing.assert_series_equal(mine[theirs.index], theirs)
    assert {"accuracy", "posthoc", "rejection", "calibration", "dar", "shifted"} == set(theirs.reset_index()["probe"])


def test_a_function_is_measured_and_attacked(finished):
    config, run = finished
    add(Foreign("linear", "tests.study.test_foreign:build"), "", config, digits(), run)
    found = figures(config, run, "linear")
    assert (
        0
        <= found["attack", "test", "Linf-0.1", "robust_accuracy"]
        <= found["attack", "test", "Linf-0.05", "robust_accuracy"]
    )
    assert 0 < found["rejection", "group:near", "mls", "auroc"] < 1
    harder = replace(config, attacks="standard")
    assert "attack" not in set(figures(harder, run, "linear").reset_index()["probe"]), (
        "other attacks than the run's own"
    )
    assert ("rejection", "group:near", "knn", "auroc") not in found.index, "it has no features"


@pytest.mark.parametrize("make", [flattens, rectifies, composes])
def test_features_count_only_where_the_logits_are_those_of_the_head_on_them(finished, make):
    config, run = finished
    model = Foreign("parts", f"tests.study.test_foreign:{make.__name__}")
    add(model, "", config, digits(), run)
    network, arrays = make().eval(), read_scores(run.scores(model.key))
    for index, out in enumerate(outside(config, digits(), 0)):
        np.testing.assert_allclose(arrays[f"outside{index}/logits"], predict(network, out.images), rtol=1e-5, atol=1e-5)
    assert ("test/knn" in arrays) == (make is composes)
    found = figures(config, run, "parts")
    assert 0 < found["rejection", "group:near", "mls", "auroc"] < 1
    assert (("rejection", "group:near", "knn", "auroc") in found.index) == (make is composes)


@pytest.mark.parametrize(
    ("source", "network", "said"),
    [
        ("tests.study.test_foreign:wrong_classes", "mlp", r"expected finite logits \(2, 10\) .* got \(2, 7\)"),
        ("tests.study.test_foreign:fails", "mlp", "raised RuntimeError: no such file"),
        ("tests.study.test_foreign:nowhere", "mlp", "cannot import"),
        ("tests.study.test_foreign:FIGURE", "mlp", "'list' object is not callable"),
        ("nothing.pt", "mlp", "no such file"),
        ("nothing.npz", "mlp", "no such file"),
        ("WEIGHTS", "mlpp", "unknown --model"),
        ("WEIGHTS", "small_cnn", "not the weights of small_cnn for these data: they lack"),
        ("TEXT", "mlp", "expected weights that torch.load"),
    ],
)  # fmt: skip
def test_what_cannot_be_measured_is_refused_and_nothing_is_lost(finished, tmp_path, source, network, said):
    config, run = finished
    (tmp_path / "text.pt").write_text("these are no weights")
    weights = run.path / "models" / "plain" / "ce" / "tuned-0-0.pt"
    real = {"WEIGHTS": str(weights), "TEXT": str(tmp_path / "text.pt")}.get(source, source)
    add(Foreign("kept", str(weights)), "mlp", config, digits(), run)
    before = figures(config, run, "kept")
    with pytest.raises(InputError, match=said):
        add(Foreign("kept", real), network, config, digits(), run)
    pd.testing.assert_series_equal(figures(config, run, "kept"), before)


@pytest.fixture
def attacked(monkeypatch):
    """The radii of the blocks that were attacked; after so many (None: never) an attack is interrupted."""
    radii, ends = [], [None]
    real = foreign.attack_points

    def attack(subject, aim, *rest):
        if len(radii) == ends[0]:
            raise KeyboardInterrupt
        radii.append(aim.eps)
        return real(subject, aim, *rest)

    monkeypatch.setattr(foreign, "attack_points", attack)
    return radii, ends


def test_an_interrupted_model_shows_nothing_and_goes_on_where_it_was(finished, attacked, monkeypatch):
    config, run = finished
    radii, ends = attacked
    function = "tests.study.test_foreign:build"
    add(Foreign("whole", function), "", config, digits(), run)
    add(Foreign("cut", str(run.path / "models" / "plain" / "ce" / "tuned-0-0.pt")), "mlp", config, digits(), run)
    before = figures(config, run, "cut")
    radii.clear()
    ends[0] = 1
    with pytest.raises(KeyboardInterrupt):
        add(Foreign("cut", function), "", config, digits(), run)
    assert radii == [0.05]
    pd.testing.assert_series_equal(figures(config, run, "cut"), before)
    run.tell_damage()
    ends[0] = None
    add(Foreign("cut", function), "", config, digits(), run)
    assert radii == [0.05, 0.1], "the first radius is not attacked again"
    pd.testing.assert_series_equal(figures(config, run, "cut"), figures(config, run, "whole"))
    add(Foreign("cut", function), "", config, digits(), run)
    assert radii == [0.05, 0.1], "nor is anything of a model that was measured"

    other = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    monkeypatch.setattr("tests.study.test_foreign.build", lambda: other)
    add(Foreign("cut", function), "", config, digits(), run)
    assert radii == [0.05, 0.1, 0.05, 0.1], "the function gives another model now"

    key, smaller = Foreign("cut", "").key, replace(config, eps=(0.01, 0.05))
    add(Foreign("cut", function), "", smaller, digits(), run)
    assert radii[4:] == [0.01, 0.05], "what has fallen at a smaller radius is told to the larger one"
    below, above = (read_scores(run.scores(radius_key(smaller, key, Aim("Linf", eps)))) for eps in (0.01, 0.05))
    assert np.array_equal(above["carried"], below["clean"] & ~robust(below))


@pytest.mark.parametrize("text", ["x", "=y.npz", "a=", "a=y.txt"])
def test_what_is_asked_for_must_be_name_and_source(text):
    with pytest.raises(InputError, match=r"allowed( sources)?: FILE\.npz"):
        parse(text)


def test_a_name_is_given_once():
    """Under one name the second model would take the place of the first."""
    assert parse_all(["a=x.npz", "b=x.npz"]) == [Foreign("a", "x.npz"), Foreign("b", "x.npz")]
    with pytest.raises(InputError, match=r"a name for each model, got more than once: twice$"):
        parse_all(["twice=a.npz", "once=a.npz", "twice=b.npz"])


def test_a_losss_name_is_taken():
    with pytest.raises(InputError, match="the run has a loss 'ce'"):
        parse("ce=y.npz", ("ce",))


SMALL = {
    "logits": np.array([[2.0, 0.0], [0.0, 1.0], [0.5, 0.0], [0.1, 0.0]]),
    "labels": np.array([0, 1, 1, -1]),
    "sets": np.array(["test", "test", "test", "near:other"]),
}


def test_a_file_alone_is_measured_and_written_beside(tmp_path, capsys):
    np.savez(tmp_path / "small.npz", **SMALL)
    assert main([str(tmp_path / "small.npz")]) == 0
    rows = pd.read_csv(tmp_path / "small.metrics.csv").set_index(FIGURE)["value"]
    assert rows["accuracy", "test", "all", "accuracy"] == pytest.approx(2 / 3)
    assert rows["rejection", "other", "mls", "auroc"] == 1.0
    assert "small.npz" in capsys.readouterr().out


def test_brackets_and_colons_in_names_are_text(tmp_path, capsys):
    path = tmp_path / "a[red].npz"
    np.savez(path, **{**SMALL, "sets": np.array(["test", "test", "near:[/x]", "far:[red]:cat:"])})
    assert main([str(path)]) == 0
    said = capsys.readouterr().out
    for name in ("a[red].npz", "[/x]", "[red]:cat:"):
        assert name in said


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"labels": None}, "expected the arrays logits and labels, got: logits, sets"),
        ({"logits": np.array([1.0, 2.0])}, "logits: expected finite numbers"),
        ({"logits": np.full((4, 2), np.nan)}, "logits: expected finite numbers"),
        ({"labels": np.array([0, 1])}, "labels: expected 4 whole numbers"),
        ({"labels": np.array([0, 2, 0, -1])}, "labels of test: expected 0 to 1, got 0 to 2"),
        ({"sets": np.array(["test", "test", "test", "other"])}, "sets: expected test, validation or one of"),
        ({"sets": np.array(["near:a"] * 4)}, "expected samples of the set test, got none but: near:a"),
        ({"sets": np.array(["test", "test", "near:a", "far:a"])}, "different names, got 'near:a' and 'far:a'"),
        ({"sets": np.array(["test", "test", "test", "near:test"])}, "'near:test' has the name of figures"),
        ({"sets": np.array(["test", "test", "test", "near:group:far"])}, "'near:group:far' has the name of figures"),
        (
            {"logits": np.array([[2.0, 0.0], [0.0, 1.0], [1e300, 0.0], [np.inf, 0.0]])},
            "in 2 of 4 rows, the first in row 2",
        ),
        ({"classes": np.array("a,b")}, "classes: expected a list of names"),
        ({"classes": np.array(["a", "a"])}, "classes: expected different names"),
        ({"class_counts": np.array(["9", "x"])}, r"class_counts: expected 2 whole numbers .* got \['9', 'x'\]"),
        ({"class_counts": np.array([9, np.nan])}, "class_counts: expected 2 whole numbers"),
        ({"class_counts": np.array(9)}, "class_counts: expected 2 whole numbers of at least 1, got 9"),
        ({"class_counts": np.array([[9], [1]])}, "class_counts: expected 2 whole numbers"),
        ({"class_counts": np.array([9, 0])}, "class_counts: expected 2 whole numbers of at least 1"),
    ],
)
def test_a_file_that_cannot_be_used_says_why(tmp_path, changed, said):
    values = {name: value for name, value in {**SMALL, **changed}.items() if value is not None}
    np.savez(tmp_path / "bad.npz", **values)
    with pytest.raises(InputError, match=said):
        outputs_of(tmp_path / "bad.npz")


def test_pickles_are_not_read(tmp_path):
    np.savez(tmp_path / "pickled.npz", logits=np.array([{}], dtype=object), labels=np.array([0]))
    with pytest.raises(InputError, match=r"as numpy\.savez writes it"):
        outputs_of(tmp_path / "pickled.npz")


def test_classes_must_agree_in_number(tmp_path):
    np.savez(tmp_path / "small.npz", **SMALL)
    with pytest.raises(InputError, match="expected 3 classes, got 2"):
        outputs_of(tmp_path / "small.npz", ("a", "b", "c"), (1, 1, 1))
    rows = from_scores(outputs_of(tmp_path / "small.npz", ("cat", "dog"), (9, 1)))["rows"]
    assert {row["slice"] for row in rows} >= {"class:cat", "class:dog"}
    np.savez(tmp_path / "turned.npz", **SMALL, classes=np.array(["dog", "cat"]))
    with pytest.raises(InputError, match="classes: expected the order cat, dog, got dog, cat"):
        outputs_of(tmp_path / "turned.npz", ("cat", "dog"), (9, 1))


def test_attacks_that_pass_the_rejector_reach_foreign_models_too(finished, monkeypatch):
    from study.probes import attack_suite

    monkeypatch.setattr(attack_suite, "SQUARE_QUERIES", 20)
    config, run = finished
    config = replace(config, attacks="standard", eps=(0.1,), attack_points=6)
    add(Foreign("hard", "tests.study.test_foreign:build"), "", config, digits(), run)
    found = figures(config, run, "hard")
    assert 0 <= found["dar", "adversarial", "mls", "dar_all"] <= 1
    assert 0 <= found["attack", "test", "Linf-0.1", "robust_accuracy.square"] <= 1
