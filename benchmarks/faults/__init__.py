"""Scientific faults as data: each changes a number that the study reports, and lets everything run.

`benchmarks.mutants` plants them one at a time in a copy of the project and runs the tests on it.
"""

from benchmarks.faults.data import DATA
from benchmarks.faults.fault import Fault
from benchmarks.faults.measuring import MEASURING
from benchmarks.faults.training import TRAINING

FAULTS: tuple[Fault, ...] = (*TRAINING, *DATA, *MEASURING)

__all__ = ["FAULTS", "Fault"]
