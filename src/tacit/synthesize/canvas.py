"""Canvases: what the optimiser paints on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from tacit.core.spec import Spec

__all__ = [
    "Canvas",
    "Generator",
    "GeneratorAndLatents",
    "Noise",
    "Pixels",
    "Round",
    "RoundedPixels",
    "Start",
    "normal_noise",
    "uniform_noise",
]


@dataclass(frozen=True)
class Round:
    """What a round begins with.

    Args:
        number: Rounds done before this one.
        images: How many images are to be painted.
        targets: What is wanted of them; None where the method asks for nothing.
        generator: Source of every random draw.
    """

    number: int
    images: int
    targets: Tensor | None
    generator: torch.Generator

    @property
    def device(self) -> torch.device:
        """Where the draws are made, and so where the images are."""
        return self.generator.device


class Canvas(nn.Module):
    """What the optimiser paints on: `begin` a round, `forward` shows the images, `project` ends a step, `finish` a round."""

    fresh: ClassVar[bool] = False
    """Whether `begin` makes new parameters, so that their optimiser must be made anew."""
    latent: Tensor | None
    """The noise behind the images last shown, of shape (N, width)."""

    def __init__(self) -> None:
        super().__init__()
        self.latent = None

    def common(self) -> nn.Module:
        """Return what all processes have in common, so that it must start alike: all that is not made anew by each, else nothing."""
        return nn.Module() if self.fresh else self

    def begin(self, round: Round) -> None:
        """Get ready to paint a batch."""
        raise NotImplementedError

    def forward(self) -> Tensor:
        """Return the batch as it stands, in [0, 1], of shape (N, C, H, W)."""
        raise NotImplementedError

    def project(self) -> None:
        """Bring the images back to what is allowed, after an optimiser's step."""

    def finish(self) -> None:
        """Learn from the whole round (a meta-generator's step goes here)."""

    def again(self) -> Tensor:
        """Return the batch last shown as it is now, from the same latents."""
        images: Tensor = self()
        return images

    def sample(self, round: Round) -> Tensor:
        """Return images that were not painted in a round, for a student that follows a live generator."""
        raise TypeError(f"{type(self).__name__} paints one batch a round and has no others to show")


Start = Literal["uniform", "normal"]


class Pixels(Canvas):
    """The pixels themselves, noise at first, kept in [0, 1].

    Args:
        spec: Shape and moments.
        start: Uniform noise, or normal noise with the moments of `spec`.
    """

    fresh = True

    def __init__(self, spec: Spec, *, start: Start = "uniform") -> None:
        super().__init__()
        self.spec, self.start = spec, start
        self.pixels = nn.Parameter(torch.empty(0))

    def begin(self, round: Round) -> None:
        self.pixels = nn.Parameter((uniform_noise if self.start == "uniform" else normal_noise)(self.spec, round))

    def forward(self) -> Tensor:
        return self.pixels

    @torch.no_grad()
    def project(self) -> None:
        self.pixels.clamp_(0.0, 1.0)


def uniform_noise(spec: Spec, round: Round) -> Tensor:
    """Return uniform noise in [0, 1), of shape (N, C, H, W)."""
    return torch.rand(round.images, *spec.shape, generator=round.generator, device=round.device)


def normal_noise(spec: Spec, round: Round) -> Tensor:
    """Return normal noise with the mean and standard deviation of the data (`Spec.moments`), clamped to [0, 1], of shape (N, C, H, W)."""
    draw = torch.randn(round.images, *spec.shape, generator=round.generator, device=round.device)
    mean, std = (torch.tensor(values, device=round.device).view(-1, 1, 1) for values in zip(*spec.moments, strict=True))
    return (mean + std * draw).clamp_(0.0, 1.0)


class RoundedPixels(Pixels):
    """Pixels that start as normal noise with the moments of `spec`, and are rounded to 8 bits after every so many steps.

    Args:
        spec: Shape and moments.
        every: Steps between two roundings.
    """

    def __init__(self, spec: Spec, *, every: int) -> None:
        super().__init__(spec, start="normal")
        self.every, self._steps = every, 0

    def begin(self, round: Round) -> None:
        super().begin(round)
        self._steps = 0

    @torch.no_grad()
    def project(self) -> None:
        super().project()
        self._steps += 1
        if self._steps % self.every == 0:
            self.pixels.mul_(255).round_().div_(255)


class Noise(Canvas):
    """Gaussian noise with the mean and standard deviation of `spec`, clamped to [0, 1]; nothing to optimise."""

    def __init__(self, spec: Spec) -> None:
        super().__init__()
        self.spec = spec
        self._images = torch.empty(0)

    def begin(self, round: Round) -> None:
        self._images = self.sample(round)

    def forward(self) -> Tensor:
        return self._images

    def sample(self, round: Round) -> Tensor:
        return normal_noise(self.spec, round)


class Generator(Canvas):
    """A network from noise to images, kept from round to round; fresh noise at each step.

    Args:
        net: Takes (N, width) and gives images in [0, 1] of shape (N, C, H, W).
        width: Length of a latent.
    """

    def __init__(self, net: nn.Module, width: int) -> None:
        super().__init__()
        self.net = net
        self.width = width
        self._round: Round | None = None

    def begin(self, round: Round) -> None:
        self._round = round

    def forward(self) -> Tensor:
        if self._round is None:
            raise RuntimeError("nothing is painted yet: call `begin` first")
        return self.sample(self._round)

    def again(self) -> Tensor:
        images: Tensor = self.net(self.latent)
        return images

    def sample(self, round: Round) -> Tensor:
        self.latent = torch.randn(round.images, self.width, generator=round.generator, device=round.device)
        images: Tensor = self.net(self.latent)
        return images


class GeneratorAndLatents(Canvas):
    """A generator and the latents of one batch, optimised together; the latents are drawn anew each round.

    Args:
        net: Takes (N, width) and gives images in [0, 1] of shape (N, C, H, W).
        width: Length of a latent.
    """

    fresh = True

    def __init__(self, net: nn.Module, width: int) -> None:
        super().__init__()
        self.net = net
        self.width = width
        self.latent = nn.Parameter(torch.empty(0))

    def begin(self, round: Round) -> None:
        self.latent = nn.Parameter(torch.randn(round.images, self.width, generator=round.generator, device=round.device))

    def forward(self) -> Tensor:
        images: Tensor = self.net(self.latent)
        return images
