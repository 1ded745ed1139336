"""Attention transfer: where the student looks must be where the teacher looks.

"Paying More Attention to Attention", Zagoruyko and Komodakis, 2017, https://arxiv.org/abs/1612.03928, eq. 2, with squared distances as in
"Zero-shot Knowledge Transfer via Adversarial Belief Matching", Micaelli and Storkey, 2019, https://arxiv.org/abs/1905.09768, eq. 2.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from tacit.core.loss import View
from tacit.core.match import Match
from tacit.losses.pairs import PairedTaps, only_maps, same_size

__all__ = ["AttentionTransfer", "attention_distance", "attention_map"]


def attention_map(feature: Tensor) -> Tensor:
    """Return the channels' mean square, flattened and of L2 norm 1, of shape (N, H * W), for a feature of shape (N, C, H, W)."""
    return F.normalize(feature.float().square().mean(dim=1).flatten(1), dim=1)


def attention_distance(student: Tensor, teacher: Tensor) -> Tensor:
    """Return the mean squared difference (samples and places) of the attention maps of two features, of shape ().

    Args:
        student: Of shape (N, C, H, W).
        teacher: Of shape (N, C', H', W'); the larger of the two is averaged down to the smaller.
    """
    ours, theirs = same_size(student, teacher)
    return (attention_map(ours) - attention_map(theirs)).square().mean()


class AttentionTransfer(PairedTaps):
    """Sum over layers of `attention_distance`.

    ZSKT's weight of 250 stands beside a KL divergence that is divided by the number of classes: beside `KD`, which is not, that is 250
    times the classes.

    Args:
        teacher: Taps of the teacher, maps; not given: the last feature map of each resolution, as many as both have.
        student: Taps of the student, as many.
    """

    def build(self, matched: Sequence[Match]) -> None:
        only_maps("at", matched)

    def forward(self, view: View) -> Tensor:
        return torch.stack([attention_distance(ours, theirs) for ours, theirs in self.seen(view)]).sum()
