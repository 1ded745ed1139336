"""VID: the teacher's maps must be likely, given the student's.

"Variational Information Distillation for Knowledge Transfer", Ahn et al., 2019, https://arxiv.org/abs/1904.05835, sec. 2: a bound on
the information that student and teacher share, by a Gaussian whose mean a small network reads off the student's map, and whose variance is
one learned number a channel, ``sigma_c^2 = softplus(a_c) + 1e-5``:
``- ln q(t | s) = sum over c, h, w of 1/2 [ ln sigma_c^2 + (t_chw - mu_chw(s))^2 / sigma_c^2 ] + constant``.

Beside cross-entropy its usual weight is 1 (``ce=1,vid=1``). What differs from the paper: a mean over elements in place of the sum; the mean
network is three 1x1 convolutions, as wide as the teacher's map, with ReLU between them, and the larger map is averaged down.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tacit.core.errors import InputError
from tacit.core.loss import View
from tacit.core.match import Match
from tacit.losses.pairs import AdaptedTaps, in_fp32, only_maps, same_size

__all__ = ["VariationalInformation", "gaussian_distance"]

LEAST = 1e-5
"""That no variance goes below."""


def gaussian_distance(mean: Tensor, variance: Tensor, teacher: Tensor) -> Tensor:
    """Return the mean over elements of half of the squared difference by the variance, and of the logarithm of the variance, of shape ().

    Args:
        mean: Of shape (N, C, H, W).
        variance: Of each channel, of shape (C,), positive.
        teacher: Of the shape of `mean`.
    """
    spread = variance.float()[:, None, None]
    return 0.5 * ((teacher.float() - mean.float()).square() / spread + spread.log()).mean()


class _Gaussian(nn.Module):
    def __init__(self, student: int, teacher: int, variance: float) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for inputs in (student, teacher, teacher):
            layers += [nn.Conv2d(inputs, teacher, 1), nn.ReLU()]
        self.mean = nn.Sequential(*layers[:-1])
        self.spread = nn.Parameter(torch.full((teacher,), math.log(math.expm1(variance - LEAST))))

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        ours, theirs = same_size(student, teacher)
        return gaussian_distance(self.mean(ours), F.softplus(self.spread) + LEAST, theirs)


class VariationalInformation(AdaptedTaps):
    """Sum over layers of `gaussian_distance`; at least half the mean logarithm of the variance, which is 0.805 at the start.

    Args:
        teacher: Taps of the teacher, maps; not given: the last feature map of each resolution, as many as both have.
        student: Taps of the student, as many.
        variance: Of each channel of the teacher, to begin with.

    Raises:
        InputError: `variance` is not between 1e-5 and 80.
    """

    def __init__(self, teacher: Sequence[str] | None = None, student: Sequence[str] | None = None, *, variance: float = 5.0) -> None:
        super().__init__(teacher, student)
        if not LEAST < variance <= 80:
            raise InputError(f"vid: variance: expected a number above {LEAST} and up to 80, got {variance}")
        self.variance = variance

    def build(self, matched: Sequence[Match]) -> None:
        only_maps("vid", matched)
        super().build(matched)

    def adapter(self, matched: Match) -> nn.Module:
        return _Gaussian(matched.student.channels, matched.teacher.channels, self.variance)

    def forward(self, view: View) -> Tensor:
        with in_fp32(view.images):
            found = [between(ours, theirs) for between, ours, theirs in self.adapted(view)]
            total: Tensor = sum(found[1:], found[0])
            return total
