"""DeepInversion: pixels that the teacher classifies well and that carry the statistics of its training data.

"Dreaming to Distill: Data-free Knowledge Transfer via DeepInversion", Yin et al., 2020, https://arxiv.org/abs/1912.08795, eqs. 1-4.
Pixels start as uniform noise and are optimised by Adam; the teacher sees them rolled by up to 1/16 of their size and, by option, flipped.
The authors' settings for CIFAR-10: 2,000 steps, batch 256, lr 0.05, bn 10, tv 2.5e-5, l2 0, on
pixels after normalisation. Here they are in [0, 1]: a learning rate acts as if 1 / std times as large, the weight of tv as if std times as
large; that of l2 is the authors'. The defaults are for short runs on small images.
Classes are drawn; in the authors' script, which is for batches of 256 on ten classes, they come in turn.
Where the teacher names a class for every pixel, the class prior is dense: a map of classes that are drawn (`tacit.synthesize.wanted`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from tacit.core.loss import Loss, Objective, Weight
from tacit.core.network import Teacher
from tacit.losses import BNAlignment, ClassPrior, PixelNorm, TotalVariation
from tacit.synthesize.canvas import Canvas, Pixels
from tacit.synthesize.method import IterativeMethod

__all__ = ["DeepInversion", "roll"]


def roll(images: Tensor, most: tuple[int, int], flip: bool, generator: torch.Generator) -> Tensor:
    """Return `images` rolled by at most `most` pixels down and across, and flipped half of the time (the whole batch alike)."""
    draws = torch.rand(3, generator=generator, device=generator.device).tolist()
    down, across = (int(share * (2 * limit + 1)) - limit for share, limit in zip(draws, most, strict=False))
    images = images.roll((down, across), dims=(-2, -1))
    return images.flip(-1) if flip and draws[2] < 0.5 else images


@dataclass(frozen=True, kw_only=True)
class DeepInversion(IterativeMethod):
    """Pixels, made once and stored: class prior, BN alignment, total variation."""

    steps: int = 400
    lr: float = 0.05
    warmup: int = 8
    """Batches painted before the student's first step."""
    ce: float = 1.0
    """Weight of the class prior."""
    bn: float = 1.0
    """Weight of BN alignment."""
    tv: float = 2.5e-5
    """Weight of total variation."""
    l2: float = 0.0
    """Weight of the norm of the normalised pixels."""
    jitter: float = 1 / 16
    """Largest roll of the images before each look, as a share of their height and width."""
    flip: bool = False
    """Whether half of the looks are mirrored; wrong where left and right differ, as in digits."""

    dense: ClassVar[bool] = True
    pull: ClassVar[str] = "ce"
    betas: ClassVar[tuple[float, float]] = (0.5, 0.9)
    minimum: ClassVar[dict[str, float]] = {**IterativeMethod.minimum, "jitter": 0.0}

    def canvas(self, teacher: Teacher, generator: torch.Generator) -> Canvas:
        return Pixels(teacher.spec)

    def objective(self, teacher: Teacher) -> Objective:
        return Objective(**self.terms(teacher))

    def terms(self, teacher: Teacher) -> dict[str, tuple[Weight, Loss]]:
        """Return the weighted losses, for methods that add one."""
        return {
            "ce": (self.ce, ClassPrior()),
            "bn": (self.bn, BNAlignment()),
            "tv": (self.tv, TotalVariation()),
            "l2": (self.l2, PixelNorm(teacher.mean, teacher.std)),
        }

    def augment(self, images: Tensor, generator: torch.Generator) -> Tensor:
        height, width = images.shape[-2:]
        return roll(images, (round(self.jitter * height), round(self.jitter * width)), self.flip, generator)
