"""Federated training: many parties, one model, and no data that leave their place."""

from tacit.federate.algorithms import (
    ALGORITHMS,
    DENSE,
    Algorithm,
    FedAvg,
    FedDF,
    FedDistill,
    FedDistillPlus,
    FedEnsemble,
    FedFTG,
    FedGen,
    FedProx,
)
from tacit.federate.checks import FederationError, Rules
from tacit.federate.client import Client, Kind, Site
from tacit.federate.engines import Engine, InProcess
from tacit.federate.head import Split
from tacit.federate.messages import Download, Lost, Upload
from tacit.federate.own import Own
from tacit.federate.partition import IID, ByColumn, Dirichlet, Partition, Pathological, holders, holdings, set_aside
from tacit.federate.plan import Plan, sites_of
from tacit.federate.server import Round, Rounds, Server
from tacit.federate.shelf import Shelf
from tacit.federate.work import Local, Work

__all__ = [
    "ALGORITHMS",
    "DENSE",
    "IID",
    "PARTITIONS",
    "Algorithm",
    "ByColumn",
    "Client",
    "Dirichlet",
    "Download",
    "Engine",
    "FedAvg",
    "FedDF",
    "FedDistill",
    "FedDistillPlus",
    "FedEnsemble",
    "FedFTG",
    "FedGen",
    "FedProx",
    "FederationError",
    "InProcess",
    "Kind",
    "Local",
    "Lost",
    "Own",
    "Partition",
    "Pathological",
    "Plan",
    "Round",
    "Rounds",
    "Rules",
    "Server",
    "Shelf",
    "Site",
    "Split",
    "Upload",
    "Work",
    "holders",
    "holdings",
    "set_aside",
    "sites_of",
]

PARTITIONS: tuple[type[Partition], ...] = (Dirichlet, Pathological, IID, ByColumn, Own)
"""All rules by which images are dealt to clients."""
