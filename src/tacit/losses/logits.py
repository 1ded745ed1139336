"""What a student learns of its teacher's logits, and of labels.

`KD`: "Distilling the Knowledge in a Neural Network", Hinton et al., 2015, https://arxiv.org/abs/1503.02531, sec. 2.
`standardise`: "Logit Standardization in Knowledge Distillation", Sun et al., 2024, https://arxiv.org/abs/2403.01427, algorithm 1.
`SoftCrossEntropy`: "Zero-Shot Knowledge Distillation in Deep Networks", Nayak et al., 2019, https://arxiv.org/abs/1905.08114, eq. 6.
`L1`: "Data-Free Adversarial Distillation", Fang et al., 2019, https://arxiv.org/abs/1912.11006, eq. 3.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from tacit.core.errors import InputError
from tacit.core.loss import Loss, Needs, View, positive_temperature
from tacit.core.network import Network, members
from tacit.core.spec import VOID

__all__ = [
    "KD",
    "L1",
    "MSE",
    "CrossEntropy",
    "SoftCrossEntropy",
    "cross_entropy",
    "kd_divergence",
    "mean_answer",
    "soft_cross_entropy",
    "standardised",
]

Average = Literal["logits", "probabilities"]


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


def standardised(logits: Tensor) -> Tensor:
    """Return the z-score of each image's logits: mean 0 and standard deviation 1 (over its classes), of the same shape.

    Logits that are all the same become zeros.

    Args:
        logits: Of shape (N, classes, ...).
    """
    apart = logits.float() - logits.float().mean(dim=1, keepdim=True)
    return apart * (apart.square().mean(dim=1, keepdim=True) + 1e-8).rsqrt()


def mean_answer(answers: Sequence[Tensor], temperature: float) -> Tensor:
    """Return logits whose softmax at `temperature` is the mean of the softmax of `answers` at it, of the shape of one of them.

    Args:
        answers: Logits of each teacher, of shape (N, classes, ...).
        temperature: T > 0.
    """
    each = torch.stack([F.log_softmax(answer.float() / temperature, dim=1) for answer in answers])
    return temperature * (each.logsumexp(dim=0) - math.log(len(answers)))


class KD(Loss):
    """KL divergence of the softened answers, times the squared temperature; see `kd_divergence`.

    Args:
        temperature: T. With `standardise` the paper calls it the base temperature: 2, beside which this loss weighs 9 and cross-entropy
            0.1 (CIFAR-100), since z-scores are small; without, 4 and weights of 0.9 and 0.1 are usual.
        standardise: Whether both networks' logits are made z-scores first, so that the student need not have the teacher's range.
        average: How an ensemble of teachers answers: by the mean of its ``logits``, or of the softened ``probabilities``.
    """

    needs = Needs(student=True)

    def __init__(self, temperature: float = 4.0, *, standardise: bool = False, average: Average = "logits") -> None:
        super().__init__()
        if average not in get_args(Average):
            raise InputError(f"kd: average: expected one of {', '.join(get_args(Average))}, got {average!r}")
        self.temperature, self.standardise, self.average = positive_temperature(temperature), standardise, average
        self.members: tuple[str, ...] = ()

    def fit(self, teacher: Network | None, student: Network | None) -> None:
        if self.average == "logits" or teacher is None:
            return
        found = members(teacher)
        if "" in found:
            raise InputError("kd: `average: probabilities` is for an ensemble of teachers, and this is one network: use `average: logits`")
        self.members = tuple(name.removesuffix(".model.") for name in found)
        self.needs = Needs(student=True, teacher_taps=self.members)

    def forward(self, view: View) -> Tensor:
        if self.average == "probabilities" and not self.members:
            raise InputError("kd: call `fit` first: `average: probabilities` must know the members of the ensemble")
        said = [view.teacher.features[name] for name in self.members] or [view.teacher.logits]
        answers = [standardised(logits) if self.standardise else logits for logits in said]
        taught = mean_answer(answers, self.temperature) if self.members else answers[0]
        answered = standardised(view.student.logits) if self.standardise else view.student.logits
        return kd_divergence(answered, taught, self.temperature)


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
    """Cross-entropy of the student's answer to the teacher's, both softened; see `soft_cross_entropy`.

    Args:
        temperature: T, by which the logits of both are divided.
    """

    needs = Needs(student=True)

    def __init__(self, temperature: float = 4.0) -> None:
        super().__init__()
        self.temperature = positive_temperature(temperature)

    def forward(self, view: View) -> Tensor:
        return soft_cross_entropy(view.student.logits, view.teacher.logits, self.temperature)


def cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Return the cross-entropy (nats) of the answers to the targets, mean over images and, of dense answers, pixels; of shape ().

    Args:
        logits: Of shape (N, classes), or (N, classes, H, W).
        targets: Class numbers, of shape (N,) or (N, H, W), where pixels of `VOID` are left out (all of them: 0); or soft labels of the
            shape of `logits`.
    """
    if logits.ndim == 2 or targets.is_floating_point():
        return F.cross_entropy(logits, targets)
    known = (targets != VOID).sum().clamp_min(1)
    return F.cross_entropy(logits, targets, ignore_index=VOID, reduction="sum") / known


class CrossEntropy(Loss):
    """Cross-entropy of the student's answer to the targets: learning from labels, no teacher needed; see `cross_entropy`."""

    needs = Needs(teacher=False, student=True, targets=True)

    def forward(self, view: View) -> Tensor:
        if view.targets is None:
            raise ValueError("cross-entropy needs labels, and this source gives none: use `kd` or `l1`")
        return cross_entropy(view.student.logits, view.targets)
