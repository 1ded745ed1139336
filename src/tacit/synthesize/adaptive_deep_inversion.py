"""Adaptive DeepInversion: DeepInversion whose later batches go to where the student of the moment differs from the teacher.

"Dreaming to Distill: Data-free Knowledge Transfer via DeepInversion", Yin et al., 2020, https://arxiv.org/abs/1912.08795, eqs. 6-7.
A pool is painted first; then a new batch every 50 student steps, with the competition term, is merged into it (the authors' settings
for distillation, which their code leaves out: https://github.com/NVlabs/DeepInversion/issues/6). The student is in eval mode.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from tacit.core.loss import Objective
from tacit.core.network import Teacher
from tacit.losses import Competition
from tacit.synthesize.deep_inversion import DeepInversion
from tacit.synthesize.schedules import after

__all__ = ["AdaptiveDeepInversion"]


@dataclass(frozen=True, kw_only=True)
class AdaptiveDeepInversion(DeepInversion):
    """Pixels in a growing pool: DeepInversion, then batches that compete with the student."""

    every: int = 50
    adv: float = 1.0
    """Weight of the competition term, after the warm-up."""

    minimum: ClassVar[dict[str, float]] = {**DeepInversion.minimum, "warmup": 1}

    def objective(self, teacher: Teacher) -> Objective:
        return Objective(**self.terms(teacher), adv=(after(self.warmup, self.adv), Competition()))
