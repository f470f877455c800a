"""The corruptions by name, their published strengths, and where they can be used.

Strengths "small" are those of CIFAR-10-C, "large" those of ImageNet-C (Hendrycks & Dietterich 2019, Benchmarking
neural network robustness to common corruptions and perturbations, and its code). Lengths are in pixels, as published;
only those of elastic_transform are shares of the shorter side.
"""

from collections.abc import Callable
from dataclasses import dataclass

from study.data.corruptions import blur, digital, noise, weather
from study.data.corruptions.tools import FloatArray, Generators, Strength

SEVERITIES = (1, 2, 3, 4, 5)
SMALLEST_SIDE = 28
GREY_FROM = 32
LARGE_FROM = 64
Shape = tuple[int, int, int]
Strengths = tuple[Strength, Strength, Strength, Strength, Strength]


@dataclass(frozen=True)
class Kind:
    """A corruption.

    Attributes:
        name: its published name.
        apply: from images float32 (N, H, W, C) in [0, 1], a strength and one generator an image to the corrupted
            images, not yet cut to [0, 1].
        small: strengths of severities 1 to 5 below 64 pixels (CIFAR-10-C's).
        large: the same from 64 pixels on (ImageNet-C's).
        validation_only: one of the four extra kinds, which are for choosing hyperparameters, never for the test.
        in_mnist_c: MNIST-C (Mu & Gilmer 2019) has it.
        needs_colour: it does nothing of its own on grey images.
        differs: how it is unlike the published corruption beyond draws and rounding; "" if it is not.
    """

    name: str
    apply: Callable[[FloatArray, Strength, Generators], FloatArray]
    small: Strengths
    large: Strengths
    validation_only: bool = False
    in_mnist_c: bool = False
    needs_colour: bool = False
    differs: str = ""

    def strength(self, shape: Shape, severity: int) -> Strength:
        """Return the strength for images of this shape (H, W, C) at a severity of 1 to 5."""
        return (self.large if min(shape[:2]) >= LARGE_FROM else self.small)[severity - 1]


def _each(a: float, b: float, c: float, d: float, e: float) -> Strengths:
    return (a,), (b,), (c,), (d,), (e,)


KINDS: dict[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind(
            "gaussian_noise",
            noise.gaussian_noise,
            small=_each(0.04, 0.06, 0.08, 0.09, 0.10),
            large=_each(0.08, 0.12, 0.18, 0.26, 0.38),
        ),
        Kind(
            "shot_noise",
            noise.shot_noise,
            small=_each(500, 250, 100, 75, 50),
            large=_each(60, 25, 12, 5, 3),
            in_mnist_c=True,
        ),
        Kind(
            "impulse_noise",
            noise.impulse_noise,
            small=_each(0.01, 0.02, 0.03, 0.05, 0.07),
            large=_each(0.03, 0.06, 0.09, 0.17, 0.27),
            in_mnist_c=True,
        ),
        Kind(
            "defocus_blur",
            blur.defocus_blur,
            small=((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1)),
            large=((3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5)),
        ),
        Kind(
            "glass_blur",
            blur.glass_blur,
            small=((0.05, 1, 1), (0.25, 1, 1), (0.4, 1, 1), (0.25, 1, 2), (0.4, 1, 2)),
            large=((0.7, 1, 2), (0.9, 2, 1), (1, 2, 3), (1.1, 3, 2), (1.5, 4, 2)),
            in_mnist_c=True,
        ),
        Kind(
            "motion_blur",
            blur.motion_blur,
            small=((6, 1), (6, 1.5), (6, 2), (8, 2), (9, 2.5)),
            large=((10, 3), (15, 5), (15, 8), (15, 12), (20, 15)),
            in_mnist_c=True,
        ),
        Kind(
            "zoom_blur",
            blur.zoom_blur,
            small=((1.06, 0.01), (1.11, 0.01), (1.16, 0.01), (1.21, 0.01), (1.26, 0.01)),
            large=((1.11, 0.01), (1.16, 0.01), (1.21, 0.02), (1.26, 0.02), (1.31, 0.03)),
        ),
        Kind(
            "snow",
            weather.snow,
            small=(
                (0.1, 0.2, 1, 0.6, 8, 3, 0.95),
                (0.1, 0.2, 1, 0.5, 10, 4, 0.9),
                (0.15, 0.3, 1.75, 0.55, 10, 4, 0.9),
                (0.25, 0.3, 2.25, 0.6, 12, 6, 0.85),
                (0.3, 0.3, 1.25, 0.65, 14, 12, 0.8),
            ),
            large=(
                (0.1, 0.3, 3, 0.5, 10, 4, 0.8),
                (0.2, 0.3, 2, 0.5, 12, 4, 0.7),
                (0.55, 0.3, 4, 0.9, 12, 8, 0.7),
                (0.55, 0.3, 4.5, 0.85, 12, 8, 0.65),
                (0.55, 0.3, 2.5, 0.85, 12, 12, 0.55),
            ),
        ),
        Kind(
            "frost",
            weather.frost,
            small=((1, 0.2), (1, 0.3), (0.9, 0.4), (0.85, 0.4), (0.75, 0.45)),
            large=((1, 0.4), (0.8, 0.6), (0.7, 0.7), (0.65, 0.7), (0.6, 0.75)),
            differs="the ice is a drawn fractal, not a photograph; not comparable with published figures",
        ),
        Kind(
            "fog",
            weather.fog,
            small=((0.2, 3), (0.5, 3), (0.75, 2.5), (1, 2), (1.5, 1.75)),
            large=((1.5, 2), (2, 2), (2.5, 1.7), (2.5, 1.5), (3, 1.4)),
            in_mnist_c=True,
        ),
        Kind(
            "brightness",
            digital.brightness,
            small=_each(0.05, 0.1, 0.15, 0.2, 0.3),
            large=_each(0.1, 0.2, 0.3, 0.4, 0.5),
            in_mnist_c=True,
        ),
        Kind(
            "contrast",
            digital.contrast,
            small=_each(0.75, 0.5, 0.4, 0.3, 0.15),
            large=_each(0.4, 0.3, 0.2, 0.1, 0.05),
        ),
        Kind(
            "elastic_transform",
            digital.elastic_transform,
            small=((0, 0, 0.08), (0.05, 0.2, 0.07), (0.08, 0.06, 0.06), (0.1, 0.04, 0.05), (0.1, 0.03, 0.03)),
            large=((2, 0.7, 0.1), (2, 0.08, 0.2), (0.05, 0.01, 0.02), (0.07, 0.01, 0.02), (0.12, 0.01, 0.02)),
        ),
        Kind(
            "pixelate",
            digital.pixelate,
            small=_each(0.95, 0.9, 0.85, 0.75, 0.65),
            large=_each(0.6, 0.5, 0.4, 0.3, 0.25),
        ),
        Kind(
            "jpeg_compression",
            digital.jpeg_compression,
            small=_each(80, 65, 58, 50, 40),
            large=_each(25, 18, 15, 10, 7),
        ),
        Kind(
            "speckle_noise",
            noise.speckle_noise,
            small=_each(0.06, 0.1, 0.12, 0.16, 0.2),
            large=_each(0.15, 0.2, 0.35, 0.45, 0.6),
            validation_only=True,
        ),
        Kind(
            "gaussian_blur",
            blur.gaussian_blur,
            small=_each(0.4, 0.6, 0.7, 0.8, 1),
            large=_each(1, 2, 3, 4, 6),
            validation_only=True,
        ),
        Kind(
            "spatter",
            weather.spatter,
            small=(
                (0.62, 0.1, 0.7, 0.7, 0.5, 0),
                (0.65, 0.1, 0.8, 0.7, 0.5, 0),
                (0.65, 0.3, 1, 0.69, 0.5, 0),
                (0.65, 0.1, 0.7, 0.69, 0.6, 1),
                (0.65, 0.1, 0.5, 0.68, 0.6, 1),
            ),
            large=(
                (0.65, 0.3, 4, 0.69, 0.6, 0),
                (0.65, 0.3, 3, 0.68, 0.6, 0),
                (0.65, 0.3, 2, 0.68, 0.5, 0),
                (0.65, 0.3, 1, 0.65, 1.5, 1),
                (0.67, 0.4, 1, 0.65, 1.5, 1),
            ),
            validation_only=True,
            in_mnist_c=True,
            differs="drops are outlined by their border pixels, not by Canny's edge detector",
        ),
        Kind(
            "saturate",
            digital.saturate,
            small=((0.3, 0), (0.1, 0), (1.5, 0), (2, 0.1), (2.5, 0.2)),
            large=((0.3, 0), (0.1, 0), (2, 0), (5, 0.1), (20, 0.2)),
            validation_only=True,
            needs_colour=True,
        ),
    )
}
TEST_KINDS = tuple(name for name, kind in KINDS.items() if not kind.validation_only)
VALIDATION_KINDS = tuple(name for name, kind in KINDS.items() if kind.validation_only)


def applicable(shape: Shape) -> dict[str, str]:
    """Return for every kind "" if it can be used on images of this shape (H, W, C), else the reason why not.

    Below 28 pixels nothing can: no benchmark has strengths for such images. Grey images below 32 pixels have the kinds
    that MNIST-C has; larger grey ones all that do not need colour.
    """
    return {name: _reason(kind, shape) for name, kind in KINDS.items()}


def _reason(kind: Kind, shape: Shape) -> str:
    side, grey = min(shape[:2]), shape[2] == 1
    if side < SMALLEST_SIDE:
        return f"images of {shape[0]}x{shape[1]}: no published strengths below {SMALLEST_SIDE}x{SMALLEST_SIDE} pixels"
    if grey and kind.needs_colour:
        return "grey images have no saturation"
    if grey and side < GREY_FROM and not kind.in_mnist_c:
        return f"grey images of {shape[0]}x{shape[1]}: not one of the corruptions that MNIST-C has"
    return ""
