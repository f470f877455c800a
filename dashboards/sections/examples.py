"""Pictures of what the figures count: attacked, rejected, wrongly accepted, corrupted, labelled pixel by pixel."""

from collections.abc import Sequence

from dashboards.blocks import Block, Gallery, Mosaic, Note, Section
from dashboards.summary import View, plural
from dashboards.swatch import Swatch
from dashboards.tables import Example

ROOM = 250_000
"""Bytes of pictures on a page, so that a page that six tasks share stays light."""
CELL_SIDE = 52
"""Wanted side of one small picture in CSS pixels."""
GAP = 2

KINDS = {
    "attacked-Linf": ("Attacked images", "The same model's first test images that fell to the smallest Linf radius."),
    "attacked-L2": ("Attacked images, L2", "The same model's first test images that fell to the smallest L2 radius."),
    "rejected": (
        "Unknown images",
        "The unknown images that the model rejects most surely, and those that it accepts most confidently: of each "
        "set in turn, as many as there is room for.",
    ),
    "maps": ("Maps", "The first test images."),
    "corruptions": ("Corruptions", "One test image under every corruption, from severity 1 (left) to 5."),
}


def examples_section(view: View) -> Section | None:
    """Show the mosaics that there is room for; None where there are none."""
    shown, left_out = within(view.run.examples, ROOM)
    if not view.run.examples:
        return None
    blocks: list[Block] = []
    for kind, (title, reading) in KINDS.items():
        mosaics = [_mosaic(example) for example in shown if example.kind == kind]
        if mosaics:
            blocks.append(Gallery(f"{kind.lower()}-gallery", title, mosaics, reading))
    if left_out:
        blocks.append(Note(f"{plural(left_out, 'more picture')} in the folder examples of the run directory."))
    lead = (
        "Pictures illustrate. Figures come from all test images, or, for attacked and corrupted images, from as many "
        "as those sections name."
    )
    return Section("examples", "Examples", [Note(lead), *blocks])


def within(examples: Sequence[Example], room: int) -> tuple[list[Example], int]:
    """Return the examples that fit, those of all kinds in turn, and how many do not."""
    turns: dict[str, int] = {}
    ranked = []
    for place, example in enumerate(examples):
        turns[example.kind] = turns.get(example.kind, 0) + 1
        ranked.append((turns[example.kind], place, example))
    shown, used = [], 0
    for _, place, example in sorted(ranked, key=lambda item: item[:2]):
        if used + len(example.picture) <= room:
            used += len(example.picture)
            shown.append((place, example))
    kept = [example for _, example in sorted(shown, key=lambda item: item[0])]
    return kept, len(examples) - len(kept)


def _mosaic(example: Example) -> Mosaic:
    rows = max(1, len(example.rows))
    side = (example.height + GAP) / rows - GAP
    scale = max(1, round(CELL_SIDE / side))
    what = "; ".join(example.rows)
    return Mosaic(
        title=example.loss,
        picture=example.picture,
        mime=example.mime,
        rows=example.rows,
        about=example.about,
        alt=f"{KINDS[example.kind][0]}{' of ' + example.loss if example.loss else ''}, rows from the top: {what}",
        width=example.width * scale,
        height=example.height * scale,
        swatch=Swatch.of(example.loss) if example.loss else None,
    )
