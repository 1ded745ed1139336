"""Fidelity of made images against real ones, in the feature space of a network: what of them is where the real ones are, and the reverse.

Precision and recall: Kynkäänniemi, Karras, Laine, Lehtinen, Aila, "Improved Precision and Recall Metric for Assessing Generative Models",
2019, https://arxiv.org/abs/1904.06991 (their k is 3). Density and coverage: Naeem, Oh, Uh, Choi, Yoo, "Reliable Fidelity and Diversity
Metrics for Generative Models", 2020, https://arxiv.org/abs/2002.09797 (their k is 5). Fréchet distance: Heusel et al., "GANs Trained by a
Two Time-Scale Update Rule Converge to a Local Nash Equilibrium", 2017, https://arxiv.org/abs/1706.08500, with another network's features.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor, nn

from tacit.core.errors import InputError

__all__ = ["DensityCoverage", "PrecisionRecall", "density_coverage", "frechet_distance", "precision_recall"]


class PrecisionRecall(NamedTuple):
    """Shares in [0, 1]."""

    precision: float
    """Of the made images that lie where real ones are."""
    recall: float
    """Of the real images that lie where made ones are."""


class DensityCoverage(NamedTuple):
    """What a few outliers can't spoil."""

    density: float
    """In how many real neighbourhoods a made image lies, over how many are expected: 0 or more, about 1 for equal distributions."""
    coverage: float
    """Share of real images, in [0, 1], that have a made one in their neighbourhood."""


def precision_recall(real: Tensor, made: Tensor, *, k: int = 3, chunk: int = 512) -> PrecisionRecall:
    """Return improved precision and recall.

    A set covers the union of the balls around its points that reach to their k-th nearest neighbour in the set, rim included. Precision is
    the share of `made` inside the union of `real`, recall the reverse.

    Args:
        real: Features of real images, float of shape (N, D).
        made: Features of made images, float of shape (M, D); give as many, since balls shrink as sets grow.
        k: Which neighbour a ball reaches to, itself not counted; larger is more lenient.
        chunk: Rows of a distance matrix that are held at a time.

    Raises:
        InputError: Where a set has not more than `k` points, or they have unequal features.
    """
    _check(real, made, k)
    of_real, of_made = _reach(real, k, chunk), _reach(made, k, chunk)
    precise = torch.cat([(apart <= of_real).any(dim=1) for apart in _rows(made, real, chunk)])
    recalled = torch.cat([(apart <= of_made).any(dim=1) for apart in _rows(real, made, chunk)])
    return PrecisionRecall(float(precise.float().mean()), float(recalled.float().mean()))


def density_coverage(real: Tensor, made: Tensor, *, k: int = 5, chunk: int = 512) -> DensityCoverage:
    """Return density and coverage.

    Balls are around real images alone, up to their k-th nearest real neighbour, rim left out. Density is the mean number of balls that a
    made image is in, over `k`; coverage the share of balls with a made image.

    Args:
        real: Features of real images, float of shape (N, D).
        made: Features of made images, float of shape (M, D); coverage rises with M.
        k: Which neighbour a ball reaches to, itself not counted.
        chunk: Rows of a distance matrix that are held at a time.

    Raises:
        InputError: Where `real` has not more than `k` points, `made` none, or they have unequal features.
    """
    _check(real, made, k, of_made=0)
    inside, covered = 0, torch.zeros(len(real), dtype=torch.bool, device=real.device)
    reach = _reach(real, k, chunk)
    for apart in _rows(made, real, chunk):
        within = apart < reach
        inside += int(within.sum())
        covered |= within.any(dim=0)
    return DensityCoverage(inside / (k * len(made)), float(covered.float().mean()))


def frechet_distance(real: Tensor, made: Tensor) -> float:
    """Return the squared Fréchet distance between the Gaussians of mean and covariance of two sets, computed in double precision.

    |m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)), 0 or more, in the square of the features' unit: it can be compared for one network, one
    set of real images, and equal numbers of images only. It is not the FID of the papers, whose features are those of an Inception.

    Each set must hold more images than there are features, several times more to be trusted: with fewer a covariance has no full
    rank, and the distance of two samples of the same distribution, never 0, is large. Rounding may leave a negative number near 0.

    Args:
        real: Features of real images, float of shape (N, D).
        made: Features of made images, float of shape (M, D).

    Raises:
        InputError: Where a set has fewer than two points, or they have unequal features.
    """
    from torchmetrics.image.fid import FrechetInceptionDistance

    _check(real, made, 1)
    space = nn.Identity()
    space.num_features = real.shape[1]  # type: ignore[assignment]
    metric = FrechetInceptionDistance(feature=space).set_dtype(torch.double)
    centre = real.mean(dim=0)  # the distance does not see where both are, but rounding does
    metric.update((real - centre).cpu().double(), real=True)
    metric.update((made - centre).cpu().double(), real=False)
    return float(metric.compute())


def _check(real: Tensor, made: Tensor, k: int, *, of_made: int | None = None) -> None:
    if real.ndim != 2 or made.ndim != 2 or real.shape[1] != made.shape[1]:
        raise InputError(f"expected features of shape (N, D) and (M, D), got {list(real.shape)} and {list(made.shape)}")
    if k < 1:
        raise InputError(f"k: expected at least 1, got {k}")
    for name, points, least in (("real", real, k), ("made", made, k if of_made is None else of_made)):
        if len(points) <= least:
            raise InputError(f"{name}: expected more than {least} images, got {len(points)}")


def _rows(a: Tensor, b: Tensor, chunk: int) -> Iterator[Tensor]:
    """Yield distances from `chunk` points of `a` at a time to all of `b`, without the shortcut that loses small ones to rounding."""
    for part in torch.split(a.float(), chunk):
        yield torch.cdist(part, b.float(), compute_mode="donot_use_mm_for_euclid_dist")


def _reach(points: Tensor, k: int, chunk: int) -> Tensor:
    """Return the distance of each point to its k-th nearest other one, of shape (N,)."""
    found = [apart.kthvalue(k + 1, dim=1).values for apart in _rows(points, points, chunk)]  # itself is the nearest
    return torch.cat(found)
