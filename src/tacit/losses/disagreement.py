"""Disagreement: what an adversarial synthesizer minimises, so that student and teacher differ on its images.

`Competition`: "Dreaming to Distill: Data-free Knowledge Transfer via DeepInversion", Yin et al., 2020,
https://arxiv.org/abs/1912.08795, eqs. 6-7 (Adaptive DeepInversion).
`Disagreement`: "Data-Free Adversarial Distillation", Fang et al., 2019, https://arxiv.org/abs/1912.11006, eq. 6, and its logarithm, which
their segmentation takes.
`Divergence`: "Zero-shot Knowledge Transfer via Adversarial Belief Matching", Micaelli and Storkey, 2019,
https://arxiv.org/abs/1905.09768, eq. 1.
`DecisionAdversarial`: "Contrastive Model Inversion for Data-Free Knowledge Distillation", Fang et al., 2021,
https://arxiv.org/abs/2105.08584, eq. 4.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from tacit.core.loss import Loss, Needs, View, positive_temperature
from tacit.losses.logits import kd_divergence

__all__ = ["Competition", "DecisionAdversarial", "Disagreement", "Divergence", "competition", "decision_adversarial", "disagreement"]


def disagreement(student: Tensor, teacher: Tensor) -> Tensor:
    """Return minus d, the mean absolute difference of all logits; of dense answers -ln(1 + d); of shape ().

    The logarithm is for where d is large at first and small later: the gradient of a generator that is summed with other terms, or whose
    optimiser keeps no scale, then neither explodes nor fades.

    Args:
        student: Logits of shape (N, classes), or (N, classes, H, W).
        teacher: Logits of the same shape.
    """
    apart = F.l1_loss(student, teacher)
    return -apart if student.ndim == 2 else -apart.log1p()


class Disagreement(Loss):
    """Draws images to where the logits of student and teacher differ; see `disagreement`."""

    needs = Needs(student=True)

    def forward(self, view: View) -> Tensor:
        return disagreement(view.student.logits, view.teacher.logits)


class Divergence(Loss):
    """Minus KL(teacher || student) of the answers at temperature 1, summed over classes, mean over the batch."""

    needs = Needs(student=True)

    def forward(self, view: View) -> Tensor:
        return -kd_divergence(view.student.logits, view.teacher.logits, temperature=1.0)


def decision_adversarial(student: Tensor, teacher: Tensor) -> Tensor:
    """Return minus the mean over images (and pixels) of KL(teacher || student), counted only where both name the same class; of shape ().

    Args:
        student: Logits of shape (N, classes, ...).
        teacher: Logits of the same shape.
    """
    log_s, log_t = F.log_softmax(student, dim=1), F.log_softmax(teacher, dim=1)
    divergence = F.kl_div(log_s, log_t, reduction="none", log_target=True).sum(dim=1)
    agree = (student.argmax(dim=1) == teacher.argmax(dim=1)).to(divergence.dtype)
    return -(divergence * agree).mean()


class DecisionAdversarial(Loss):
    """Lets student and teacher differ without leaving the decision of either; see `decision_adversarial`."""

    needs = Needs(student=True)

    def forward(self, view: View) -> Tensor:
        return decision_adversarial(view.student.logits, view.teacher.logits)


def competition(student: Tensor, teacher: Tensor, temperature: float = 3.0) -> Tensor:
    """Return ``1 - JS``, of shape (): small where student and teacher differ.

    As in the authors' code, which is not quite the divergence of Jensen and Shannon: ``JS = KL(M || P) / 2 + KL(M || Q) / 2`` with the
    mixture M first, all three clamped to [0.01, 0.99], summed over classes, mean over all else, and itself clamped to [0, 1].

    Args:
        student: Logits of shape (N, classes, ...).
        teacher: Logits of the same shape.
        temperature: Divides both.
    """
    p, q = (logits.div(temperature).softmax(dim=1) for logits in (student, teacher))
    mixture = ((p + q) / 2).clamp(0.01, 0.99)
    divergences = [(mixture * (mixture.log() - side.clamp(0.01, 0.99).log())).sum(dim=1).mean() for side in (p, q)]
    return 1 - (0.5 * divergences[0] + 0.5 * divergences[1]).clamp(0.0, 1.0)


class Competition(Loss):
    """Draws images to where student and teacher differ; see `competition`."""

    needs = Needs(student=True)

    def __init__(self, temperature: float = 3.0) -> None:
        super().__init__()
        self.temperature = positive_temperature(temperature)

    def forward(self, view: View) -> Tensor:
        return competition(view.student.logits, view.teacher.logits, self.temperature)
