"""NST: the student's neurons must, as a crowd, respond to the same places of an image as the teacher's.

"Like What You Like: Knowledge Distill via Neuron Selectivity Transfer", Huang and Wang, 2017, https://arxiv.org/abs/1707.01219: the squared
maximum mean discrepancy between the channels of two maps, each flattened and of L2 norm 1, f of the teacher and g of the student, with the
polynomial kernel ``k(a, b) = (a'b)^2``:
``L = 1 / C_T^2 sum k(f_i, f_i') + 1 / C_S^2 sum k(g_j, g_j') - 2 / (C_T C_S) sum k(f_i, g_j)``.

Beside cross-entropy its usual weight is 50 (``ce=1,nst=50``). What differs from the paper: of its kernels the polynomial one alone, a
sum over all stages, and the weight, as in the tables that others compare with; the larger map is averaged down to the smaller.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from tacit.core.loss import View
from tacit.core.match import Match
from tacit.losses.pairs import PairedTaps, in_fp32, only_maps, same_size

__all__ = ["NeuronSelectivity", "selectivity_distance"]

LEAST = 1e-6
"""Below this length a channel says nothing."""


def _kernel(one: Tensor, other: Tensor) -> Tensor:
    """Return the mean over images and pairs of channels of the squared product."""
    return (one @ other.mT).square().mean()


def selectivity_distance(student: Tensor, teacher: Tensor) -> Tensor:
    """Return the squared maximum mean discrepancy between the channels of two features, mean over images, of shape ().

    Args:
        student: Of shape (N, C, H, W).
        teacher: Of shape (N, C', H', W'); the larger of the two is averaged down to the smaller.
    """
    ours, theirs = (F.normalize(feature.flatten(2), dim=2, eps=LEAST) for feature in same_size(student, teacher))
    return _kernel(theirs, theirs) + _kernel(ours, ours) - 2 * _kernel(ours, theirs)


class NeuronSelectivity(PairedTaps):
    """Sum over layers of `selectivity_distance`; 0 where the student is the teacher.

    Args:
        teacher: Taps of the teacher, maps; not given: the last feature map of each resolution, as many as both have.
        student: Taps of the student, as many.
    """

    def build(self, matched: Sequence[Match]) -> None:
        only_maps("nst", matched)

    def forward(self, view: View) -> Tensor:
        with in_fp32(view.images):
            return torch.stack([selectivity_distance(ours, theirs) for ours, theirs in self.seen(view)]).sum()
