import subprocess
import sys

import numpy as np
import pytest

from study.data.embedded import digits, mnist5k
from study.data.scenes import compose_scenes, split_scenes
from study.data.types import IGNORED, Images
from study.errors import InputError
from tests.data.helpers import toy_source


@pytest.fixture(scope="module")
def splits():
    return split_scenes(mnist5k(), split_seed=3, n_train=60, n_validation=10, n_test=20)


def test_every_pixel_is_ground_ink_or_without_a_label(splits):
    for part in (splits.train, splits.validation, splits.test):
        assert part.images.shape[1:] == (64, 64, 1)
        assert part.labels.shape == part.images.shape[:3]
        assert set(np.unique(part.labels)) <= {IGNORED, *range(11)}


def test_class_counts_are_scenes_times_the_share_of_labelled_pixels(splits):
    labels = splits.train.labels
    expected = [60 * (labels == c).sum() / (labels != IGNORED).sum() for c in range(11)]
    assert splits.class_counts == pytest.approx(expected)
    assert sum(splits.class_counts) == pytest.approx(60)


def test_ink_stands_out_from_its_ground():
    one = Images(np.pad(np.full((1, 8, 8, 1), 255, np.uint8), ((0, 0), (10, 10), (10, 10), (0, 0))), np.array([4]))
    scenes = compose_scenes(one, "train", 20, seed=0)
    assert set(np.unique(scenes.labels)) <= {IGNORED, 0, 5}
    for image, label in zip(scenes.images[..., 0], scenes.labels, strict=True):
        assert image[label == 5].mean() > image[label == 0].mean() + 40


def test_scenes_are_the_same_in_any_process():
    code = (
        "from study.data.embedded import digits; from study.data.scenes import compose_scenes; import hashlib;"
        "s = compose_scenes(digits().train, 'test', 5, seed=7);"
        "print(hashlib.sha256(s.images.tobytes() + s.labels.tobytes()).hexdigest())"
    )
    import hashlib

    here = compose_scenes(digits().train, "test", 5, seed=7)
    expected = hashlib.sha256(here.images.tobytes() + here.labels.tobytes()).hexdigest()
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == expected


def test_only_digits_can_be_composed():
    with pytest.raises(InputError, match="expected label maps, or digits to compose scenes of, got toy"):
        split_scenes(toy_source([20, 20]), split_seed=0, n_train=2, n_validation=1, n_test=1)


def test_training_validation_and_test_are_composed_of_their_own_digits(monkeypatch):
    """The digits of the three parts are disjoint, and each part asks for the ground of its own photographs."""
    given = {}

    def compose(images, role, n, seed):
        given[role] = {image.tobytes() for image in images.images}
        return compose_scenes(images, role, n, seed)

    monkeypatch.setattr("study.data.scenes.compose_scenes", compose)
    split_scenes(mnist5k(), split_seed=3, n_train=3, n_validation=2, n_test=2)
    assert {role: len(found) for role, found in given.items()} == {"train": 3500, "validation": 500, "test": 1000}
    assert not given["train"] & given["validation"]
    assert not given["test"] & (given["train"] | given["validation"])
