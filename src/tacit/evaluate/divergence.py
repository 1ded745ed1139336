"""Similarity: how near a set of images is to what a network was trained on, as its batch norms remember that.

The measure of "The Knowledge Within: Methods for Data-Free Model Compression", Haroush et al., 2020, https://arxiv.org/abs/1912.01274,
secs. 3.3 and 5: the divergence of statistics that BNS minimises, so that samples of BNS are not to be ranked by it. It falls with the
number of images that the statistics are of, as c / n: sets are compared at the same n, and the limit is found from n and n / 2.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import mean, stdev

import torch
from torch import Tensor

from tacit.core.batch import as_floats
from tacit.core.device import Runtime
from tacit.core.errors import InputError
from tacit.core.loss import View
from tacit.core.network import Teacher
from tacit.core.probe import Probe
from tacit.losses import BNDivergence
from tacit.losses.bn_divergence import Direction

__all__ = ["SetDivergence", "bn_divergence", "set_divergence"]

DRAWS = 5
"""Disjoint samples of a set that are measured, where there are enough images."""


@dataclass(frozen=True, kw_only=True)
class SetDivergence:
    """Divergence of a set's statistics from a network's; 0: the same."""

    divergence: float
    """Mean over samples of `images` images each, in nats but for ``mse``."""
    sd: float | None
    """Standard deviation over the samples; None for one."""
    debiased: float
    """The same, less what comes of the small number of images: ``2 D(n) - D(n / 2)``; below 0 where that is all there is."""
    images: int
    """In each sample."""
    samples: int
    """How many."""


@torch.no_grad()
def bn_divergence(teacher: Teacher, images: Tensor, runtime: Runtime, *, direction: Direction = "code", size: int = 256) -> float:
    """Return the mean over batch-norm layers, and the input of a network that normalises it, of the divergence of `images`, all at once.

    Args:
        teacher: With batch norm that keeps running statistics.
        images: In [0, 1], or uint8, of shape (N, C, H, W).
        runtime: Device; fp32 whatever its precision.
        direction: Which divergence.
        size: Images of one pass; the result does not depend on it.
    """
    shown = as_floats(images.to(runtime.device))
    loss = BNDivergence(teacher.mean, teacher.std, direction=direction).to(runtime.device)
    with Probe(teacher, bn=True) as ask:
        return float(loss(View(shown, teacher=ask.in_parts(shown, size))))


def set_divergence(
    teacher: Teacher, images: Tensor, runtime: Runtime, *, at: int, direction: Direction = "code", seed: int = 0
) -> SetDivergence:
    """Return the similarity of a set, measured on up to `DRAWS` disjoint samples of `at` images.

    Args:
        teacher: With batch norm that keeps running statistics.
        images: In [0, 1], or uint8, of shape (N, C, H, W), N at least `at`.
        runtime: Device.
        at: Images of a sample, at least 4 and the same for all sets that are compared.
        direction: Which divergence.
        seed: Of the order in which images are drawn: data sets must be shuffled.
    """
    if at < 4 or len(images) < at:
        raise InputError(f"images: expected at least {max(at, 4)} images, got {len(images)}")
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed)).to(images.device)
    parts = [images[part] for part in torch.split(order, at)[:DRAWS] if len(part) == at]
    whole = [bn_divergence(teacher, part, runtime, direction=direction) for part in parts]
    halves = [bn_divergence(teacher, half, runtime, direction=direction) for part in parts for half in torch.split(part, at // 2)[:2]]
    spread = stdev(whole) if len(whole) > 1 else None
    return SetDivergence(divergence=mean(whole), sd=spread, debiased=2 * mean(whole) - mean(halves), images=at, samples=len(parts))
