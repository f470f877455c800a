"""Radii of attacks, as they are typed and as they are named: in cells, tables and pages a radius is its six digits."""

import argparse

LEVELS = 510
"""Half steps of an 8-bit pixel: radii on natural images are whole numbers of them."""


def named(eps: float) -> str:
    """Return what a radius is called: "0.1", "0.00392157"."""
    return f"{eps:g}"


def radius(text: str) -> float:
    """Return the radius that a user types, in units of the pixel range: "0.1", "8/255", "0.0313725" (which is 8/255).

    A number that is called like a whole number of 510ths is that number: one radius has one name.

    Raises:
        argparse.ArgumentTypeError: neither a number nor a fraction.
    """
    try:
        if "/" in text:
            above, below = map(float, text.split("/"))
            value = above / below
        else:
            value = float(text)
    except (ValueError, ZeroDivisionError, OverflowError) as error:
        raise argparse.ArgumentTypeError(f"expected a number or a fraction, as 0.1 or 8/255, got {text!r}") from error
    if not abs(value) <= 1e9:  # neither infinite nor nan; whether it is allowed is for the study to say
        return value
    level = round(value * LEVELS) / LEVELS
    return level if named(level) == named(value) else value
