"""The algorithms. `ALGORITHMS` is the whole registry: adding one is its file and its name here."""

from tacit.federate.algorithms.base import Algorithm, Averaging, Counting
from tacit.federate.algorithms.dense import DENSE
from tacit.federate.algorithms.fedavg import FedAvg
from tacit.federate.algorithms.feddf import FedDF
from tacit.federate.algorithms.feddistill import FedDistill
from tacit.federate.algorithms.feddistillplus import FedDistillPlus
from tacit.federate.algorithms.fedensemble import FedEnsemble
from tacit.federate.algorithms.fedftg import FedFTG
from tacit.federate.algorithms.fedgen import FedGen
from tacit.federate.algorithms.fedprox import FedProx

__all__ = [
    "ALGORITHMS",
    "DENSE",
    "Algorithm",
    "Averaging",
    "Counting",
    "FedAvg",
    "FedDF",
    "FedDistill",
    "FedDistillPlus",
    "FedEnsemble",
    "FedFTG",
    "FedGen",
    "FedProx",
]

ALGORITHMS: tuple[type[Algorithm], ...] = (
    FedAvg,
    FedProx,
    FedEnsemble,
    FedDistill,
    FedDistillPlus,
    FedDF,
    FedGen,
    FedFTG,
    DENSE,
)
"""All algorithms, the simplest first."""
