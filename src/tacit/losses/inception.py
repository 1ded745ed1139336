"""Inception: images that excite a class, and are smooth.

"The Knowledge Within: Methods for Data-Free Model Compression", Haroush et al., 2020, https://arxiv.org/abs/1912.01274, sec. 3.2, after
"Inceptionism", Mordvintsev et al., 2015.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from tacit.core.errors import InputError
from tacit.core.loss import Loss, Needs, View

__all__ = ["Smoothness", "TargetLogit", "gaussian_blur"]


class TargetLogit(Loss):
    """``exp(-scale * mean z_y)`` of the wanted classes' logits z_y: the pull fades as the logits grow. From 1, for none, towards 0.

    Args:
        scale: 4e-4 in the authors' code.
    """

    needs = Needs(targets=True)

    def __init__(self, scale: float = 4e-4) -> None:
        super().__init__()
        self.scale = scale

    def forward(self, view: View) -> Tensor:
        assert view.targets is not None
        wanted = view.teacher.logits.gather(1, view.targets[:, None])
        return torch.exp(-self.scale * wanted.mean())


def gaussian_blur(images: Tensor, size: int, sigma: float) -> Tensor:
    """Return each channel blurred by a Gaussian of `size` x `size` pixels, with zeros around, for images of shape (N, C, H, W)."""
    places = torch.arange(size, dtype=images.dtype, device=images.device) - (size - 1) / 2
    weights = torch.exp(-(places**2) / (2 * sigma**2))
    weights = (weights / weights.sum()).expand(images.shape[1], 1, size)
    down = F.conv2d(images, weights[..., None], padding=(size // 2, 0), groups=images.shape[1])
    return F.conv2d(down, weights[..., None, :], padding=(0, size // 2), groups=images.shape[1])


class Smoothness(Loss):
    """Mean squared difference of the normalised canvas and its blur.

    Args:
        mean: The network's preprocessing, of shape (C, 1, 1).
        std: The same.
        size: Pixels of the blur, an odd number.
        sigma: Its standard deviation, in pixels: 1 in the authors' code, 0.375 for their CIFAR-100 network.
    """

    needs = Needs(teacher=False)

    def __init__(self, mean: Tensor, std: Tensor, *, size: int = 5, sigma: float = 1.0) -> None:
        super().__init__()
        if size < 1 or size % 2 == 0 or not sigma > 0:
            raise InputError(f"blur: expected an odd number of pixels and a positive sigma, got {size} and {sigma}")
        self.size, self.sigma = size, sigma
        self.register_buffer("mean", mean.detach().clone(), persistent=False)
        self.register_buffer("std", std.detach().clone(), persistent=False)

    def forward(self, view: View) -> Tensor:
        images = (view.canvas.float() - self.get_buffer("mean")) / self.get_buffer("std")
        return F.mse_loss(images, gaussian_blur(images, self.size, self.sigma))
