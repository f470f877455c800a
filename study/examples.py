"""Example pictures of a run: small mosaics that show what the figures count. Written beside the scores, for the page.

    attacked      a row each: test images, the images that broke the model, and their difference ×10 around grey
    rejected      a row each: unknown images that are turned away most surely, and those let in most confidently
    corruptions   a row for each kind, a column for each severity
    maps          a row each: images, true classes, predicted classes

Of one model a loss: the primary endpoint's arm and method, first replicate, first seed. They illustrate; every number
comes from all images.
"""

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypedDict
from urllib.parse import quote

import numpy as np

from study.config import StudyConfig
from study.run import Key, RunDirectory, write_atomic
from study.tasks import get_task

if TYPE_CHECKING:
    from study.data.types import OutsideSet, UInt8Array

COLUMNS = 8
GAP = 2
GAP_GREY = 128
AMPLIFIED = 10
LOSSLESS_BYTES = 40_000
"""A mosaic whose PNG is larger (of photographs) is written as WebP: a page has to hold some of every loss."""
LOSSY_QUALITY = 75
MAP_COLOURS = (
    (68, 68, 68),
    (238, 119, 51),
    (0, 119, 187),
    (51, 187, 238),
    (238, 51, 119),
    (0, 153, 136),
    (204, 187, 68),
    (170, 68, 153),
    (136, 204, 238),
    (153, 153, 51),
    (221, 204, 119),
)
"""Colours of classes in a map; further classes begin again. A pixel without a label is white."""


class Example(TypedDict):
    """One mosaic: where it lies in the run directory, and what its rows and columns are."""

    kind: str
    loss: str
    file: str
    rows: list[str]
    columns: list[str]
    width: int
    height: int
    about: str


def is_shown(key: Key, config: StudyConfig) -> bool:
    """Say whether a model's examples are kept."""
    endpoint = get_task(config.task).endpoint
    return (key.method, key.arm, key.replicate, key.number) == (endpoint.method, endpoint.arm, 0, 0)


def write_example(
    run: RunDirectory,
    kind: str,
    loss: str,
    grid: "Sequence[UInt8Array]",
    rows: Sequence[str],
    columns: Sequence[str] = (),
    about: str = "",
) -> Example:
    """Write a mosaic and return what the page needs to know of it.

    Args:
        run: where it goes.
        kind: one of the module's.
        loss: whose model; "" for a picture of the data.
        grid: for each row uint8 images (n, H, W, C), n ≥ 1.
        rows: what each row shows.
        columns: what each column shows; empty if they are just examples.
        about: a further sentence.
    """
    picture = mosaic(grid)
    content, suffix = encoded(picture)
    file = f"examples/{kind}~{quote(loss, safe='+') or 'data'}{suffix}"
    write_atomic(run.path / file, content)
    height, width = picture.shape[:2]
    return Example(
        kind=kind,
        loss=loss,
        file=file,
        rows=list(rows),
        columns=list(columns),
        width=width,
        height=height,
        about=about,
    )


def mosaic(grid: "Sequence[UInt8Array]") -> "UInt8Array":
    """Return rows of images (n, H, W, C) as one image, with a grey gap between neighbours."""
    most = max(len(row) for row in grid)
    height, width, channels = grid[0].shape[1:]
    whole = np.full((len(grid) * (height + GAP) - GAP, most * (width + GAP) - GAP, channels), GAP_GREY, dtype=np.uint8)
    for i, row in enumerate(grid):
        for j, image in enumerate(row):
            top, left = i * (height + GAP), j * (width + GAP)
            whole[top : top + height, left : left + width] = image
    return whole


def encoded(image: "UInt8Array") -> tuple[bytes, str]:
    """Return an image (H, W, 1 or 3) as a file's content and suffix: PNG, or WebP where that would be large."""
    from PIL import Image

    picture, buffer = Image.fromarray(image[:, :, 0] if image.shape[2] == 1 else image), io.BytesIO()
    picture.save(buffer, format="PNG", optimize=True)
    if buffer.tell() <= LOSSLESS_BYTES:
        return buffer.getvalue(), ".png"
    buffer = io.BytesIO()
    picture.convert("RGB").save(buffer, format="WEBP", quality=LOSSY_QUALITY)
    return buffer.getvalue(), ".webp"


def as_bytes(images: Any) -> "UInt8Array":  # noqa: ANN401
    """Return a tensor of images (N, C, H, W) in [0, 1] as uint8 (N, H, W, C)."""
    array: UInt8Array = np.rint(np.asarray(images.cpu()).transpose(0, 2, 3, 1) * 255).clip(0, 255).astype(np.uint8)
    return array


def attacked(
    run: RunDirectory, key: Key, images: "UInt8Array", change: np.ndarray, norm: str, eps: float
) -> list[Example]:
    """Show images that an attack broke.

    Args:
        run: where it goes.
        key: of the model.
        images: the clean images that fell, uint8 (n, H, W, C).
        change: what was added, (n, C, H, W), in units of the pixel range.
        norm: "Linf" or "L2".
        eps: radius.
    """
    if not len(images):
        return []
    clean = images[:COLUMNS].astype(np.float64) / 255
    added = change[:COLUMNS].astype(np.float64).transpose(0, 2, 3, 1)
    grid = [clean, clean + added, 0.5 + AMPLIFIED * added]
    shown = [np.rint(row.clip(0, 1) * 255).astype(np.uint8) for row in grid]
    names = ["test image, classified rightly", "attacked image, classified wrongly", f"difference × {AMPLIFIED}"]
    return [write_example(run, f"attacked-{norm}", key.loss, shown, names, about=f"{norm}, ε = {eps:g}.")]


def rejected(
    run: RunDirectory, key: Key, sets: "Sequence[OutsideSet]", scores: Sequence[np.ndarray], limit: float
) -> list[Example]:
    """Show unknown images on both sides of the threshold, the most certain of each set in turn.

    Args:
        run: where it goes.
        key: of the model.
        sets: the sets from outside.
        scores: of each set's images, higher = accept.
        limit: the smallest accepted score.
    """
    grid, names = [], []
    for name, sign in (("rejected, as it should be", 1.0), ("wrongly accepted", -1.0)):
        chosen = []
        for out, values in zip(sets, scores, strict=True):
            side = np.flatnonzero(values < limit) if sign > 0 else np.flatnonzero(values >= limit)
            chosen.append(out.images[side[np.argsort(sign * values[side], kind="stable")]][:COLUMNS])
        turns = [images[turn] for turn in range(COLUMNS) for images in chosen if turn < len(images)]
        if turns:
            grid.append(np.stack(turns[:COLUMNS]))
            names.append(name)
    about = "Rejected below the maximum logit that 95 % of the validation images reach."
    return [write_example(run, "rejected", key.loss, grid, names, about=about)] if grid else []


def corruptions(run: RunDirectory, under: dict[str, list["UInt8Array"]]) -> list[Example]:
    """Show one test image under every kind (row) and severity (column); kind → an image (H, W, C) each severity."""
    if not under:
        return []
    grid = [np.stack(images) for images in under.values()]
    severities = [f"severity {severity}" for severity in range(1, len(grid[0]) + 1)]
    return [write_example(run, "corruptions", "", grid, [kind.replace("_", " ") for kind in under], severities)]


def maps(
    run: RunDirectory, key: Key, images: "UInt8Array", true: np.ndarray, predicted: np.ndarray, classes: Sequence[str]
) -> list[Example]:
    """Show images with their true and predicted classes laid over them.

    Args:
        run: where it goes.
        key: of the model.
        images: uint8 (n, H, W, C).
        true: int (n, H, W); negative where there is no label.
        predicted: int (n, H, W).
        classes: their names.
    """
    rgb = images if images.shape[3] == 3 else np.repeat(images, 3, axis=3)
    grid = [rgb, overlay(rgb, true), overlay(rgb, predicted)]
    about = "Classes by colour; a pixel without a label is white."
    return [
        write_example(run, "maps", key.loss, grid, ["test image", "true classes", "predicted classes"], about=about)
    ]


def overlay(images: "UInt8Array", labels: np.ndarray) -> "UInt8Array":
    """Return RGB images (n, H, W, 3) with their classes' colours over them, two parts of three."""
    palette = np.array(MAP_COLOURS, dtype=np.float64)
    colours = np.where(labels[..., None] < 0, 255.0, palette[labels % len(palette)])
    mixed: UInt8Array = np.rint(images / 3 + colours * 2 / 3).astype(np.uint8)
    return mixed
