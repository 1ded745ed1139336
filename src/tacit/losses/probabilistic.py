"""PKT: which images are neighbours of which, as a probability, must be for the student what it is for the teacher.

"Learning Deep Representations with Probabilistic Knowledge Transfer", Passalis and Tefas, 2018, https://arxiv.org/abs/1803.10837: with the
kernel ``k(a, b) = (cos(a, b) + 1) / 2`` of penultimate features, ``p(i | j) = k(x_i, x_j) / sum over i of k(x_i, x_j)``, and
``L = sum over i, j of p_T(i | j) ln (p_T(i | j) / p_S(i | j))``.

Beside cross-entropy its usual weight is 30000 (``ce=1,pkt=30000``), for what differs from the paper is the mean over all N^2 pairs in place
of their sum, as in the tables that others compare with; pairs of an image with itself count.
"""

from __future__ import annotations

import torch
from torch import Tensor

from tacit.core.loss import View
from tacit.losses.pairs import PairedTaps, as_vector, in_fp32

__all__ = ["ProbabilisticTransfer", "neighbour_divergence", "neighbours"]

LEAST = 1e-7
"""Added to lengths and probabilities."""


def neighbours(features: Tensor) -> Tensor:
    """Return how likely each image is the neighbour of each, rows of sum 1, of shape (N, N), for features of shape (N, D)."""
    unit = features.float() / (torch.linalg.vector_norm(features.float(), dim=1, keepdim=True) + LEAST)
    near = (unit @ unit.T + 1) / 2
    likely: Tensor = near / near.sum(dim=1, keepdim=True)
    return likely


def neighbour_divergence(student: Tensor, teacher: Tensor) -> Tensor:
    """Return the mean over pairs of ``p_T ln (p_T / p_S)`` of features of shapes (N, D) and (N, D'), of shape ()."""
    ours, theirs = neighbours(student), neighbours(teacher)
    return (theirs * ((theirs + LEAST) / (ours + LEAST)).log()).mean()


class ProbabilisticTransfer(PairedTaps):
    """Sum over layers, of which there usually is one, of `neighbour_divergence`; 0 where the student is the teacher.

    Args:
        teacher: Taps of the teacher, maps are pooled; not given: what its classifier reads.
        student: Taps of the student, as many.
    """

    level = "pooled"

    def forward(self, view: View) -> Tensor:
        with in_fp32(view.images):
            return torch.stack([neighbour_divergence(as_vector(ours), as_vector(theirs)) for ours, theirs in self.seen(view)]).sum()
