"""Priors on pixels: total variation and size.

"Understanding Deep Image Representations by Inverting Them", Mahendran and Vedaldi, 2015, https://arxiv.org/abs/1412.0035, sec. 2;
over four directions and as a norm of the whole batch, as "Dreaming to Distill", Yin et al., 2020, https://arxiv.org/abs/1912.08795.
Both are taken of the canvas, before augmentation.
"""

from __future__ import annotations

import torch
from torch import Tensor

from tacit.core.loss import Loss, Needs, View

__all__ = ["PixelNorm", "TotalVariation", "total_variation"]


def total_variation(images: Tensor) -> Tensor:
    """Return the sum over four directions (two diagonals) of the L2 norm of neighbour differences, of shape (), for (N, C, H, W)."""
    across = images.diff(dim=-1)
    down = images.diff(dim=-2)
    falling = images[..., 1:, 1:] - images[..., :-1, :-1]
    rising = images[..., 1:, :-1] - images[..., :-1, 1:]
    return torch.stack([difference.float().norm() for difference in (across, down, falling, rising)]).sum()


class TotalVariation(Loss):
    """How rough the canvas is; see `total_variation`."""

    needs = Needs(teacher=False)

    def forward(self, view: View) -> Tensor:
        return total_variation(view.canvas)


class PixelNorm(Loss):
    """L2 norm of the whole canvas, pixels in [0, 1]."""

    needs = Needs(teacher=False)

    def forward(self, view: View) -> Tensor:
        size: Tensor = torch.linalg.vector_norm(view.canvas.float())
        return size
