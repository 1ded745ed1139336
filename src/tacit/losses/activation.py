"""Activation: features of images of real classes are large.

"Data-Free Learning of Student Networks", Chen et al., 2019, https://arxiv.org/abs/1904.01186, eq. 3 (activation loss).
"""

from __future__ import annotations

from torch import Tensor

from tacit.core.loss import Loss, Needs, View

__all__ = ["Activation"]


class Activation(Loss):
    """Minus the mean absolute value of the teacher's features at `tap` (all samples, all features).

    Args:
        tap: Name of a tap, as ``classifier:in`` (see `tacit.core.taps.classifier_name`).
    """

    def __init__(self, tap: str) -> None:
        super().__init__()
        self.tap = tap
        self.needs = Needs(teacher_taps=(tap,))

    def forward(self, view: View) -> Tensor:
        return -view.teacher.features[self.tap].float().abs().mean()
