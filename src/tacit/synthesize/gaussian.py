"""Gaussian: noise with the moments of the preprocessing constants.

The G of "The Knowledge Within: Methods for Data-Free Model Compression", Haroush et al., 2020, https://arxiv.org/abs/1912.01274, sec. 3.1.
Each pixel is ``mean + std * N(0, 1)`` with the channel's mean and standard deviation in [0, 1], clamped, and rounded to 8 bits.
A model whose `Spec` has no constants (mean 0, std 1) gets noise that is black in half of its pixels: give the real ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from tacit.core.loss import Objective
from tacit.core.network import Teacher
from tacit.synthesize.canvas import Canvas, Noise
from tacit.synthesize.method import Method

__all__ = ["Gaussian"]


@dataclass(frozen=True, kw_only=True)
class Gaussian(Method):
    """Noise, no step: the baseline that every other method must beat."""

    warmup: int = 10
    """Batches of noise made before the student's first step."""

    dense: ClassVar[bool] = True

    def canvas(self, teacher: Teacher, generator: torch.Generator) -> Canvas:
        return Noise(teacher.spec)

    def objective(self, teacher: Teacher) -> Objective:
        return Objective()

    def targets(self, n: int, teacher: Teacher, generator: torch.Generator, round: int) -> Tensor | None:
        return None
