"""What a planted fault is."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Fault:
    """One fault.

    Attributes:
        name: for the command line and the table.
        harm: what it would do to the science, in one sentence.
        file: where, relative to the project.
        old: text that stands exactly once in the file.
        new: what stands there instead.
        tests: pytest's arguments: test files or single tests that are to notice; all others need not be run then.
    """

    name: str
    harm: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]
