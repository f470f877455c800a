"""Small files in the formats in which data sets are published."""

import io
import pickle
import struct
from typing import ClassVar

import numpy as np
from PIL import Image


class Python2Pickler(pickle._Pickler):
    """Writes protocol 2 as Python 2 and its NumPy did: byte strings, numpy.core, dtype(..., 0, 1)."""

    dispatch: ClassVar = dict(pickle._Pickler.dispatch)

    def save_byte_string(self, value):
        raw = value if isinstance(value, bytes) else value.encode("latin1")
        self.write(pickle.BINSTRING + struct.pack("<i", len(raw)) + raw)

    dispatch[bytes] = dispatch[str] = save_byte_string

    def reducer_override(self, value):
        if isinstance(value, np.ndarray):
            rebuild, arguments, state = value.__reduce__()
            return rebuild, (arguments[0], arguments[1], "b"), state
        if isinstance(value, np.dtype):
            kind, _, state = value.__reduce__()
            return kind, ("u1", 0, 1), state
        return NotImplemented


def python2_pickle(value):
    file = io.BytesIO()
    Python2Pickler(file, protocol=2).dump(value)
    return file.getvalue().replace(b"numpy._core.multiarray", b"numpy.core.multiarray")


def idx(array):
    """MNIST's format: two zero bytes, 8 for uint8, the number of axes, their lengths (big-endian), the values."""
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.astype(np.uint8).tobytes()


def picture(height=12, width=12, seed=0, channels=3):
    generator = np.random.default_rng(seed)
    return generator.integers(0, 256, (height, width, channels), dtype=np.uint8).squeeze()


def save(path, pixels, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    image.save(path, **options)
    return path
