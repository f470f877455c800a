"""The sizes of all networks as a markdown table: `python -m study.models`."""

import argparse

from study.environment import leave
from study.models.registry import MODELS
from study.models.sizes import markdown


def main() -> int:
    """Run the command; return its exit code."""
    description = "Print the networks that --model knows by name, with their sizes, as markdown."
    argparse.ArgumentParser(prog="python -m study.models", description=description).parse_args()
    print(markdown(MODELS.values()))
    return 0


if __name__ == "__main__":
    leave(main)
