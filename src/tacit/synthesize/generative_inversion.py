"""Generative inversion: a generator and its latents, optimised anew for every batch, against the student of the moment.

What these share: "Contrastive Model Inversion for Data-Free Knowledge Distillation", Fang et al., 2021,
https://arxiv.org/abs/2105.08584, eqs. 1-4, and "Up to 100x Faster Data-free Knowledge Distillation", Fang et al., 2022,
https://arxiv.org/abs/2112.06253: class prior, BN alignment and a decision-adversarial term; each round's batch joins a pool that the
student learns from. CMI adds contrast, Fast-DFKD a meta-generator.
The iterate of least loss is kept, as the papers mean it (their code keeps the last: its "best" is an alias).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch.optim import Optimizer

from tacit.core.loss import Objective
from tacit.core.network import Teacher
from tacit.losses import BNAlignment, ClassPrior, DecisionAdversarial
from tacit.synthesize.canvas import Canvas, GeneratorAndLatents
from tacit.synthesize.generators import ConvGenerator, initialise
from tacit.synthesize.method import Method
from tacit.synthesize.schedules import after

__all__ = ["GenerativeInversion"]


@dataclass(frozen=True, kw_only=True)
class GenerativeInversion(Method):
    """A growing pool: each round a new generator and latents, with class prior, BN alignment and an adversarial term."""

    steps: int = 200
    lr: float = 1e-3
    warmup: int = 1
    every: int = 400
    ce: float = 1.0
    """Weight of the class prior."""
    bn: float = 1.0
    """Weight of BN alignment."""
    adv: float = 0.5
    """Weight of the decision-adversarial term, after the warm-up."""
    restart: int = 1
    """Rounds after which the generator's weights are drawn anew; 0: never (faster rounds, less variety)."""
    latent: int = 256
    """Length of a latent."""
    width: int = 64
    """Maps of the generator's last hidden layer."""

    keep: ClassVar[Literal["last", "best"]] = "best"
    minimum: ClassVar[dict[str, float]] = {**Method.minimum, "warmup": 1, "latent": 1, "width": 1, "steps": 1}

    def canvas(self, teacher: Teacher, generator: torch.Generator) -> Canvas:
        net = ConvGenerator(self.latent, teacher.spec.shape, self.width)
        initialise(net, generator)
        return GeneratorAndLatents(net, self.latent)

    def objective(self, teacher: Teacher) -> Objective:
        return Objective(ce=(self.ce, ClassPrior()), bn=(self.bn, BNAlignment()), adv=(after(self.warmup, self.adv), DecisionAdversarial()))

    def renew(self, round: int) -> bool:
        return self.restart > 0 and round % self.restart == 0

    def canvas_optimizer(self, canvas: Canvas) -> Optimizer:
        return torch.optim.Adam(canvas.parameters(), lr=self.lr, betas=(0.5, 0.999))
