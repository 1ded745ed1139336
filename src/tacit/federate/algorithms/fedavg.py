"""FedAvg: clients learn by themselves for a few steps, the server averages.

"Communication-Efficient Learning of Deep Networks from Decentralized Data", McMahan et al., 2017, https://arxiv.org/abs/1602.05629,
algorithm 1: the mean is weighted by the clients' numbers of images.
"""

from __future__ import annotations

from dataclasses import dataclass

from tacit.federate.algorithms.base import Averaging

__all__ = ["FedAvg"]


@dataclass(frozen=True, kw_only=True)
class FedAvg(Averaging):
    """The mean of the clients' models, weighted by their numbers of images: the baseline."""
