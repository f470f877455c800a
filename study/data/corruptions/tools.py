"""What several corruptions share: draws, filters, interpolation and the plasma fractal.

A result for one image has the same bits whichever other images are in the batch. So what works on a batch uses only
operations that treat every value alone (+, −, ×, /, min, max, gathers) or scipy.ndimage's line-by-line filters: no
sums over axes that numpy may order by the batch's shape, no matrix products, no FFT.
"""

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter

FloatArray = npt.NDArray[np.float32]
Generators = Sequence[np.random.Generator]
"""One generator an image."""
Strength = tuple[float, ...]

NEGLIGIBLE = 1e-6
"""Weight of a filter's tap below which it is left out: 1/4000 of a grey level."""


def normal(generators: Generators, shape: tuple[int, ...]) -> FloatArray:
    """Return standard normal numbers (N, *shape), image i's from generator i."""
    result = np.empty((len(generators), *shape), dtype=np.float32)
    for generator, part in zip(generators, result, strict=True):
        generator.standard_normal(dtype=np.float32, out=part)
    return result


def uniform(generators: Generators, shape: tuple[int, ...]) -> FloatArray:
    """Return numbers in [0, 1), (N, *shape), image i's from generator i."""
    result = np.empty((len(generators), *shape), dtype=np.float32)
    for generator, part in zip(generators, result, strict=True):
        generator.random(dtype=np.float32, out=part)
    return result


def smooth(images: FloatArray, sigma: float, *, mode: str = "nearest", truncate: float = 4.0) -> FloatArray:
    """Return images (N, H, W, ...) under a Gaussian of `sigma` pixels over H and W, cut at `truncate` sigmas."""
    widths = (0.0, sigma, sigma) + (0.0,) * (images.ndim - 3)
    return np.asarray(gaussian_filter(images, widths, mode=mode, truncate=truncate), dtype=np.float32)


def filtered(images: FloatArray, kernel: npt.NDArray[np.float64]) -> FloatArray:
    """Return Σ_ij k_ij x(h + i, w + j) for images (N, H, W, C) and an odd-sided kernel centred on (0, 0).

    Beyond the edge the image is mirrored about its outermost pixel (d c b | a b c d).
    """
    height, width = images.shape[1:3]
    rows, columns = kernel.shape[0] // 2, kernel.shape[1] // 2
    padded = np.pad(images, ((0, 0), (rows, rows), (columns, columns), (0, 0)), mode="reflect")
    result = np.zeros_like(images)
    for (i, j), weight in np.ndenumerate(kernel):
        if abs(weight) > NEGLIGIBLE:
            result += np.float32(weight) * padded[:, i : i + height, j : j + width]
    return result


def moved(images: FloatArray, radius: int, sigma: float, angles: Sequence[float]) -> FloatArray:
    """Return images (N, H, W, C) blurred along a line that begins in each pixel (ImageMagick's MotionBlur).

    y(p) = Σ_i k_i x(p + o_i) for i = 0 to 2·radius, k_i ∝ exp(−i²/2σ²) with Σ k = 1, o_i = i·(sin, cos) of the angle
    (rows, columns), rounded; beyond the edge the outermost pixel goes on.

    Args:
        images: (N, H, W, C).
        radius: pixels.
        sigma: σ in pixels.
        angles: degrees, one an image (N,).
    """
    height, width = images.shape[1:3]
    length = 2 * radius + 1
    taps = [math.exp(-(i * i) / (2 * sigma * sigma)) for i in range(length)]
    weights = [(i, np.float32(tap / sum(taps))) for i, tap in enumerate(taps) if tap / sum(taps) > NEGLIGIBLE]
    padded = np.pad(images, ((0, 0), (length, length), (length, length), (0, 0)), mode="edge")
    result = np.zeros_like(images)
    for image, source, angle in zip(result, padded, angles, strict=True):
        down, right = math.sin(math.radians(angle)), math.cos(math.radians(angle))
        for i, weight in weights:
            row, column = length + math.ceil(i * down - 0.5), length + math.ceil(i * right - 0.5)
            image += weight * source[row : row + height, column : column + width]
    return result


def zoomed(images: FloatArray, factor: float) -> FloatArray:
    """Return the middle of images (N, H, W, C), enlarged by `factor` ≥ 1 to the size that they had (bilinear)."""
    if factor == 1.0:
        return images
    return _zoomed_axis(_zoomed_axis(images, factor, 1), factor, 2)


def _zoomed_axis(images: FloatArray, factor: float, axis: int) -> FloatArray:
    """Zoom along one axis: crop ceil(n / factor), stretch so that ends meet ends, crop n from the middle."""
    size = images.shape[axis]
    cropped = math.ceil(size / factor)
    stretched = round(cropped * factor)
    places = (np.arange(size) + (stretched - size) // 2) * ((cropped - 1) / (stretched - 1))
    below = np.minimum(places.astype(np.int64), cropped - 2)
    weight = np.expand_dims((places - below).astype(np.float32), tuple(range(1, images.ndim - axis)))
    below += (size - cropped) // 2
    return np.asarray(images.take(below, axis) * (1 - weight) + images.take(below + 1, axis) * weight)


def sampled(images: FloatArray, rows: FloatArray, columns: FloatArray) -> FloatArray:
    """Return images (N, H, W, C) at the places rows, columns (N, H, W) in pixels: bilinear, mirrored at the edges."""
    count, height, width, channels = images.shape
    top, left = np.floor(rows), np.floor(columns)
    down, right = (rows - top)[..., None], (columns - left)[..., None]
    flat = images.reshape(-1, channels)
    first = np.arange(count)[:, None, None] * (height * width)
    row_of = [first + width * _mirrored(top.astype(np.int64) + step, height) for step in (0, 1)]
    column_of = [_mirrored(left.astype(np.int64) + step, width) for step in (0, 1)]
    upper, lower = (flat[row + column_of[0]] * (1 - right) + flat[row + column_of[1]] * right for row in row_of)
    return np.asarray(upper * (1 - down) + lower * down)


def _mirrored(places: npt.NDArray[np.int64], size: int) -> npt.NDArray[np.int64]:
    """Return whole places folded into [0, size): ... 2 1 | 0 1 2 ... size−1 | size−2 ..."""
    folded = places % (2 * size - 2)
    return np.minimum(folded, 2 * size - 2 - folded)


def plasma(generators: Generators, height: int, width: int, decay: float) -> FloatArray:
    """Return one plasma fractal an image (N, height, width), by the diamond-square algorithm on a torus.

    Its side is the power of two that holds the image, its values fill [0, 1] before it is cropped. A new point is the
    mean of four old ones plus w²·U(−1, 1); w falls by `decay` from step to step. Smaller decay: rougher.
    """
    side = 2 ** math.ceil(math.log2(max(height, width)))
    noise = np.stack([generator.uniform(-1.0, 1.0, side * side - 1) for generator in generators])
    field = np.zeros((len(noise), side, side))
    step, amplitude, used = side, 100.0, 0
    while step >= 2:
        half, cells = step // 2, side // step
        draws = noise[:, used : used + 3 * cells * cells].reshape(-1, 3, cells, cells) * (amplitude * amplitude)
        corners = field[:, ::step, ::step]
        beside = corners + np.roll(corners, -1, axis=2)
        below = corners + np.roll(corners, -1, axis=1)
        middles = (beside + np.roll(beside, -1, axis=1)) / 4 + draws[:, 0]
        field[:, half::step, half::step] = middles
        field[:, ::step, half::step] = (middles + np.roll(middles, 1, axis=1) + beside) / 4 + draws[:, 1]
        field[:, half::step, ::step] = (middles + np.roll(middles, 1, axis=2) + below) / 4 + draws[:, 2]
        step, amplitude, used = half, amplitude / decay, used + 3 * cells * cells
    field -= field.min((1, 2), keepdims=True)
    field /= field.max((1, 2), keepdims=True)
    return field[:, :height, :width].astype(np.float32)
