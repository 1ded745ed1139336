"""AB: each neuron of the student must be active where the teacher's is, by a margin; how much is left to it.

"Knowledge Transfer via Distillation of Activation Boundaries Formed by Hidden Neurons", Heo et al., 2019,
https://arxiv.org/abs/1811.03233, eq. 6: the squared hinge of the student's neuron (behind a 1x1 convolution and a batch norm) on the side
of zero where the teacher's is. The paper learns by it alone first, for 30 epochs of 270 (`opening`), and by labels alone afterwards.

Summed over elements, mean over images, each stage at half the weight of the next. The weight of the first phase is 3/1000 in the
published tables (``ab=0.003``). What differs: sides are known behind a ReLU too, so that a teacher's stage that can't be tapped before it
(`tacit.losses.before_relu`) is as good; a student's then has lost what is below. Maps of different size are averaged down to the smaller.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from tacit.core.errors import InputError
from tacit.core.loss import Opening, View
from tacit.losses.before_relu import BeforeReLU
from tacit.losses.pairs import in_fp32, same_size

__all__ = ["ActivationBoundary", "boundary_distance"]


def boundary_distance(student: Tensor, teacher: Tensor, margin: float = 1.0) -> Tensor:
    """Return ``max(0, margin - s)^2`` where the teacher is positive and ``max(0, margin + s)^2`` elsewhere, of shape ().

    It is summed over elements, and the mean over images. At 0 each neuron is on the teacher's side by the margin.

    Args:
        student: s, of shape (N, C, H, W).
        teacher: Of the same shape.
        margin: At least 0.
    """
    side = torch.where(teacher > 0, 1.0, -1.0)
    return F.relu(margin - side * student).square().sum() / len(student)


class ActivationBoundary(BeforeReLU):
    """Weighted sum over layers of `boundary_distance`; not 0 where the student is the teacher, for neurons within the margin.

    Args:
        teacher: Taps of the teacher, maps, shallow first; not given: the stages, before their ReLU where that can be tapped.
        student: Taps of the student, as many.
        margin: By which a neuron should be on its side.
        opening: Share of the steps in which it teaches by itself, where it is named beside others, which then go on without it; 0: none,
            it teaches beside them. Not given: 0.1. Refused, as `steady`, where phases are written, or nothing else is named.
        steady: Share of the peak learning rate that holds throughout the opening, 1 in the published tables; not given: the opening goes
            through the whole schedule, as any phase.
    """

    def __init__(
        self,
        teacher: Sequence[str] | None = None,
        student: Sequence[str] | None = None,
        *,
        margin: float = 1.0,
        opening: float | None = None,
        steady: float | None = None,
    ) -> None:
        super().__init__(teacher, student)
        if margin < 0:
            raise InputError(f"ab: margin: expected 0 or more, got {margin}")
        self.margin, self.share, self.steady = margin, opening, steady

    def opening(self) -> Opening | None:
        return Opening.of(self, self.share, self.steady)

    def forward(self, view: View) -> Tensor:
        with in_fp32(view.images):
            pairs = [same_size(between(ours), theirs) for between, ours, theirs in self.adapted(view)]
            distances = [boundary_distance(ours, theirs, self.margin) for ours, theirs in pairs]
        return torch.stack([weight * distance for weight, distance in zip(self.halved(), distances, strict=True)]).sum()
