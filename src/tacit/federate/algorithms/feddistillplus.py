"""FedDistill+: mean logits of each class are shared, and weights too.

The baseline of that name in "Data-Free Knowledge Distillation for Heterogeneous Federated Learning", Zhu et al., 2021,
https://arxiv.org/abs/2105.10056, sec. 4 (in the authors' code ``FedDistill-FL``): FedDistill and FedAvg in one.
"""

from __future__ import annotations

from dataclasses import dataclass

from tacit.federate.algorithms.base import Averaging
from tacit.federate.algorithms.feddistill import FedDistill
from tacit.federate.sharing import Part

__all__ = ["FedDistillPlus"]


@dataclass(frozen=True, kw_only=True)
class FedDistillPlus(FedDistill, Averaging):
    """FedAvg whose clients are drawn towards the mean logits of each label."""

    @property
    def part(self) -> Part:
        return self.share
