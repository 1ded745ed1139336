"""Steady: a network that is trained while its batch norms keep the statistics that they have."""

from __future__ import annotations

from typing import Self

from torch.nn.modules.batchnorm import _BatchNorm

from tacit.core.network import Network

__all__ = ["Steady"]


class Steady(Network):
    """A network whose batch norms with running statistics stay in evaluation mode, whoever calls `train()`.

    For images that don't carry those statistics: noise, and images that are made to be told apart.
    """

    def train(self, mode: bool = True) -> Self:
        super().train(mode)
        for module in self.model.modules():
            if isinstance(module, _BatchNorm) and module.running_mean is not None:
                module.eval()
        return self
