"""Intermediate: the student's feature maps must be the teacher's, for students of the same shapes, as a quantized copy.

"The Knowledge Within: Methods for Data-Free Model Compression", Haroush et al., 2020, https://arxiv.org/abs/1912.01274, sec. 4.2: smooth
L1, deeper layers weighing more; beside a KL divergence its weight is 0.01 in the authors' code.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from tacit.core.errors import InputError
from tacit.core.loss import View
from tacit.core.network import Network
from tacit.core.taps import stage_names
from tacit.losses.pairs import PairedTaps

__all__ = ["Intermediate", "depth_weights"]


def depth_weights(count: int) -> list[float]:
    """Return ``2 (k + 1) / (n^2 + n)`` for the layers k = 0 ... n - 1 of `count` = n: they rise with the depth, and sum to 1."""
    return [2 * (k + 1) / (count**2 + count) for k in range(count)]


class Intermediate(PairedTaps):
    """Weighted sum over layers of the smooth L1 distance (beta 1, mean over elements) of the two networks' features.

    Args:
        teacher: Taps of the teacher, shallow first; not given: the last feature map of each resolution.
        student: Taps of the student, as many, of the same shapes.
    """

    def fit(self, teacher: Network | None, student: Network | None) -> None:
        if self.pairs or teacher is None or student is None:
            return
        theirs, ours = stage_names(teacher), stage_names(student)
        if not theirs or len(theirs) != len(ours):
            raise InputError(
                f"intermediate: expected two networks with the same feature maps, found {len(theirs)} and {len(ours)}: use `at`"
            )
        self.pair(theirs, ours)

    def forward(self, view: View) -> Tensor:
        taught, answered = view.teacher.features, view.student.features
        terms = []
        for weight, (theirs, ours) in zip(depth_weights(len(self.pairs)), self.pairs, strict=True):
            if taught[theirs].shape != answered[ours].shape:
                raise InputError(
                    f"intermediate: {ours} is of shape {list(answered[ours].shape)}, the teacher's {theirs} of {list(taught[theirs].shape)}"
                )
            terms.append(weight * F.smooth_l1_loss(answered[ours].float(), taught[theirs].float()))
        return torch.stack(terms).sum()
