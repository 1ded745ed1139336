"""The algorithms. `ALGORITHMS` is the whole registry: adding one is its file and its name here."""

from tacit.federate.algorithms.base import Algorithm, Averaging, Counting
from tacit.federate.algorithms.fedavg import FedAvg
from tacit.federate.algorithms.fedgen import FedGen

__all__ = ["ALGORITHMS", "Algorithm", "Averaging", "Counting", "FedAvg", "FedGen"]

ALGORITHMS: tuple[type[Algorithm], ...] = (
    FedAvg,
    FedGen,
)
"""All algorithms, the simplest first."""
