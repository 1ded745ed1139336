"""KDSVD: how the main directions of one layer go with those of the next must be for the student what it is for the teacher.

"Self-supervised Knowledge Distillation Using Singular Value Decomposition", Lee et al., 2018, https://arxiv.org/abs/1807.06819: a map, as a
matrix of places by channels, is ``U S V'``; the k first columns of V stand for the layer. Those of the student are aligned with the
teacher's: of its first k + 3 the one of the greatest absolute cosine, with the sign of that cosine. Between consecutive layers, with v the
front's and w the back's columns, ``R_mn = exp(- (v_m - w_n)^2 / 8)`` for channels m and n, and ``L = sum over m, n of (R_T - R_S)^2``.

No weight beside cross-entropy is published with the tables that others compare with: begin with 1 (``ce=1,kdsvd=1``). What differs from the
paper: the gradient of this loss is not clipped by that of the task; vectors of near-equal singular values, which have no gradient, get a
bounded one; a student with another number of channels goes through a 1x1 convolution that learns; a mean over images.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tacit.core.errors import InputError
from tacit.core.loss import View
from tacit.core.match import Match
from tacit.losses.pairs import AdaptedTaps, in_fp32, only_maps, same_size

__all__ = ["SingularVectors", "align", "singular_distance", "singular_vectors"]

SPARE = 3
"""How many more columns of the student are candidates."""
BROAD = 1e-8
"""Squared gap between eigenvalues, of sum 1, below which the gradient no longer grows."""
LEAST = 1e-3
"""Singular value, of squares' sum 1, below which a column is shortened."""
KERNEL = 8.0


class _Eigenvectors(torch.autograd.Function):
    """Eigenvectors of symmetric matrices (N, D, D), of rising eigenvalue, with a gradient that is bounded where eigenvalues meet."""

    @staticmethod
    def forward(ctx: Any, matrix: Tensor) -> tuple[Tensor, Tensor]:
        values, vectors = torch.linalg.eigh(matrix)
        ctx.save_for_backward(values, vectors)
        ctx.mark_non_differentiable(values)
        return values, vectors

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        values, vectors = ctx.saved_tensors
        gaps = values[:, None, :] - values[:, :, None]
        inner = gaps / (gaps.square() + BROAD) * (vectors.mT @ gradients[1])
        found: Tensor = vectors @ inner @ vectors.mT
        return (found + found.mT) / 2


def singular_vectors(feature: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Return the first singular values and right singular vectors of maps as matrices of places by channels.

    Args:
        feature: Of shape (N, C, H, W).
        count: How many; at most the smaller of C and H W are.

    Returns:
        Values of shape (N, count), those of all columns being 1 in L2 norm, detached; and columns of shape (N, C, count), signed so that
        they have no negative sum, as those of a decomposition have any sign.
    """
    matrix = feature.float().flatten(2).mT
    matrix = matrix / torch.linalg.vector_norm(matrix, dim=(1, 2), keepdim=True).clamp_min(LEAST**2)
    wide = matrix.shape[1] < matrix.shape[2]
    values, vectors = _Eigenvectors.apply(matrix @ matrix.mT if wide else matrix.mT @ matrix)  # type: ignore[no-untyped-call]
    values, vectors = values.flip(1)[:, :count], vectors.flip(2)[:, :, :count]
    if wide:
        vectors = F.normalize(matrix.mT @ vectors, dim=1, eps=LEAST)
    return values.detach().clamp_min(0).sqrt(), torch.where(vectors.detach().sum(dim=1, keepdim=True) < 0, -vectors, vectors)


def align(student: Tensor, teacher: Tensor) -> Tensor:
    """Return for each column of the teacher the student's of the greatest absolute cosine, with its sign, of the teacher's shape.

    Args:
        student: Columns of L2 norm 1, of shape (N, C, K).
        teacher: Of shape (N, C, k).
    """
    alike = student.detach().mT @ teacher
    best = alike.abs().argmax(dim=1, keepdim=True)
    sign = torch.where(alike.gather(1, best) < 0, -1.0, 1.0)
    return student.gather(2, best.expand(-1, student.shape[1], -1)) * sign


def singular_distance(student: Sequence[Tensor], teacher: Sequence[Tensor]) -> Tensor:
    """Return the squared difference of the correlations of consecutive layers, summed over channels and columns, mean over images, ().

    Args:
        student: Columns of each layer, front first, of shapes (N, C_l, k).
        teacher: Of the same shapes.
    """

    def correlations(layers: Sequence[Tensor]) -> list[Tensor]:
        return [(-(front[:, :, None] - back[:, None]).square() / KERNEL).exp() for front, back in pairwise(layers)]

    apart = zip(correlations(student), correlations(teacher), strict=True)
    return torch.stack([(ours - theirs).square().sum() / len(ours) for ours, theirs in apart]).sum()


class SingularVectors(AdaptedTaps):
    """`singular_distance` of the first columns of each layer; 0 where the student is the teacher.

    Args:
        teacher: Taps of the teacher, maps, two at least, front first; not given: the last feature map of each resolution.
        student: Taps of the student, as many.
        count: Columns k of a layer; each weighs as its share of the teacher's singular values, of L2 norm 1.

    Raises:
        InputError: `count` is below 1.
    """

    def __init__(self, teacher: Sequence[str] | None = None, student: Sequence[str] | None = None, *, count: int = 1) -> None:
        super().__init__(teacher, student)
        if count < 1:
            raise InputError(f"kdsvd: count: expected how many columns stand for a layer, at least 1, got {count}")
        self.count = count

    def build(self, matched: Sequence[Match]) -> None:
        only_maps("kdsvd", matched)
        if any(len(team) < 2 for team in self.teams):
            raise InputError(
                "kdsvd: expected two layers or more of each teacher, front first, got one: name taps, or use `nst`, which compares layers"
            )
        super().build(matched)

    def adapter(self, matched: Match) -> nn.Module:
        ours, theirs = matched.student.channels, matched.teacher.channels
        return nn.Identity() if ours == theirs else nn.Conv2d(ours, theirs, 1, bias=False)

    def forward(self, view: View) -> Tensor:
        answered, taught = [], []
        with in_fp32(view.images):
            for between, student, teacher in self.adapted(view):
                ours, theirs = same_size(between(student), teacher)
                values, columns = singular_vectors(theirs, self.count)
                share = F.normalize(values, dim=1)[:, None]
                taught.append(columns * share)
                answered.append(align(singular_vectors(ours, self.count + SPARE)[1], columns) * share)
            return torch.stack([singular_distance([answered[n] for n in team], [taught[n] for n in team]) for team in self.teams]).sum()
