"""Activation: features of images of real classes are large.

"Data-Free Learning of Student Networks", Chen et al., 2019, https://arxiv.org/abs/1904.01186, eq. 3 (activation loss).
"""

from __future__ import annotations

import torch
from torch import Tensor

from tacit.core.loss import Loss, Needs, View

__all__ = ["Activation"]


class Activation(Loss):
    """Minus the mean absolute value of the teacher's features at a tap (all samples, all features); of several taps, the mean.

    Args:
        taps: Names, at least one, as ``classifier:in`` (see `tacit.core.taps.classifier_inputs`).
    """

    def __init__(self, *taps: str) -> None:
        super().__init__()
        self.needs = Needs(teacher_taps=taps)

    def forward(self, view: View) -> Tensor:
        return -torch.stack([view.teacher.features[tap].float().abs().mean() for tap in self.needs.teacher_taps]).mean()
