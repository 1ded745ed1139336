"""BN alignment: batch statistics must match those that the teacher remembers of its training data.

"Dreaming to Distill: Data-free Knowledge Transfer via DeepInversion", Yin et al., 2020, https://arxiv.org/abs/1912.08795, eq. 4.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from tacit.core.loss import Loss, Needs, View
from tacit.core.probe import BNStat

__all__ = ["BNAlignment", "bn_distance"]


def bn_distance(stats: Sequence[BNStat]) -> Tensor:
    """Return the sum over layers of ``||mean - running_mean||_2 + ||var - running_var||_2``, of shape ().

    Norms, not squares; the variance of the batch is the biased one; both are measured on the input of the layer.
    """
    return torch.stack([(s.mean - s.running_mean).norm() + (s.var - s.running_var).norm() for s in stats]).sum()


class BNAlignment(Loss):
    """Distance of the batch's statistics to the running statistics, over all batch-norm layers; see `bn_distance`."""

    needs = Needs(bn=True)

    def forward(self, view: View) -> Tensor:
        return bn_distance(view.teacher.bn)
