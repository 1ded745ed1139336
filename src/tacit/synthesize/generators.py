"""Generators: small networks from noise to images in [0, 1], of any number of channels and any size."""

from __future__ import annotations

import math
from collections.abc import Iterable
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tacit.core.spec import Spec

__all__ = [
    "LARGE",
    "ConvGenerator",
    "TransposedGenerator",
    "UpConv2d",
    "draw_weights",
    "fitting_generator",
    "initialise",
    "sigmoid_moments",
]

LARGE = 128
"""Height and width from which an image is large: made by a `TransposedGenerator`."""


@torch.no_grad()
def initialise(net: nn.Module, generator: torch.Generator) -> None:
    """Draw all weights of `net` anew from `generator`: N(0, 0.02) for convolutions, PyTorch's uniform for linear layers, BN at (1, 0).

    Running statistics of batch-norm layers start again too. The net moves to the generator's device.
    """
    net.to(generator.device)
    draw_weights(net.modules(), generator)


@torch.no_grad()
def draw_weights(modules: Iterable[nn.Module], generator: torch.Generator) -> None:
    """Draw the weights that each of `modules` itself has, as `initialise` does; they are on the generator's device."""
    for module in modules:
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


def sigmoid_moments(mean: float, std: float) -> tuple[float, float]:
    """Return slope and shift for which ``sigmoid(slope * z + shift)`` of a standard normal z has these moments, as nearly as can be.

    Args:
        mean: In (0, 1).
        std: In (0, sqrt(mean (1 - mean))); the slope is at most 8.
    """
    z = torch.special.ndtri(torch.linspace(0.5, 511.5, 512, dtype=torch.float64) / 512)

    def shift_for(slope: float) -> float:
        low, high = -40.0, 40.0
        for _ in range(50):
            middle = (low + high) / 2
            low, high = (middle, high) if float(torch.sigmoid(slope * z + middle).mean()) < mean else (low, middle)
        return (low + high) / 2

    low, high = 0.01, 8.0
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if float(torch.sigmoid(middle * z + shift_for(middle)).std()) < std else (low, middle)
    return low, shift_for(low)


class _Moments(nn.Module):
    """Batch norm without scale, then a sigmoid that gives the moments of the data, as far as `spec` tells them."""

    slope: Tensor
    shift: Tensor

    def __init__(self, spec: Spec) -> None:
        super().__init__()
        slopes, shifts = zip(*(sigmoid_moments(mean, std) for mean, std in spec.moments), strict=True)
        self.norm = nn.BatchNorm2d(len(spec.moments), affine=False)
        self.register_buffer("slope", torch.tensor(slopes).view(-1, 1, 1))
        self.register_buffer("shift", torch.tensor(shifts).view(-1, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return torch.sigmoid(self.norm(x) * self.slope + self.shift)


class UpConv2d(nn.Conv2d):
    """A nearest-neighbour upsampling by two and a 3x3 convolution after it, as one transposed convolution: 4/9 of the work.

    What an output pixel sees twice of an input pixel is seen once, by the sum of the kernel's rows and columns; the sums make a kernel of
    4x4, of which each output pixel uses 2x2.

    Args:
        inputs: Maps that come in, of shape (N, inputs, H, W).
        outputs: Maps that go out, of shape (N, outputs, 2 H, 2 W).
    """

    sums: Tensor

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs, 3, bias=False)
        rows = torch.tensor([[0.0, 0, 1], [0, 1, 1], [1, 1, 0], [1, 0, 0]])  # row of the 4x4 kernel, row of the 3x3 one
        self.register_buffer("sums", rows, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        kernel = torch.einsum("rp,oipq,sq->iors", self.sums, self.weight, self.sums)
        return F.conv_transpose2d(x, kernel.contiguous(memory_format=torch.channels_last), stride=2, padding=1)


class ConvGenerator(nn.Module):
    """Linear, then twice (upsample, convolution, BN, leaky ReLU), then a convolution to the image and a sigmoid.

    The shape shared by DAFL, DFAD, CMI and Fast-DFKD (CMI: Linear to 128 maps, Conv 128, Conv 64, Conv C, sigmoid), with output in [0, 1].
    An image whose height or width is no multiple of 4 is cut from the next larger one.

    Args:
        latent: Length of a latent.
        shape: Channels, height and width of an image.
        width: Number of maps of the last hidden layer; the first two have twice as many. 64 in the papers.
        spec: Where given, the images have about the mean and deviation of the preprocessing, as those of DAFL and DFAD do, whose
            generators end in batch norm without scale: batch norm, then a sigmoid of the slope and shift that give these moments to
            normal values, and others to values of another shape.
        eps: Of the batch norms after the convolutions: 0.8 in DAFL and RDSKD, whose code writes ``BatchNorm2d(128, 0.8)``.
    """

    def __init__(self, latent: int, shape: tuple[int, int, int], width: int = 64, *, spec: Spec | None = None, eps: float = 1e-5) -> None:
        super().__init__()
        channels, self.height, self.width = shape
        self.rows, self.columns = math.ceil(self.height / 4), math.ceil(self.width / 4)
        self.maps = 2 * width
        self.project = nn.Linear(latent, self.maps * self.rows * self.columns)
        self.blocks = nn.Sequential(
            nn.BatchNorm2d(self.maps),
            UpConv2d(self.maps, self.maps),
            nn.BatchNorm2d(self.maps, eps=eps),
            nn.LeakyReLU(0.2, inplace=True),
            UpConv2d(self.maps, width),
            nn.BatchNorm2d(width, eps=eps),
            nn.LeakyReLU(0.2, inplace=True),
            nn.Conv2d(width, channels, 3, padding=1, bias=spec is None),  # batch norm would take a bias away again
        )
        self.squash = nn.Sigmoid() if spec is None else _Moments(spec)

    def forward(self, latent: Tensor) -> Tensor:
        """Return images of shape (N, C, H, W) in [0, 1] for latents of shape (N, latent)."""
        x = self.project(latent).view(-1, self.maps, self.rows, self.columns)
        images: Tensor = self.squash(self.blocks(x)[..., : self.height, : self.width])
        return images


class TransposedGenerator(nn.Module):
    """Linear, BN, then four times (transposed convolution 4x4 of stride 2, BN, leaky ReLU), then a convolution to the image.

    The generator of "Data-Free Adversarial Distillation", Fang et al., 2019, https://arxiv.org/abs/1912.11006, for images of 128x128: one
    that sees them as a whole before it sees their parts. An image whose height or width is no multiple of 16 is cut from the next larger
    one.

    Args:
        latent: Length of a latent.
        shape: Channels, height and width of an image.
        width: Number of maps of the last two blocks; those before have 2, 4 and 8 times as many. 64 in the paper.
        spec: Where given, the images have the mean and deviation of the preprocessing, as those of `ConvGenerator`; else, as in the paper,
            a tanh, here in [0, 1], which is right for a mean and deviation of 0.5.
        eps: Of the batch norms after the convolutions.
    """

    def __init__(self, latent: int, shape: tuple[int, int, int], width: int = 64, *, spec: Spec | None = None, eps: float = 1e-5) -> None:
        super().__init__()
        channels, self.height, self.width = shape
        self.rows, self.columns = math.ceil(self.height / 16), math.ceil(self.width / 16)
        self.maps = 8 * width
        self.project = nn.Linear(latent, self.maps * self.rows * self.columns)
        sizes = [8 * width, 4 * width, 2 * width, width, width]
        layers: list[nn.Module] = [nn.BatchNorm2d(self.maps)]
        for inputs, outputs in pairwise(sizes):
            grow = nn.ConvTranspose2d(inputs, outputs, 4, stride=2, padding=1, bias=False)
            layers += [grow, nn.BatchNorm2d(outputs, eps=eps), nn.LeakyReLU(0.2, inplace=True)]
        self.blocks = nn.Sequential(*layers, nn.Conv2d(width, channels, 3, padding=1, bias=spec is None))
        self.squash = _Halved() if spec is None else _Moments(spec)

    def forward(self, latent: Tensor) -> Tensor:
        """Return images of shape (N, C, H, W) in [0, 1] for latents of shape (N, latent)."""
        x = self.project(latent).view(-1, self.maps, self.rows, self.columns)
        images: Tensor = self.squash(self.blocks(x)[..., : self.height, : self.width])
        return images


class _Halved(nn.Tanh):
    """A tanh, brought from [-1, 1] to [0, 1]."""

    def forward(self, x: Tensor) -> Tensor:
        return (super().forward(x) + 1) / 2


def fitting_generator(
    latent: int, shape: tuple[int, int, int], width: int, *, spec: Spec | None = None, eps: float = 1e-5
) -> ConvGenerator | TransposedGenerator:
    """Return a generator for images of `shape`: a `TransposedGenerator` where height and width are `LARGE` or more, else a `ConvGenerator`.

    The arguments are theirs.
    """
    kind = TransposedGenerator if min(shape[1:]) >= LARGE else ConvGenerator
    return kind(latent, shape, width, spec=spec, eps=eps)
