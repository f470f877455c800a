"""The corruptions' formulas: known numbers by hand, and independent implementations."""

import colorsys
import io

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import map_coordinates, zoom

from study.data.corruption import corrupt
from study.data.corruptions import blur, digital, tools, weather
from tests.data.pictures import pictures, plain


def one_bright_pixel(height=21, width=21):
    image = np.zeros((1, height, width, 1), dtype=np.float32)
    image[0, height // 2, width // 2] = 1
    return image


@pytest.mark.parametrize(
    ("kind", "severity", "change"),
    [
        ("brightness", 4, lambda h, s, v: (h, s, min(v + 0.2, 1))),
        ("saturate", 1, lambda h, s, v: (h, s * 0.3, v)),
        ("saturate", 4, lambda h, s, v: (h, min(2 * s + 0.1, 1), v)),
    ],
)
def test_colours_against_colorsys(kind, severity, change):
    images = np.random.default_rng(1).integers(0, 256, (1, 32, 32, 3), dtype=np.uint8)
    images[0, 0] = 100  # grey pixels
    images[0, 1] = 0
    expected = [colorsys.hsv_to_rgb(*change(*colorsys.rgb_to_hsv(*pixel))) for pixel in images.reshape(-1, 3) / 255]
    difference = corrupt(images, kind, severity, 0).reshape(-1, 3) - 255 * np.array(expected)
    assert np.abs(difference).max() <= 0.5 + 1e-3  # rounded to whole levels


def test_light_by_hand():
    image = plain(0, 28, 28, 1)
    image[0, :14] = 200
    brighter = corrupt(image, "brightness", 4, 0)
    assert set(np.unique(brighter[0, :14])) == {251}
    assert set(np.unique(brighter[0, 14:])) == {51}
    assert set(np.unique(corrupt(image, "brightness", 5, 0))) == {76, 255}  # 0.3 * 255 = 76.5, to the even one
    colour = np.concatenate([plain(0, 16), plain([200, 100, 60], 16)], axis=1)
    flat = corrupt(colour, "contrast", 2, 0)  # half the distance to the means 100, 50, 30
    assert flat[0, 0, 0].tolist() == [50, 25, 15]
    assert flat[0, 31, 31].tolist() == [150, 75, 45]


def test_noise_has_the_published_moments():
    grey = plain(102, 64, 64, 3, count=20) / 255
    for kind, severity, expected in (
        ("gaussian_noise", 1, 0.08),
        ("shot_noise", 1, np.sqrt(0.4 / 60)),
        ("speckle_noise", 1, 0.4 * 0.15),
    ):
        values = corrupt(plain(102, 64, 64, 3, count=20), kind, severity, 0) / 255
        # 245,760 values: the mean's standard error is at most 0.0002, that of the deviation 0.00012.
        assert abs(values.mean() - grey.mean()) < 0.001, kind
        assert abs(values.std() - expected) < 0.001, kind


def test_shot_noise_counts_photons():
    values = np.unique(corrupt(pictures(4, 64, 64), "shot_noise", 5, 0))
    assert values.tolist() == [0, 85, 170, 255]  # 3 photons in white


def test_impulse_noise_by_share():
    images = plain(102, 32, 32, 3, count=40)
    values = corrupt(images, "impulse_noise", 5, 0)
    assert set(np.unique(values)) == {0, 102, 255}
    for value in (0, 255):
        assert abs((values == value).mean() - 0.035) < 0.002  # the standard error is 0.0005


def test_discs_by_hand():
    sharp = blur.disc(3, 0.1)
    assert sharp.sum() == pytest.approx(1)
    assert np.count_nonzero(sharp > 1e-9) == 29  # pixels within 3
    np.testing.assert_allclose(sharp[sharp > 1e-9], 1 / 29, rtol=1e-9)
    soft = blur.disc(0.3, 0.4)  # one pixel under the 3x3 Gaussian alone
    side = np.exp(-1 / (2 * 0.16))
    assert soft[1, 1] == pytest.approx(1 / (1 + 2 * side) ** 2)
    assert soft[0, 1] == pytest.approx(side / (1 + 2 * side) ** 2)
    assert blur.disc(10, 0.5).sum() == pytest.approx(1)


def test_filtering_mirrors_at_the_edge():
    ramp = np.arange(5, dtype=np.float32)[None, :, None, None] * np.ones((1, 1, 4, 1), dtype=np.float32)
    kernel = np.zeros((3, 3))
    kernel[0, 1], kernel[2, 1] = 0.25, 0.75  # above, below
    assert tools.filtered(ramp, kernel)[0, :, 0, 0].tolist() == [1, 1.5, 2.5, 3.5, 3]


@pytest.mark.parametrize(("angle", "step"), [(0, (0, -1)), (-90, (1, 0)), (45, (-1, -1))])
def test_motion_by_hand(angle, step):
    response = tools.moved(one_bright_pixel(), 2, 1.5, [angle])[0, ..., 0]
    weights = np.exp(-(np.arange(5) ** 2) / 4.5)
    expected = np.zeros((21, 21))
    for i, weight in enumerate(weights / weights.sum()):
        distance = i if angle != 45 else round(i / np.sqrt(2))
        expected[10 + distance * step[0], 10 + distance * step[1]] += weight
    np.testing.assert_allclose(response, expected, atol=1e-6)


def test_motion_keeps_plain_images():
    for kind in ("motion_blur", "defocus_blur", "zoom_blur", "gaussian_blur", "glass_blur", "elastic_transform"):
        assert set(np.unique(corrupt(plain(77, 64, 80), kind, 5, 0))) == {77}, kind


def test_gaussian_blur_by_hand():
    image = plain(0)
    image[0, 16, 16] = 255
    peak = 1 / sum(np.exp(-(i**2) / 2) for i in range(-4, 5))
    blurred = corrupt(image, "gaussian_blur", 5, 0)
    assert blurred[0, 16, 16].tolist() == [round(255 * peak**2)] * 3
    assert blurred[0, 16, 17].tolist() == [round(255 * peak**2 * np.exp(-0.5))] * 3


@pytest.mark.parametrize("factor", [1.01, 1.13, 1.75, 2.25, 4.5])
@pytest.mark.parametrize("shape", [(32, 32), (28, 41)])
def test_zoom_against_scipy(factor, shape):
    image = np.random.default_rng(0).random(shape)
    crop = [int(np.ceil(n / factor)) for n in shape]
    first = [(n - c) // 2 for n, c in zip(shape, crop, strict=True)]
    large = zoom(image[first[0] : first[0] + crop[0], first[1] : first[1] + crop[1]], factor, order=1)
    trim = [(large.shape[axis] - shape[axis]) // 2 for axis in (0, 1)]
    expected = large[trim[0] : trim[0] + shape[0], trim[1] : trim[1] + shape[1]]
    actual = tools.zoomed(image[None, ..., None].astype(np.float32), factor)[0, ..., 0]
    np.testing.assert_allclose(actual, expected, atol=1e-5)


def test_sampling_against_scipy():
    generator = np.random.default_rng(0)
    images = generator.random((2, 12, 9, 1)).astype(np.float32)
    rows = generator.uniform(-15, 30, (2, 12, 9)).astype(np.float32)
    columns = generator.uniform(-15, 30, (2, 12, 9)).astype(np.float32)
    actual = tools.sampled(images, rows, columns)[..., 0]
    for i in (0, 1):
        expected = map_coordinates(images[i, ..., 0], [rows[i], columns[i]], order=1, mode="mirror")
        np.testing.assert_allclose(actual[i], expected, atol=1e-5)


def test_affine_maps_keep_ramps_straight():
    rows, columns = np.mgrid[:32, :32]
    ramp = (0.01 * rows + 0.02 * columns).astype(np.float32)[None, ..., None]
    generators = [np.random.default_rng(0)]
    warped = digital.elastic_transform(ramp, (0, 0, 0.08), generators)[0, 8:24, 8:24, 0]
    for axis in (0, 1):
        steps = np.diff(warped, axis=axis)
        assert np.ptp(steps) < 1e-5
        assert abs(steps.mean()) > 0.003
    np.testing.assert_allclose(digital.elastic_transform(ramp, (0, 0, 0), generators), ramp, atol=1e-5)


def test_three_points_go_where_they_are_sent():
    jumps = np.random.default_rng(5).uniform(-2, 2, size=(3, 2))
    places = np.array([[26, 26], [26, 6], [6, 6]])  # the middle (16, 16) and a third of 32
    inverse = digital._affine(np.random.default_rng(5), 32, 32, 2.0)
    np.testing.assert_allclose(np.column_stack([places + jumps, np.ones(3)]) @ inverse, places, atol=1e-9)


def test_plasma_against_loops():
    side, decay = 16, 1.7
    draws = iter(np.random.default_rng(2).uniform(-1, 1, side * side - 1))
    field, step, amplitude = np.zeros((side, side)), side, 100.0

    def fill(offset_row, offset_column, neighbours):
        for row in range(offset_row, side, step):
            for column in range(offset_column, side, step):
                around = [field[(row + i) % side, (column + j) % side] for i, j in neighbours]
                new[row, column] = sum(around) / 4 + amplitude**2 * next(draws)

    while step >= 2:
        half = step // 2
        new = field
        fill(half, half, [(-half, -half), (-half, half), (half, -half), (half, half)])
        new = field.copy()  # both kinds of diamonds see the squares, not each other
        cross = [(-half, 0), (half, 0), (0, -half), (0, half)]
        fill(0, half, cross)
        fill(half, 0, cross)
        field, step, amplitude = new, half, amplitude / decay
    expected = (field - field.min()) / np.ptp(field)
    actual = tools.plasma([np.random.default_rng(2)], 12, 16, decay)[0]
    np.testing.assert_allclose(actual, expected[:12], atol=1e-6)


def test_fog_by_hand():
    foggy = corrupt(plain(153, count=3), "fog", 4, 0)  # v = 0.6, c = 1: from v² / (v + c) to v, p being 0 and 1
    assert foggy.min((1, 2, 3)).tolist() == [57] * 3  # 255 * 0.36 / 1.6 = 57.4
    assert foggy.max((1, 2, 3)).tolist() == [153] * 3
    assert not corrupt(plain(0), "fog", 4, 0).any()


def test_snow_and_frost_by_hand():
    snowy = corrupt(plain(0, count=4), "snow", 1, 0)
    assert snowy.min() == 6  # no flake: (1 − 0.95) * 0.5 * 255 = 6.4
    assert snowy.max() > 60
    assert np.array_equal(snowy[..., 0], snowy[..., 2])
    assert np.array_equal(snowy, snowy[:, ::-1, ::-1])  # the flakes and the flakes turned by 180°
    images = pictures(4)
    assert (corrupt(images, "snow", 5, 0) >= images).all()
    icy = corrupt(plain(0, count=4), "frost", 1, 0).astype(int)
    assert 0 < icy.max() <= 51  # 0.2 of white
    assert (icy[..., 2] >= icy[..., 1]).all()
    assert (icy[..., 1] >= icy[..., 0]).all()
    assert corrupt(plain(255, count=4), "frost", 5, 0).min() >= 191  # 0.75 of the image stays


def test_glass_copies_colours_from_above_and_left():
    image = np.zeros((1, 32, 32, 3), dtype=np.uint8)
    image[0, ..., 0], image[0, ..., 1] = np.mgrid[:32, :32]
    rows, columns = np.moveaxis(corrupt(image, "glass_blur", 1, 0)[0, ..., :2].astype(int), -1, 0)
    up, left = np.mgrid[:32, :32][0] - rows, np.mgrid[:32, :32][1] - columns
    assert not up[:2].any()
    assert not left[:, :2].any()
    for moved in (up[2:, 2:], left[2:, 2:]):
        assert set(np.unique(moved)) == {0, 1}
        assert abs(moved.mean() - 0.5) < 0.06  # 900 coins: the standard error is 0.017


def test_glass_exchanges_grey_pixels():
    order = blur.shuffled([np.random.default_rng(0)], 28, 28, 2, 1, exchange=True)[0]
    assert sorted(order) == list(range(784))
    assert 0.3 < (order != np.arange(784)).mean() < 0.9
    frame = np.ones((28, 28), dtype=bool)
    frame[1:, 1:] = False  # rows and columns from 3 on meet those from 1 on: row and column 0 stay
    assert (order == np.arange(784))[frame.ravel()].all()


def test_spatter():
    water = corrupt(plain(0, 28, 28, 1, count=8), "spatter", 3, 0)
    assert water.max((1, 2, 3)).tolist() == pytest.approx([109.5] * 8, abs=0.5)  # half of the water's luma
    images = pictures(5)
    assert (corrupt(images, "spatter", 3, 0) >= images).all()
    mud = corrupt(plain(0, 28, 28, 1, count=8), "spatter", 5, 0)
    assert set(np.unique(mud)) <= {0, *range(50, 64)}  # at least 0.8 of 63
    assert 0.01 < (mud > 0).mean() < 0.2
    brown = corrupt(plain(255, count=8), "spatter", 5, 0).reshape(-1, 3)
    assert (brown[brown[:, 0] < 255] <= [102, 85, 67]).all()  # at least 0.8 of 63, 42, 20 on white
    assert not weather.relief(np.zeros((5, 5), dtype=np.float32)).any()


def test_pixelate_is_the_mean_of_blocks():
    images = 4 * np.random.default_rng(0).integers(0, 64, (2, 64, 96, 3), dtype=np.uint8)
    means = images.reshape(2, 32, 2, 48, 2, 3).mean((2, 4))  # severity 2: half of the sides; whole numbers
    expected = means.repeat(2, axis=1).repeat(2, axis=2)
    assert np.array_equal(corrupt(images, "pixelate", 2, 0), expected)


def test_jpeg_has_the_published_quality():
    image = pictures(1)[0]
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=58)
    assert np.array_equal(corrupt(image[None], "jpeg_compression", 3, 0)[0], np.asarray(Image.open(file)))
