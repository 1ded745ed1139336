"""LiveGenerator: what methods share whose generator shows its images to the student and forgets them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from tacit.core.network import Teacher
from tacit.synthesize.canvas import Canvas, Generator
from tacit.synthesize.generators import fitting_generator, initialise
from tacit.synthesize.method import IterativeMethod

__all__ = ["JointGenerator", "LiveGenerator"]


@dataclass(frozen=True, kw_only=True)
class LiveGenerator(IterativeMethod):
    """A generator that is trained beside the student, from fresh noise at each step; no wanted classes, no pool.

    Its images have about the moments of the `Spec`, as generators that end in batch norm without scale have in the papers.
    """

    latent: int = 256
    """Length of a latent."""
    width: int = 64
    """Maps of the generator's last hidden layer."""

    pooled: ClassVar[bool] = False
    eps: ClassVar[float] = 1e-5
    """Of the generator's inner batch norms."""
    minimum: ClassVar[dict[str, float]] = {**IterativeMethod.minimum, "latent": 1, "width": 1}

    def canvas(self, teacher: Teacher, generator: torch.Generator) -> Canvas:
        net = fitting_generator(self.latent, teacher.spec.shape, self.width, spec=teacher.spec, eps=self.eps)
        initialise(net, generator)
        return Generator(net, self.latent)

    def targets(self, n: int, teacher: Teacher, generator: torch.Generator, round: int) -> Tensor | None:
        return None


@dataclass(frozen=True, kw_only=True)
class JointGenerator(LiveGenerator):
    """A live generator that steps in turn with the student, to the end.

    Its learning rate falls as the student's does. Where it stays while the student's falls to zero, the generator wins in the end: in two
    trials of DFAD (digits and MNIST, one seed each, no result file kept) the student first rose and then lost 70 points.
    """

    every: int = 5
    decay: bool = True
    """Whether the generator's learning rate falls with the student's."""

    minimum: ClassVar[dict[str, float]] = {**LiveGenerator.minimum, "every": 1}

    def rate(self, step: int, student: float) -> float:
        return student if self.decay else 1.0
