import io
import math
import pickle
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional as F

from study.errors import InputError
from study.training import NonFiniteLoss, Recipe, fit, predict, predict_with_features
from study.training.prediction import outputs
from tests.study.training_helpers import LearnedTemperature, WeightedCE, accuracy, network, random_data

GENTLE = Recipe(learning_rate=0.05, weight_decay=1e-3, batch_size=16, epochs=3)


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def run(model, loss, recipe=GENTLE, data=None, **arguments):
    """Train to the end and return all epochs' metrics."""
    data = random_data() if data is None else data
    arguments = {"seed": 0, "score": accuracy, **arguments}
    return [metrics for metrics, _ in fit(model, loss, data, data, recipe, **arguments)]


def weights(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


def same(first, second):
    return first.keys() == second.keys() and all(torch.equal(value, second[key]) for key, value in first.items())


def without_seconds(metrics):
    return [{name: value for name, value in epoch.items() if name != "seconds"} for epoch in metrics]


def unit(data):
    return data.images.permute(0, 3, 1, 2).float() / 255


class TestOneStep:
    """With one batch that holds everything, every number can be computed without the loop."""

    recipe = Recipe(learning_rate=0.05, weight_decay=0.01, momentum=0.8, batch_size=48, epochs=3)

    @pytest.mark.parametrize("name", ["mlp", "small_cnn"])
    def test_weights_are_those_of_plain_sgd(self, name):
        data = random_data()
        model, twin = network(name), network(name)
        model(unit(data)).sum().backward()  # what lies in .grad beforehand must not count
        run(model, nn.CrossEntropyLoss(), self.recipe, data)
        optimizer = torch.optim.SGD(twin.parameters(), lr=0.05, momentum=0.8, nesterov=True, weight_decay=0.01)
        for epoch in range(3):
            optimizer.param_groups[0]["lr"] = 0.05 * 0.5 * (1 + math.cos(math.pi * epoch / 3))
            optimizer.zero_grad()
            F.cross_entropy(twin(unit(data)), data.labels).backward()
            optimizer.step()
        for own, other in zip(model.parameters(), twin.parameters(), strict=True):
            torch.testing.assert_close(own, other, rtol=1e-4, atol=1e-6)

    def test_metrics_by_hand(self):
        data = random_data()
        model, twin = network(), network()
        data.labels = torch.where(torch.arange(48) < 12, twin(unit(data)).argmax(1), data.labels)
        metrics = run(model, nn.MultiMarginLoss(margin=0.01), self.recipe, data)[0]
        logits = twin(unit(data))
        logits.retain_grad()
        loss = F.multi_margin_loss(logits, data.labels, margin=0.01)
        loss.backward()
        touched = logits.grad.ne(0)
        correct = logits.gather(1, data.labels[:, None])
        rivals = logits.masked_fill(F.one_hot(data.labels, 4).bool(), -math.inf).amax(1, keepdim=True)
        active = (correct - rivals < 0.01).float().mean().item()
        norm = math.sqrt(sum(float(p.grad.double().square().sum()) for p in twin.parameters()))
        assert 0 < active < 1
        assert metrics["epoch"] == 1
        assert metrics["learning_rate"] == 0.05
        assert metrics["train_loss"] == pytest.approx(loss.item(), rel=1e-5)
        assert metrics["active_share"] == pytest.approx(active, abs=1e-6)
        assert metrics["active_classes"] == pytest.approx(touched[touched.any(1)].float().mean().item(), abs=1e-6)
        assert metrics["gradient_norm"] == pytest.approx(norm, rel=1e-4)
        assert metrics["logit_scale"] == pytest.approx(logits.detach().numpy().std(1).mean(), rel=1e-5)
        assert metrics["seconds"] > 0


def test_metrics_are_plain_numbers_and_complete():
    metrics = run(network(), nn.CrossEntropyLoss())
    assert [epoch["epoch"] for epoch in metrics] == [1, 2, 3]
    names = {
        *("epoch", "learning_rate", "train_loss", "active_share", "gradient_norm", "logit_scale", "seconds"),
        *("active_classes", "margin_q05", "margin_q25", "margin_q50", "margin_q75", "margin_q95"),
        "validation_accuracy",
    }
    for epoch in metrics:
        assert set(epoch) == names
        assert all(type(value) in (int, float) for value in epoch.values())


def test_validation_is_that_of_the_epochs_end():
    data, held_out = random_data(), random_data(count=300, seed=1)
    model = network()
    for metrics, _ in fit(model, nn.CrossEntropyLoss(), data, held_out, GENTLE, seed=0, score=accuracy):
        expected = accuracy(predict(model, held_out.images), held_out.labels.numpy())["accuracy"]
        assert metrics["validation_accuracy"] == expected
    for metrics, _ in fit(model, nn.CrossEntropyLoss(), data, None, GENTLE, seed=0, score=accuracy):
        assert not any(name.startswith("validation") for name in metrics)


def test_mlp_learns_digits():
    digits = load_digits()
    images = (digits.images * 15).astype(np.uint8)[..., None]
    order = np.random.default_rng(0).permutation(len(images))
    parts = [SimpleNamespace(images=images[i], labels=digits.target[i]) for i in (order[:1400], order[1400:])]
    recipe = Recipe(learning_rate=0.1, weight_decay=2e-4, warmup_epochs=1, epochs=10)
    model = network(num_classes=10)
    metrics = [m for m, _ in fit(model, nn.CrossEntropyLoss(), *parts, recipe, seed=0, score=accuracy)]
    assert metrics[-1]["validation_accuracy"] > 0.95
    assert metrics[-1]["train_loss"] < metrics[0]["train_loss"]


def test_the_seed_decides_everything_and_global_state_stays():
    class Dropping(nn.Module):
        def __init__(self):
            super().__init__()
            self.network = network()

        def forward(self, images):
            return self.network.head(F.dropout(self.network.features(images), 0.5, self.training))

    torch.manual_seed(1)
    before = torch.get_rng_state()
    recipe = Recipe(learning_rate=0.05, weight_decay=0.0, batch_size=16, epochs=2, augmentation="shift")
    models = [Dropping() for _ in range(3)]
    first, again, other = (
        run(m, nn.CrossEntropyLoss(), recipe, seed=s) for m, s in zip(models, (0, 0, 1), strict=True)
    )
    assert torch.equal(torch.get_rng_state(), before)
    assert without_seconds(first) == without_seconds(again)
    assert same(weights(models[0]), weights(models[1]))
    assert without_seconds(first) != without_seconds(other)


class TestResume:
    """Stopped after epoch k and taken up again: the same bits as without a stop."""

    recipe = Recipe(
        learning_rate=0.05, weight_decay=1e-3, warmup_epochs=1, batch_size=16, epochs=5, augmentation="shift"
    )

    def resumed(self, k, make_model, make_loss, recipe=None, **arguments):
        recipe = recipe or self.recipe
        data = random_data(size=16)
        arguments = {"seed": 3, "score": accuracy, **arguments}
        straight, loss = make_model(), make_loss()
        expected, states = [], []
        for metrics, get_state in fit(straight, loss, data, data, recipe, **arguments):
            expected.append(metrics)
            buffer = io.BytesIO()
            torch.save(get_state(), buffer)
            states.append(buffer)
        states[k - 1].seek(0)
        state = torch.load(states[k - 1], weights_only=True)
        fresh, fresh_loss = make_model(seed=99), make_loss()
        rest = [m for m, _ in fit(fresh, fresh_loss, data, data, recipe, state=state, **arguments)]
        assert without_seconds(rest) == without_seconds(expected[k:])
        assert same(weights(fresh), weights(straight))
        assert same(weights(fresh_loss), weights(loss))
        return loss

    @pytest.mark.parametrize("k", [1, 3, 5])
    def test_batch_norm_network(self, k):
        def model(seed=0):
            return network("small_cnn", size=16, seed=seed)

        self.resumed(k, model, nn.CrossEntropyLoss, sampler="balanced")

    @pytest.mark.parametrize("k", [2, 3, 4])
    def test_deferred_weights(self, k):
        def model(seed=0):
            return network(size=16, seed=seed)

        chosen = torch.tensor([0.5, 1.0, 1.0, 1.5])
        loss = self.resumed(k, model, WeightedCE, class_weights_after=(0.6, chosen))
        assert torch.equal(loss.weight, chosen)

    def test_a_loss_with_parameters(self):
        def model(seed=0):
            return network(size=16, seed=seed)

        loss = self.resumed(2, model, LearnedTemperature)
        assert loss.log_scale.item() != 0.0

    def test_step_schedule(self):
        def model(seed=0):
            return network(size=16, seed=seed)

        recipe = Recipe(learning_rate=0.05, weight_decay=0.0, schedule="step", batch_size=16, epochs=5)
        self.resumed(3, model, nn.CrossEntropyLoss, recipe)

    def test_the_state_is_a_copy_and_only_of_the_last_epoch(self):
        data, model = random_data(), network()
        epochs = fit(model, nn.CrossEntropyLoss(), data, None, GENTLE, seed=0, score=accuracy)
        _, get_state = next(epochs)
        state = get_state()
        kept = {name: value.clone() for name, value in state["model"].items()}
        assert same(kept, weights(model))
        next(epochs)
        assert same(kept, state["model"])
        with pytest.raises(RuntimeError, match="the state after epoch 1 was asked for after epoch 2"):
            get_state()

    def test_a_state_that_does_not_fit_is_refused(self):
        data = random_data()

        def resume(state, recipe=GENTLE):
            return fit(network(), nn.CrossEntropyLoss(), data, None, recipe, seed=0, score=accuracy, state=state)

        _, get_state = next(fit(network(), nn.CrossEntropyLoss(), data, None, GENTLE, seed=0, score=accuracy))
        state = get_state()
        with pytest.raises(InputError, match="epoch of 0 to 3, given epoch 7"):
            resume({**state, "epoch": 7})
        del state["generator"]
        with pytest.raises(InputError, match="given one without generator"):
            resume(state)


def test_own_parameters_of_a_loss_are_trained_without_weight_decay():
    loss = LearnedTemperature()
    nn.init.ones_(loss.log_scale)
    still = Recipe(learning_rate=0.1, weight_decay=0.5, batch_size=16, epochs=1)

    class Constant(nn.Module):
        def __init__(self):
            super().__init__()
            self.level = nn.Parameter(torch.ones(()))

        def forward(self, images):
            return self.level * torch.zeros(len(images), 4)

    model = Constant()
    run(model, loss, still)
    assert loss.log_scale.item() == 1.0
    assert model.level.item() < 1.0


class TestDeferredWeights:
    """Uniform class weights first, the given ones from 80 % of the epochs on."""

    class Recorder(WeightedCE):
        def __init__(self):
            super().__init__()
            self.seen = []

        def forward(self, logits, target):
            self.seen.append(None if self.weight is None else self.weight.tolist())
            return super().forward(logits, target)

    @pytest.mark.parametrize(
        ("epochs", "share", "first"), [(5, 0.8, 4), (10, 0.8, 8), (20, 0.8, 16), (7, 0.8, 6), (3, 0.0, 0), (3, 1.0, 3)]
    )
    def test_they_come_at_the_share_exactly(self, epochs, share, first):
        loss = self.Recorder()
        loss.set_class_weight(torch.full((4,), 9.0))
        recipe = Recipe(learning_rate=0.01, weight_decay=0.0, batch_size=24, epochs=epochs)
        run(network(), loss, recipe, class_weights_after=(share, torch.tensor([1.0, 2.0, 0.5, 0.5])))
        assert loss.seen == [None] * (2 * first) + [[1.0, 2.0, 0.5, 0.5]] * (2 * (epochs - first))

    def test_a_loss_without_class_weights_is_refused(self):
        with pytest.raises(InputError, match=r"set_class_weight.*, given CrossEntropyLoss, which has none"):
            run(network(), nn.CrossEntropyLoss(), class_weights_after=(0.8, torch.ones(4)))
        with pytest.raises(InputError, match=r"in \[0, 1\], given 1.5"):
            run(network(), WeightedCE(), class_weights_after=(1.5, torch.ones(4)))

    def test_without_them_the_loss_keeps_its_own(self):
        loss = self.Recorder()
        loss.set_class_weight(torch.full((4,), 9.0))
        run(network(), loss)
        assert loss.seen == [[9.0] * 4] * 9


class TestDivergence:
    """A loss that is no number ends training with words, not with a table full of nan."""

    def test_it_raises_at_the_end_of_the_epoch(self):
        recipe = Recipe(learning_rate=1e18, weight_decay=0.0, batch_size=16, epochs=4)
        with pytest.raises(
            NonFiniteLoss, match=r"training diverged in epoch 1 at learning rate .*not finite"
        ) as caught:
            run(network(), nn.CrossEntropyLoss(), recipe)
        assert caught.value.epoch == 1
        assert caught.value.learning_rate == pytest.approx(1e18 * 0.5 * (1 + math.cos(math.pi * 2 / 12)))

    def test_it_sees_what_the_last_step_broke(self):
        recipe = Recipe(learning_rate=3e38, weight_decay=0.0, batch_size=48, epochs=1)
        with pytest.raises(NonFiniteLoss):
            run(network(), nn.CrossEntropyLoss(), recipe)

    def test_it_survives_pickling(self):
        error = pickle.loads(pickle.dumps(NonFiniteLoss(3, 0.5)))
        assert (error.epoch, error.learning_rate) == (3, 0.5)
        assert "epoch 3 at learning rate 0.5" in str(error)


class TestBatchNorm:
    """A batch of one image cannot be normalised."""

    @pytest.mark.parametrize(("count", "sizes"), [(33, [16, 17]), (34, [16, 16, 2]), (48, [16, 16, 16])])
    def test_a_single_last_image_joins_the_batch_before(self, count, sizes):
        assert self.batches(network("small_cnn"), count) == sizes

    def test_without_batch_norm_it_stays_alone(self):
        assert self.batches(network("mlp"), 33) == [16, 16, 1]

    def test_too_few_images_are_refused(self):
        with pytest.raises(InputError, match=r"at least 2 training images.*given 1 images and batch_size 16"):
            run(network("small_cnn"), nn.CrossEntropyLoss(), data=random_data(count=1))
        with pytest.raises(InputError, match="at least 1 training images"):
            run(network("mlp"), nn.CrossEntropyLoss(), data=random_data(count=0))

    @staticmethod
    def batches(model, count):
        sizes = []
        hook = model.register_forward_hook(
            lambda module, inputs, output: sizes.append(len(output)) if module.training else None
        )
        recipe = Recipe(learning_rate=0.01, weight_decay=0.0, batch_size=16, epochs=1)
        run(model, nn.CrossEntropyLoss(), recipe, random_data(count=count))
        hook.remove()
        return sizes


def test_ranks_need_a_process_group():
    with pytest.raises(InputError, match="rank 1 of 2"):
        run(network(), nn.CrossEntropyLoss(), rank=1, world_size=2)
    with pytest.raises(InputError, match="expected 0 to world_size - 1 = 0, given 3"):
        run(network(), nn.CrossEntropyLoss(), rank=3)


def test_labels_may_be_maps_and_ignored_pixels_do_not_count():
    class PixelNetwork(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Conv2d(1, 3, 1)
            nn.init.constant_(self.layer.weight, 0.5)
            nn.init.zeros_(self.layer.bias)

        def forward(self, images):
            return self.layer(images)

    data = random_data(count=4)
    data.labels = torch.zeros(4, 8, 8, dtype=torch.long)
    data.labels[:, :, :6] = 255
    recipe = Recipe(learning_rate=0.1, weight_decay=0.0, batch_size=4, epochs=1)
    model = PixelNetwork()
    steps = fit(
        model,
        nn.CrossEntropyLoss(ignore_index=255),
        data,
        data,
        recipe,
        seed=0,
        score=lambda predicted, y: {"zeros": float((predicted == 0).mean()), "like labels": predicted.shape == y.shape},
    )
    metrics, _ = next(steps)
    assert metrics["active_share"] == 1.0
    assert metrics["train_loss"] == pytest.approx(math.log(3))
    assert (metrics["validation_zeros"], metrics["validation_like labels"]) == (1.0, True)


def maps_of(logits):
    """A network (N, 1, H, W) → (N, 3, H, W) whose logits are given, whatever the images."""

    class Maps(nn.Module):
        def forward(self, images):
            return logits[: len(images)] + 0 * images

    return Maps()


def test_maps_are_scored_by_their_classes():
    logits = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    images = torch.zeros(4, 8, 8, 1, dtype=torch.uint8)
    classes, _ = outputs(maps_of(logits), images, torch.device("cpu"), maps_as_classes=True)
    assert classes.dtype == torch.int16
    assert torch.equal(classes.long(), logits.argmax(1))
    logits[2, 1, 3, 3] = torch.nan
    classes, _ = outputs(maps_of(logits), images, torch.device("cpu"), maps_as_classes=True)
    assert [bool((image < 0).all()) for image in classes] == [False, False, True, False]
    assert (classes[[0, 1, 3]] >= 0).all()


def test_maps_that_are_not_finite_end_the_training():
    class Breaking(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Conv2d(1, 3, 1)

        def forward(self, images):
            logits = self.layer(images)
            return logits if self.training else logits / 0

    data = random_data(count=4)
    data.labels = torch.zeros(4, 8, 8, dtype=torch.long)
    recipe = Recipe(learning_rate=0.1, weight_decay=0.0, batch_size=4, epochs=1)
    with pytest.raises(NonFiniteLoss):
        list(fit(Breaking(), nn.CrossEntropyLoss(), data, data, recipe, seed=0, score=lambda predicted, y: {}))


def test_short_label_maps_train_as_long_ones():
    data, found = random_data(count=6), []
    maps = torch.randint(0, 3, (6, 8, 8), generator=torch.Generator().manual_seed(1))
    recipe = Recipe(learning_rate=0.1, weight_decay=0.0, batch_size=4, epochs=2)
    for dtype in (torch.int64, torch.int16):
        torch.manual_seed(0)
        data.labels = maps.to(dtype)
        model = nn.Conv2d(1, 3, 1)
        list(fit(model, nn.CrossEntropyLoss(), data, None, recipe, seed=0, score=accuracy))
        found.append(model.weight.detach())
    assert torch.equal(*found)


@pytest.mark.parametrize(("side", "batch"), [(8, 256), (64, 256), (128, 64), (512, 4), (2048, 1)])
def test_large_images_go_through_in_small_batches(side, batch):
    sizes = []

    class Counting(nn.Module):
        def forward(self, images):
            sizes.append(len(images))
            return images.flatten(1)[:, :2]

    outputs(Counting(), torch.zeros(batch + 1, side, side, 3, dtype=torch.uint8), torch.device("cpu"))
    assert sizes == [batch, 1]


class TestPredict:
    """Logits of a network in evaluation mode."""

    def test_batches_do_not_matter_and_the_network_stays_as_it_was(self):
        data = random_data(count=37)
        model = network("small_cnn").train()
        before = weights(model)
        whole = predict(model, data.images)
        assert isinstance(whole, np.ndarray)
        assert whole.dtype == np.float32
        assert model.training
        assert same(weights(model), before)
        np.testing.assert_allclose(predict(model, data.images.numpy(), batch_size=5), whole, atol=1e-5)
        with torch.no_grad():
            np.testing.assert_allclose(whole, model.eval()(unit(data)).numpy(), atol=1e-5)

    def test_features_belong_to_the_logits(self):
        data, model = random_data(count=9), network("small_cnn", head="cosine")
        logits, features = predict_with_features(model, data.images, batch_size=4)
        assert features.shape == (9, 256)
        np.testing.assert_allclose(model.head(torch.from_numpy(features)).detach().numpy(), logits, atol=1e-5)
        np.testing.assert_array_equal(logits, predict(model, data.images, batch_size=4))

    def test_no_images_give_no_rows(self):
        images = np.zeros((0, 8, 8, 1), dtype=np.uint8)
        assert predict(network(), images).shape == (0, 4)
        assert predict_with_features(network(), images)[1].shape == (0, 256)

    def test_only_bytes_are_taken(self):
        with pytest.raises(InputError, match="expected uint8, 0 to 255, given float64"):
            predict(network(), np.zeros((2, 8, 8, 1)))
        with pytest.raises(InputError, match="batch_size: expected at least 1, given 0"):
            predict(network(), np.zeros((2, 8, 8, 1), dtype=np.uint8), batch_size=0)
