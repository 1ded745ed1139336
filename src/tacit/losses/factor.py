"""FT: the teacher's feature, paraphrased in fewer channels, against the student's, translated to as many.

"Paraphrasing Complex Network: Network Compression via Factor Transfer", Kim et al., 2018, https://arxiv.org/abs/1802.04977, sec. 3: the
paraphraser is an autoencoder of the teacher's last map that is learned first, without labels, by its reconstruction (eq. 1, here
`Reconstruction`; 30 epochs of 270), and then stays; the translator is learned with the student. Without that phase (`opening` of 0) the
factors are those of a random paraphraser.

Beside cross-entropy its weight in the published tables is 200 (``ce=1,ft=200``), for factors of which the mean square over channels is
made of L2 norm 1; eq. 3 of the paper normalises all of a factor instead (`whole`). As in the published tables the translator has batch
norms, the paraphraser none. What differs: the paraphraser's last layer is bare, so that it can give any feature back; maps of different
size are averaged down to the smaller.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tacit.core.errors import InputError
from tacit.core.loss import Loss, Needs, Opening, View
from tacit.core.match import Match
from tacit.core.network import Network
from tacit.losses.attention import attention_map
from tacit.losses.before_relu import BridgeNorm
from tacit.losses.pairs import AdaptedTaps, in_fp32, only_maps, same_size

__all__ = ["FactorTransfer", "Factors", "Reconstruction", "factor_distance"]


def factor_distance(student: Tensor, teacher: Tensor, *, whole: bool = False) -> Tensor:
    """Return the mean absolute difference of two factors, normalised, of shape ().

    Args:
        student: Of shape (N, m, H, W).
        teacher: Of the same shape.
        whole: Whether a factor is normalised as one vector; otherwise it is the channels' mean square that is.
    """
    ours, theirs = (F.normalize(x.flatten(1), dim=1, eps=1e-6) if whole else attention_map(x) for x in (student, teacher))
    return (ours - theirs).abs().mean()


def _layers(channels: Sequence[int], kind: type[nn.Conv2d] | type[nn.ConvTranspose2d], *, norm: bool = False) -> nn.Sequential:
    """Return 3x3 convolutions from each number of channels to the next, each with batch norm, where wanted, and leaky ReLU."""
    made: list[nn.Module] = []
    for inputs, outputs in pairwise(channels):
        made += [kind(inputs, outputs, 3, padding=1), *([BridgeNorm(outputs)] if norm else []), nn.LeakyReLU(0.1)]
    return nn.Sequential(*made)


class Factors(nn.Module):
    """What makes factors: the teacher's paraphraser, with its way back, and the student's translator.

    Args:
        student: Channels of the student's map.
        teacher: Of the teacher's.
        factor: Of a factor.
    """

    def __init__(self, student: int, teacher: int, factor: int) -> None:
        super().__init__()
        self.paraphraser = _layers((teacher, teacher, factor, factor), nn.Conv2d)
        self.back = _layers((factor, factor, teacher, teacher), nn.ConvTranspose2d)[:-1]
        self.translator = _layers((student, student, factor, factor), nn.Conv2d, norm=True)


class FactorTransfer(AdaptedTaps):
    """Sum over layers, of which there usually is one, of `factor_distance`; the paraphraser gets no gradient of it.

    Args:
        teacher: Taps of the teacher, maps; not given: its coarsest map, and the student's.
        student: Taps of the student, as many.
        rate: k, the factor's channels by the teacher's.
        whole: Whether a factor is normalised as one vector (eq. 3); otherwise it is the channels' mean square that is.
        opening: Share of the steps in which the paraphraser learns, and the student does not; 0: none.
        steady: Share of the peak learning rate that holds throughout the opening, 0.2 for ResNets in the published tables (0.01); not
            given: the opening goes through the whole schedule, as any phase.
    """

    level = "last"

    def __init__(
        self,
        teacher: Sequence[str] | None = None,
        student: Sequence[str] | None = None,
        *,
        rate: float = 0.5,
        whole: bool = False,
        opening: float = 0.1,
        steady: float | None = None,
    ) -> None:
        super().__init__(teacher, student)
        if not rate > 0:
            raise InputError(f"ft: rate: expected a positive number, got {rate}")
        if not opening and steady is not None:
            raise InputError(f"ft: steady: it plays no part with `opening: 0`, got {steady}: leave it out")
        self.rate, self.whole, self.share, self.steady = rate, whole, opening, steady

    def opening(self) -> Opening | None:
        return Opening(Reconstruction(self), self.share, self.steady) if self.share else None

    def build(self, matched: Sequence[Match]) -> None:
        only_maps("ft", matched)
        super().build(matched)

    def adapter(self, matched: Match) -> nn.Module:
        theirs = matched.teacher.channels
        return Factors(matched.student.channels, theirs, max(1, round(self.rate * theirs)))

    def _factors(self, view: View) -> list[tuple[Factors, Tensor, Tensor]]:
        return [(between, ours, theirs) for between, ours, theirs in self.adapted(view) if isinstance(between, Factors)]

    def forward(self, view: View) -> Tensor:
        losses = []
        with in_fp32(view.images):
            for between, ours, theirs in self._factors(view):
                with torch.no_grad():
                    taught = between.paraphraser(theirs)
                losses.append(factor_distance(*same_size(between.translator(ours), taught), whole=self.whole))
        return torch.stack(losses).sum()


class Reconstruction(Loss):
    """How far the paraphrasers are from giving the teacher's features back: mean square, summed over layers. No student is asked.

    Args:
        of: Whose paraphrasers; `fit` goes by what it was fitted to.
    """

    def __init__(self, of: FactorTransfer) -> None:
        super().__init__()
        self.of = of

    def fit(self, teacher: Network | None, student: Network | None) -> None:
        self.needs = Needs(teacher_taps=self.of.needs.teacher_taps)

    def forward(self, view: View) -> Tensor:
        losses = []
        with in_fp32(view.images):
            for between, (tap, _) in zip(self.of.adapters, self.of.pairs, strict=True):
                theirs = view.teacher.features[tap].float()
                assert isinstance(between, Factors)
                losses.append(F.mse_loss(between.back(between.paraphraser(theirs)), theirs))
        return torch.stack(losses).sum()
