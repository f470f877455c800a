"""What a training takes its class counts from, and when class weights come."""

import pytest
import torch

from hem import HEMLoss, class_balanced_weights, class_margins
from hem.registry import get_loss
from study.methods import get_method
from tests.methods.jobs import job


def weights_by_epoch(method, loss):
    """The loss's class weights at the end of each of ten epochs."""
    begun = job(loss, epochs=10)
    running = get_method(method)(begun)
    return begun, [running.loss.weight for _ in running.epochs]


@pytest.mark.parametrize(
    ("method", "loss"),
    [
        ("drw", "ce"),
        ("drw", "hem+"),
        ("plain", "ldam_drw"),
        ("pgd", "ldam_drw"),
        ("trades_own", "ldam_drw"),
        ("outlier_exposure", "ldam_drw"),
    ],
)
def test_deferred_weights_come_for_the_last_fifth_and_are_class_balanced(method, loss):
    begun, seen = weights_by_epoch(method, loss)
    assert seen[:8] == [None] * 8
    expected = class_balanced_weights(begun.data.train.counts(10))
    for weight in seen[8:]:
        torch.testing.assert_close(weight, expected)


def test_plain_training_sets_no_weights():
    assert weights_by_epoch("plain", "ce")[1] == [None] * 10


@pytest.mark.parametrize("method", ["plain", "drw", "pgd", "outlier_exposure"])
def test_margins_are_those_of_the_training_images_alone(method):
    begun = job("hem+")
    assert len(begun.data.validation) > 0
    running = get_method(method)(begun)
    assert isinstance(running.loss, HEMLoss)
    torch.testing.assert_close(running.loss.margin, class_margins(begun.data.train.counts(10)))


def test_one_margin_is_that_of_the_number_of_training_images():
    begun = job("hem")
    assert get_method("plain")(begun).loss.margin == pytest.approx((2000 / 400) ** 0.5)
    assert get_loss("hem").build(begun.data.class_counts).margin == pytest.approx((2000 / 400) ** 0.5)
