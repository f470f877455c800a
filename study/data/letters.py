"""Letters rendered from fonts that come with the installed packages, white on black as in MNIST."""

from functools import lru_cache
from pathlib import Path
from typing import cast

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from study.data.types import Int64Array, UInt8Array
from study.errors import InputError

LETTERS = tuple("ACEFHKMNPRUVWX")
"""Capitals that do not look like a digit; left out: B D G I J L O Q S T Y Z."""

FONT_FILES = (
    "DejaVuSans.ttf",
    "DejaVuSans-Bold.ttf",
    "DejaVuSans-Oblique.ttf",
    "DejaVuSansMono.ttf",
    "DejaVuSansMono-Bold.ttf",
    "DejaVuSerif.ttf",
    "DejaVuSerif-Bold.ttf",
    "DejaVuSerif-Italic.ttf",
)
"""Files of matplotlib's own fonts; Pillow's own font is used beside them."""

MAX_ROTATION = 12.0
"""Degrees, either way."""
MAX_SHIFT = 0.08
"""Share of the shorter side, either way; less where the letter would be cut off."""
FILL = (0.62, 0.80)
"""Longer side of a letter as a share of the shorter side of the image: MNIST's digits fill 20 of 28."""
FILL_SMALL = (0.90, 1.0)
"""The same for images below 16 pixels, where digits fill the whole image, as in scikit-learn's 8x8."""
_MIN_FONT_SIZE = 64
_OVERSAMPLING = 4


def render_letters(
    shape: tuple[int, int, int], n: int, generator: np.random.Generator, letters: tuple[str, ...] = LETTERS
) -> tuple[UInt8Array, Int64Array]:
    """Return n images of letters, each in a random font, slightly rotated, scaled and shifted, never cut off.

    Args:
        shape: height, width, channels (equal in all channels).
        n: number of images; the letters take turns, so each comes equally often.
        generator: source of the random choices.
        letters: what to draw.

    Returns:
        uint8 (n, H, W, C) and int64 (n,), the position in `letters`.
    """
    height, width, channels = shape
    labels = generator.permutation(np.arange(n) % len(letters)).astype(np.int64)
    images = np.empty((n, height, width, channels), dtype=np.uint8)
    fonts = _fonts(max(_MIN_FONT_SIZE, min(height, width)))
    for image, label in zip(images, labels, strict=True):
        font = fonts[generator.integers(len(fonts))]
        image[:] = _render(letters[label], font, height, width, generator)[..., None]
    return images, labels


@lru_cache(maxsize=4)
def _fonts(size: int) -> tuple[ImageFont.FreeTypeFont, ...]:
    import matplotlib

    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    missing = [name for name in FONT_FILES if not (folder / name).is_file()]
    if missing:
        raise InputError(f"letters: expected the fonts that come with matplotlib in {folder}, got no {missing[0]}")
    fonts = [ImageFont.truetype(folder / name, size, layout_engine=ImageFont.Layout.BASIC) for name in FONT_FILES]
    return (*fonts, cast(ImageFont.FreeTypeFont, ImageFont.load_default(size)))


def _render(
    letter: str, font: ImageFont.FreeTypeFont, height: int, width: int, generator: np.random.Generator
) -> UInt8Array:
    """Return one letter, uint8 (height, width): drawn large, rotated, cropped to its ink, placed, shrunk.

    The brightest value is 255.
    """
    size = int(font.size)
    canvas = Image.new("L", (2 * size, 2 * size))
    ImageDraw.Draw(canvas).text((size, size), letter, fill=255, font=font, anchor="mm")
    angle = generator.uniform(-MAX_ROTATION, MAX_ROTATION)
    rotated = canvas.rotate(angle, resample=Image.Resampling.BICUBIC)
    ink = rotated.crop(rotated.getbbox())
    side = min(height, width)
    fill = generator.uniform(*(FILL_SMALL if side < 16 else FILL))
    scale = fill * side * _OVERSAMPLING / max(ink.size)
    ink_size = (max(1, int(ink.width * scale)), max(1, int(ink.height * scale)))
    ink = ink.resize(ink_size, resample=Image.Resampling.BILINEAR)
    frame = Image.new("L", (width * _OVERSAMPLING, height * _OVERSAMPLING))
    corner = tuple(
        _position(room - taken, side * _OVERSAMPLING, generator)
        for room, taken in zip(frame.size, ink.size, strict=True)
    )
    frame.paste(ink, (corner[0], corner[1]))
    values = np.asarray(frame.reduce(_OVERSAMPLING), dtype=np.float64)
    return np.rint(values * (255 / values.max())).astype(np.uint8)


def _position(free: int, side: int, generator: np.random.Generator) -> int:
    """Return where a letter begins in a frame with `free` pixels more than it takes: the middle, shifted a little."""
    reach = min(MAX_SHIFT * side, free / 2)
    return round(free / 2 + generator.uniform(-reach, reach))
