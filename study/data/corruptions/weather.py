"""Weather: snow, frost, fog, spatter. Images x are float32 (N, H, W, C) in [0, 1]; the caller clips the result."""

import numpy as np
import numpy.typing as npt
from scipy.ndimage import binary_erosion, correlate, distance_transform_edt, uniform_filter

from study.data.corruptions.tools import FloatArray, Generators, Strength, moved, normal, plasma, smooth, zoomed

ICE = (0.86, 0.95, 1.0)
"""Red, green and blue of the brightest frost: bluish white."""
WATER, GREY_WATER = (175 / 255, 238 / 255, 238 / 255), 219 / 255
"""Pale turquoise, and its luma."""
MUD, GREY_MUD = (63 / 255, 42 / 255, 20 / 255), 63 / 255
"""Brown; on grey images MNIST-C's value."""
FARTHEST = 20.0
EMBOSS = np.array([[-2.0, -1.0, 0.0], [-1.0, 1.0, 1.0], [0.0, 1.0, 2.0]])


def snow(x: FloatArray, strength: Strength, generators: Generators) -> FloatArray:
    """Return x whitened, under a layer of falling flakes and the same layer turned by 180°.

    Flakes: N(mean, deviation²) a pixel, zoomed, 0 below the threshold, moved at an angle of U(−135°, −45°). Whitened:
    k·x + (1 − k)·max(x, 1.5·luma(x) + 0.5). Strength (mean, deviation, zoom, threshold, radius, σ, k).
    """
    mean, deviation, zoom, threshold, radius, sigma, kept = strength
    flakes = normal(generators, (*x.shape[1:3], 1)) * np.float32(deviation) + np.float32(mean)
    flakes = zoomed(flakes, zoom)
    flakes = np.where(flakes < threshold, 0, flakes).clip(0, 1).astype(np.float32)
    angles = [generator.uniform(-135.0, -45.0) for generator in generators]
    flakes = moved(flakes, int(radius), sigma, angles)
    white = np.maximum(x, luma(x) * np.float32(1.5) + np.float32(0.5))
    whitened = np.float32(kept) * x + np.float32(1 - kept) * white
    return np.asarray(whitened + flakes + flakes[:, ::-1, ::-1])


def luma(x: FloatArray) -> FloatArray:
    """Return 0.299 R + 0.587 G + 0.114 B (ITU-R BT.601), or x itself if it is grey: (N, H, W, 1)."""
    if x.shape[-1] == 1:
        return x
    red, green, blue = (x[..., channel, None] for channel in range(3))
    return np.asarray(np.float32(0.299) * red + np.float32(0.587) * green + np.float32(0.114) * blue)


def frost(x: FloatArray, strength: Strength, generators: Generators) -> FloatArray:
    """Return a·x + b·ice; strength (a, b).

    The published corruption takes `ice` from photographs of frozen windows, which do not come with this package. Here
    it is drawn: half a smooth plasma fractal, half the squared ridges 1 − |2p − 1| of a rough one, bluish white. So
    strengths are as published but the texture is not: these figures cannot be set beside published ones.
    """
    height, width = x.shape[1:3]
    cloud = plasma(generators, height, width, decay=3.0)
    ridges = 1 - np.abs(2 * plasma(generators, height, width, decay=1.8) - 1)
    ice = (np.float32(0.5) * (cloud + ridges * ridges))[..., None]
    if x.shape[-1] == 3:
        ice = ice * np.array(ICE, dtype=np.float32)
    return np.asarray(np.float32(strength[0]) * x + np.float32(strength[1]) * ice)


def fog(x: FloatArray, strength: Strength, generators: Generators) -> FloatArray:
    """Return (x + c·p)·m / (m + c) with p a plasma fractal and m the image's largest value; strength (c, decay)."""
    thickness = np.float32(strength[0])
    largest = x.max((1, 2, 3), keepdims=True)
    mist = plasma(generators, x.shape[1], x.shape[2], decay=strength[1])[..., None]
    return np.asarray((x + thickness * mist) * (largest / (largest + thickness)))


def spatter(x: FloatArray, strength: Strength, generators: Generators) -> FloatArray:
    """Return x behind drops of water (bright, transparent) or mud (dark, opaque).

    Drops are where N(mean, deviation²), smoothed by σ, exceeds the threshold. Water adds a relief of the drops (see
    `relief`) of the given opacity; mud covers where the drops, smoothed by `last` pixels, reach 0.8. Strength (mean,
    deviation, σ, threshold, last, mud): `last` is the water's opacity or the mud's smoothing, mud is 0 or 1. On grey
    images water has its luma and mud MNIST-C's grey.
    """
    mean, deviation, sigma, threshold, last, mud = strength
    layer = smooth(normal(generators, x.shape[1:3]) * np.float32(deviation) + np.float32(mean), sigma)
    drops = np.where(layer < threshold, 0, layer).astype(np.float32)
    if not mud:
        cover = np.stack([relief(one) for one in drops])[..., None] * np.float32(last)
        return x + cover * _colour(WATER, GREY_WATER, x.shape[-1])
    cover = smooth((drops > threshold).astype(np.float32), last)[..., None]
    cover = np.where(cover < 0.8, 0, cover).astype(np.float32)
    return np.asarray(x * (1 - cover) + cover * _colour(MUD, GREY_MUD, x.shape[-1]))


def _colour(rgb: tuple[float, ...], grey: float, channels: int) -> FloatArray:
    return np.array(rgb if channels == 3 else (grey,), dtype=np.float32)


def relief(drops: FloatArray) -> FloatArray:
    """Return how much light drops (H, W) send back, in [0, 1], the brightest 1; all 0 if there are no drops.

    The distance to the drops' outlines (at most 20 pixels, smoothed over 3x3, its histogram made flat) is embossed,
    smoothed over 3x3, and multiplied by the drops. The published code finds the outlines by Canny's edge detector and
    approximates the distance; here they are the drops' border pixels and the Euclidean distance.
    """
    inside = drops > 0
    outline = inside & ~binary_erosion(inside, border_value=1)
    if not outline.any():
        return np.zeros_like(drops)
    distance = np.minimum(distance_transform_edt(~outline), FARTHEST)
    levels = np.floor(uniform_filter(distance, 3, mode="mirror")).astype(np.int64)
    raised = correlate(_equalised(levels), EMBOSS, mode="mirror").clip(0, 255)
    light = drops * uniform_filter(raised, 3, mode="mirror")
    return np.asarray(light / light.max(), dtype=np.float32) if light.max() > 0 else np.zeros_like(drops)


def _equalised(levels: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Return whole values (H, W) mapped to [0, 255] so that their histogram is flat; the least becomes 0."""
    below = np.cumsum(np.bincount(levels.ravel()))
    least = below[levels.min()]
    if least == levels.size:
        return levels.astype(np.float64)
    return np.asarray(np.rint((below[levels] - least) * (255.0 / (levels.size - least))))
