"""DFQ: a live generator against the student that keeps to the teacher's statistics and classes.

"Data-Free Network Quantization With Adversarial Knowledge Distillation", Choi et al., 2020, https://arxiv.org/abs/2005.04136, with the
weights by which "Contrastive Model Inversion" compares with it: adv 1, bn 1, ce 1, balance 20, ten student steps to one of the generator.
BN alignment is the distance of DeepInversion, as there.
"""

from __future__ import annotations

from dataclasses import dataclass

from tacit.core.loss import Objective
from tacit.core.network import Teacher
from tacit.losses import BNAlignment, ClassBalance, ClassPrior, Divergence
from tacit.synthesize.live_generator import JointGenerator

__all__ = ["DFQ"]


@dataclass(frozen=True, kw_only=True)
class DFQ(JointGenerator):
    """A live generator: adversarial, with BN alignment, class prior and class balance."""

    every: int = 10
    adv: float = 1.0
    """Weight of the KL divergence between teacher and student."""
    bn: float = 1.0
    """Weight of BN alignment."""
    ce: float = 1.0
    """Weight of the class prior, towards what the teacher sees already."""
    balance: float = 20.0
    """Weight of class balance (entropy in nats)."""

    def objective(self, teacher: Teacher) -> Objective:
        return Objective(
            adv=(self.adv, Divergence()), bn=(self.bn, BNAlignment()), ce=(self.ce, ClassPrior()), balance=(self.balance, ClassBalance())
        )
