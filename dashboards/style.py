"""What a loss looks like (colour, marker, dash), the same in every figure, and how numbers are written.

Values in the tables are fractions; the page writes shares in percent and differences of shares in points, with one
decimal. What is not known is written "n/a".
"""

import colorsys
import hashlib
import html
import math
from dataclasses import dataclass

NOT_AVAILABLE = "n/a"
MINUS = "\u2212"
REFERENCE_LOSS = "ce"
ARMS = ("default", "dropin", "tuned")
NEUTRAL = "#7d8590"

#: Metrics that are no shares of anything: written as plain numbers with three decimals.
PLAIN_METRICS = frozenset({"nll", "brier", "temperature", "tau", "loss", "train_loss", "gradient_norm", "logit_scale"})


@dataclass(frozen=True)
class LossStyle:
    """Colour (#rrggbb), plotly marker symbol and plotly dash of one loss."""

    color: str
    symbol: str
    dash: str


#: After Okabe and Ito (2008), darkened where the original has less than 3:1 contrast on white; every colour is
#: readable on the light and on the dark page, and marker and dash tell the losses apart without colour.
KNOWN_STYLES: dict[str, LossStyle] = {
    "ce": LossStyle("#7d8590", "circle", "solid"),
    "ce_balanced": LossStyle("#a08a6a", "circle-open", "dash"),
    "ce_resampled": LossStyle("#839356", "triangle-left", "dot"),
    "focal": LossStyle("#8e6bbf", "pentagon", "longdash"),
    "ldam": LossStyle("#a0522d", "hexagon", "dashdot"),
    "ldam_drw": LossStyle("#c07b5a", "hexagon-open", "longdashdot"),
    "logit_adjusted": LossStyle("#009e73", "triangle-up", "dash"),
    "logitnorm": LossStyle("#cc6fa5", "square", "dot"),
    "dice": LossStyle("#bf8300", "triangle-down", "dashdot"),
    "ce_dice": LossStyle("#9c8f4e", "triangle-down-open", "longdashdot"),
    "mm": LossStyle("#3695d2", "cross", "longdash"),
    "hem": LossStyle("#d55e00", "diamond", "solid"),
    "hem+": LossStyle("#0f79bd", "star", "solid"),
}
_SYMBOLS = (
    "square-open",
    "diamond-open",
    "triangle-left",
    "triangle-right",
    "hourglass",
    "bowtie",
    "star-diamond",
    "x",
)
_DASHES = ("dash", "dot", "dashdot", "longdash", "longdashdot")


def loss_style(name: str) -> LossStyle:
    """Return the look of a loss; a name that is not known gets one that follows from its letters alone.

    The colour of an unknown name is a hue from the first bytes of SHA-256 of the name, at a relative luminance of 0.16
    to 0.26: at least 3:1 on the light and on the dark page. So the same name has the same colour in every figure of
    every run.
    """
    if name in KNOWN_STYLES:
        return KNOWN_STYLES[name]
    digest = hashlib.sha256(name.encode()).digest()
    hue = int.from_bytes(digest[:2], "big") / 65536
    color = _color(hue, saturation=0.45 + 0.25 * digest[2] / 255, wanted=0.16 + 0.10 * digest[3] / 255)
    return LossStyle(color, _SYMBOLS[digest[4] % len(_SYMBOLS)], _DASHES[digest[5] % len(_DASHES)])


def luminance(color: str) -> float:
    """Return the relative luminance of #rrggbb after WCAG 2: 0 for black, 1 for white."""
    parts = (int(color[start : start + 2], 16) / 255 for start in (1, 3, 5))
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def translucent(color: str, alpha: float) -> str:
    """Return the colour #rrggbb as rgba(r,g,b,alpha)."""
    red, green, blue = (int(color[start : start + 2], 16) for start in (1, 3, 5))
    return f"rgba({red},{green},{blue},{alpha:g})"


def short(name: str, longest: int = 22) -> str:
    """Return the name, or its end behind an ellipsis where it is longer than `longest` characters."""
    return name if len(name) <= longest else "…" + name[1 - longest :]


def plotly_text(name: str, longest: int = 22) -> str:
    """Return a name as text for plotly, which reads HTML tags, %{...} templates and $formulas$ in its labels."""
    return html.escape(short(name, longest), quote=False).replace("%{", "%&#123;").replace("$", "&#36;")


def is_share(metric: str) -> bool:
    """Tell whether a metric is a fraction, written in percent."""
    return metric not in PLAIN_METRICS


def missing(value: object) -> bool:
    """Tell whether a value is None or not a number."""
    return value is None or (isinstance(value, float) and math.isnan(value)) or str(value) in ("<NA>", "NaT")


def number(value: object, decimals: int = 3) -> str:
    """Write a number with a fixed count of decimals and a true minus sign."""
    if missing(value):
        return NOT_AVAILABLE
    text = f"{float(str(value)):.{decimals}f}"
    return _minus("0" + text[2:] if text.startswith("-0") and float(text) == 0 else text)


def percent(value: object) -> str:
    """Write a fraction in percent with one decimal, without the sign %: 0.9134 is "91.3"."""
    return NOT_AVAILABLE if missing(value) else number(100 * float(str(value)), 1)


def points(value: object) -> str:
    """Write a difference of fractions in points with its sign: 0.0123 is "+1.2"."""
    if missing(value):
        return NOT_AVAILABLE
    text = number(100 * float(str(value)), 1)
    return text if text.startswith(MINUS) or float(text) == 0 else "+" + text


def measure(value: object, metric: str) -> str:
    """Write the value of a metric: a share in percent, anything else as a plain number."""
    return percent(value) if is_share(metric) else number(value)


def change(value: object, metric: str) -> str:
    """Write a difference of a metric with its sign: of shares in points, of anything else as a plain number."""
    if is_share(metric) or missing(value):
        return points(value)
    text = number(value)
    return text if text.startswith(MINUS) or float(text) == 0 else "+" + text


def unit(metric: str) -> str:
    """Return the unit of a metric for a heading: " (%)" or nothing."""
    return " (%)" if is_share(metric) else ""


def with_sd(mean: object, sd: object, metric: str) -> str:
    """Write "mean ± sd" of a metric; without the sd where there is none (one replicate)."""
    if missing(mean) or missing(sd):
        return measure(mean, metric)
    return f"{measure(mean, metric)} ± {measure(sd, metric)}"


def interval(low: object, high: object, metric: str) -> str:
    """Write an interval of a difference: [+0.2, +1.6]."""
    if missing(low) or missing(high):
        return NOT_AVAILABLE
    return f"[{change(low, metric)}, {change(high, metric)}]"


def probability(value: object) -> str:
    """Write a p-value with three decimals, and "< 0.001" below."""
    if missing(value):
        return NOT_AVAILABLE
    return "< 0.001" if float(str(value)) < 0.001 else number(value, 3)


def significant(value: object, digits: int = 3) -> str:
    """Write a number with a count of significant digits, as 0.0123 or 1.2e-05."""
    return NOT_AVAILABLE if missing(value) else _minus(f"{float(str(value)):.{digits}g}")


def duration(value: object) -> str:
    """Write seconds for a reader: 0.41 s, 12.3 s, 4 min 05 s, 2 h 07 min."""
    if missing(value):
        return NOT_AVAILABLE
    total = float(str(value))
    if total < 100:
        return f"{total:.2f} s" if total < 10 else f"{total:.1f} s"
    minutes, rest = divmod(round(total), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def byte_size(value: object) -> str:
    """Write a count of bytes as MiB or GiB."""
    if missing(value):
        return NOT_AVAILABLE
    mebibytes = float(str(value)) / 2**20
    return f"{mebibytes:.0f} MiB" if mebibytes < 1024 else f"{mebibytes / 1024:.1f} GiB"


def _color(hue: float, saturation: float, wanted: float) -> str:
    """Return the colour of a hue (0 to 1) and saturation whose luminance is the wanted one, found by halving."""
    low, high, color = 0.0, 1.0, NEUTRAL
    for _ in range(12):
        middle = (low + high) / 2
        parts = colorsys.hls_to_rgb(hue, middle, saturation)
        color = "#" + "".join(f"{round(255 * part):02x}" for part in parts)
        low, high = (middle, high) if luminance(color) < wanted else (low, middle)
    return color


def _minus(text: str) -> str:
    return text.replace("-", MINUS) if "e" not in text else MINUS * text.startswith("-") + text.removeprefix("-")
