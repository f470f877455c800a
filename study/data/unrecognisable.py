"""Images that show nothing: noise, blobs, and test images whose structure is destroyed."""

import numpy as np

from study.data.types import UInt8Array

MAX_BLOBS = 4
BLOB_WIDTH = (0.06, 0.22)
"""Standard deviation of a blob, as a share of the shorter side."""


def uniform_noise(shape: tuple[int, int, int], n: int, generator: np.random.Generator) -> UInt8Array:
    """Return uint8 (n, H, W, C): every value 0 to 255 equally likely and independent."""
    return generator.integers(0, 256, size=(n, *shape), dtype=np.uint8)


def gaussian_blobs(shape: tuple[int, int, int], n: int, generator: np.random.Generator) -> UInt8Array:
    """Return uint8 (n, H, W, C): on black, the sum of 1 to `MAX_BLOBS` round Gaussian bumps, cut off at 255.

    Every bump has a random place, a random width (`BLOB_WIDTH`) and in each channel a random height of 128 to 255.
    """
    height, width, channels = shape
    rows, columns = np.arange(height)[:, None], np.arange(width)[None, :]
    images = np.zeros((n, height, width, channels))
    for image in images:
        for _ in range(generator.integers(1, MAX_BLOBS + 1)):
            row, column = generator.uniform(0, height), generator.uniform(0, width)
            deviation = generator.uniform(*BLOB_WIDTH) * min(height, width)
            bump = np.exp(-((rows - row) ** 2 + (columns - column) ** 2) / (2 * deviation**2))
            image += bump[..., None] * generator.uniform(128, 255, size=channels)
    return np.rint(images.clip(0, 255)).astype(np.uint8)


def permuted_pixels(images: UInt8Array, generator: np.random.Generator) -> UInt8Array:
    """Return the images (N, H, W, C) with the places of their pixels shuffled, each in its own way.

    A pixel's channels stay together, so every image keeps its colours.
    """
    n, height, width, channels = images.shape
    order = generator.permuted(np.tile(np.arange(height * width), (n, 1)), axis=1)
    flat = images.reshape(n, height * width, channels)
    return np.take_along_axis(flat, order[..., None], axis=1).reshape(images.shape)


def randomised_phases(images: UInt8Array, generator: np.random.Generator) -> UInt8Array:
    """Return the images (N, H, W, C) with their Fourier phases replaced by those of white noise.

    For each image F: |F| · exp(iφ), φ the phases of the transform of a real white-noise image (so the result is
    real), the same in all channels; the mean stays. Values are cut off at 0 and 255, which moves the spectrum a
    little where the image has high contrast.
    """
    _, height, width, _ = images.shape
    amplitude = np.abs(np.fft.rfft2(images, axes=(1, 2)))
    noise = np.fft.rfft2(generator.standard_normal((len(images), height, width)), axes=(1, 2))
    noise[:, 0, 0] = 1.0
    phases = np.exp(1j * np.angle(noise))[..., None]
    values = np.fft.irfft2(amplitude * phases, s=(height, width), axes=(1, 2))
    return np.rint(values.clip(0, 255)).astype(np.uint8)
