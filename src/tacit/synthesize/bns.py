"""BNS: pixels whose statistics at every batch norm are those that the teacher remembers of its training data.

The BNS of "The Knowledge Within: Methods for Data-Free Model Compression", Haroush et al., 2020, https://arxiv.org/abs/1912.01274, sec.
3.3; with `logit` and `smooth` at 1 it is their BNS+I. The divergence is that of the authors' code, from the batch to the kept statistics;
the input of a network that has `mean` and `std` counts as one more layer. For calibrating and fine-tuning quantized models; a batch should
be 128 or more.

The defaults are the authors', for some hundreds of steps. With few, no augmentation and a larger rate reach further: on a ResNet-20 of
CIFAR-10, batches of 128 and 60 steps, the divergence of the images themselves was 0.024 nats by the defaults (110 s on one thread), 0.011
at ``copies=0`` (27 s), and 0.0046 at ``copies=0, lr=0.1`` (27 s); one seed each, trials of which no file is kept.

Images match only as they were shown: moved by a few pixels, their statistics are others. A network whose batch norm learns from moved
images should get images painted moved (``copies=1, views="shift-flip"``): fine-tuned to W2A4 it came to 84.5 in place of 81.0 %; with
batch norm frozen, at W4A4, to 90.2 in place of 90.1 (ResNet-20 of CIFAR-10, seed 0, without mixup; no file is kept).
"""

from __future__ import annotations

from dataclasses import dataclass

from tacit.core.loss import Loss, Weight
from tacit.core.network import Teacher
from tacit.losses import BNDivergence
from tacit.losses.bn_divergence import Direction
from tacit.synthesize.inception import Inception

__all__ = ["BNS"]


@dataclass(frozen=True, kw_only=True)
class BNS(Inception):
    """Pixels, made once and stored: the statistics of every batch norm; by option, of wanted classes and smooth."""

    logit: float = 0.0
    smooth: float = 0.0
    bn: float = 1.0
    """Weight of the divergence of statistics."""
    direction: Direction = "code"
    """Which divergence: code (batch from kept), paper (kept from batch), symmetric, or mse of means and deviations."""

    def terms(self, teacher: Teacher) -> dict[str, tuple[Weight, Loss]]:
        return {**super().terms(teacher), "bn": (self.bn, BNDivergence(teacher.mean, teacher.std, direction=self.direction))}

    def refusal(self, teacher: Teacher) -> str | None:
        return super().refusal(teacher) if self.logit else None
