"""FedEnsemble: trained as FedAvg, asked as an ensemble of all clients' models.

The baseline of that name in "Data-Free Knowledge Distillation for Heterogeneous Federated Learning", Zhu et al., 2021,
https://arxiv.org/abs/2105.10056, sec. 4: the class with the largest sum of logits. Of each client the model that it sent last counts; one
that never took part is left out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from tacit.core.errors import InputError
from tacit.core.network import Ensemble, Network
from tacit.federate.algorithms.base import Averaging
from tacit.federate.central import Central

__all__ = ["FedEnsemble"]


@dataclass(frozen=True, kw_only=True)
class FedEnsemble(Averaging):
    """FedAvg, tested as the ensemble of the clients' last models; what is stored is the mean."""

    keeps: ClassVar[bool] = True
    tested: ClassVar[str] = "ensemble of the clients' last models"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.share != "all" or self.bn != "aggregate":
            raise InputError(f"{self.name} asks the clients' models, so that whole ones must be sent: leave out `share` and `bn`")

    def judged(self, central: Central) -> Network | None:
        return Ensemble.of([central.model_of(client, weights) for client, weights in sorted(central.latest.items())]).eval()

    def beside(self, central: Central) -> dict[str, Network]:
        return {"mean": central.network}
