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
    """L2 norm of the whole canvas after normalisation: how far it is from the mean colour of the data.

    Args:
        mean: The network's preprocessing, of shape (C, 1, 1).
        std: The same.
    """

    needs = Needs(teacher=False)

    def __init__(self, mean: Tensor, std: Tensor) -> None:
        super().__init__()
        self.register_buffer("mean", mean.detach().clone(), persistent=False)
        self.register_buffer("std", std.detach().clone(), persistent=False)

    def forward(self, view: View) -> Tensor:
        size: Tensor = torch.linalg.vector_norm((view.canvas.float() - self.get_buffer("mean")) / self.get_buffer("std"))
        return size
