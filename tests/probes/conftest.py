"""Handwritten digits (8x8) and small models that learn them within a second."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

from study.probes import attack_suite


@pytest.fixture(autouse=True, scope="session")
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def digits(classes: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    data = load_digits()
    order = np.random.default_rng(seed).permutation(np.flatnonzero(data.target < classes))
    images = torch.from_numpy(data.images[order] / 16.0).float()[:, None]
    return images, torch.from_numpy(data.target[order]).long()


def train(model: nn.Module, images: Tensor, labels: Tensor, steps: int) -> nn.Module:
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(steps):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(images), labels).backward()
        optimizer.step()
    model.zero_grad()
    return model.eval()


class Trained:
    """A model, and points that it was not trained on."""

    def __init__(self, build: Callable[[int], nn.Module], classes: int, steps: int, points: int = 100) -> None:
        images, labels = digits(classes)
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.model = train(build(classes), images[points:], labels[points:], steps)
        self.classes = classes
        self.images, self.labels = images[:points], labels[:points]

    def take(self, count: int) -> tuple[nn.Module, Tensor, Tensor]:
        return self.model, self.images[:count], self.labels[:count]


def linear(classes: int) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(64, classes))


def mlp(classes: int) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, classes))


@pytest.fixture(scope="session")
def linear_digits() -> Trained:
    return Trained(linear, classes=10, steps=150)


@pytest.fixture(scope="session")
def mlp_digits() -> Trained:
    return Trained(mlp, classes=10, steps=100)


@pytest.fixture(scope="session")
def few_class_digits() -> dict[int, Trained]:
    return {classes: Trained(mlp, classes, steps=60, points=40) for classes in (2, 3, 4)}


@pytest.fixture
def short_square(monkeypatch):
    """Square with 300 queries, where the test is not about how many it has: 5000 take three seconds."""
    monkeypatch.setattr(attack_suite, "SQUARE_QUERIES", 300)
