import math

import numpy as np
import pytest
import torch
from sklearn.metrics import log_loss

from study.errors import InputError
from study.probes.calibration import (
    bin_index,
    brier,
    confidences,
    ece,
    fit_temperature,
    nll,
    reliability_bins,
    rows,
    temperature_range,
)

LOGITS = [[2.0, 1.5, 0.0, -1.0], [0.2, 0.5, 0.1, 0.4], [5.0, -1.0, 0.0, 1.0], [-0.5, 0.3, 1.2, 1.1]]
TARGETS = [0, 0, 0, 3]
CONFIDENCE = [0.99, 0.95, 0.9, 0.85, 0.8, 0.75, 0.7, 0.65, 0.6, 0.2]
CORRECT = [1, 1, 1, 0, 1, 1, 0, 1, 1, 0]


def overconfident(n: int = 400, scale: float = 3.0, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Logits whose labels are drawn from softmax(z), then multiplied: the right temperature is `scale`."""
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(n, 4)) * 2
    p = np.exp(z) / np.exp(z).sum(1, keepdims=True)
    return scale * z, np.array([rng.choice(4, p=row) for row in p])


def test_known_numbers():
    assert ece(CONFIDENCE, CORRECT, bins=5) == pytest.approx(0.139, abs=1e-14)
    assert nll(LOGITS, TARGETS) == pytest.approx(0.780743720561697, rel=1e-13)
    assert brier(LOGITS, TARGETS) == pytest.approx(0.43137387028948543, rel=1e-13)


def test_nll_against_scikit_learn_and_torch():
    z, y = overconfident()
    p = np.exp(z) / np.exp(z).sum(1, keepdims=True)
    assert nll(z, y) == pytest.approx(log_loss(y, p, labels=range(4)))
    expected = torch.nn.functional.cross_entropy(torch.from_numpy(z), torch.from_numpy(y))
    assert nll(z, y) == pytest.approx(float(expected))


def test_bins_are_open_below_and_closed_above():
    assert bin_index([0.0, 1e-9, 0.2, 0.2 + 1e-12, 0.6, 1.0], bins=5).tolist() == [0, 0, 0, 1, 2, 4]
    edges = np.arange(16) / 15
    assert bin_index(edges).tolist() == [0, *range(15)]


def test_ece_by_hand():
    # one bin: mean confidence 0.9, accuracy 0.5
    assert ece([0.9, 0.9, 0.9, 0.9], [1, 1, 0, 0]) == pytest.approx(0.4)
    assert ece([1.0, 1.0], [1, 1]) == 0.0


def test_empty_bins_are_not_available():
    means, accuracies, counts = reliability_bins([0.95, 0.97], [1, 0])
    assert counts.tolist() == [0] * 14 + [2]
    assert accuracies[-1] == 0.5
    assert means[-1] == pytest.approx(0.96)
    assert np.isnan(means[:-1]).all()
    assert np.isnan(accuracies[:-1]).all()


def test_temperature_is_found():
    z, y = overconfident(n=4000)
    temperature = fit_temperature(z, y)
    assert temperature == pytest.approx(3.0, rel=0.1)
    grid = np.exp(np.linspace(math.log(0.5), math.log(20), 2001))
    assert temperature == pytest.approx(grid[np.argmin([nll(z / t, y) for t in grid])], rel=3e-3)
    assert fit_temperature(1000 * z / 3000, y) == pytest.approx(temperature / 3, rel=1e-4)


def test_separable_validation_stays_in_the_range():
    z = np.eye(3)[np.arange(30) % 3]
    sharp = fit_temperature(z, np.arange(30) % 3)
    assert sharp == 0.01
    assert nll(z / sharp, np.arange(30) % 3) < 1e-12
    assert fit_temperature(z, (np.arange(30) + 1) % 3) == 100.0  # always wrong: flat is best
    assert fit_temperature(1e6 * z, np.arange(30) % 3) == 1e4
    assert fit_temperature(np.zeros((6, 3)), np.arange(6) % 3) == 1.0
    assert fit_temperature(5 * z[::3], np.zeros(10, dtype=int)) == 0.05  # one class, always right


@pytest.mark.parametrize("factor", [2.0**-10, 0.001, 1000.0, 2.0**10])
def test_temperature_goes_with_the_scale_of_the_logits(factor):
    z, y = overconfident()
    found = fit_temperature(factor * z, y)
    assert found == pytest.approx(factor * fit_temperature(z, y), rel=1e-6)
    assert ece(*confidences(factor * z / found, y)) == pytest.approx(ece(*confidences(z / fit_temperature(z, y), y)))


def test_a_temperature_at_an_end_of_its_range_is_told():
    z = np.eye(3)[np.arange(30) % 3]
    for labels in (np.arange(30) % 3, (np.arange(30) + 1) % 3):  # always right, always wrong
        table = {(r["slice"], r["metric"]): r["value"] for r in rows(z, labels, z, labels)}
        assert table["scaled", "temperature_at_end"] == 1.0
    assert temperature_range(np.array([[0.0, 1.0], [5.0, 2.0]])) == (0.02, 200.0)
    assert temperature_range(np.array([[0.0, 1.0], [5.0, 2.0], [0.0, 900.0]])) == (0.03, 300.0), "the median's"


def test_rows():
    z, y = overconfident()
    validation = overconfident(seed=1)
    table = {(r["slice"], r["metric"]): r for r in rows(z, y, *validation)}
    assert {r["probe"] for r in table.values()} == {"calibration"}
    temperature = fit_temperature(*validation)
    assert table["raw", "temperature"]["value"] == 1.0
    assert table["scaled", "temperature"]["value"] == temperature
    assert table["raw", "ece"]["value"] == ece(*confidences(z, y))
    assert table["scaled", "brier"]["value"] == brier(z / temperature, y)
    assert table["scaled", "nll"]["value"] < table["raw", "nll"]["value"]
    assert table["scaled", "ece"]["value"] < table["raw", "ece"]["value"]
    assert table["scaled", "temperature_at_end"]["value"] == 0.0
    assert len(table) == 9


def test_without_validation_scaled_is_not_available():
    table = rows(*overconfident(20), np.zeros((0, 4)), [])
    scaled = [r["value"] for r in table if r["slice"] == "scaled"]
    assert len(scaled) == 5
    assert np.isnan(scaled).all()
    assert not any(math.isnan(r["value"]) for r in table if r["slice"] == "raw")


def test_empty_test_set_is_not_available():
    table = rows(np.zeros((0, 4)), [], *overconfident(20))
    assert all(math.isnan(r["value"]) for r in table if not r["metric"].startswith("temperature"))
    assert {r["n"] for r in table} == {0}


def test_errors():
    with pytest.raises(InputError, match="got none"):
        fit_temperature(np.zeros((0, 3)), [])
    with pytest.raises(InputError, match=r"\[0, 1\]"):
        ece([1.5], [1])
