"""GenerativeInversion: what CMI, Fast-DFKD and NAYER share.

"Contrastive Model Inversion for Data-Free Knowledge Distillation", Fang et al., 2021, https://arxiv.org/abs/2105.08584, eqs. 1-4: class
prior, BN alignment and a decision-adversarial term, on what a generator makes; the networks are shown shifted images, and each round's
batch joins a pool that the student learns from. The iterate of least loss is kept, as the papers mean it (their code keeps the last: its
"best" is an alias).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from tacit.core.augment import shifted
from tacit.core.loss import Loss, Objective, Weight
from tacit.core.network import Teacher
from tacit.losses import BNAlignment, ClassPrior, DecisionAdversarial
from tacit.synthesize.method import IterativeMethod
from tacit.synthesize.schedules import after

__all__ = ["GenerativeInversion"]


@dataclass(frozen=True, kw_only=True)
class GenerativeInversion(IterativeMethod):
    """A growing pool, painted by a generator: class prior, BN alignment and an adversarial term."""

    warmup: int = 1
    every: int = 400
    ce: float = 1.0
    """Weight of the class prior."""
    bn: float = 1.0
    """Weight of BN alignment."""
    momentum: float = 0.0
    """Share of the average over earlier batches in the statistics that BN alignment compares."""
    adv: float = 0.5
    """Weight of the decision-adversarial term, after the warm-up."""
    width: int = 64
    """Maps of the generator's last hidden layer."""
    restart: int = 0
    """Rounds after which the generator's weights are drawn anew; 0: never (what it learned stays, at the cost of variety)."""
    flip: bool = False
    """Whether images are mirrored half of the time before each look; wrong where left and right differ, as in digits."""

    pull: ClassVar[str] = "ce"
    keep: ClassVar[Literal["last", "best"]] = "best"
    betas: ClassVar[tuple[float, float]] = (0.5, 0.999)
    minimum: ClassVar[dict[str, float]] = {**IterativeMethod.minimum, "warmup": 1, "width": 1, "restart": 0}

    def objective(self, teacher: Teacher) -> Objective:
        return Objective(**self.terms())

    def augment(self, images: Tensor, generator: torch.Generator) -> Tensor:
        return shifted(images, generator, flip=self.flip)

    def renew(self, round: int) -> bool:
        return self.restart > 0 and round % self.restart == 0

    def terms(self) -> dict[str, tuple[Weight, Loss]]:
        """Return the weighted losses, for methods that add one."""
        return {
            "ce": (self.ce, ClassPrior()),
            "bn": (self.bn, BNAlignment(self.momentum)),
            "adv": (after(self.warmup, self.adv), DecisionAdversarial()),
        }
