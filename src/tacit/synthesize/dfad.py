"""DFAD: a generator that looks for images on which student and teacher differ.

"Data-Free Adversarial Distillation", Fang et al., 2019, https://arxiv.org/abs/1912.11006, eqs. 3, 6 and algorithm 1.
One generator step (lr 1e-3, Adam) to `every` = 5 student steps on fresh noise; the student stays in train mode throughout and its
batch-norm buffers move with the images painted against it, as in the authors' code; no class prior, no BN term, no pool.
Here the generator ends in batch norm and a sigmoid, and images are in [0, 1]; the authors' ends in tanh and batch norm, already normalised.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from tacit.core.loss import Objective
from tacit.core.network import Teacher
from tacit.losses import Disagreement
from tacit.synthesize.canvas import Canvas, Generator
from tacit.synthesize.generators import ConvGenerator, initialise
from tacit.synthesize.method import Method

__all__ = ["DFAD"]


@dataclass(frozen=True, kw_only=True)
class DFAD(Method):
    """A live generator that follows the student; needs no batch-norm statistics."""

    steps: int = 1
    lr: float = 1e-3
    every: int = 5
    latent: int = 256
    """Length of a latent (100 for MNIST in the paper)."""
    width: int = 64
    """Maps of the generator's last hidden layer."""

    pooled: ClassVar[bool] = False
    student_mode: ClassVar[Literal["train", "eval"]] = "train"
    student_buffers_move: ClassVar[bool] = True
    minimum: ClassVar[dict[str, float]] = {**Method.minimum, "every": 1, "latent": 1, "width": 1, "steps": 1}

    def canvas(self, teacher: Teacher, generator: torch.Generator) -> Canvas:
        net = ConvGenerator(self.latent, teacher.spec.shape, self.width, whiten=True)
        initialise(net, generator)
        return Generator(net, self.latent)

    def objective(self, teacher: Teacher) -> Objective:
        return Objective(adv=(1.0, Disagreement()))

    def targets(self, n: int, teacher: Teacher, generator: torch.Generator, round: int) -> Tensor | None:
        return None
