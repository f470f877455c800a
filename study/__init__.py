"""The study: from a command line to a run directory to one page."""
