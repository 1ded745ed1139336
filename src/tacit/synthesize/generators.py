"""Generators: small networks from noise to images in [0, 1], of any number of channels and any size."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

__all__ = ["ConvGenerator", "initialise"]


@torch.no_grad()
def initialise(net: nn.Module, generator: torch.Generator) -> None:
    """Draw all weights of `net` anew from `generator`: N(0, 0.02) for convolutions, PyTorch's uniform for linear layers, BN at (1, 0).

    Running statistics of batch-norm layers start again too.
    """
    for module in net.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            module.weight.normal_(0.0, 0.02, generator=generator)
            if module.bias is not None:
                module.bias.zero_()
        elif isinstance(module, nn.Linear):
            bound = 1 / math.sqrt(module.in_features)
            module.weight.uniform_(-bound, bound, generator=generator)
            if module.bias is not None:
                module.bias.uniform_(-bound, bound, generator=generator)
        elif isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.reset_parameters()


class ConvGenerator(nn.Module):
    """Linear, then twice (upsample, convolution, BN, leaky ReLU), then a convolution to the image and a sigmoid.

    The shape shared by DAFL, DFAD, CMI and Fast-DFKD (CMI: Linear to 128 maps, Conv 128, Conv 64, Conv C, sigmoid), with output in [0, 1].
    An image whose height or width is no multiple of 4 is cut from the next larger one.

    Args:
        latent: Length of a latent.
        shape: Channels, height and width of an image.
        width: Number of maps of the last hidden layer; the first two have twice as many. 64 in the papers.
        whiten: Whether a batch norm stands before the sigmoid, so that images use the whole range from the first step (DAFL, DFAD).
    """

    def __init__(self, latent: int, shape: tuple[int, int, int], width: int = 64, *, whiten: bool = False) -> None:
        super().__init__()
        channels, self.height, self.width = shape
        self.rows, self.columns = math.ceil(self.height / 4), math.ceil(self.width / 4)
        self.maps = 2 * width
        self.project = nn.Linear(latent, self.maps * self.rows * self.columns)
        self.blocks = nn.Sequential(
            nn.BatchNorm2d(self.maps),
            nn.Upsample(scale_factor=2),
            nn.Conv2d(self.maps, self.maps, 3, padding=1, bias=False),
            nn.BatchNorm2d(self.maps),
            nn.LeakyReLU(0.2, inplace=True),
            nn.Upsample(scale_factor=2),
            nn.Conv2d(self.maps, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.LeakyReLU(0.2, inplace=True),
            nn.Conv2d(width, channels, 3, padding=1),
        )
        self.squash = nn.Sequential(nn.BatchNorm2d(channels, affine=False), nn.Sigmoid()) if whiten else nn.Sigmoid()

    def forward(self, latent: Tensor) -> Tensor:
        """Return images of shape (N, C, H, W) in [0, 1] for latents of shape (N, latent)."""
        x = self.project(latent).view(-1, self.maps, self.rows, self.columns)
        images: Tensor = self.squash(self.blocks(x)[..., : self.height, : self.width])
        return images
