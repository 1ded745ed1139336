"""Steady: a network that is trained while its batch norms keep the statistics that they have."""

from __future__ import annotations

from typing import Self

from tacit.core.network import Network
from tacit.core.norms import hold_statistics

__all__ = ["Steady"]


class Steady(Network):
    """A network whose batch norms with running statistics stay in evaluation mode, whoever calls `train()`.

    For images that don't carry those statistics: noise, and images that are made to be told apart.
    """

    def train(self, mode: bool = True) -> Self:
        super().train(mode)
        hold_statistics(self.model)
        return self
