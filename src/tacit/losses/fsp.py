"""FSP: how the student gets from one stage to the next must be how the teacher does.

"A Gift from Knowledge Distillation: Fast Optimization, Network Minimization and Transfer Learning", Yim et al., 2017,
https://openaccess.thecvf.com/content_cvpr_2017/html/Yim_A_Gift_From_CVPR_2017_paper.html, eq. 1 and 2: the inner products, over all places,
of the channels of a layer with those of the next one. The paper learns by it alone first (`opening`; 30 epochs of 270, at the weight 1, in
the published tables), and by labels alone afterwards. What differs: a mean over the elements of each matrix in place of a sum; of two maps
the larger is averaged down; layers are the stages, without the stem.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor

from tacit.core.errors import InputError
from tacit.core.loss import Opening, View
from tacit.core.match import Match
from tacit.losses.pairs import PairedTaps, in_fp32, only_maps, same_size

__all__ = ["FSP", "flow"]


def flow(front: Tensor, back: Tensor) -> Tensor:
    """Return the FSP matrix of two layers: the mean over places of the products of their channels, of shape (N, C, C').

    Args:
        front: Of shape (N, C, H, W).
        back: Of shape (N, C', H', W').
    """
    one, two = (x.flatten(2) for x in same_size(front, back))
    return one @ two.mT / one.shape[2]


class FSP(PairedTaps):
    """Sum over consecutive layers of the mean squared difference of the two networks' `flow`; 0 where the student is the teacher.

    Args:
        teacher: Taps of the teacher, maps, two at least, shallow first; not given: the last feature map of each resolution.
        student: Taps of the student, as many, each of as many channels as the teacher's.
        opening: Share of the steps in which it teaches by itself, where it is named beside others, which then go on without it; 0: none,
            it teaches beside them. Not given: 0.1. Refused, as `steady`, where phases are written, or nothing else is named.
        steady: Share of the peak learning rate that holds throughout the opening, 1 in the published tables; not given: the opening goes
            through the whole schedule, as any phase.
    """

    def __init__(
        self,
        teacher: Sequence[str] | None = None,
        student: Sequence[str] | None = None,
        *,
        opening: float | None = None,
        steady: float | None = None,
    ) -> None:
        super().__init__(teacher, student)
        self.share, self.steady = opening, steady

    def opening(self) -> Opening | None:
        return Opening.of(self, self.share, self.steady)

    def build(self, matched: Sequence[Match]) -> None:
        only_maps("fsp", matched)
        if any(len(team) < 2 for team in self.teams):
            raise InputError("fsp: expected two layers or more of each teacher, shallow first, got one: name taps, or use `at`")
        for each in matched:
            if each.student.channels != each.teacher.channels:
                raise InputError(
                    f"fsp: expected equal channels, got {each.student.channels} at the student's {each.student.name} and "
                    f"{each.teacher.channels} at the teacher's {each.teacher.name}: use `at` or `crd`, which take any"
                )

    def forward(self, view: View) -> Tensor:
        pairs, losses = self.seen(view), []
        with in_fp32(view.images):
            for front, back in (step for team in self.teams for step in pairwise(team)):
                ours, theirs = (flow(pairs[front][side], pairs[back][side]) for side in (0, 1))
                losses.append(F.mse_loss(ours, theirs))
        return torch.stack(losses).sum()
