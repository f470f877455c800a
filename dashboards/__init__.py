"""Tables of a run in, one self-contained HTML page out.

This room knows pandas, plotly and jinja2, and the tables of a run directory; it knows nothing of how they were made.
"""

from dashboards.pages import build
from dashboards.scoreboard import build_scoreboard
from dashboards.tables import TableError

__all__ = ["TableError", "build", "build_scoreboard"]
