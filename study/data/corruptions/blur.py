"""Blurs: defocus, glass, motion, zoom, gaussian. Images x are float32 (N, H, W, C) in [0, 1]."""

import numpy as np
import numpy.typing as npt

from study.data.corruptions.tools import FloatArray, Generators, Strength, filtered, moved, smooth, zoomed

LARGEST_ANGLE = 45.0


def disc(radius: float, softness: float) -> npt.NDArray[np.float64]:
    """Return a disc-shaped kernel with sum 1: equal weights within `radius` pixels, smoothed by a Gaussian.

    The Gaussian has `softness` pixels and 3 taps a side (5 above a radius of 8), as published.
    """
    reach = int(radius)
    taps = 1 if radius <= 8 else 2
    places = np.arange(-reach - taps, reach + taps + 1)
    inside = (places[:, None] ** 2 + places[None, :] ** 2 <= radius**2).astype(np.float64)
    bell = np.exp(-(np.arange(-taps, taps + 1) ** 2) / (2 * softness**2))
    soft = np.apply_along_axis(np.convolve, 0, inside / inside.sum(), bell / bell.sum(), "same")
    return np.apply_along_axis(np.convolve, 1, soft, bell / bell.sum(), "same")


def defocus_blur(x: FloatArray, strength: Strength, generators: Generators) -> FloatArray:
    """Return x through a lens out of focus: filtered by `disc`; strength (radius, softness) in pixels."""
    return filtered(x, disc(*strength))


def gaussian_blur(x: FloatArray, strength: Strength, generators: Generators) -> FloatArray:
    """Return x under a Gaussian; strength (σ,) in pixels."""
    return smooth(x, strength[0])


def motion_blur(x: FloatArray, strength: Strength, generators: Generators) -> FloatArray:
    """Return x moved along a line at an angle of U(−45°, 45°); strength (radius, σ) in pixels."""
    angles = [generator.uniform(-LARGEST_ANGLE, LARGEST_ANGLE) for generator in generators]
    return moved(x, int(strength[0]), strength[1], angles)


def zoom_blur(x: FloatArray, strength: Strength, generators: Generators) -> FloatArray:
    """Return the mean of x and of x zoomed by each factor of np.arange(1, stop, step); strength (stop, step)."""
    factors = np.arange(1, *strength)
    total = x.copy()
    for factor in factors:
        total += zoomed(x, float(factor))
    return total / np.float32(len(factors) + 1)


def glass_blur(x: FloatArray, strength: Strength, generators: Generators) -> FloatArray:
    """Return x blurred, with pixels shuffled among neighbours, and blurred again; strength (σ, reach, rounds).

    A pixel meets one −reach to reach − 1 rows and columns away, from the last row and column to the first. As the code
    behind the benchmarks does it: a colour pixel becomes a copy of the one it meets (CIFAR-10-C, ImageNet-C); a grey
    pixel is exchanged with it, in half of the cases (MNIST-C).
    """
    sigma, reach, rounds = strength[0], int(strength[1]), int(strength[2])
    count, height, width, channels = x.shape
    order = shuffled(generators, height, width, reach, rounds, exchange=channels == 1)
    flat = smooth(x, sigma).reshape(count, height * width, channels)
    return smooth(np.take_along_axis(flat, order[..., None], axis=1).reshape(x.shape), sigma)


def shuffled(
    generators: Generators, height: int, width: int, reach: int, rounds: int, *, exchange: bool
) -> npt.NDArray[np.int64]:
    """Return for each image which flat place (N, H·W) every pixel's value comes from; see `glass_blur`."""
    rows, columns = np.arange(height - reach, reach, -1), np.arange(width - reach, reach, -1)
    places = np.tile((rows[:, None] * width + columns[None, :]).ravel(), rounds)
    partners = np.stack([_partners(places, width, reach, one, exchange) for one in generators], axis=1)
    count = len(generators)
    order = np.repeat(np.arange(height * width), count)  # the N images' values for one place lie together
    others = partners * count + np.arange(count)
    for place, other in zip(places * count, others, strict=True):
        here = order[place : place + count].copy()
        order[place : place + count] = order[other]
        if exchange:
            order[other] = here
    return order.reshape(height * width, count).T


def _partners(
    places: npt.NDArray[np.int64], width: int, reach: int, generator: np.random.Generator, exchange: bool
) -> npt.NDArray[np.int64]:
    """Return the flat place that each of the places meets: itself in half of the cases if they exchange."""
    steps = generator.integers(-reach, reach, size=(len(places), 2))
    if exchange:
        steps *= generator.integers(0, 2, size=(len(places), 1))
    return np.asarray(places + steps[:, 0] * width + steps[:, 1])
