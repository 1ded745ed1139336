"""SP: images that excite the teacher alike must excite the student alike.

"Similarity-Preserving Knowledge Distillation", Tung and Mori, 2019, https://arxiv.org/abs/1907.09682, sec. 3: with Q the flattened
features of a batch of b, ``G = Q Q'`` with rows of L2 norm 1, and ``L = 1 / b^2 || G_T - G_S ||_F^2``.

Beside cross-entropy its usual weight is 3000 (``ce=1,sp=3000``). What differs from the paper, which may sum over several layers: each
network's own last map alone, of whatever size, as in the tables that others compare with, where none are named. Features of any shape
will do: only images are compared with images.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from tacit.core.loss import View
from tacit.losses.pairs import PairedTaps, in_fp32

__all__ = ["SimilarityPreserving", "similarities", "similarity_distance"]


def similarities(feature: Tensor) -> Tensor:
    """Return products of all images with all, rows of L2 norm 1, of shape (N, N), for a feature of shape (N, ...)."""
    flat = feature.float().flatten(1)
    return F.normalize(flat @ flat.T, dim=1)


def similarity_distance(student: Tensor, teacher: Tensor) -> Tensor:
    """Return the mean squared difference of the `similarities` of two features of shapes (N, ...) and (N, ...), of shape ()."""
    return (similarities(student) - similarities(teacher)).square().mean()


class SimilarityPreserving(PairedTaps):
    """Sum over layers of `similarity_distance`; 0 where the student is the teacher, and for a batch of one.

    Args:
        teacher: Taps of the teacher; not given: its last map of the smallest size, and the student's.
        student: Taps of the student, as many.
    """

    level = "last"

    def forward(self, view: View) -> Tensor:
        with in_fp32(view.images):
            return torch.stack([similarity_distance(ours, theirs) for ours, theirs in self.seen(view)]).sum()
