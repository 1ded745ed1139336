"""Increment: a loss that weighs more while it rises, and less while it falls.

"Robustness and Diversity Seeking Data-Free Knowledge Distillation", Han et al., 2021, https://arxiv.org/abs/2011.03749.
"""

from __future__ import annotations

import torch
from torch import Tensor

from tacit.core.errors import InputError
from tacit.core.loss import Loss, View
from tacit.core.network import Network

__all__ = ["Increment"]


class Increment(Loss):
    """``exp(L - reference)``: its gradient is that of L, times a weight above one where L has risen since the reference.

    The reference is an earlier value of L, detached, and zero at first. The increment is held at 20, where exp is 5e8.

    Args:
        loss: L.
        period: Rounds between two references. 1: the step before, which is how the paper's "loss increments" read. More: as in the
            authors' code, the value at the second step of the current period (an epoch of 120 steps there).
    """

    def __init__(self, loss: Loss, period: int = 1) -> None:
        super().__init__()
        if period < 1:
            raise InputError(f"period: expected at least 1 round, got {period}")
        self.loss, self.period, self.needs = loss, period, loss.needs
        self.register_buffer("reference", torch.zeros(()))

    def fit(self, teacher: Network | None, student: Network | None) -> None:
        self.loss.fit(teacher, student)
        self.needs = self.loss.needs

    def attach(self, population: int | None, looks: float | None = None) -> None:
        self.loss.attach(population, looks)

    def remember(self, view: View) -> None:
        self.loss.remember(view)

    def forward(self, view: View) -> Tensor:
        value: Tensor = self.loss(view)
        increment = (value - self.get_buffer("reference")).clamp_max(20.0).exp()
        if view.round % self.period == min(1, self.period - 1):
            self.reference = value.detach().clone()
        return increment
