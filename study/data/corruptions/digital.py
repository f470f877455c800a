"""Light, colour, geometry and compression. Images x are float32 (N, H, W, C) in [0, 1], multiples of 1/255."""

from collections.abc import Callable
from io import BytesIO

import numpy as np
import numpy.typing as npt
from PIL import Image

from study.data.corruptions.tools import FloatArray, Generators, Strength, sampled, smooth, uniform


def brightness(x: FloatArray, strength: Strength, generators: Generators) -> FloatArray:
    """Return x with V + c, at most 1, for its value V in HSV (largest of R, G, B); strength (c,).

    Hue and saturation stay: a pixel is multiplied by V′/V, and black becomes grey.
    """
    value: FloatArray = x.max(-1, keepdims=True)
    brighter = np.minimum(value + np.float32(strength[0]), 1)
    black = value == 0
    return np.asarray(np.where(black, brighter, x * (brighter / np.where(black, 1, value))))


def saturate(x: FloatArray, strength: Strength, generators: Generators) -> FloatArray:
    """Return x with saturation a·S + b, cut to [0, 1], in HSV; strength (a, b).

    S = (V − min) / V. A pixel without colour has hue 0 (red), so b > 0 reddens it, as published.
    """
    factor, shift = strength
    value, least = x.max(-1, keepdims=True), x.min(-1, keepdims=True)
    spread = value - least
    grey = spread == 0
    saturation = (spread / np.where(value == 0, 1, value)) * np.float32(factor) + np.float32(shift)
    missing = (value - x) / np.where(grey, 1, spread)
    missing = np.where(grey, np.array([0, 1, 1], dtype=np.float32), missing)
    return np.asarray(value * (1 - saturation.clip(0, 1) * missing))


def contrast(x: FloatArray, strength: Strength, generators: Generators) -> FloatArray:
    """Return (x − mean)·c + mean, the mean over H and W of each image and channel; strength (c,)."""
    total = np.rint(x * 255).astype(np.int64).sum((1, 2), keepdims=True)  # whole numbers: exact in any order
    mean = (total / (255 * x.shape[1] * x.shape[2])).astype(np.float32)
    return np.asarray((x - mean) * np.float32(strength[0]) + mean)


def elastic_transform(x: FloatArray, strength: Strength, generators: Generators) -> FloatArray:
    """Return x under a random affine map, then under a smooth random displacement; strength (α, σ, jitter).

    All three are shares of the shorter side. The affine map moves three points (at ± a third of the side about the
    middle) by U(−jitter, jitter); the displacement is α times U(−1, 1) smoothed by σ, cut at 3σ. Bilinear, mirrored
    at the edges.
    """
    count, height, width, _ = x.shape
    alpha, sigma, jitter = (share * min(height, width) for share in strength)
    rows, columns = np.meshgrid(np.arange(height), np.arange(width), indexing="ij")
    maps = np.stack([_affine(generator, height, width, jitter) for generator in generators])[..., None, None]
    mapped = [(maps[:, 0, i] * rows + maps[:, 1, i] * columns + maps[:, 2, i]).astype(np.float32) for i in (0, 1)]
    warped = sampled(x, *mapped)
    if alpha == 0:
        return warped
    draws = 2 * uniform(generators, (2, height, width)) - 1
    moves = smooth(draws.reshape(-1, height, width), sigma, mode="reflect", truncate=3.0) * np.float32(alpha)
    moves = moves.reshape(count, 2, height, width)
    return sampled(warped, rows.astype(np.float32) + moves[:, 0], columns.astype(np.float32) + moves[:, 1])


def _affine(generator: np.random.Generator, height: int, width: int, jitter: float) -> npt.NDArray[np.float64]:
    """Return A (3, 2): (row, column, 1) A is the place in the image that a place of the result comes from."""
    third = min(height, width) // 3
    middle = np.array([height // 2, width // 2])
    points = middle + third * np.array([[1, 1], [1, -1], [-1, -1]])
    target = points + generator.uniform(-jitter, jitter, size=(3, 2))
    return np.linalg.solve(np.column_stack([target, np.ones(3)]), points.astype(np.float64))


def pixelate(x: FloatArray, strength: Strength, generators: Generators) -> FloatArray:
    """Return x shrunk to a share c of its sides (rounded down) and enlarged again, both with a box; strength (c,)."""

    def coarse(image: Image.Image) -> Image.Image:
        small = (int(image.width * strength[0]), int(image.height * strength[0]))
        return image.resize(small, Image.Resampling.BOX).resize(image.size, Image.Resampling.BOX)

    return _through_pillow(x, coarse)


def jpeg_compression(x: FloatArray, strength: Strength, generators: Generators) -> FloatArray:
    """Return x after JPEG at quality c (Pillow's coder and its chroma subsampling); strength (c,)."""

    def compressed(image: Image.Image) -> Image.Image:
        file = BytesIO()
        image.save(file, "JPEG", quality=int(strength[0]))
        return Image.open(file)

    return _through_pillow(x, compressed)


def _through_pillow(x: FloatArray, change: Callable[[Image.Image], Image.Image]) -> FloatArray:
    """Return images (N, H, W, C), each changed as an image of Pillow, grey or RGB."""
    whole = np.rint(x * 255).astype(np.uint8)
    result = np.empty_like(x)
    for image, target in zip(whole, result, strict=True):
        changed = change(Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image))
        target[:] = np.asarray(changed, dtype=np.float32).reshape(target.shape) / 255
    return result
