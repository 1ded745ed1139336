"""FitNet: from the middle of the student, a small regressor must be able to tell the middle of the teacher.

"FitNets: Hints for Thin Deep Nets", Romero et al., 2015, https://arxiv.org/abs/1412.6550, eq. 3:
``L = 1/2 || u_h(x) - r(v_g(x)) ||^2``, with u_h the teacher's hint layer, v_g the student's guided layer, and r a convolutional regressor.

Beside cross-entropy its usual weight is 100 (``ce=1,fitnet=100``). What differs from the paper, as in the tables that others compare with:
a mean over elements in place of half the sum, and all is learned at once, where the paper first learns up to the guided layer by this loss
alone. The regressor halves or doubles a map by its convolution; between other sizes, for which the paper takes a kernel as wide as the
difference, it is a 1x1 convolution, and what comes out is averaged down or interpolated up.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from tacit.core.loss import View
from tacit.core.match import Match
from tacit.core.network import Network
from tacit.losses.pairs import AdaptedTaps, in_fp32, only_maps

__all__ = ["FitNet", "Regressor", "hint_distance"]


def hint_distance(regressed: Tensor, teacher: Tensor) -> Tensor:
    """Return the mean squared difference of all elements of two features of one shape, of shape ()."""
    return F.mse_loss(regressed.float(), teacher.float())


class Regressor(nn.Module):
    """A convolution to the teacher's channels and size, batch norm and ReLU.

    A map twice as high and wide is halved by a 3x3 convolution of stride 2, one half as high and wide doubled by a transposed 4x4 one; else
    the convolution is 1x1. Where a channel has a single value in the batch, which has no statistics, there is no batch norm.

    Args:
        student: Shape (C, H, W) of what comes in.
        teacher: Of what goes out.
    """

    def __init__(self, student: tuple[int, ...], teacher: tuple[int, ...]) -> None:
        super().__init__()
        (inputs, height, width), (outputs, *wanted) = student, teacher
        self.convolution: nn.Module
        if [height, width] == [2 * side for side in wanted]:
            self.convolution = nn.Conv2d(inputs, outputs, 3, stride=2, padding=1)
        elif [2 * height, 2 * width] == wanted:
            self.convolution = nn.ConvTranspose2d(inputs, outputs, 4, stride=2, padding=1)
        else:
            self.convolution = nn.Conv2d(inputs, outputs, 1)
        self.norm = nn.BatchNorm2d(outputs)

    def forward(self, feature: Tensor, size: tuple[int, int]) -> Tensor:
        """Return what the teacher's feature may be, of this height and width."""
        x: Tensor = self.convolution(feature)
        if x.shape[2:] != size:
            down = x.shape[2] >= size[0] and x.shape[3] >= size[1]
            x = F.adaptive_avg_pool2d(x, size) if down else F.interpolate(x, size, mode="bilinear", align_corners=False)
        return F.relu(self.norm(x) if x[:, 0].numel() > 1 else x)


class FitNet(AdaptedTaps):
    """Sum over layers, of which there usually is one, of `hint_distance`; not 0 where the student is the teacher: the regressor learns.

    Args:
        teacher: Taps of the teacher, maps; not given: the middle one of the matched stages, the second of three and of four.
        student: Taps of the student, as many.
    """

    def choose_of(self, teacher: Network, student: Network) -> list[Match]:
        found = super().choose_of(teacher, student)
        return [found[(len(found) - 1) // 2]]

    def build(self, matched: Sequence[Match]) -> None:
        only_maps("fitnet", matched)
        super().build(matched)

    def adapter(self, matched: Match) -> nn.Module:
        return Regressor(matched.student.shape, matched.teacher.shape)

    def forward(self, view: View) -> Tensor:
        with in_fp32(view.images):
            found = [hint_distance(between(ours, theirs.shape[2:]), theirs) for between, ours, theirs in self.adapted(view)]
            return sum(found[1:], found[0])
