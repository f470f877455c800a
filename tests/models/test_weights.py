"""Weights from files: of this study, bare, and by torchvision's own names."""

import hashlib
import re

import pytest
import torch
import torchvision

from study.errors import InputError
from study.models import build_model
from study.models.weights import load, read


def network(name="small_cnn", classes=4, seed=0, **more):
    return build_model(name, shape=(8, 8, 3), num_classes=classes, mean=0.4, std=0.2, seed=seed, **more)


def same(model, expected, of=""):
    return all(torch.equal(value, expected[key]) for key, value in model.state_dict().items() if key.startswith(of))


@pytest.mark.parametrize("wrap", [lambda w: {"weights": w, "task": "x"}, lambda w: w])
def test_own_files_bring_everything(tmp_path, wrap):
    theirs = network(seed=1).state_dict()
    theirs["normalise.mean"] += 0.1
    torch.save(wrap(theirs), tmp_path / "w.pt")
    model = network()
    loaded = load(model, "small_cnn", read(tmp_path / "w.pt"), tmp_path / "w.pt")
    assert same(model, theirs)
    assert (loaded.head, loaded.left_out) == ("", 0)


def test_a_bare_state_dict_may_leave_normalisation_to_the_data(tmp_path):
    theirs = {key: value for key, value in network(seed=1).state_dict().items() if "normalise" not in key}
    model = network()
    load(model, "small_cnn", theirs, tmp_path)
    assert same(model, {**model.state_dict(), **theirs})
    assert model.normalise.mean.flatten().tolist() == pytest.approx([0.4] * 3)


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (network(classes=7, seed=1), "the file's has 7 classes, these data 4"),
        (network(head="cosine", seed=1), "the file's is of another kind"),
    ],
)
def test_another_head_is_replaced_only_where_that_is_asked_for(tmp_path, given, reason):
    theirs, model, fresh = given.state_dict(), network(), network().state_dict()
    assert load(model, "small_cnn", theirs, tmp_path, new_head=True).head == reason
    assert same(model, theirs, "body.")
    assert same(model, fresh, "head.")
    with pytest.raises(InputError, match=r"they (lack|have in another shape) head\."):
        load(network(), "small_cnn", theirs, tmp_path)


def test_torchvisions_names_and_head(tmp_path):
    torch.manual_seed(3)
    theirs = torchvision.models.mobilenet_v3_small(num_classes=4).eval()
    model = build_model("mobilenet_v3_small_imagenet", shape=(64, 64, 3), num_classes=4, mean=0.4, std=0.2, seed=0)
    assert load(model, "mobilenet_v3_small_imagenet", theirs.state_dict(), tmp_path).head == ""
    x = torch.rand(2, 3, 64, 64)
    torch.testing.assert_close(model.eval()(x), theirs((x - 0.4) / 0.2))


@pytest.mark.parametrize(
    ("name", "theirs"),
    [
        ("lraspp_mobilenet_v3", "lraspp_mobilenet_v3_large"),
        ("deeplabv3_resnet50", "deeplabv3_resnet50"),
    ],
)
def test_torchvisions_segmenters_give_their_logits_and_lose_their_auxiliary_head(tmp_path, name, theirs):
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(3)
    auxiliary = {} if name.startswith("lraspp") else {"aux_loss": True}
    other = torchvision.models.get_model(theirs, weights=None, weights_backbone=None, num_classes=4, **auxiliary).eval()
    model = build_model(name, shape=(32, 32, 3), num_classes=4, mean=0.4, std=0.2, seed=0)
    loaded = load(model, name, other.state_dict(), tmp_path)
    assert loaded.left_out == (8 if auxiliary else 0)
    x = torch.rand(1, 3, 32, 32)
    torch.testing.assert_close(model.eval()(x), other((x - 0.4) / 0.2)["out"], rtol=1e-4, atol=1e-4)
    torch.set_num_threads(threads)


def test_the_form_for_small_images_has_another_first_layer(tmp_path):
    theirs = torchvision.models.resnet18(num_classes=4).state_dict()
    shape = re.escape("(64, 3, 7, 7), expected (64, 3, 3, 3)")
    with pytest.raises(InputError, match=f"have in another shape body.conv1.weight {shape}"):
        load(build_model("resnet18", shape=(8, 8, 3), num_classes=4, seed=0), "resnet18", theirs, tmp_path)


def test_what_does_not_fit_is_named_and_counted(tmp_path):
    mine, theirs = network(), network("resnet8")
    with pytest.raises(InputError, match=r"not the weights of small_cnn .* they lack body\.3\.weight, .* and \d+ more"):
        load(mine, "small_cnn", theirs.state_dict(), tmp_path, new_head=True)
    more = {**network().state_dict(), "body.extra": torch.zeros(1)}
    with pytest.raises(InputError, match=r"they have besides body\.extra$"):
        load(mine, "small_cnn", more, tmp_path)


@pytest.mark.parametrize(
    ("content", "said"),
    [([1, 2], "expected a state dict"), ({"a": 1}, "expected a state dict"), (print, "weights_only=True")],
)
def test_files_of_something_else_are_refused(tmp_path, content, said):
    torch.save(content, tmp_path / "w.pt")
    with pytest.raises(InputError, match=said):
        read(tmp_path / "w.pt")
    with pytest.raises(InputError, match="no such file"):
        read(tmp_path / "nothing.pt")


def test_a_changed_file_is_noticed(tmp_path):
    path = tmp_path / "w.pt"
    torch.save(network().state_dict(), path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert read(path, digest).keys() == network().state_dict().keys()
    with pytest.raises(InputError, match="not those this run began with"):
        read(path, "0" * 64)
