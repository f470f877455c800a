from types import SimpleNamespace

import numpy as np
import pytest
import torch

from study.errors import InputError
from study.training.batches import DeviceData, batch_bounds, draw_order, rank_bounds, reach_of

CPU = torch.device("cpu")


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def some_images(count=40, size=8, channels=1, low=1):
    images = torch.randint(low, 256, (count, size, size, channels), dtype=torch.uint8, generator=generator())
    return SimpleNamespace(images=images, labels=torch.arange(count) % 10)


def whole_epoch(data, augmentation, seed=0, sampler="shuffle"):
    on_device = DeviceData(data, augmentation, sampler, CPU)
    draws = on_device.draw(generator(seed))
    images, labels = on_device.batch(draws, 0, len(on_device))
    return images, labels, draws


def test_without_augmentation_images_come_as_they_are():
    data = some_images(channels=3)
    images, labels, draws = whole_epoch(data, "none")
    assert images.dtype == torch.float32
    assert images.shape == (40, 3, 8, 8)
    assert torch.equal(images, data.images[draws.image].permute(0, 3, 1, 2).float() / 255)
    assert torch.equal(labels, data.labels[draws.image])
    assert sorted(draws.image.tolist()) == list(range(40))


@pytest.mark.parametrize(
    ("augmentation", "size", "reach"),
    [
        ("none", 32, 0),
        ("shift", 28, 2),
        ("shift", 16, 2),
        ("shift", 8, 1),
        ("crop_flip", 32, 4),
        ("crop_flip", 64, 4),
        ("crop_flip", 28, 3),
        ("crop_flip", 8, 1),
    ],
)
def test_reach_follows_the_size(augmentation, size, reach):
    assert reach_of(augmentation, size, size + 5) == reach


@pytest.mark.parametrize(("augmentation", "channels"), [("shift", 1), ("crop_flip", 3)])
def test_every_image_is_a_window_into_the_padded_original(augmentation, channels):
    data = some_images(count=300, size=16, channels=channels)
    images, _, draws = whole_epoch(data, augmentation)
    reach = reach_of(augmentation, 16, 16)
    padded = np.pad(data.images.numpy(), ((0, 0), (reach, reach), (reach, reach), (0, 0)))
    for position, source in enumerate(draws.image.tolist()):
        down, right = int(draws.down[position]), int(draws.right[position])
        window = padded[source, down : down + 16, right : right + 16]
        if draws.mirrored is not None and draws.mirrored[position]:
            window = window[:, ::-1]
        expected = window.transpose(2, 0, 1).astype(np.float32) / np.float32(255)
        np.testing.assert_array_equal(images[position].numpy(), expected)


def test_shifts_and_mirroring_are_uniform():
    data = some_images(count=9000, size=8)
    _, _, draws = whole_epoch(data, "crop_flip")
    shifts = torch.bincount(draws.down * 3 + draws.right, minlength=9)
    assert (shifts - 1000).abs().max() < 5 * 30
    assert abs(int(draws.mirrored.sum()) - 4500) < 5 * 48
    assert whole_epoch(data, "shift")[2].mirrored is None


def test_shifts_bring_in_zeros():
    images, _, draws = whole_epoch(some_images(count=200), "shift")
    dark_rows = (images == 0).all(dim=(1, 3))
    assert torch.equal(dark_rows[:, 0], draws.down == 0)
    assert torch.equal(dark_rows[:, -1], draws.down == 2)


def test_the_generator_decides_everything():
    data = some_images()
    first, again, other = (whole_epoch(data, "crop_flip", seed=seed) for seed in (0, 0, 1))
    assert torch.equal(first[0], again[0])
    assert not torch.equal(first[0], other[0])


@pytest.mark.parametrize("world_size", [1, 2, 3, 7])
def test_the_ranks_cut_a_batch_as_tensor_split_does(world_size):
    data = DeviceData(some_images(), "crop_flip", "shuffle", CPU)
    draws = data.draw(generator())
    for start, stop in ((0, 16), (16, 21), (21, 22), (0, 40)):
        whole, _ = data.batch(draws, start, stop)
        cut = [rank_bounds(start, stop, rank, world_size) for rank in range(world_size)]
        assert [b - a for a, b in cut] == [len(part) for part in torch.arange(stop - start).tensor_split(world_size)]
        assert torch.equal(torch.cat([data.batch(draws, *bounds)[0] for bounds in cut]), whole)


def test_a_small_last_batch_is_kept_unless_it_is_too_small():
    assert batch_bounds(10, 4, 1) == [(0, 4), (4, 8), (8, 10)]
    assert batch_bounds(9, 4, 1) == [(0, 4), (4, 8), (8, 9)]
    assert batch_bounds(9, 4, 2) == [(0, 4), (4, 9)]
    assert batch_bounds(8, 4, 2) == [(0, 4), (4, 8)]
    assert batch_bounds(3, 4, 2) == [(0, 3)]


def test_balanced_draws_are_equal_over_classes_and_within_them():
    counts = [900, 90, 0, 10]
    labels = torch.repeat_interleave(torch.arange(4), torch.tensor(counts))[
        torch.randperm(1000, generator=generator(5))
    ]
    drawn = torch.cat([draw_order(labels, "balanced", generator(seed)) for seed in range(60)])
    assert len(drawn) == 60_000
    per_class = torch.bincount(labels[drawn], minlength=4)
    assert per_class[2] == 0
    assert (per_class[[0, 1, 3]] - 20_000).abs().max() < 5 * (60_000 * 1 / 3 * 2 / 3) ** 0.5
    per_image = torch.bincount(drawn, minlength=1000)
    rare = per_image[labels == 3]
    assert len(rare) == 10
    assert (rare - 2000).abs().max() < 5 * 2000**0.5
    assert (per_image[labels == 0] > 0).all()


def test_read_only_arrays_are_taken():
    images = np.full((4, 8, 8, 1), 51, dtype=np.uint8)
    labels = np.arange(4, dtype=np.int64)
    images.setflags(write=False)
    labels.setflags(write=False)
    batch, _, _ = whole_epoch(SimpleNamespace(images=images, labels=labels), "none")
    torch.testing.assert_close(batch, torch.full((4, 1, 8, 8), 0.2))


def test_labels_may_be_maps():
    data = some_images(count=6)
    data.labels = torch.arange(6 * 64).reshape(6, 8, 8)
    _, labels, draws = whole_epoch(data, "none")
    assert torch.equal(labels, data.labels[draws.image])
    with pytest.raises(InputError, match=r"labels per pixel: .* given 'shift' and 'shuffle'"):
        DeviceData(data, "shift", "shuffle", CPU)


@pytest.mark.parametrize(
    ("images", "labels", "sampler", "message"),
    [
        (torch.zeros(4, 8, 8, 1), torch.zeros(4).long(), "shuffle", "expected uint8, 0 to 255, given torch.float32"),
        (torch.zeros(4, 1, 8, 8).byte(), torch.zeros(4).long(), "shuffle", r"1 or 3 channels, given \(4, 1, 8, 8\)"),
        ([1, 2], torch.zeros(2).long(), "shuffle", "given list"),
        (torch.zeros(4, 8, 8, 1).byte(), torch.zeros(3).long(), "shuffle", r"expected whole numbers, \(4,\)"),
        (torch.zeros(4, 8, 8, 1).byte(), torch.zeros(4), "shuffle", "given torch.float32"),
        (torch.zeros(4, 8, 8, 1).byte(), torch.zeros(4).long(), "balance", "did you mean 'balanced'"),
    ],
)
def test_unusable_data_are_refused(images, labels, sampler, message):
    with pytest.raises(InputError, match=message):
        DeviceData(SimpleNamespace(images=images, labels=labels), "none", sampler, CPU)
