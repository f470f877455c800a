"""Data of one's own from a function: here three kinds of stripes to tell apart, one of them rarer.

    python -m study.tune --task imbalanced --preset smoke --dataset examples.own_data:stripes

All that a study needs is a dict of arrays: see ``study.data.npz`` for its keys, x_test and y_test among them.
"""

import numpy as np


def stripes() -> dict[str, object]:
    """Return 500 noisy grey images of 16x16 pixels: 200 level stripes, 200 upright ones, 100 slanting ones."""
    generator = np.random.default_rng(0)
    rows, columns = np.mgrid[:16, :16]
    labels = np.repeat([0, 1, 2], [200, 200, 100])
    phase = np.stack([rows, columns, rows + columns])[labels] + generator.integers(0, 6, (500, 1, 1))
    images = 128 + 90 * np.sin(2 * np.pi * phase / 6) + generator.normal(0, 60, phase.shape)
    return {
        "x_train": images.clip(0, 255).astype(np.uint8),
        "y_train": labels,
        "classes": ["level", "upright", "slanting"],
    }
