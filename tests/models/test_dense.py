import pytest
import torch

from study.errors import InputError
from study.models import build_model


@pytest.mark.parametrize("head", ["linear", "cosine"])
@pytest.mark.parametrize("shape", [(8, 8, 1), (64, 64, 1), (32, 48, 3)])
def test_every_pixel_gets_its_logits(shape, head):
    model = build_model("unet_small", shape=shape, num_classes=7, head=head, mean=0.4, std=0.2, seed=0).eval()
    images = torch.rand(2, shape[2], *shape[:2])
    features, logits = model.features(images), model(images)
    assert features.shape == (2, 16, *shape[:2])
    assert logits.shape == (2, 7, *shape[:2])
    assert torch.equal(logits, model.head(features))


def test_the_cosine_head_gives_scaled_cosines():
    model = build_model("unet_small", shape=(16, 16, 1), num_classes=5, head="cosine", seed=0).eval()
    images = torch.rand(1, 1, 16, 16)
    features, logits = model.features(images), model(images)
    pixel = features[0, :, 3, 9]
    expected = 30 * torch.nn.functional.cosine_similarity(pixel[None], model.head.weight)
    torch.testing.assert_close(logits[0, :, 3, 9], expected)


def test_sides_have_to_be_multiples_of_eight():
    with pytest.raises(InputError, match="multiples of 8, given 28 x 28"):
        build_model("unet_small", shape=(28, 28, 1), num_classes=5, seed=0)
