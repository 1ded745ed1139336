"""Intermediate: the student's feature maps must be the teacher's, for students of the same shapes, as a quantized copy.

"The Knowledge Within: Methods for Data-Free Model Compression", Haroush et al., 2020, https://arxiv.org/abs/1912.01274, sec. 4.2: smooth
L1, deeper layers weighing more; beside a KL divergence its weight is 0.01 in the authors' code.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from tacit.core.errors import InputError
from tacit.core.loss import View
from tacit.core.match import Match
from tacit.losses.pairs import PairedTaps

__all__ = ["Intermediate", "depth_weights"]


def depth_weights(count: int) -> list[float]:
    """Return ``2 (k + 1) / (n^2 + n)`` for the layers k = 0 ... n - 1 of `count` = n: they rise with the depth, and sum to 1."""
    return [2 * (k + 1) / (count**2 + count) for k in range(count)]


class Intermediate(PairedTaps):
    """Weighted sum over layers of the smooth L1 distance (beta 1, mean over elements) of the two networks' features.

    Of an ensemble, a sum over its members.

    Args:
        teacher: Taps of the teacher, shallow first; not given: the last feature map of each resolution.
        student: Taps of the student, as many, of the same shapes.
    """

    def build(self, matched: Sequence[Match]) -> None:
        for each in matched:
            if each.teacher.shape != each.student.shape:
                raise InputError(
                    f"intermediate: {each.student.name} is of shape {each.student.shape}, the teacher's {each.teacher.name} of "
                    f"{each.teacher.shape}: for networks of different shapes use `at`"
                )

    def forward(self, view: View) -> Tensor:
        weights = [weight for team in self.teams for weight in depth_weights(len(team))]
        return torch.stack([weight * F.smooth_l1_loss(*pair) for weight, pair in zip(weights, self.seen(view), strict=True)]).sum()
