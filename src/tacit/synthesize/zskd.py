"""ZSKD: impressions of the training data, from soft answers drawn as the teacher's classes resemble each other.

"Zero-Shot Knowledge Distillation in Deep Networks", Nayak et al., 2019, https://arxiv.org/abs/1905.08114, sec. 3.
The similarity of classes is the cosine of their rows in the classifier. For each image a class k is taken in turn, and a soft answer drawn
from the Dirichlet distribution of ``beta * similarity_k + 1e-4``, its row min-max scaled; half of the images of a class with each beta.
(The authors' code scales the row after beta as well as before, which cancels it; here it counts, as in the paper.) Uniform noise is then
optimised until the teacher, at temperature 20, gives that answer; after each step all pixels are rescaled to [0, 1] together.
Rescaling takes contrast away, the more so the larger the learning rate: at the authors' 1e-3 little, at the 0.01 to 0.05 that a budget of
150 steps needs it undoes most of the step. On a ResNet-8 for MNIST such impressions were of class 8 in four of five cases, whatever was
asked; with pixels cut off at 0 and 1 (`rescale` false) 87 to 94 % were of the wanted class (one batch of 128, a trial, no file kept).
What 30 to 60 steps leave of the noise they start from is seen by the student's batch norm, so that noise with the moments of the data
(`start` normal) teaches more than uniform noise: 59 against 48 % (ResNet-8; one seed, no files kept).

Nothing asks an impression for more than the teacher's answer. So it depends on the teacher what agreeing there says of digits: on MNIST
(benchmarks, seed 0) LeNet-5-half learned 96.9 % from a LeNet-5 trained as in the papers (see `dafl`), a ResNet-8 of 8 channels 67.4 % from
one of 16 (79.2 with four times the budget), and 35.4 at a learning rate of 0.05 and temperature 20 in place of 0.2 and 6.7 (an earlier run,
its file only in the history; the two were not told apart). Batch norm is not what is wrong there: a student that agreed with the ResNet-8
on 93 % of 1,920 impressions was right on 33 % of real digits, and on 30 % with the batch statistics of real digits put in (a trial, no file
kept). Looked at as pictures, LeNet-5's impressions are strokes, in some of which a 0, a 3 or a 6 can be read; the ResNet-8's are fine
stripes and dots without a digit. It asks for less, too: from noise with the data's moments, a change of 0.017 (root mean square, pixels in
[0, 1], steepest descent, median of 128 images) takes it to 95 % of the wanted class, where LeNet-5 needs 0.047. A ResNet-8 trained by Adam
on digits as they are (98.5 %) taught 40.7 %, and one whose classifier reads every place, in place of their mean, 73.3 %, so that neither
the teacher's training nor its pooling explains it alone (trials of one seed, no files kept).
The authors' settings: 40,000 images, batch 100, 1,500 steps, lr 1e-3, betas 1 and 0.1; the student learns by `soft-ce` at temperature 20.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from tacit.core.errors import InputError
from tacit.core.loss import Objective
from tacit.core.network import Teacher, members
from tacit.core.taps import classifier_rows, no_classifier
from tacit.losses import ClassPrior
from tacit.synthesize.canvas import Canvas, Pixels, Start
from tacit.synthesize.method import IterativeMethod
from tacit.synthesize.wanted import turns

__all__ = ["ZSKD", "class_similarity"]


def class_similarity(rows: Tensor) -> Tensor:
    """Return how alike classes are, of shape (classes, classes): cosines of the classifier's rows, each row of the result scaled to [0, 1].

    Args:
        rows: Of shape (classes, features).
    """
    unit = F.normalize(rows.double(), dim=1)
    cosine = unit @ unit.T
    least, most = cosine.amin(dim=1, keepdim=True), cosine.amax(dim=1, keepdim=True)
    return (cosine - least) / (most - least).clamp_min(1e-12)


class _Rescaled(Pixels):
    """Pixels that are rescaled to [0, 1], all together, after each step."""

    @torch.no_grad()
    def project(self) -> None:
        least, most = self.pixels.min(), self.pixels.max()
        self.pixels.sub_(least).div_((most - least).clamp_min(1e-12))


@dataclass(frozen=True, kw_only=True)
class ZSKD(IterativeMethod):
    """Pixels, made once and stored: the teacher must give soft answers drawn from Dirichlet distributions; needs no batch norm."""

    batch: int = 100
    steps: int = 400
    lr: float = 0.01
    warmup: int = 20
    """Batches painted before the student's first step."""
    temperature: float = 20.0
    """Divides the teacher's logits."""
    start: Start = "normal"
    """Noise that the pixels are at first: normal, with the mean and deviation of the `Spec`, or uniform, as in the paper."""
    rescale: bool = False
    """Whether all pixels are rescaled to [0, 1] together after each step, as in the paper; otherwise they are cut off at 0 and 1."""
    concentrations: tuple[float, float] = (1.0, 0.1)
    """Concentrations of the answers, one for all classes and then the other: small ones are nearly one-hot."""

    minimum: ClassVar[dict[str, float]] = {**IterativeMethod.minimum, "batch": 2}
    choices: ClassVar[dict[str, tuple[str, ...]]] = {"start": get_args(Start)}

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.concentrations) != 2 or not all(value > 0 for value in self.concentrations):
            raise InputError(f"ZSKD.concentrations: expected two positive numbers, got {list(self.concentrations)}")

    def refusal(self, teacher: Teacher) -> str | None:
        return super().refusal(teacher) or no_classifier(teacher, "to know how alike classes are")

    def canvas(self, teacher: Teacher, generator: torch.Generator) -> Canvas:
        return (_Rescaled if self.rescale else Pixels)(teacher.spec, start=self.start)

    def objective(self, teacher: Teacher) -> Objective:
        return Objective(ce=(1.0, ClassPrior(self.temperature)))

    def targets(self, n: int, teacher: Teacher, generator: torch.Generator, round: int) -> Tensor | None:
        classes, place = teacher.spec.classes, turns(n, round, generator.device)
        alike = torch.stack([class_similarity(classifier_rows(member)) for member in members(teacher).values()]).mean(dim=0)
        rows = alike[place % classes]
        beta = torch.tensor(self.concentrations, dtype=torch.float64, device=generator.device)[place // classes % 2, None]
        return torch._sample_dirichlet(beta * rows + 1e-4, generator).float()
