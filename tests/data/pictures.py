"""Images to corrupt: pictures with ramps and edges, and plain ones."""

import numpy as np


def pictures(count, height=32, width=32, channels=3, seed=0):
    """Smooth random pictures with edges: two colour ramps, one side of a random line each."""
    generator = np.random.default_rng(seed)
    rows, columns = np.mgrid[:height, :width] / max(height, width)
    images = np.empty((count, height, width, channels))
    for image in images:
        a, b, c = generator.uniform(-1, 1, (3, 2, channels))
        side = (rows - 0.5) * generator.normal() + (columns - 0.5) * generator.normal() > 0
        for part, ramp in ((side, 0), (~side, 1)):
            image[part] = (rows[..., None] * a[ramp] + columns[..., None] * b[ramp] + c[ramp])[part]
    return np.rint(127 + 100 * images.clip(-1.2, 1.2)).clip(0, 255).astype(np.uint8)


def plain(value, height=32, width=32, channels=3, count=1):
    return np.full((count, height, width, channels), value, dtype=np.uint8)
