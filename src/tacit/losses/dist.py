"""DIST: the student's answers need only be correlated with the teacher's, class by class and image by image.

"Knowledge Distillation from A Stronger Teacher", Huang et al., 2022, https://arxiv.org/abs/2205.10536, sec. 4: one minus Pearson's
correlation of the two networks' softened probabilities, over the classes of each image (inter) and over the images of each class (intra),
so that a much surer teacher asks nothing that a small student can't give. Here both are multiplied by the squared temperature, which keeps
gradients of one size at any temperature, as `KD` does.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from tacit.core.errors import InputError
from tacit.core.loss import Loss, Needs, View, positive_temperature

__all__ = ["Dist", "dist_parts", "uncorrelated"]


def uncorrelated(student: Tensor, teacher: Tensor) -> Tensor:
    """Return one minus Pearson's correlation of each row with the same row of the other, mean over rows, of shape (), in [0, 2].

    Rows that don't vary are correlated with nothing: they count as 1.

    Args:
        student: Of shape (N, D).
        teacher: Of the same shape.
    """
    ours, theirs = (F.normalize(x - x.mean(dim=1, keepdim=True), dim=1, eps=1e-8) for x in (student.float(), teacher.float()))
    return 1 - (ours * theirs).sum(dim=1).mean()


def dist_parts(student: Tensor, teacher: Tensor, temperature: float = 1.0) -> tuple[Tensor, Tensor]:
    """Return the distances of the softened answers over classes (inter) and over images (intra), each of shape (), in [0, 2].

    Args:
        student: Logits of shape (N, classes).
        teacher: Logits of the same shape.
        temperature: tau > 0.
    """
    ours, theirs = (F.softmax(x.float() / temperature, dim=1) for x in (student, teacher))
    return uncorrelated(ours, theirs), uncorrelated(ours.T, theirs.T)


class Dist(Loss):
    """``tau^2 (beta inter + gamma intra)``; see `dist_parts`.

    Beside cross-entropy its weight in classification is 2 (``ce=1,dist=2``), with a temperature of 1 on ImageNet and 4 on CIFAR-100.

    Args:
        beta: Weight of the relations between the classes of an image.
        gamma: Weight of the relations between the images of a class; a batch must hold at least two.
        temperature: tau, by which logits are divided.
    """

    needs = Needs(student=True)

    def __init__(self, beta: float = 1.0, gamma: float = 1.0, temperature: float = 1.0) -> None:
        super().__init__()
        if min(beta, gamma) < 0:
            raise InputError(f"dist: expected beta and gamma of 0 or more, got {beta} and {gamma}")
        self.beta, self.gamma, self.temperature = beta, gamma, positive_temperature(temperature)

    def forward(self, view: View) -> Tensor:
        answered, taught = (said.logits.movedim(1, -1).flatten(0, -2) for said in (view.student, view.teacher))
        inter, intra = dist_parts(answered, taught, self.temperature)
        return self.temperature**2 * (self.beta * inter + self.gamma * intra)
