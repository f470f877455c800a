"""Small jobs on 8x8 digits."""

from dataclasses import replace

from hem.registry import get_loss
from study.data.embedded import digits
from study.data.tail import cut_imbalanced
from study.methods import Job
from study.models import build_model
from study.tasks.common import score
from study.training import Recipe


def data(experiences=()):
    cut = cut_imbalanced(
        digits(), split_seed=0, order_seed=None, ratio=None, test_per_class=20, validation_per_class=10
    )
    chosen = cut.train.take(range(400))
    return replace(
        cut, train=chosen, class_counts=chosen.counts(10), class_order=tuple(range(10)), experiences=experiences
    )


def job(loss="ce", *, epochs=2, experiences=(), model="mlp", **more):
    spec = get_loss(loss)
    cut = data(experiences)
    network = build_model(model, shape=(8, 8, 1), num_classes=10, seed=0)
    recipe = Recipe(learning_rate=0.05, weight_decay=1e-4, batch_size=32, epochs=epochs)
    return Job(network, spec.build, spec, cut, recipe, score=score, **{"seed": 1, **more})


def weights(model):
    return {name: value.clone() for name, value in model.state_dict().items()}
