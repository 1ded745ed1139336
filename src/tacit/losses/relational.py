"""RKD: distances between images, and angles between three of them, must be for the student what they are for the teacher.

"Relational Knowledge Distillation", Park et al., 2019, https://arxiv.org/abs/1904.05068, sec. 3: with t_i the penultimate features of
image i, ``psi_D(i, j) = |t_i - t_j| / mu``, mu the mean distance in the batch, and ``psi_A(i, j, k) = cos of the angle at t_j``; the loss
is the Huber distance (smooth L1, beta 1) of the student's and the teacher's, ``25 D + 50 A``.

Beside cross-entropy its usual weight is 1 (``ce=1,rkd=1``). What differs from the paper: means over all pairs and all triples, those of an
image with itself among them (they are 0), and the two weights, as in the tables that others compare with. Memory grows with the third power
of the batch, 1 MB for 64 images and 67 MB for 256, and with its square times the length of a feature, several times over.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from tacit.core.errors import InputError
from tacit.core.loss import View
from tacit.losses.pairs import PairedTaps, as_vector, in_fp32

__all__ = ["RelationalKD", "angle_distance", "angles", "distances", "spacing_distance"]

LEAST = 1e-6
"""Length below which images count as one and the same."""


def distances(features: Tensor) -> Tensor:
    """Return the distances of all pairs by their mean, of shape (N, N), for features of shape (N, D); pairs at no distance don't count."""
    apart = features.float()[:, None] - features.float()
    squares = apart.square().sum(dim=2)
    found = squares.clamp_min(LEAST**2).sqrt().masked_fill(squares <= LEAST**2, 0.0)
    return found / (found.sum() / (found > 0).sum().clamp_min(1)).clamp_min(LEAST)


def angles(features: Tensor) -> Tensor:
    """Return the cosines of the angle at j between i and k, of shape (N, N, N), for features of shape (N, D): ``[j, i, k]``."""
    apart = features.float() - features.float()[:, None]
    unit = apart / apart.square().sum(dim=2, keepdim=True).clamp_min(LEAST**2).sqrt()
    return unit @ unit.mT


def spacing_distance(student: Tensor, teacher: Tensor) -> Tensor:
    """Return the mean smooth L1 distance of the `distances` of features of shapes (N, D) and (N, D'), of shape ()."""
    return F.smooth_l1_loss(distances(student), distances(teacher))


def angle_distance(student: Tensor, teacher: Tensor) -> Tensor:
    """Return the mean smooth L1 distance of the `angles` of features of shapes (N, D) and (N, D'), of shape ()."""
    return F.smooth_l1_loss(angles(student), angles(teacher))


class RelationalKD(PairedTaps):
    """Sum over layers, of which there usually is one, of `spacing_distance` and `angle_distance`; 0 where the student is the teacher.

    Args:
        teacher: Taps of the teacher, maps are pooled; not given: what its classifier reads.
        student: Taps of the student, as many.
        distance: Weight of the distances, 0 or more.
        angle: Weight of the angles; at 0 they are not computed.
    """

    level = "pooled"

    def __init__(
        self,
        teacher: Sequence[str] | None = None,
        student: Sequence[str] | None = None,
        *,
        distance: float = 25.0,
        angle: float = 50.0,
    ) -> None:
        super().__init__(teacher, student)
        if min(distance, angle) < 0 or not max(distance, angle) > 0:
            raise InputError(f"rkd: expected distance and angle of 0 or more, and not both 0, got {distance} and {angle}")
        self.distance, self.angle = distance, angle

    def forward(self, view: View) -> Tensor:
        with in_fp32(view.images):
            found = []
            for pair in self.seen(view):
                ours, theirs = (as_vector(feature) for feature in pair)
                spaced = self.distance * spacing_distance(ours, theirs)
                found.append(spaced + self.angle * angle_distance(ours, theirs) if self.angle else spaced)
            return torch.stack(found).sum()
