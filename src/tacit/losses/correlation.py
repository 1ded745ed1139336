"""CC: how the student errs on one image must not go with how it errs on the next.

"Correlation Congruence for Knowledge Distillation", Peng et al., 2019, https://arxiv.org/abs/1904.01802, in the form of the tables that
others compare with: penultimate features of both networks go through a linear layer each; with ``d_i = |e_S(x_i) - e_T(x_i)|`` of image i,
``L = 1 / (N - 1) sum_i sum_c d_i,c d_i+1,c`` over the neighbours in a batch.

Beside cross-entropy its usual weight is 0.02 (``ce=1,cc=0.02``). What differs from the paper, which asks that the matrices of all images'
correlations agree, by a Gaussian kernel, on batches in which classes are gathered: here it is neighbours alone, in any batch. Both linear
layers learn, so that they could agree on nothing at all: this is no loss to learn by alone.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from tacit.core.errors import InputError
from tacit.core.loss import View
from tacit.core.match import Match
from tacit.losses.pairs import AdaptedTaps, as_vector, in_fp32

__all__ = ["CorrelationCongruence", "correlation_distance"]


def correlation_distance(student: Tensor, teacher: Tensor) -> Tensor:
    """Return the mean over neighbours of the products of their absolute differences, summed over D, of shape (); 0 for a batch of one.

    Args:
        student: Of shape (N, D).
        teacher: Of shape (N, D).
    """
    apart = (student.float() - teacher.float()).abs()
    return (apart[:-1] * apart[1:]).sum() / max(1, len(apart) - 1)


class _Heads(nn.Module):
    def __init__(self, student: int, teacher: int, width: int) -> None:
        super().__init__()
        self.student, self.teacher = nn.Linear(student, width), nn.Linear(teacher, width)

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        return correlation_distance(self.student(student), self.teacher(teacher))


class CorrelationCongruence(AdaptedTaps):
    """Sum over layers, of which there usually is one, of `correlation_distance` behind the linear layers.

    Not 0 where the student is the teacher, before the two layers are the same.

    Args:
        teacher: Taps of the teacher, maps are pooled; not given: what its classifier reads.
        student: Taps of the student, as many.
        width: Length D of an embedding.

    Raises:
        InputError: `width` is below 1.
    """

    level = "pooled"

    def __init__(self, teacher: Sequence[str] | None = None, student: Sequence[str] | None = None, *, width: int = 128) -> None:
        super().__init__(teacher, student)
        if width < 1:
            raise InputError(f"cc: width: expected the length of an embedding, at least 1, got {width}")
        self.width = width

    def adapter(self, matched: Match) -> nn.Module:
        return _Heads(matched.student.channels, matched.teacher.channels, self.width)

    def forward(self, view: View) -> Tensor:
        with in_fp32(view.images):
            found = [between(as_vector(ours), as_vector(theirs)) for between, ours, theirs in self.adapted(view)]
            total: Tensor = sum(found[1:], found[0])
            return total
