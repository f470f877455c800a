import math

import pytest

from study.errors import InputError
from study.training.recipe import Recipe, learning_rate_at


def rates(recipe, steps_per_epoch):
    return [learning_rate_at(recipe, step, steps_per_epoch) for step in range(recipe.epochs * steps_per_epoch)]


def test_cosine_by_hand():
    recipe = Recipe(learning_rate=2.0, weight_decay=0.0, epochs=2)
    assert rates(recipe, 2) == pytest.approx([2.0, 1 + math.sqrt(0.5), 1.0, 1 - math.sqrt(0.5)])


def test_cosine_after_warm_up_by_hand():
    recipe = Recipe(learning_rate=1.0, weight_decay=0.0, epochs=3, warmup_epochs=1)
    assert rates(recipe, 2) == pytest.approx([0.5, 1.0, 1.0, 0.5 + math.sqrt(0.5) / 2, 0.5, 0.5 - math.sqrt(0.5) / 2])


def test_steps_are_the_published_ones_at_200_epochs():
    recipe = Recipe(learning_rate=0.1, weight_decay=2e-4, schedule="step", warmup_epochs=5, epochs=200)
    values = rates(recipe, 1)
    assert values[:5] == pytest.approx([0.02, 0.04, 0.06, 0.08, 0.1])
    assert values[5:160] == [0.1] * 155
    assert values[160:180] == pytest.approx([1e-3] * 20)
    assert values[180:] == pytest.approx([1e-5] * 20)


@pytest.mark.parametrize(("epochs", "drops"), [(10, [8, 9]), (20, [16, 18]), (5, [4]), (25, [20, 23]), (1, [])])
def test_steps_come_at_80_and_90_percent(epochs, drops):
    values = rates(Recipe(learning_rate=1.0, weight_decay=0.0, schedule="step", epochs=epochs), 1)
    assert [epoch for epoch in range(1, epochs) if values[epoch] < values[epoch - 1]] == drops


def test_steps_stay_within_an_epoch():
    values = rates(Recipe(learning_rate=1.0, weight_decay=0.0, schedule="step", epochs=10), 3)
    assert values == pytest.approx([1.0] * 24 + [0.01] * 3 + [0.0001] * 3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"learning_rate": 0.0}, "learning_rate: expected a finite number > 0, given 0.0"),
        ({"learning_rate": math.inf}, "learning_rate"),
        ({"weight_decay": -1e-4}, "weight_decay: expected a finite number ≥ 0"),
        ({"momentum": 1.0}, r"momentum: expected a number in \[0, 1\)"),
        ({"batch_size": 0}, "batch_size"),
        ({"batch_size": 2.5}, "batch_size: expected a whole number ≥ 1, given 2.5"),
        ({"epochs": 0}, "epochs"),
        ({"warmup_epochs": 20}, "below the 20 epochs, given 20"),
        ({"schedule": "cosinus"}, "did you mean 'cosine'"),
        ({"augmentation": "flip"}, "unknown augmentation: 'flip'"),
    ],
)
def test_values_out_of_range_are_refused(change, message):
    with pytest.raises(InputError, match=message):
        Recipe(**{"learning_rate": 0.1, "weight_decay": 0.0, **change})
