"""Every network by name: shapes, heads, weights from the seed, the published size, one step of training."""

import pytest
import torch
from torch import nn

from hem.registry import LOSSES, get_loss
from study.errors import InputError
from study.models import MODELS, build_model
from study.models.layers import build_head
from study.models.sizes import markdown, size
from study.training import Recipe, fit
from tests.study.training_helpers import accuracy, random_data

RECIPE = Recipe(learning_rate=1e-4, weight_decay=0.0, batch_size=4, epochs=1)
PLAIN = sorted(name for name, spec in MODELS.items() if not spec.dense)
DENSE = sorted(name for name, spec in MODELS.items() if spec.dense)


LARGE = {"vgg16_bn_imagenet", "vit_b_16", "wrn_28_10"}
"""Networks that are not trained here: 36 to 138 million parameters."""


def smallest(name):
    return max(MODELS[name].min_size, 8)


def images(side, channels=3, count=2, across=None):
    return torch.rand(count, channels, side, across or side, generator=torch.Generator().manual_seed(0))


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def built(name, seed=0):
    return build_model(name, shape=(smallest(name), smallest(name), 3), num_classes=4, mean=0.4, std=0.2, seed=seed)


@pytest.mark.parametrize("name", sorted(set(MODELS) - LARGE))
def test_every_network_has_heads_a_seed_and_learns(name):
    before = torch.get_rng_state()
    model = built(name)
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(3)
    twin = built(name).state_dict()
    assert all(torch.equal(value, twin[key]) for key, value in model.state_dict().items())
    check_heads(model.eval(), MODELS[name].dense, images(smallest(name)))
    check_learning(model, MODELS[name].dense, smallest(name))


def check_heads(model, dense, x):
    with torch.no_grad():
        features, logits = model.features(x), model(x)
        assert logits.shape == ((2, 4, *x.shape[2:]) if dense else (2, 4))
        assert logits.isfinite().all()
        if logits.shape[2:] == features.shape[2:]:
            assert torch.equal(logits, model.head(features))
        cosine = build_head("cosine", features.shape[1], 4, dense=dense)
        assert cosine(features).abs().max() <= 30.001


def check_learning(model, dense, side):
    """One step each of HEM and of cross-entropy: every parameter takes part; convolutions run in channels_last."""
    data = random_data(count=4, size=side, channels=3)
    if dense:
        data.labels = data.labels[:, None, None].expand(-1, side, side).contiguous()
    for loss in ("hem", "ce"):
        before = {key: value.detach().clone() for key, value in model.named_parameters()}
        [(metrics, _)] = fit(model, get_loss(loss).build([1, 1, 1, 1]), data, None, RECIPE, seed=0, score=accuracy)
        assert metrics["gradient_norm"] > 0
        assert all(parameter.grad is not None for parameter in model.parameters())
        assert any(not torch.equal(value, before[key]) for key, value in model.named_parameters())


@pytest.mark.parametrize("name", sorted(LARGE))
def test_large_networks_hand_every_parameter_a_gradient(name):
    """On tensors without content: nothing is computed."""
    side = smallest(name)
    with torch.device("meta"):
        body, width = MODELS[name].build_body((side, side, 3))
        network = nn.Sequential(body, build_head("linear", width, 4))
        logits = network(torch.empty(2, 3, side, side))
    assert logits.shape == (2, 4)
    logits.sum().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())


@pytest.mark.parametrize("name", sorted(MODELS))
def test_every_network_takes_one_channel(name):
    side = smallest(name)
    with torch.device("meta"):
        body, width = MODELS[name].build_body((side, side, 1))
        out = body.eval()(torch.empty(2, 1, side, side))
    assert out.shape[:2] == (2, width)


@pytest.mark.parametrize("name", [name for name in PLAIN if smallest(name) == 8 and not name.startswith("vit")])
def test_networks_for_small_images_take_any_shape(name):
    with torch.device("meta"):
        for height, width in ((8, 8), (28, 28), (33, 47)):
            body, length = MODELS[name].build_body((height, width, 3))
            assert body.eval()(images(height, across=width).to("meta")).shape == (2, length)


@pytest.mark.parametrize("name", [name for name in DENSE if not name.startswith("unet")])
def test_smaller_maps_are_interpolated_to_the_images(name):
    model, x = built(name).eval(), images(40, across=56)
    with torch.no_grad():
        maps = model.head(model.features(x))
        assert maps.shape == (2, 4, 5, 7)
        expected = nn.functional.interpolate(maps, (40, 56), mode="bilinear", align_corners=False)
        assert torch.equal(model(x), expected)


@pytest.mark.parametrize(
    ("name", "classes", "exact", "published"),
    [
        # He et al. 2016 (1512.03385), table 6: millions of parameters on CIFAR-10.
        ("resnet20", 10, 269_722, 0.27e6),
        ("resnet32", 10, 464_154, 0.46e6),
        ("resnet44", 10, 658_586, 0.66e6),
        ("resnet56", 10, 853_018, 0.85e6),
        # The field's ResNet-18 and PreAct-ResNet-18 for CIFAR-10.
        ("resnet18", 10, 11_173_962, 11.17e6),
        ("preact_resnet18", 10, 11_172_170, 11.17e6),
        # Zagoruyko and Komodakis 2016 (1605.07146), table 4 and section 3: 36.5 M and 2.2 M.
        ("wrn_28_10", 10, 36_479_194, 36.5e6),
        ("wrn_40_2", 10, 2_243_546, 2.2e6),
        ("wrn_16_4", 10, 2_748_890, 2.7e6),
        # A U-Net of five levels with batch norm: by hand below.
        ("unet", 2, 31_037_698, 31.0e6),
    ],
)
def test_networks_have_the_published_number_of_parameters(name, classes, exact, published):
    found = size(MODELS[name], num_classes=classes).parameters
    assert found == exact
    assert found == pytest.approx(published, rel=0.03)


def test_a_unet_by_hand():
    widths = (64, 128, 256, 512, 1024)
    pair = lambda a, b: 9 * a * b + 2 * b + 9 * b * b + 2 * b  # noqa: E731
    down = sum(pair(a, b) for a, b in zip((3, *widths), widths, strict=False))
    up = sum(4 * 2 * b * b + b + pair(2 * b, b) for b in widths[:-1])
    assert size(MODELS["unet"], num_classes=2).parameters == down + up + 65 * 2


WEIGHTS = {
    "resnet18_imagenet": "ResNet18_Weights",
    "resnet34_imagenet": "ResNet34_Weights",
    "resnet50_imagenet": "ResNet50_Weights",
    "vgg16_bn_imagenet": "VGG16_BN_Weights",
    "densenet121_imagenet": "DenseNet121_Weights",
    "mobilenet_v3_small_imagenet": "MobileNet_V3_Small_Weights",
    "efficientnet_b0_imagenet": "EfficientNet_B0_Weights",
    "convnext_tiny_imagenet": "ConvNeXt_Tiny_Weights",
    "vit_b_16": "ViT_B_16_Weights",
    "lraspp_mobilenet_v3": "segmentation.LRASPP_MobileNet_V3_Large_Weights",
}


@pytest.mark.parametrize("name", sorted(WEIGHTS))
def test_sizes_are_those_that_torchvision_states(name):
    """Parameters exactly and multiply-adds to 0.1 % (it states 1e9 of them, with three digits)."""
    from torchvision import models

    place, _, weights = WEIGHTS[name].rpartition(".")
    meta = getattr(getattr(models, place) if place else models, weights).DEFAULT.meta
    found = size(MODELS[name])
    # LR-ASPP's two classifying layers are one here, with one bias for each of the 21 classes.
    assert found.parameters + (21 if name.startswith("lraspp") else 0) == meta["num_params"]
    if not MODELS[name].dense:
        assert found.multiply_adds / 1e9 == pytest.approx(meta["_ops"], abs=0.0015)


@pytest.mark.parametrize(("name", "weights"), [("fcn_resnet50", "FCN"), ("deeplabv3_resnet50", "DeepLabV3")])
def test_segmenters_have_torchvisions_size_without_the_auxiliary_head(name, weights):
    from torchvision.models import segmentation

    meta = getattr(segmentation, f"{weights}_ResNet50_Weights").DEFAULT.meta
    auxiliary = 9 * 1024 * 256 + 2 * 256 + 257 * 21
    assert size(MODELS[name]).parameters == meta["num_params"] - auxiliary


def test_a_small_case_by_hand():
    found = size(MODELS["mlp"], (8, 8, 1), 10)
    assert found.parameters == 65 * 256 + 257 * 256 + 257 * 10
    assert found.multiply_adds == 64 * 256 + 256 * 256 + 256 * 10
    cnn = size(MODELS["small_cnn"], (28, 28, 1), 10)
    assert cnn.multiply_adds == 14 * 14 * 16 * 25 + 7 * 7 * 32 * 16 * 9 + 4 * 4 * 64 * 32 * 9 + 256 * 10


def test_the_table_has_a_row_for_a_network():
    rows = markdown([MODELS["resnet32"], MODELS["unet_small"]]).splitlines()
    assert rows[2] == "| `resnet32` | 32x32x3 | 10 | 464,154 | 68.9 M |"
    assert rows[3].startswith("| `unet_small` | 64x64x3 | 11 | 109,915 |")


def test_pre_activation_by_hand():
    """With the second convolution at 0 a block hands on its input, or the shortcut of the activated one."""
    from study.models.preact import PreActBlock

    x = torch.randn(2, 4, 6, 6, generator=torch.Generator().manual_seed(0))
    same, wider = PreActBlock(4, 4, 1).eval(), PreActBlock(4, 8, 2).eval()
    for block in (same, wider):
        nn.init.zeros_(block.conv2.weight)
    assert torch.equal(same(x), x)
    active = torch.relu(x / (1 + 1e-5) ** 0.5)[:, :, ::2, ::2]
    expected = torch.einsum("oi,nihw->nohw", wider.shortcut.weight[:, :, 0, 0], active)
    torch.testing.assert_close(wider(x), expected)


def test_all_losses_train_one_network():
    for loss, spec in LOSSES.items():
        model = build_model("resnet8", shape=(8, 8, 1), num_classes=4, head=spec.head, seed=0)
        data = random_data(count=8)
        counts = torch.bincount(data.labels, minlength=4).clamp_min(1).tolist()
        [(metrics, _)] = fit(
            model, spec.build(counts), data, None, RECIPE, sampler=spec.sampler, seed=0, score=accuracy
        )
        assert metrics["gradient_norm"] > 0, loss


def test_a_frozen_body_stays_as_it_is():
    model = build_model("resnet8", shape=(8, 8, 1), num_classes=4, seed=0)
    model.freeze_body()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    list(fit(model, nn.CrossEntropyLoss(), random_data(), None, RECIPE, seed=0, score=accuracy))
    for key, value in model.state_dict().items():
        assert torch.equal(value, before[key]) == (not key.startswith("head.")), key
    assert not model.train().body.training
    assert model.training
    assert model.head.training


def test_segmenters_need_no_fixed_size_but_unets_do():
    with pytest.raises(InputError, match="unet: expected sides that are multiples of 16, given 24 x 32"):
        build_model("unet", shape=(24, 32, 3), num_classes=3, seed=0)


def test_a_network_for_large_images_names_its_small_forms():
    with pytest.raises(InputError, match=r"at least 64 x 64 pixels, given 32 x 32.*resnet18,") as error:
        build_model("resnet18_imagenet", shape=(32, 32, 3), num_classes=3, seed=0)
    assert "unet" not in str(error.value)
