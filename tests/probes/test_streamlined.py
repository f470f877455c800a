"""A model as an attack runs it: the same logits and gradients, and everything in its place afterwards."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from study.models.registry import build_model
from study.probes.grey_convolution import GreyConvolution
from study.probes.streamlined import streamlined


def settled(model):
    """Return the model in eval mode, with statistics and weights of its batch norms that are not 0 and 1.

    In float32 the rounding of one processor may switch a ReLU that another one's does not, and more of the model stays
    as it is: where it is said how much changes it is in float64.
    """
    generator = torch.Generator().manual_seed(1)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor, low in (
                (module.weight, 0.5),
                (module.running_var, 0.5),
                (module.bias, -1),
                (module.running_mean, -1),
            ):
                tensor.data.uniform_(low, 1.5, generator=generator)
    return model.eval().requires_grad_(False)


def norms(model):
    return sum(isinstance(module, nn.BatchNorm2d) for module in model.modules())


@pytest.mark.parametrize(
    ("name", "side", "channels", "left"),
    [
        ("small_cnn", 28, 3, 0),
        ("small_cnn", 28, 1, 0),
        ("resnet20", 16, 3, 0),
        ("resnet18", 16, 3, 0),
        ("vgg16_bn", 32, 1, 0),
        ("preact_resnet18", 16, 3, 9),  # half of them come before their convolution
        ("preact_resnet18", 16, 1, 9),
        ("mlp", 16, 3, 0),
    ],
)
def test_same_logits_and_gradients_with_fewer_layers(name, side, channels, left):
    model = settled(build_model(name, shape=(side, side, channels), num_classes=5, seed=0)).double()
    images = torch.rand(12, channels, side, side, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    modules, state = list(model.modules()), {k: v.clone() for k, v in model.state_dict().items()}

    def outcome():
        given = images.clone().requires_grad_()
        logits = model(given)
        return logits.detach(), torch.autograd.grad(logits[:, 0].sum(), given)[0]

    expected, slope = outcome()
    with streamlined(model, images):
        assert norms(model) == left
        logits, folded_slope = outcome()
    scale = float(expected.abs().max())
    torch.testing.assert_close(logits, expected, rtol=0, atol=1e-10 * scale)
    torch.testing.assert_close(folded_slope, slope, rtol=0, atol=1e-10 * float(slope.abs().max()))
    assert list(model.modules()) == modules
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())
    torch.testing.assert_close(model(images), expected, rtol=0, atol=0)


@pytest.mark.parametrize(("name", "narrow"), [("small_cnn", True), ("resnet18", False)])
def test_which_convolutions_are_made_anew(name, narrow):
    """Narrow ones with each pixel's channels together; that of grey images with a gradient by product."""
    model = settled(build_model(name, shape=(16, 16, 1), num_classes=5, seed=0)).double()
    assert not any(isinstance(module, GreyConvolution) for module in model.modules())
    with streamlined(model, torch.rand(3, 1, 16, 16, dtype=torch.float64)):
        assert sum(isinstance(module, GreyConvolution) for module in model.modules()) == 1
        weights = [module.weight for module in model.modules() if isinstance(module, nn.Conv2d)]
        wide = [weight for weight in weights if min(weight.shape[1:]) > 1]
        assert {weight.is_contiguous(memory_format=torch.channels_last) for weight in wide} == {narrow}


def test_a_grey_convolution_without_a_batch_norm_is_made_anew():
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 3)).eval().requires_grad_(False)
    images, convolution = torch.rand(2, 1, 8, 8), model[0]
    expected = model(images)
    with streamlined(model, images):
        assert isinstance(model[0], GreyConvolution)
        torch.testing.assert_close(model(images), expected)
    assert model[0] is convolution


class WrongGradient(GreyConvolution):
    """The same maps, and a gradient of half the size."""

    def forward(self, images):
        maps = self.convolution(images)
        return maps.detach() + (maps - maps.detach()) / 2


def test_a_change_of_the_gradient_is_taken_back(monkeypatch):
    model = settled(build_model("small_cnn", shape=(16, 16, 1), num_classes=5, seed=0)).double()
    first = next(module for module in model.modules() if isinstance(module, nn.Conv2d))
    monkeypatch.setattr("study.probes.streamlined.GreyConvolution", WrongGradient)
    with streamlined(model, torch.rand(3, 1, 16, 16, dtype=torch.float64)):
        modules = list(model.modules())
        assert first in modules
        assert norms(model) == 1, "the others are folded one by one"


def test_by_hand():
    model = nn.Sequential(nn.Conv2d(1, 1, 1), nn.BatchNorm2d(1, eps=0.0), nn.Flatten(), nn.Linear(1, 2))
    model.eval().requires_grad_(False)
    for tensor, value in (
        (model[0].weight, 3.0),
        (model[0].bias, 1.0),
        (model[1].weight, 2.0),
        (model[1].bias, 5.0),
        (model[1].running_mean, 4.0),
        (model[1].running_var, 16.0),
    ):
        tensor.data.fill_(value)
    with streamlined(model, torch.full((1, 1, 1, 1), 0.5)):
        assert float(model[0].convolution.weight) == 1.5  # 2 / 4 · 3
        assert float(model[0].convolution.bias) == 3.5  # 2 / 4 · (1 − 4) + 5
        assert type(model[1]) is nn.Identity
    assert float(model[0].weight) == 3.0


class Odd(nn.Module):
    """A convolution and a batch norm that are not simply one after the other, each in its own way."""

    def __init__(self, way):
        super().__init__()
        self.way, self.conv, self.norm, self.head = way, nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 5)

    def forward(self, images):
        between = self.conv(images)
        if self.way == "changed in place":
            between.relu_()
        maps = self.norm(between)
        if self.way == "used twice":
            maps = maps + between
        if self.way == "normed twice":
            maps = self.norm(between) * maps
        if self.way == "convolved twice":
            maps = maps + self.conv(images)
        if self.way == "in numbers":
            maps = maps + F.conv2d(images, self.conv.weight)
        if self.way == "by name":
            maps = maps * self.norm.weight[:, None, None]
        return self.head(maps.mean((2, 3)))


WAYS = ["changed in place", "used twice", "normed twice", "convolved twice", "in numbers", "by name"]


@pytest.mark.parametrize("factor", [1.0, 1e-5, 1e5])
@pytest.mark.parametrize("way", WAYS)
def test_what_is_not_a_pair_stays(way, factor):
    model, images = settled(Odd(way)), torch.rand(3, 3, 8, 8, generator=torch.Generator().manual_seed(3))
    model.head.weight *= factor
    model.head.bias.copy_(1e5 if factor > 1 else 0.0)  # a common offset says nothing
    expected = model(images)
    with streamlined(model, images):
        assert norms(model) == 1
        torch.testing.assert_close(model(images), expected, rtol=0, atol=0)


@pytest.mark.parametrize("way", ["hook", "training", "no statistics", "shared", "random", "training convolution"])
def test_what_cannot_be_folded_stays(way):
    convolution, norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, track_running_stats=way != "no statistics")
    layers = [convolution, norm]
    if way == "shared":
        layers += [nn.Conv2d(4, 4, 3), norm]
    if way == "random":
        layers += [nn.Dropout(0.5)]
    model = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 5)).eval()
    if way == "hook":
        norm.register_forward_hook(lambda module, given, result: result + 1)
    if way == "training":
        norm.train()
    if way == "training convolution":
        convolution.train()
    if way == "random":
        model[2].train()
    images = torch.rand(6, 3, 8, 8, generator=torch.Generator().manual_seed(4))
    with streamlined(model, images):
        assert model[1] is norm
        assert model[0] is convolution


def test_everything_is_in_place_after_an_error():
    model = settled(build_model("small_cnn", shape=(28, 28, 1), num_classes=3, seed=0))
    count = norms(model)
    with pytest.raises(RuntimeError, match="stop"), streamlined(model, torch.zeros(1, 1, 28, 28)):
        raise RuntimeError("stop")
    assert norms(model) == count
