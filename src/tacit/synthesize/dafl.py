"""DAFL: a generator whose images the teacher is sure of, sees in all classes, and is excited by.

"Data-Free Learning of Student Networks", Chen et al., 2019, https://arxiv.org/abs/1904.01186, eqs. 2-6.
Generator and student step together, on the same images; the student never judges them. The information entropy is in base 10, as
in the authors' code. Their settings: MNIST batch 512, latent 100, lr 0.2, ce 1, balance 5, activation 0.1; CIFAR-10 batch 1,024, latent
1,000, lr 0.02, ce 0.05, balance 5, activation 0.01; CIFAR-100 the same with ce 0.5, balance 20, activation 0.1. The student's loss is `kd`
at temperature 1.

What the images teach depends on who learns from them. On MNIST (benchmarks, seed 0) LeNet-5-half, without batch norm and without a mean
over places, ended at 93.1 % after 8,000 steps on images of LeNet-5, and at 92.0 after 32,000: it agrees on 96 % of fresh images by then,
and takes 4 in 10 real nines for something else. A ResNet-8 of 8 channels learned 97.0 % from the same teacher in the same
time (benchmarks); LeNet-5-half, 85.8 from a ResNet-8 (a trial of 400 CPU seconds). Nor are LeNet-5's images farther from digits: in their
teacher's features real ones are 1.5 to 3.0 times as far from the nearest image of their class as from the nearest training digit (6,400 of
each), and 1.9 to 3.7 times (2,400) with the ResNet-8 whose student ends at 98.7 %.
What did not help LeNet-5-half: the paper's learning rate of 0.2 (92.0), that with Adam for the student and batches of 256 (84.1 in the
same time), images shifted before the student sees them (87.1 after 1,600 steps, 88.1 without), a sharper last layer (91.7); images with
less contrast than digits harm (74 after 5,500 steps). After 4,000 steps it has 83.6; 84.8 with temperature 1, 85.6 with `l1`, 79.2 with
the authors' ending of the generator (tanh, batch norm, pixels beyond [0, 1]). All on seed 0, trials of which no file is kept.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from tacit.core.loss import Loss, Objective, Weight
from tacit.core.network import Teacher
from tacit.core.probe import INPUT
from tacit.core.taps import classifier_name, no_classifier
from tacit.losses import Activation, ClassBalance, ClassPrior
from tacit.synthesize.live_generator import JointGenerator

__all__ = ["DAFL"]


@dataclass(frozen=True, kw_only=True)
class DAFL(JointGenerator):
    """A live generator: class prior, class balance, large activations."""

    every: int = 1
    ce: float = 1.0
    """Weight of the class prior, towards what the teacher sees already."""
    balance: float = 5.0
    """Weight of class balance (entropy in base 10)."""
    activation: float = 0.1
    """Weight of the mean absolute value of the teacher's features."""

    shows: ClassVar[Literal["fresh", "again", "painted"]] = "painted"
    eps: ClassVar[float] = 0.8

    def refusal(self, teacher: Teacher) -> str | None:
        refused = super().refusal(teacher)
        if refused or not self.activation:
            return refused
        return no_classifier(teacher, "to find the features that it excites: leave them out, as `activation` 0")

    def objective(self, teacher: Teacher) -> Objective:
        return Objective(**self.terms(teacher))

    def terms(self, teacher: Teacher) -> dict[str, tuple[Weight, Loss]]:
        """Return the weighted losses, for methods that add one."""
        terms: dict[str, tuple[Weight, Loss]] = {"ce": (self.ce, ClassPrior()), "balance": (self.balance, ClassBalance("log10"))}
        if self.activation:
            terms["activation"] = (self.activation, Activation(f"{classifier_name(teacher)}{INPUT}"))
        return terms
