"""ReviewKD: each stage of the teacher is taught by the student's stage of that depth and all deeper ones together.

"Distilling Knowledge via Knowledge Review", Chen et al., 2021, https://arxiv.org/abs/2104.09044, sec. 3: from the deepest level to the
shallowest, the student's feature is fused with what came from below it by learned attention (ABF, fig. 3), and compared with the teacher's
at several sizes (HCL). Levels are the stages, before their ReLU where that can be tapped (`tacit.losses.before_relu`), and the pooled
vector as a map of one pixel.

Beside cross-entropy its weight depends on the pair: 5 for ResNet-32x4 to 8x4 on CIFAR-100 (``ce=1,reviewkd=5``), with a warm-up of 20 of
240 epochs.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tacit.core.errors import InputError
from tacit.core.loss import View, risen
from tacit.core.match import Match, pooled
from tacit.core.network import Network
from tacit.losses.before_relu import BeforeReLU, BridgeNorm
from tacit.losses.pairs import as_vector, in_fp32

__all__ = ["Fusion", "ReviewKD", "hierarchical_distance"]

SIZES = (4, 2, 1)
"""Heights and widths to which maps are averaged down for the hierarchical distance; each weighs half of the one before."""


def hierarchical_distance(student: Tensor, teacher: Tensor) -> Tensor:
    """Return the weighted mean of the mean squared differences of two maps at full size and averaged down to `SIZES`, of shape ().

    Args:
        student: Of shape (N, C, H, W); sizes that are not smaller than H and W are left out.
        teacher: Of the same shape.
    """
    total, weight, weights = F.mse_loss(student, teacher), 1.0, 1.0
    for size in SIZES:
        if size < min(student.shape[2:]):
            weight /= 2
            weights += weight
            ours, theirs = (F.adaptive_avg_pool2d(x, size) for x in (student, teacher))
            total = total + weight * F.mse_loss(ours, theirs)
    return total / weights


class Fusion(nn.Module):
    """Attention-based fusion (ABF): what the student knows at one level, beside what came from the deeper ones.

    Args:
        student: Channels of the student's feature.
        middle: Channels of what is handed on.
        teacher: Channels of the teacher's feature.
        deepest: Whether nothing comes from below.
    """

    def __init__(self, student: int, middle: int, teacher: int, *, deepest: bool) -> None:
        super().__init__()
        self.enter = nn.Sequential(nn.Conv2d(student, middle, 1, bias=False), BridgeNorm(middle))
        self.attend = None if deepest else nn.Conv2d(2 * middle, 2, 1)
        self.leave = nn.Sequential(nn.Conv2d(middle, teacher, 3, padding=1, bias=False), BridgeNorm(teacher))

    def forward(self, feature: Tensor, deeper: Tensor | None, size: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Return what is compared with the teacher, of shape (N, teacher, *size), and what is handed on to the level above.

        Args:
            feature: Of shape (N, student, H, W).
            deeper: What the level below handed on, of shape (N, middle, h, w).
            size: Height and width of the teacher's map.
        """
        known: Tensor = self.enter(feature)
        if self.attend is not None and deeper is not None:
            deeper = F.interpolate(deeper, known.shape[2:], mode="nearest")
            attention = self.attend(torch.cat([known, deeper], dim=1)).sigmoid()
            known = known * attention[:, :1] + deeper * attention[:, 1:]
        shaped = known if known.shape[2:] == tuple(size) else F.interpolate(known, tuple(size), mode="nearest")
        return self.leave(shaped), known


class ReviewKD(BeforeReLU):
    """Sum over levels of `hierarchical_distance` of the fused features; not 0 where the student is the teacher: the fusion learns.

    Args:
        teacher: Taps of the teacher, maps or vectors, shallow first; not given: the stages and what the classifier reads.
        student: Taps of the student, as many.
        width: Most channels that are handed from level to level; not more than the student's deepest feature has.
        warmup: Steps within which the loss rises to its full weight.
    """

    def __init__(
        self, teacher: Sequence[str] | None = None, student: Sequence[str] | None = None, *, width: int = 512, warmup: int = 0
    ) -> None:
        super().__init__(teacher, student)
        if width < 1 or warmup < 0:
            raise InputError(f"reviewkd: expected a width of at least 1 and a warmup of 0 or more, got {width} and {warmup}")
        self.width, self.warmup = width, warmup

    def choose_of(self, teacher: Network, student: Network) -> list[Match]:
        return [*super().choose_of(teacher, student), Match(pooled(teacher), pooled(student))]

    def build(self, matched: Sequence[Match]) -> None:
        self.adapters = nn.ModuleList()
        for team in self.teams:
            middle = min(self.width, matched[team[-1]].student.channels)
            for number in team:
                ours, theirs = matched[number].student.channels, matched[number].teacher.channels
                self.adapters.append(Fusion(ours, middle, theirs, deepest=number == team[-1]))

    def forward(self, view: View) -> Tensor:
        levels, losses = self.adapted(view), []
        with in_fp32(view.images):
            for team in self.teams:
                deeper: Tensor | None = None
                for number in reversed(team):
                    fuse, *pair = levels[number]
                    ours, theirs = (each if each.ndim == 4 else as_vector(each)[:, :, None, None] for each in pair)
                    fused, deeper = fuse(ours, deeper, theirs.shape[2:])
                    losses.append(hierarchical_distance(fused, theirs))
        return risen(view, self.warmup) * torch.stack(losses).sum()
