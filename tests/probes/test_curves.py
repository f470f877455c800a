import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_curve

from study.probes import curves
from study.probes.rejection import auroc, scores


def example(seed: int, n: int, shift: float = 0.0) -> np.ndarray:
    z = np.random.default_rng(seed).normal(size=(n, 4))
    z[:, 0] += shift
    return z


def xy(rows, **keys):
    chosen = [r for r in rows if all(r[k] == v for k, v in keys.items())]
    return np.array([r["x"] for r in chosen]), np.array([r["y"] for r in chosen])


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 400), st.integers(2, 100), st.integers(0, 2**32 - 1))
def test_thinning_keeps_the_ends_and_the_limit(length, points, seed):
    rng = np.random.default_rng(seed)
    x, y = np.sort(rng.integers(0, 50, length) / 50), rng.integers(0, 50, length) / 50
    keep = curves.thin(x, y, points)
    assert keep[0] == 0
    assert keep[-1] == length - 1
    assert len(keep) <= points
    assert (np.diff(keep) > 0).all()


def test_thinning_drops_the_middle_of_flat_parts_only():
    x, y = np.array([0, 0, 0, 0.5, 1, 1.0]), np.array([0, 0.2, 0.4, 0.4, 0.4, 1.0])
    assert curves.thin(x, y).tolist() == [0, 2, 4, 5]


def test_roc_of_few_samples_is_exact():
    inside, outside = example(0, 20, 1.0), example(1, 25)
    x, y = xy(curves.roc(inside, {"letters": outside}), dataset="letters", slice="mls")
    expected_x, expected_y, _ = roc_curve(
        [1] * 20 + [0] * 25, np.concatenate([inside.max(1), outside.max(1)]), drop_intermediate=True
    )
    np.testing.assert_allclose(x, expected_x)
    np.testing.assert_allclose(y, expected_y)


def test_roc_of_many_samples_is_thinned_but_keeps_its_area():
    inside, outside = example(0, 3000, 1.0), example(1, 2000)
    rows = curves.roc(inside, {"a": outside, "empty": np.zeros((0, 4))})
    assert {(r["kind"], r["dataset"], r["n"]) for r in rows} == {("roc", "a", 2000)}
    for score in ("mls", "msp"):
        x, y = xy(rows, slice=score)
        assert len(x) <= 100
        assert (x[0], y[0], x[-1], y[-1]) == (0, 0, 1, 1)
        assert np.trapezoid(y, x) == pytest.approx(auroc(scores(inside)[score], scores(outside)[score]), abs=2e-3)


def test_risk_coverage():
    logits, labels = example(0, 500), np.arange(500) % 4
    rows = curves.risk_coverage(logits, labels)
    x, y = xy(rows, slice="msp", dataset="test", kind="risk_coverage")
    assert len(x) <= 100
    assert x[-1] == 1.0
    assert y[-1] == pytest.approx(np.mean(logits.argmax(1) != labels))
    most_confident = scores(logits)["msp"].argmax()
    assert x[0] == 1 / 500
    assert y[0] == float(logits[most_confident].argmax() != labels[most_confident])


def test_reliability_leaves_empty_bins_out():
    logits = np.array([[5.0, 0, 0], [5.0, 0, 0], [0.2, 0, 0]])
    rows = curves.reliability(logits, [0, 1, 0], temperature=2.0)
    x, y = xy(rows, slice="raw")
    assert y.tolist() == [1.0, 0.5]
    assert x[1] == pytest.approx(np.exp(5) / (np.exp(5) + 2))
    assert sum(r["n"] for r in rows if r["slice"] == "scaled") == 3
    assert {r["slice"] for r in curves.reliability(logits, [0, 1, 0])} == {"raw"}


def test_attack_curve_starts_at_clean():
    def verdicts(norm, eps, stands):
        return {
            "clean": np.array([True, True, True, False]),
            "attacks": np.array(["apgd-ce"]),
            "stands": np.array([stands], dtype=np.int8),
            "norm": np.array(norm),
            "mode": np.array("quick"),
            "eps": np.array(eps),
            "seed": np.array(0),
            "num_classes": np.array(10),
        }

    rows = curves.attack([verdicts("Linf", 0.2, [0, 0, 1, -1]), verdicts("Linf", 0.1, [0, 1, 1, -1])])
    assert [(r["slice"], r["x"], r["y"], r["n"]) for r in rows] == [
        ("Linf", 0.0, 0.75, 4),
        ("Linf", 0.1, 0.5, 4),
        ("Linf", 0.2, 0.25, 4),
    ]
