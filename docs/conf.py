"""Sphinx's configuration: `make docs`. The pages need no network, neither to be built nor to be read."""

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE / "extensions")]

project = "hem-study"
extensions = ["myst_parser", "facts"]
exclude_patterns = ["extensions"]
myst_heading_anchors = 3
html_theme = "furo"
html_title = "hem-study"
html_copy_source = False
html_show_copyright = False
nitpicky = True
