"""Disagreement: what an adversarial synthesizer minimises, so that student and teacher differ on its images.

`Disagreement`: "Data-Free Adversarial Distillation", Fang et al., 2019, https://arxiv.org/abs/1912.11006, eq. 6.
`DecisionAdversarial`: "Contrastive Model Inversion for Data-Free Knowledge Distillation", Fang et al., 2021,
https://arxiv.org/abs/2105.08584, eq. 4.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from tacit.core.loss import Loss, Needs, View

__all__ = ["DecisionAdversarial", "Disagreement", "decision_adversarial"]


class Disagreement(Loss):
    """Minus the mean absolute difference of the logits of student and teacher (all logits, all samples)."""

    needs = Needs(student=True)

    def forward(self, view: View) -> Tensor:
        return -F.l1_loss(view.student.logits, view.teacher.logits)


def decision_adversarial(student: Tensor, teacher: Tensor) -> Tensor:
    """Return minus the mean over the batch of KL(teacher || student), counted only where both name the same class.

    Args:
        student: Logits of shape (N, classes).
        teacher: Logits of shape (N, classes).
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
