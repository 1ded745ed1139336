"""OFD: features before the ReLU, of which only what passes it matters, and how far below it the rest is not.

"A Comprehensive Overhaul of Feature Distillation", Heo et al., 2019, https://arxiv.org/abs/1904.01866, sec. 3: the teacher's feature
goes through a margin ReLU, max(x, m), with m of each channel the mean of its negative values; the student's through a 1x1 convolution and
a batch norm; and their squared difference counts but where the student is below a target that is not positive (partial L2).

Summed over elements, mean over images, each stage at half the weight of the next: beside cross-entropy its weight is 1e-3 on CIFAR and
1e-4 on ImageNet (``ce=1,ofd=0.001``). It grows with the size of the maps. What differs: where a stage can't be tapped before its ReLU
(`tacit.losses.before_relu`) it is compared behind it, with margins of 0; maps of different size are averaged down to the smaller.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from tacit.core.loss import View
from tacit.core.network import Network
from tacit.losses.before_relu import BeforeReLU, norms_behind
from tacit.losses.pairs import in_fp32, same_size

__all__ = ["FeatureOverhaul", "batch_margin", "negative_mean", "partial_distance"]


def negative_mean(mean: Tensor, deviation: Tensor) -> Tensor:
    """Return E[x | x < 0] of normal distributions, of the shape of `mean`: what is known of a batch norm's output.

    Args:
        mean: The batch norm's shift, of shape (C,).
        deviation: The absolute value of its scale, of the same shape; where it is 0, so is the answer, or the mean if that is negative.
    """
    centre, spread = mean.double(), deviation.double()
    sure = spread < 1e-6
    far = centre / spread.masked_fill(sure, 1.0)
    below = centre - spread * math.sqrt(2 / math.pi) / torch.special.erfcx(far / math.sqrt(2))
    return torch.where(sure, centre, below).clamp_max(0.0).to(mean.dtype)


def batch_margin(teacher: Tensor) -> Tensor:
    """Return the mean of each channel's negative values, of shape (C,), 0 where there are none, for a feature of shape (N, C, H, W)."""
    negative = teacher.float().clamp_max(0.0)
    return negative.sum(dim=(0, 2, 3)) / (negative < 0).sum(dim=(0, 2, 3)).clamp_min(1)


def partial_distance(student: Tensor, target: Tensor) -> Tensor:
    """Return the squared difference but where ``student <= target <= 0``, summed over elements, mean over images, of shape ().

    Args:
        student: Of shape (N, C, H, W).
        target: The teacher's feature behind the margin ReLU, of the same shape.
    """
    idle = (student <= target) & (target <= 0)
    return (student - target).square().masked_fill(idle, 0.0).sum() / len(student)


class FeatureOverhaul(BeforeReLU):
    """Weighted sum over layers of `partial_distance`.

    A margin comes from the batch norm whose output is tapped. Of any other tap (the sum of a residual block, say, where the authors go by
    its last batch norm) it is the mean of the batch's negative values: of a map behind its ReLU, 0.

    Args:
        teacher: Taps of the teacher, maps, shallow first; not given: the stages, before their ReLU where that can be tapped.
        student: Taps of the student, as many.
    """

    def fit(self, teacher: Network | None, student: Network | None) -> None:
        super().fit(teacher, student)
        if teacher is None:
            return
        norms = norms_behind(teacher, [theirs for theirs, _ in self.pairs])
        for between, norm in zip(self.adapters, norms, strict=False):
            if norm is not None:
                shift = torch.zeros(norm.num_features) if norm.bias is None else norm.bias.detach().cpu()
                scale = torch.ones(norm.num_features) if norm.weight is None else norm.weight.detach().cpu()
                between.register_buffer("margin", negative_mean(shift, scale.abs()))

    def forward(self, view: View) -> Tensor:
        losses = []
        with in_fp32(view.images):
            for weight, (between, ours, theirs) in zip(self.halved(), self.adapted(view), strict=True):
                known = dict(between.named_buffers(recurse=False)).get("margin")
                margin = batch_margin(theirs) if known is None else known
                losses.append(weight * partial_distance(*same_size(between(ours), torch.maximum(theirs, margin[:, None, None]))))
        return torch.stack(losses).sum()
