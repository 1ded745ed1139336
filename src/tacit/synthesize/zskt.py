"""ZSKT: a generator that looks for images where student and teacher believe different things.

"Zero-shot Knowledge Transfer via Adversarial Belief Matching", Micaelli and Storkey, 2019, https://arxiv.org/abs/1905.09768, eqs. 1-2.
One generator step to `every` = 10 student steps, all on the same latents. The student is in train mode throughout, and its batch-norm
buffers move with the images painted against it. The authors' settings: batch 128, latent 100, lr 1e-3, gradients clipped at 5 in both nets;
the student's loss is `kd` at temperature 1 and attention transfer, whose 250 stand beside a KL divergence divided by the classes:
``[{loss: kd, temperature: 1}, {loss: at, weight: 2500}]`` for ten of them. The generator's divergence is not divided here either, so that
their clip of 5 is one of 50 for ten classes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from tacit.core.loss import Objective
from tacit.core.network import Teacher
from tacit.losses import Divergence
from tacit.synthesize.live_generator import JointGenerator

__all__ = ["ZSKT"]


@dataclass(frozen=True, kw_only=True)
class ZSKT(JointGenerator):
    """A live generator against the student's beliefs; needs no batch-norm statistics."""

    every: int = 10
    latent: int = 100
    clip: float = 50.0
    """For ten classes; 5 times the classes, otherwise."""

    shows: ClassVar[Literal["fresh", "again", "painted"]] = "again"
    student_mode: ClassVar[Literal["train", "eval"]] = "train"
    student_buffers_move: ClassVar[bool] = True

    def objective(self, teacher: Teacher) -> Objective:
        return Objective(adv=(1.0, Divergence()))
