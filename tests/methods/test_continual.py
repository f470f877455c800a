import io
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from hem import HEMLoss
from study.methods import get_method
from study.methods.continual import SeenClasses, _score
from study.training import NonFiniteLoss
from tests.methods.jobs import job, weights

PARTS = ((3, 1), (0, 2), (4, 5), (6, 7), (8, 9))


def test_the_loss_sees_the_classes_met_alone():
    logits = torch.randn(6, 5, requires_grad=True)
    target = torch.tensor([4, 1, 1, 4, 4, 1])
    value = SeenClasses(torch.nn.CrossEntropyLoss(), (1, 4), 5)(logits, target)
    assert value == F.cross_entropy(logits[:, [1, 4]], torch.tensor([1, 0, 0, 1, 1, 0]))
    value.backward()
    assert (logits.grad[:, [0, 2, 3]] == 0).all()
    assert (logits.grad[:, [1, 4]] != 0).all()


def test_it_has_what_the_loss_inside_has_and_nothing_else():
    assert not hasattr(SeenClasses(torch.nn.MSELoss(), (0,), 2), "process_group")
    seen = SeenClasses(HEMLoss(0.5), (0, 1), 3)
    seen.process_group = "group"
    assert seen.loss.process_group == "group"
    assert (seen.margin, seen.ignore_index) == (0.5, -100)


@pytest.mark.parametrize("method", ["naive", "replay"])
def test_every_experience_ends_with_its_own_classes_and_the_margins_of_what_it_saw(method):
    begun = job("hem+", experiences=PARTS, memory_size=40)
    running = get_method(method)(begun)
    margins = []
    for metrics, _ in running.epochs:
        if metrics["epoch"] % 2 == 0:
            margins.append(len(running.loss.margin))
    assert margins == ([2, 4, 6, 8, 10] if method == "replay" else [2] * 5)
    assert list(running.kept) == ["initial", *(f"experience{k}" for k in range(4))]


def test_accuracy_is_that_of_classes_met_so_far():
    begun = job(experiences=PARTS)
    last = {}
    for metrics, _ in get_method("naive")(begun).epochs:
        last[metrics["experience"]] = metrics
    labels = begun.data.validation.labels
    images = torch.tensor(begun.data.validation.images).permute(0, 3, 1, 2) / 255
    predicted = begun.model(images).argmax(1).numpy()
    expected = np.mean([(predicted[np.isin(labels, part)] == labels[np.isin(labels, part)]).mean() for part in PARTS])
    assert last[5]["validation_acc"] == pytest.approx(expected)
    assert last[1]["validation_acc"] > 0.8  # two classes compete


def test_a_training_that_diverges_says_in_which_of_all_its_epochs():
    class Breaks(torch.nn.Module):
        def __init__(self, counts):
            super().__init__()
            self.factor = torch.inf if len(counts) > 2 else 1.0  # from the second experience on

        def forward(self, logits, target):
            return F.cross_entropy(logits, target) * self.factor

    ours = replace(job(experiences=PARTS, memory_size=20), build_loss=Breaks)
    with pytest.raises(NonFiniteLoss, match="in epoch 3 ") as caught:
        list(get_method("replay")(ours).epochs)
    assert caught.value.epoch == 3


def test_classes_that_were_not_met_neither_compete_in_validation_nor_count():
    """After the first experience of 3 and 1 the largest logit is that of 9, everywhere; 3 is the next."""
    logits, labels = np.zeros((4, 10)), np.array([3, 1, 3, 0])
    logits[:, 9], logits[:, 3] = 5, 1
    found = _score(job(experiences=PARTS), PARTS, 0)(logits, labels)
    assert found == pytest.approx({"acc": 2 / 3, "accuracy": 2 / 3})


def test_joint_is_plain_training():
    one, other = job(experiences=PARTS), job(experiences=PARTS)
    for method, begun in (("joint", one), ("plain", other)):
        for _ in get_method(method)(begun).epochs:
            pass
    # the same images in another order: the same set, not the same bits
    assert sorted(weights(one.model)) == sorted(weights(other.model))
    images = torch.tensor(one.data.test.images).permute(0, 3, 1, 2) / 255
    labels = torch.tensor(one.data.test.labels)
    shares = [(j.model(images).argmax(1) == labels).float().mean().item() for j in (one, other)]
    assert shares[0] == pytest.approx(shares[1], abs=0.1)


def test_every_experience_draws_its_own_batches(monkeypatch):
    module = sys.modules["study.methods.continual"]
    real, seeds = module.fit, []
    monkeypatch.setattr(module, "fit", lambda *data, seed, **more: seeds.append(seed) or real(*data, seed=seed, **more))
    for _ in get_method("naive")(job(experiences=PARTS, epochs=1)).epochs:
        pass
    assert len(seeds) == len(set(seeds)) == len(PARTS)


@pytest.mark.parametrize("stop", [1, 2, 3, 6, 9])
def test_resumed_training_has_the_same_bits(stop):
    whole = job("hem", experiences=PARTS, memory_size=30)
    running = get_method("replay")(whole)
    for number, (_, get_state) in enumerate(running.epochs, start=1):
        if number == stop:
            buffer = io.BytesIO()
            torch.save(get_state(), buffer)
    buffer.seek(0)
    again = replace(job("hem", experiences=PARTS, memory_size=30), state=torch.load(buffer, weights_only=True))
    resumed = get_method("replay")(again)
    numbers = [metrics["epoch"] for metrics, _ in resumed.epochs]
    assert numbers == list(range(stop + 1, 11))
    for name, value in weights(whole.model).items():
        assert torch.equal(value, again.model.state_dict()[name])
    assert list(resumed.kept) == list(running.kept)
    for name, kept in running.kept.items():
        assert all(torch.equal(value, resumed.kept[name][key]) for key, value in kept.items())


def test_margins_are_those_of_the_images_in_an_experience_with_its_memory():
    """The memory holds fewer images of earlier classes than there are: their margins grow."""
    begun = job("hem+", experiences=PARTS, memory_size=40)
    running = get_method("replay")(begun)
    own = begun.data.train.counts(10)
    found = {}
    for (metrics, get_state), remembered in zip(running.epochs, [0, 0, 40, 40], strict=False):
        found[metrics["experience"]] = running.loss.margin.tolist()
        assert len(running.loss.columns) == 2 * metrics["experience"]
        memory = get_state()["memory"].numpy()
        assert len(memory) == remembered
    earlier = begun.data.train.take(memory).counts(10)
    assert sum(earlier) == 40
    assert found[1] == pytest.approx([(2000 / (2 * own[c])) ** 0.5 for c in sorted(PARTS[0])])
    counts = [own[c] if c in PARTS[1] else earlier[c] for c in range(4)]
    assert found[2] == pytest.approx([(2000 / (4 * n)) ** 0.5 for n in counts])
