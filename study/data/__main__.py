"""The data sets that have a name: `python -m study.data` prints them as a table, `--fetch NAME` gets one."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

from study.data.catalogue import CATALOGUE, UNAVAILABLE, Entry
from study.environment import leave
from study.errors import InputError, of_file

HEAD = ("name", "classes", "training / test", "size", "licence", "near; far", "from")


def parser() -> argparse.ArgumentParser:
    """Return the parser of `study.data`."""
    top = argparse.ArgumentParser(
        prog="python -m study.data",
        description="Print the data sets that --dataset and --ood-sets know by name, as markdown; or get one of them.",
        allow_abbrev=False,
    )
    top.add_argument("--fetch", metavar="NAME", nargs="+", default=[], help="fetch, check and decode these")
    top.add_argument("--data-dir", metavar="DIR", type=Path, help="where to (default: ~/.cache/hem-study)")
    return top


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    values = parser().parse_args(argv)
    try:
        for name in values.fetch:
            print(fetched(name, values.data_dir))
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"error: {of_file(error)}", file=sys.stderr)
        return 2
    if not values.fetch:
        print(table())
    return 0


def fetched(name: str, data_dir: Path | None) -> str:
    """Get a data set; return a line about it.

    Raises:
        InputError: an unknown name, or files that cannot be had.
    """
    from study.data.registry import load_source

    source = load_source(name, data_dir)
    test = "no test set" if source.test is None else f"{len(source.test):,} test images"
    shape = "x".join(map(str, source.shape))
    return f"{name}: {len(source.train):,} training images, {test}, {source.num_classes} classes, {shape}"


def table() -> str:
    """Return the catalogue as a markdown table, and below it the sets that cannot be had."""
    lines = [_row(HEAD), _row(("---",) * len(HEAD)), *(_row(_cells(name, entry)) for name, entry in CATALOGUE.items())]
    cannot = [f"- {name}: {reason}" for name, reason in UNAVAILABLE.items()]
    return "\n".join([*lines, "", "Outside sets that cannot be had by name:", "", *cannot])


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cells(name: str, entry: Entry) -> tuple[str, ...]:
    height, width, channels = entry.size
    published = f"{height}x{width}x{channels}" if height else f"mixed, {'grey' if channels == 1 else 'RGB'}"
    size = f"{published} → {entry.side}x{entry.side}" if entry.side else published
    images = f"{entry.n_train:,} / {f'{entry.n_test:,}' if entry.n_test else 'cut'}"
    groups = "; ".join(", ".join(names) or "–" for names in (entry.near, entry.far))
    kind = f"{entry.num_classes}{' (label maps)' if entry.is_map else ''}"
    hosts = ", ".join(dict.fromkeys(urlsplit(file.urls[0]).netloc for file in entry.files))
    place = f"by hand: {entry.by_hand}" if entry.by_hand else hosts
    return (f"`{name}`", kind, images, size, entry.licence, groups, place)


if __name__ == "__main__":
    leave(main)
