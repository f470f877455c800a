"""The parts that a page is made of: sections of notes, tables and pictures."""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd
import plotly.graph_objects as go

from dashboards.style import NOT_AVAILABLE, loss_style, missing, short
from dashboards.swatch import Swatch


@dataclass(frozen=True)
class Cell:
    """One cell of a table: what is read, what it is sorted by, and how it looks.

    `mark` is a CSS class (badge-good, loss, code); `hint` is shown on hovering; `swatch` is the look of the loss that
    stands before the text; `whisker` a small drawing of an interval; `href` where a link in it leads.
    """

    text: str
    sort: float | str | None = None
    mark: str = ""
    hint: str = ""
    swatch: Swatch | None = None
    whisker: "Whisker | None" = None
    href: str = ""


@dataclass(frozen=True)
class Column:
    """Heading of a table's column; `numeric` columns are set to the right and sorted as numbers, words in them last."""

    title: str
    numeric: bool = False
    hint: str = ""


@dataclass(frozen=True)
class Table:
    """A sortable table, and the frame that its CSV button saves (full precision, fractions)."""

    key: str
    caption: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell]]
    frame: pd.DataFrame
    folded: bool = False
    kind: str = "table"

    @property
    def csv(self) -> str:
        """The frame as CSV text."""
        return str(self.frame.to_csv(index=False))


@dataclass(frozen=True)
class Panel:
    """One plotly figure with its own small heading (may be empty)."""

    title: str
    figure: go.Figure

    @property
    def height(self) -> int:
        """Height in CSS pixels."""
        return int(self.figure.layout.height)


@dataclass(frozen=True)
class Picture:
    """One or more panels that are read together.

    `reading` says how to read it, `counts` how many data sets, networks and replicates it shows, `alt` what it is for
    somebody who cannot see it; `wide` gives the one panel the whole width; `keyed` puts a key of the losses above.
    """

    key: str
    title: str
    panels: Sequence[Panel]
    reading: str
    counts: str
    alt: str
    wide: bool = False
    keyed: bool = True
    kind: str = "picture"

    @property
    def columns(self) -> str:
        """How the panels stand on a wide screen: wide (one below the other), pairs, or threes."""
        return "wide" if self.wide else "pairs" if len(self.panels) in (1, 2, 4) else "threes"

    @property
    def losses(self) -> list[str]:
        """The losses drawn, in the order of their traces."""
        groups = (trace.legendgroup for panel in self.panels for trace in panel.figure.data)
        return list(dict.fromkeys(group for group in groups if group))

    @property
    def legend(self) -> list[tuple[str, Swatch]]:
        """Name and swatch of every loss drawn."""
        return [(name, Swatch.of(name)) for name in self.losses]


@dataclass(frozen=True)
class Note:
    """A paragraph; `tone` is plain, warning or missing."""

    text: str
    tone: str = "plain"
    kind: str = "note"


@dataclass(frozen=True)
class Facts:
    """A list of names and values; `code` values are set in a fixed-width type and can be copied."""

    title: str
    items: Sequence[tuple[str, str]]
    code: bool = False
    folded: bool = False
    kind: str = "facts"


@dataclass(frozen=True)
class Mosaic:
    """Small pictures in rows and columns: one picture with what each row shows beside it; its size is in CSS pixels."""

    title: str
    picture: bytes
    mime: str
    rows: Sequence[str]
    about: str
    alt: str
    width: int
    height: int
    swatch: Swatch | None = None

    @property
    def source(self) -> str:
        """The picture as a data URI."""
        return f"data:{self.mime};base64,{base64.b64encode(self.picture).decode()}"


@dataclass(frozen=True)
class Gallery:
    """Mosaics that are read together."""

    key: str
    title: str
    mosaics: Sequence[Mosaic]
    reading: str
    kind: str = "gallery"


Block = Table | Picture | Note | Facts | Gallery


@dataclass(frozen=True)
class Section:
    """One section of the page; `lead` is its big sentence, `tag` a word above it."""

    key: str
    title: str
    blocks: Sequence[Block]
    lead: str = ""
    tag: str = ""


def not_available(reason: str) -> Note:
    """Return the note of a section that has nothing to show."""
    return Note(f"{NOT_AVAILABLE} — {reason}", tone="missing")


def text_cell(value: object, mark: str = "") -> Cell:
    """Return a cell of text; what is missing or empty is n/a."""
    written = "" if missing(value) else str(value)
    return Cell(written or NOT_AVAILABLE, written.lower() or None, mark if written else "missing")


def number_cell(written: str, value: object, mark: str = "") -> Cell:
    """Return a cell of a number that is already written; a missing value sorts last."""
    if missing(value):
        return Cell(NOT_AVAILABLE, None, "missing")
    return Cell(written, float(str(value)), mark)


def loss_cell(name: str) -> Cell:
    """Return the cell of a loss with its colour and marker."""
    return Cell(short(name, 28), name.lower(), "loss", swatch=Swatch.of(name), hint=name)


_BADGES: Mapping[str, str] = {
    "win": "good",
    "supported": "good",
    "loss": "bad",
    "refuted": "bad",
    "within": "good",
    "outside": "bad",
    "undecided": "open",
    "no information": "quiet",
    "reference": "quiet",
}


def badge_cell(word: str) -> Cell:
    """Return the cell of a verdict word, with a mark of its own (never by colour alone: the word is there)."""
    return Cell(word, word, f"badge badge-{_BADGES.get(word, 'quiet')}") if word else text_cell("")


@dataclass(frozen=True)
class Whisker:
    """An interval drawn in a cell: positions in percent of the cell's width on a scale shared by the table."""

    low: float
    high: float
    middle: float
    zero: float
    color: str

    @staticmethod
    def scale(lows: Sequence[object], highs: Sequence[object]) -> tuple[float, float] | None:
        """Return the range that holds all intervals and zero, None if there is no interval."""
        ends = [float(str(end)) for end in [*lows, *highs] if not missing(end)]
        if not ends:
            return None
        left, right = min(*ends, 0.0), max(*ends, 0.0)
        room = 0.06 * (right - left) or 1.0
        return left - room, right + room

    @staticmethod
    def of(loss: str, low: object, middle: object, high: object, scale: tuple[float, float] | None) -> "Whisker | None":
        """Return the drawing of one interval, None where there is none."""
        if scale is None or missing(low) or missing(high) or missing(middle):
            return None
        left, right = scale
        low_at, middle_at, high_at, zero_at = (
            round(100 * (float(str(value)) - left) / (right - left), 2) for value in (low, middle, high, 0.0)
        )
        return Whisker(low_at, high_at, middle_at, zero_at, loss_style(loss).color)
