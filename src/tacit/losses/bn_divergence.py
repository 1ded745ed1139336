"""BN divergence: how far the statistics of a batch are from those that the teacher remembers, as a divergence of normal distributions.

"The Knowledge Within: Methods for Data-Free Model Compression", Haroush et al., 2020, https://arxiv.org/abs/1912.01274, sec. 3.3. The paper
and its authors' code differ in the direction of the divergence; the code's converges further.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import torch
from torch import Tensor

from tacit.core.errors import InputError
from tacit.core.loss import Loss, Needs, View
from tacit.core.moments import batch_moments
from tacit.core.probe import BNStat
from tacit.core.spec import tells

__all__ = ["BNDivergence", "Direction", "normal_divergence"]

Direction = Literal["code", "paper", "symmetric", "mse"]
LEAST = 1e-5
"""Variances are held at this; below it no gradient flows, so that dead channels do no harm."""


def normal_divergence(mean: Tensor, var: Tensor, kept_mean: Tensor, kept_var: Tensor, direction: Direction = "code") -> Tensor:
    """Return how far N(mean, var) is from N(kept_mean, kept_var), for each channel, in nats (``mse``: in the squared unit of the input).

    ``code``: KL(batch || kept) = (var / kept_var + (mean - kept_mean)^2 / kept_var - 1 - ln(var / kept_var)) / 2; ``paper``: KL(kept ||
    batch); ``symmetric``: the mean of both; ``mse``: the squared differences of means and of standard deviations, added.

    Args:
        mean: Of shape (channels,), as all others.
        var: At least `LEAST` is taken.
        kept_mean: What the network remembers.
        kept_var: At least `LEAST` is taken.
        direction: Which divergence.
    """
    var, kept_var = var.clamp_min(LEAST), kept_var.clamp_min(LEAST)
    apart = (mean - kept_mean).square()
    if direction == "mse":
        return apart + (var.sqrt() - kept_var.sqrt()).square()
    ratio = var / kept_var
    forth, back = (ratio + apart / kept_var - 1 - ratio.log()) / 2, (1 / ratio + apart / var - 1 + ratio.log()) / 2
    return {"code": forth, "paper": back, "symmetric": (forth + back) / 2}[direction]


def divergence(stats: Sequence[BNStat], direction: Direction = "code") -> Tensor:
    """Return the mean over layers of the mean over channels of `normal_divergence`, of shape ()."""
    return torch.stack([normal_divergence(s.mean, s.var, s.running_mean, s.running_var, direction).mean() for s in stats]).mean()


class BNDivergence(Loss):
    """Mean over batch-norm layers of the mean over channels of `normal_divergence`; the input of the network may count as one more.

    Args:
        mean: The network's preprocessing, of shape (C, 1, 1): normalised images should have mean 0 and variance 1.
        std: The same.
        direction: Which divergence.
        inputs: Whether the input counts; not given: where `mean` and `std` are those of data in [0, 1] (`tacit.core.spec.tells`), and no
            mere scale, as 0 and 1: no image has such statistics.
    """

    needs = Needs(bn=True)

    def __init__(self, mean: Tensor, std: Tensor, *, direction: Direction = "code", inputs: bool | None = None) -> None:
        super().__init__()
        if direction not in get_args(Direction):
            raise InputError(f"direction: expected one of {', '.join(get_args(Direction))}, got {direction!r}")
        self.direction = direction
        constants = zip(mean.flatten().tolist(), std.flatten().tolist(), strict=True)
        self.inputs = inputs if inputs is not None else all(tells(m, s) for m, s in constants)
        self.register_buffer("mean", mean.detach().clone(), persistent=False)
        self.register_buffer("std", std.detach().clone(), persistent=False)

    def forward(self, view: View) -> Tensor:
        stats = list(view.teacher.bn)
        if self.inputs:
            mean, var = batch_moments(((view.images - self.get_buffer("mean")) / self.get_buffer("std")).float())
            stats.insert(0, BNStat("input", mean, var, torch.zeros_like(mean), torch.ones_like(var)))
        return divergence(stats, self.direction)
