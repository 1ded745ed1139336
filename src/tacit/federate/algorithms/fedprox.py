"""FedProx: clients must not go far from the model that they were sent.

"Federated Optimization in Heterogeneous Networks", Li et al., 2020, https://arxiv.org/abs/1812.06127, eq. 2: ``mu / 2 ||w - w_global||^2``
beside each client's own loss. (FedGen's code adds an L2 penalty, which is not FedProx: that is `weight_decay` here.)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from tacit.federate.algorithms.base import Averaging
from tacit.federate.work import Work

__all__ = ["FedProx"]


@dataclass(frozen=True, kw_only=True)
class FedProx(Averaging):
    """FedAvg whose clients are held near the global model."""

    proximal: float = 1.0
    """Weight mu of half the squared distance; the paper tries 0.001 to 1, FedGen's comparison has 1."""

    anchors: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        self.at_least(proximal=0)

    def loss(self, work: Work, labels: Tensor, logits: Tensor) -> Tensor:
        apart = torch.stack([(parameter - sent).square().sum() for parameter, sent in work.anchor]).sum()
        return super().loss(work, labels, logits) + 0.5 * self.proximal * apart
