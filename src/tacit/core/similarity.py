"""How alike the images of a set are: distances between features, near-duplicates. Nothing here needs real data."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from tacit.core.errors import InputError

__all__ = ["DUPLICATE", "Distances", "duplicate_rate", "pairwise_distance", "subsample"]

DUPLICATE = 2 / 255
"""Mean absolute difference of two images, on the scale of [0, 1], below which they count as the same."""


@dataclass(frozen=True, kw_only=True)
class Distances:
    """Mean distances over all pairs of a set; None where there is no pair."""

    euclidean: float | None
    """Of the features as they are: 0 or more, in the features' own unit, so comparable for one network only."""
    cosine: float | None
    """One minus the cosine of the angle between them, in [0, 2]; in [0, 1] for features that a ReLU made."""
    euclidean_within_class: float | None
    """Over the pairs of one class; a class of n images counts n (n - 1) / 2 times."""
    cosine_within_class: float | None
    """The same for the cosine."""


def pairwise_distance(
    features: Tensor, labels: Tensor | None = None, *, most: int = 2048, generator: torch.Generator | None = None, chunk: int = 512
) -> Distances:
    """Return mean Euclidean and cosine distances over pairs of different samples, overall and within class.

    A vector of zeros has no direction: its cosine distance to every other counts as 1.

    Args:
        features: float of shape (N, D).
        labels: Class of each, int64 of shape (N,); None: nothing is said of classes.
        most: Samples that are compared; more than these are drawn from.
        generator: Source of that draw, on the CPU; None: one of seed 0.
        chunk: Rows of the distance matrix that are held at a time.
    """
    picked = subsample(len(features), most, generator).to(features.device)
    points = features[picked].float()
    kinds = labels.to(features.device)[picked] if labels is not None else None
    directions, numbers = F.normalize(points, dim=1), torch.arange(len(points), device=points.device)
    sums = torch.zeros(2, 3, dtype=torch.double)  # overall, within class: Euclidean, cosine, pairs
    for rows in torch.split(numbers, chunk):
        far = _euclidean(points[rows], points)
        apart = torch.stack([far, 1 - directions[rows] @ directions.T, torch.ones_like(far)])
        others = rows[:, None] != numbers
        sums[0] += _total(apart, others)
        if kinds is not None:
            sums[1] += _total(apart, others & (kinds[rows, None] == kinds))
    (length, turn, pairs), (length_within, turn_within, pairs_within) = sums.tolist()
    return Distances(
        euclidean=length / pairs if pairs else None,
        cosine=turn / pairs if pairs else None,
        euclidean_within_class=length_within / pairs_within if pairs_within else None,
        cosine_within_class=turn_within / pairs_within if pairs_within else None,
    )


def _euclidean(a: Tensor, b: Tensor) -> Tensor:
    """Return distances without the matrix product's shortcut, which loses small ones to rounding."""
    return torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist")


def _total(values: Tensor, where: Tensor) -> Tensor:
    return (values * where).sum(dim=2).cpu().double().sum(dim=1)


def duplicate_rate(
    images: Tensor, *, within: float = DUPLICATE, most: int = 2048, generator: torch.Generator | None = None, chunk: int = 256
) -> float:
    """Return the share of images, in [0, 1], that have another one within a mean absolute difference of less than `within`.

    Exact and still cheap: sums over 16 blocks of each channel can't differ by more than the images do, so that only pairs whose sums are
    near are compared pixel by pixel, the likeliest first. The more images are compared, the more have a double: compare rates of equally
    many.

    Args:
        images: uint8, or float in [0, 1], of shape (N, C, H, W).
        within: Mean absolute difference on the scale of [0, 1].
        most: Images that are compared; more than these are drawn from.
        generator: Source of that draw, on the CPU; None: one of seed 0.
        chunk: Images that are held against all others at a time.

    Raises:
        InputError: Where the images have another shape, or there are none.
    """
    if images.ndim != 4 or not len(images):
        raise InputError(f"expected images of shape (N, C, H, W), got {list(images.shape)}")
    chosen = images[subsample(len(images), most, generator).to(images.device)]
    pixels = (chosen.float() if chosen.dtype == torch.uint8 else chosen.float() * 255).flatten(1)
    sums = pixels @ _blocks(chosen)
    limit = within * 255 * pixels.shape[1]
    numbers, double = torch.arange(len(pixels), device=pixels.device), torch.zeros(len(pixels), dtype=torch.bool, device=pixels.device)
    for rows in torch.split(numbers, chunk):
        least = torch.cdist(sums[rows], sums, p=1).masked_fill(rows[:, None] == numbers, torch.inf)
        near = least < limit * (1 + 1e-4)  # rounding must not hide a pair
        likeliest = least.argmin(dim=1)
        double[rows] = near.any(dim=1) & ((pixels[rows] - pixels[likeliest]).abs().sum(dim=1) < limit)
        undecided = near & ~double[rows, None]
        left, right = rows[undecided.any(dim=1)], numbers[undecided.any(dim=0)]
        if len(left):
            apart = torch.cdist(pixels[left], pixels[right], p=1).masked_fill(left[:, None] == right, torch.inf)
            double[left] = (apart < limit).any(dim=1)
    return int(double.sum()) / len(double)


def _blocks(images: Tensor) -> Tensor:
    """Return a matrix of zeros and ones, (C * H * W, groups), that sums pixels over a grid of at most 4 by 4 blocks a channel."""
    channels, height, width = images.shape[1:]
    down, across = (torch.arange(side, device=images.device) * 4 // side for side in (height, width))
    layer = torch.arange(channels, device=images.device) * 16
    group = (layer[:, None, None] + down[:, None] * 4 + across).flatten()
    return F.one_hot(group, channels * 16).float()


def subsample(count: int, most: int, generator: torch.Generator | None = None) -> Tensor:
    """Return the numbers of at most `most` out of `count` samples, without repetition, in rising order: int64 on the CPU.

    Args:
        count: Samples there are.
        most: Samples wanted; where there are no more, all are taken and nothing is drawn.
        generator: Source of the draw, on the CPU; None: one of seed 0.
    """
    if count <= most:
        return torch.arange(count)
    drawn = torch.randperm(count, generator=generator if generator is not None else torch.Generator().manual_seed(0))
    return drawn[:most].sort().values
