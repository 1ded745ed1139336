"""DFAD: a generator that looks for images on which student and teacher differ.

"Data-Free Adversarial Distillation", Fang et al., 2019, https://arxiv.org/abs/1912.11006, eqs. 3, 6 and algorithm 1.
The student's loss is `l1`: `--objective l1=1`. One generator step (lr 1e-3, Adam) to `every` = 5 student steps on
fresh noise; the student stays in train mode throughout and its batch-norm buffers move with the images painted against it, as in the
authors' code; no class prior, no BN term, no pool. The learning rates of both fall together, which matters more than any other setting
(see `JointGenerator`).
The authors' generator ends in tanh and batch norm without scale, so that its images have the moments of normalised data. Images are in
[0, 1] here: batch norm, then a sigmoid whose slope and shift give the mean and deviation of the `Spec`. With the sigmoid alone images stay
grey (deviation 0.2), and the student of an 8x8 digit teacher learned nothing that held for digits (10 % against 48 % after 1,500 steps;
this and what follows are trials, no result file kept).
What held it back on the 8x8 digits was not batch norm, as it first seemed, but the end of the run: with the generator's rate left as it
was, one student (seed 0, 2,500 steps, lr 0.05) rose to 83.5 % and ended at 12.2 %; with both rates falling it ended at 89.8 %.

Nothing makes the generator show every class, and what it finds depends on how the teacher was trained: on MNIST, LeNet-5-half learned
97.9 % from a LeNet-5 trained as in the papers, and 81.8 from one trained by SGD on shifted digits (benchmarks, seed 0;
`docs/own-model.md`); there four times the steps changed nothing (a trial, no file kept). In runs this short the generator's rate should be
larger than the authors': a ResNet-8 of 8 channels learned 99.1 % from one of 16 in 5,471 steps with 5e-3 (benchmarks, seed 0), and 93.9 in
4,962 with their 1e-3 (an earlier run, its file only in the history), most images being of one class at the end.
Of that LeNet-5, its half has 97.2 ± 0.7 in five minutes (three seeds) and 97.8 in twenty (one). What is missing are real 8s, of which it
reads 90 to 96 %, and 9s, 93 to 96 %, as the students of `DAFL` and `RDSKD` do; of all other digits 94 % and more.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from tacit.core.loss import Objective
from tacit.core.network import Teacher
from tacit.losses import BNAlignment, Disagreement
from tacit.synthesize.live_generator import JointGenerator

__all__ = ["DFAD"]


@dataclass(frozen=True, kw_only=True)
class DFAD(JointGenerator):
    """A live generator that follows the student; needs no batch-norm statistics."""

    bn: float = 0.0
    """Weight of BN alignment, which is not DFAD's; 0: none, and no batch norm is needed."""

    dense: ClassVar[bool] = True
    student_mode: ClassVar[Literal["train", "eval"]] = "train"
    student_buffers_move: ClassVar[bool] = True

    def objective(self, teacher: Teacher) -> Objective:
        return Objective(adv=(1.0, Disagreement()), bn=(self.bn, BNAlignment()))
