"""MSKD: DAFL with the mode-seeking term of MSGAN, the baseline of that name in RDSKD's comparison.

"Mode Seeking Generative Adversarial Networks for Diverse Image Synthesis", Mao et al., 2019, https://arxiv.org/abs/1903.05628, eq. 3,
as "Robustness and Diversity Seeking Data-Free Knowledge Distillation", Han et al., 2021, https://arxiv.org/abs/2011.03749, compares with.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from tacit.core.loss import Loss, Weight
from tacit.core.network import Teacher
from tacit.losses import ModeSeeking
from tacit.synthesize.dafl import DAFL

__all__ = ["MSKD"]


@dataclass(frozen=True, kw_only=True)
class MSKD(DAFL):
    """A live generator: DAFL, and images must change with their latents."""

    seeking: float = 1.0
    """Weight of the mode-seeking term."""

    minimum: ClassVar[dict[str, float]] = {**DAFL.minimum, "batch": 2}

    def terms(self, teacher: Teacher) -> dict[str, tuple[Weight, Loss]]:
        return {**super().terms(teacher), "seeking": (self.seeking, ModeSeeking(teacher.std))}
