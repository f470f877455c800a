import math

import pytest
import torch
from torch import nn

from study.errors import InputError
from study.models import build_model
from study.models.layers import CosineHead, Normalise
from study.models.resnet import BasicBlock


def parameters(model):
    return sum(parameter.numel() for parameter in model.parameters())


def images(shape, count=3, seed=0):
    height, width, channels = shape
    return torch.rand(count, channels, height, width, generator=torch.Generator().manual_seed(seed))


def test_small_networks_have_the_documented_size():
    mlp = build_model("mlp", shape=(8, 8, 1), num_classes=10, seed=0)
    assert parameters(mlp) == (64 + 1) * 256 + (256 + 1) * 256 + (256 + 1) * 10
    assert not any(isinstance(m, nn.BatchNorm2d | nn.BatchNorm1d) for m in mlp.modules())
    cnn = build_model("small_cnn", shape=(28, 28, 1), num_classes=10, seed=0)
    convolutions = 16 * 25 + 32 * 16 * 9 + 64 * 32 * 9
    assert parameters(cnn) == convolutions + 2 * (16 + 32 + 64) + (256 + 1) * 10


def test_newer_networks_have_the_documented_shape():
    convnext = build_model("convnext_mini", shape=(28, 28, 1), num_classes=10, seed=0)
    assert [convnext.body.features[: 2 * i](images((28, 28, 1))).shape[1:] for i in (1, 2, 3)] == [
        (32, 14, 14), (64, 7, 7), (128, 3, 3)
    ]  # fmt: skip
    vit = build_model("vit_mini", shape=(28, 28, 1), num_classes=10, seed=0)
    block = 4 * 96 * 96 + 4 * 96 + 2 * 4 * 96 * 96 + 4 * 96 + 96 + 4 * 96
    assert parameters(vit) == 4 * block + (16 + 1) * 96 + 96 + 50 * 96 + 2 * 96 + 97 * 10


@pytest.mark.parametrize("shape", [(28, 32, 1), (30, 30, 3)])
def test_a_transformer_needs_whole_patches_of_a_square(shape):
    with pytest.raises(InputError, match=f"given {shape[0]} x {shape[1]}"):
        build_model("vit_mini", shape=shape, num_classes=10, seed=0)


def test_the_body_does_not_depend_on_the_head():
    linear = build_model("small_cnn", shape=(28, 28, 1), num_classes=10, head="linear", seed=1)
    cosine = build_model("small_cnn", shape=(28, 28, 1), num_classes=3, head="cosine", seed=1)
    x = images((28, 28, 1))
    assert torch.equal(linear.eval().features(x), cosine.eval().features(x))


def test_initial_weights_are_kaiming_normal():
    model = build_model("resnet20", shape=(32, 32, 3), num_classes=10, seed=0)
    widest = [m for m in model.modules() if isinstance(m, nn.Conv2d)][-1]
    assert widest.weight.std().item() == pytest.approx(math.sqrt(2 / (64 * 9)), rel=0.02)
    assert torch.equal(model.head.bias, torch.zeros(10))


def test_normalisation_is_a_layer_with_buffers():
    model = build_model("mlp", shape=(8, 8, 3), num_classes=2, mean=(0.1, 0.2, 0.3), std=(1.0, 0.5, 0.25), seed=0)
    x = images((8, 8, 3))
    expected = torch.stack([(x[:, 0] - 0.1) / 1.0, (x[:, 1] - 0.2) / 0.5, (x[:, 2] - 0.3) / 0.25], dim=1)
    torch.testing.assert_close(model.normalise(x), expected)
    assert {"normalise.mean", "normalise.std"} <= set(model.state_dict())
    assert not any("normalise" in name for name, _ in model.named_parameters())


def test_cosine_head_gives_30_times_the_cosine():
    head = CosineHead(2, 3)
    with torch.no_grad():
        head.weight.copy_(torch.tensor([[2.0, 0.0], [0.0, 5.0], [-1.0, -1.0]]))
    logits = head(torch.tensor([[3.0, 0.0], [0.0, 0.1]]))
    diagonal = -30 / math.sqrt(2)
    torch.testing.assert_close(logits, torch.tensor([[30.0, 0.0, diagonal], [0.0, 30.0, diagonal]]))


def test_the_shortcut_takes_every_second_pixel_and_pads_channels():
    block = BasicBlock(2, 4, stride=2)
    nn.init.zeros_(block.conv2.weight)
    x = images((8, 8, 2))
    out = block(x)
    assert out.shape == (3, 4, 4, 4)
    torch.testing.assert_close(out[:, 1:3], x[:, :, ::2, ::2])
    assert not out[:, 0].any()
    assert not out[:, 3].any()


def test_dead_features_do_not_make_the_cosine_head_fail():
    head = CosineHead(4, 3)
    features = torch.zeros(2, 4, requires_grad=True)
    head(features).sum().backward()
    assert features.grad.isfinite().all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": "resnet-20"}, "did you mean 'resnet20'"),
        ({"name": "resnet32", "shape": (7, 8, 1)}, "at least 8 x 8 pixels, given 7 x 8.*mlp"),
        ({"shape": (8, 8, 2)}, r"1 or 3 channels, given \(8, 8, 2\)"),
        ({"shape": (8, 8)}, r"expected \(H, W, C\)"),
        ({"num_classes": 1}, "at least 2, given 1"),
        ({"head": "cosin"}, "did you mean 'cosine'"),
        ({"mean": (0.5, 0.5)}, r"one finite number, or 1 \(one per channel\)"),
        ({"mean": math.nan}, "finite"),
        ({"std": 0.0}, "above 0"),
    ],
)
def test_unusable_arguments_are_refused(change, message):
    arguments = {"name": "mlp", "shape": (8, 8, 1), "num_classes": 10, "seed": 0, **change}
    with pytest.raises(InputError, match=message):
        build_model(arguments.pop("name"), **arguments)


def test_one_number_serves_all_channels():
    layer = Normalise(3, 0.5, [0.1, 0.2, 0.4])
    assert layer.mean.flatten().tolist() == [0.5, 0.5, 0.5]
    assert layer.std.shape == (1, 3, 1, 1)


@pytest.mark.parametrize("head", ["linear", "cosine"])
def test_under_autocast_the_head_keeps_float32(head):
    model = build_model("mlp", shape=(8, 8, 1), num_classes=10, head=head, seed=0)
    x = images((8, 8, 1))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        features, logits = model.features(x), model(x)
    assert features.dtype == torch.bfloat16
    assert logits.dtype == torch.float32
    torch.testing.assert_close(logits, model.head(features.float()))
    assert not torch.equal(logits, logits.bfloat16().float())
