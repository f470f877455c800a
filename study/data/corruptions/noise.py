"""Noise: gaussian, shot, impulse, speckle. Images x are float32 (N, H, W, C) in [0, 1]; the caller clips the result."""

import numpy as np

from study.data.corruptions.tools import FloatArray, Generators, Strength, normal, uniform


def gaussian_noise(x: FloatArray, strength: Strength, generators: Generators) -> FloatArray:
    """Return x + c·n with n standard normal, independent for every value; strength (c,)."""
    return x + np.float32(strength[0]) * normal(generators, x.shape[1:])


def shot_noise(x: FloatArray, strength: Strength, generators: Generators) -> FloatArray:
    """Return Poisson(c·x) / c: what a sensor counts with c photons in a white pixel; strength (c,)."""
    photons = strength[0]
    result = np.empty_like(x)
    for image, generator, target in zip(x, generators, result, strict=True):
        target[:] = generator.poisson(image * photons) / photons
    return result


def impulse_noise(x: FloatArray, strength: Strength, generators: Generators) -> FloatArray:
    """Return x with a share c of its values replaced, half of them by 0, half by 1 (salt and pepper); strength (c,)."""
    share = np.float32(strength[0])
    draws = uniform(generators, x.shape[1:])
    return np.where(draws < share, (draws < share / 2).astype(np.float32), x)


def speckle_noise(x: FloatArray, strength: Strength, generators: Generators) -> FloatArray:
    """Return x + c·x·n with n standard normal; strength (c,)."""
    return x + x * (np.float32(strength[0]) * normal(generators, x.shape[1:]))
