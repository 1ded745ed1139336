"""What a student learns of its teacher's logits, and of labels.

`KD`: "Distilling the Knowledge in a Neural Network", Hinton et al., 2015, https://arxiv.org/abs/1503.02531, sec. 2.
`SoftCrossEntropy`: "Zero-Shot Knowledge Distillation in Deep Networks", Nayak et al., 2019, https://arxiv.org/abs/1905.08114, eq. 6.
`L1`: "Data-Free Adversarial Distillation", Fang et al., 2019, https://arxiv.org/abs/1912.11006, eq. 3.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from tacit.core.loss import Loss, Needs, View, positive_temperature

__all__ = ["KD", "L1", "MSE", "CrossEntropy", "SoftCrossEntropy", "kd_divergence", "soft_cross_entropy"]


def kd_divergence(student: Tensor, teacher: Tensor, temperature: float = 4.0) -> Tensor:
    """Return ``T^2 KL(softmax(teacher / T) || softmax(student / T))``, summed over classes, mean over all else, of shape ().

    Args:
        student: Logits of shape (N, classes, ...).
        teacher: Logits of the same shape.
        temperature: T > 0.
    """
    p = F.log_softmax(student / temperature, dim=1)
    q = F.log_softmax(teacher / temperature, dim=1)
    return F.kl_div(p, q, reduction="none", log_target=True).sum(dim=1).mean() * temperature**2


class KD(Loss):
    """KL divergence of the softened answers, times the squared temperature; see `kd_divergence`."""

    needs = Needs(student=True)

    def __init__(self, temperature: float = 4.0) -> None:
        super().__init__()
        self.temperature = positive_temperature(temperature)

    def forward(self, view: View) -> Tensor:
        return kd_divergence(view.student.logits, view.teacher.logits, self.temperature)


class L1(Loss):
    """Mean absolute difference of the logits."""

    needs = Needs(student=True)

    def forward(self, view: View) -> Tensor:
        return F.l1_loss(view.student.logits, view.teacher.logits)


class MSE(Loss):
    """Mean squared difference of the logits."""

    needs = Needs(student=True)

    def forward(self, view: View) -> Tensor:
        return F.mse_loss(view.student.logits, view.teacher.logits)


def soft_cross_entropy(student: Tensor, teacher: Tensor, temperature: float = 4.0) -> Tensor:
    """Return ``-T^2 sum_c softmax(teacher / T) ln softmax(student / T)``, mean over all but classes, of shape ().

    It is `kd_divergence` and T^2 times the entropy of the teacher's softened answer: the same gradient, another value.

    Args:
        student: Logits of shape (N, classes, ...).
        teacher: Logits of the same shape.
        temperature: T > 0.
    """
    answers = F.log_softmax(student / temperature, dim=1)
    return -(F.softmax(teacher / temperature, dim=1) * answers).sum(dim=1).mean() * temperature**2


class SoftCrossEntropy(Loss):
    """Cross-entropy of the student's answer to the teacher's, both softened; see `soft_cross_entropy`."""

    needs = Needs(student=True)

    def __init__(self, temperature: float = 4.0) -> None:
        super().__init__()
        self.temperature = positive_temperature(temperature)

    def forward(self, view: View) -> Tensor:
        return soft_cross_entropy(view.student.logits, view.teacher.logits, self.temperature)


class CrossEntropy(Loss):
    """Cross-entropy of the student's answer to the targets: learning from labels, no teacher needed."""

    needs = Needs(teacher=False, student=True, targets=True)

    def forward(self, view: View) -> Tensor:
        if view.targets is None:
            raise ValueError("cross-entropy needs labels, and this source gives none: use `kd` or `l1`")
        return F.cross_entropy(view.student.logits, view.targets)
