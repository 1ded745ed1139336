"""CMI: batches that a generator makes anew, each image unlike all that were made before.

"Contrastive Model Inversion for Data-Free Knowledge Distillation", Fang et al., 2021, https://arxiv.org/abs/2105.08584, eqs. 1-9.
Generator and latents are drawn anew each round and optimised together; the head that tells images apart, and the bank of features of
kept images, stay. The teacher is shown shifted images; class prior, BN alignment and the adversarial term read these alone.
The authors' settings for CIFAR-10, from scratch: 200 steps at lr 1e-3, batch 256, ce 1, bn 1, adv 0.5, contrast 0.8, temperature 0.1
(0.2 in their script), bank 40,960, of which 4,096 are drawn, 200 rounds of 400 student steps; images are mirrored.
The bank's features are of the images as they were shown last, shifted as those of the batch that they are told from. On a CPU the head
costs as much as the teacher unless `negatives` is a few hundred.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from tacit.core.loss import Objective
from tacit.core.network import Teacher
from tacit.losses import InstanceContrast
from tacit.synthesize.canvas import Canvas, GeneratorAndLatents
from tacit.synthesize.generative_inversion import GenerativeInversion
from tacit.synthesize.generators import fitting_generator, initialise

__all__ = ["CMI"]


@dataclass(frozen=True, kw_only=True)
class CMI(GenerativeInversion):
    """A growing pool: each round a new generator and latents, with class prior, BN alignment, an adversarial and a contrastive term."""

    steps: int = 200
    contrast: float = 0.8
    """Weight of the contrastive term."""
    temperature: float = 0.1
    """Divides the similarities that the contrastive term compares."""
    bank: int = 40960
    """Most kept images whose features are remembered."""
    negatives: int = 4096
    """Remembered images that each step compares with."""
    embedding: int = 256
    """Length of the vectors that are compared."""
    latent: int = 256
    """Length of a latent."""
    restart: int = 1

    minimum: ClassVar[dict[str, float]] = {
        **GenerativeInversion.minimum,
        "latent": 1,
        "bank": 1,
        "negatives": 0,
        "embedding": 1,
    }

    def canvas(self, teacher: Teacher, generator: torch.Generator) -> Canvas:
        net = fitting_generator(self.latent, teacher.spec.shape, self.width)
        initialise(net, generator)
        return GeneratorAndLatents(net, self.latent)

    def objective(self, teacher: Teacher) -> Objective:
        if not self.contrast:
            return Objective(**self.terms())
        contrast = InstanceContrast(
            teacher, width=self.embedding, temperature=self.temperature, bank=self.bank, negatives=self.negatives, flip=self.flip
        )
        return Objective(**self.terms(), contrast=(self.contrast, contrast))
