"""DKD: what the teacher says of the right class, and how it ranks the others, taught apart.

"Decoupled Knowledge Distillation", Zhao et al., 2022, https://arxiv.org/abs/2203.08679, eq. 7: ``alpha TCKD + beta NCKD``, each times the
squared temperature. KD is ``TCKD + (1 - p) NCKD`` with p the teacher's softened probability of the right class (eq. 6), so that the surer
it is, the less KD says of the other classes; beta frees that part.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from tacit.core.errors import InputError
from tacit.core.loss import Loss, Needs, View, positive_temperature, risen
from tacit.core.spec import VOID
from tacit.losses.logits import standardised

__all__ = ["DecoupledKD", "decoupled_parts"]


def decoupled_parts(student: Tensor, teacher: Tensor, targets: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """Return TCKD and NCKD, each of shape (), mean over images, not yet times the squared temperature.

    TCKD is the KL divergence of (right class, all others); NCKD that of the distribution over the others alone. Of two classes one other
    is left, whose probability is 1 for both networks: NCKD is 0, and TCKD is all of KD.

    Args:
        student: Logits of shape (N, classes).
        teacher: Logits of the same shape.
        targets: Class numbers, of shape (N,).
        temperature: T > 0.
    """
    right = F.one_hot(targets, student.shape[1]).bool()

    def parts(logits: Tensor) -> tuple[Tensor, Tensor]:
        """Return ln of (right, others), of shape (N, 2), and of the others among themselves, (N, classes - 1)."""
        scaled = logits.float() / temperature
        others = scaled[~right].view(len(scaled), -1)
        both = torch.stack([scaled[right], others.logsumexp(dim=1)], dim=1)
        return F.log_softmax(both, dim=1), F.log_softmax(others, dim=1)

    pairs = zip(parts(student), parts(teacher), strict=True)
    target, rest = (F.kl_div(ours, theirs, reduction="batchmean", log_target=True) for ours, theirs in pairs)
    return target, rest


class DecoupledKD(Loss):
    """``T^2 (alpha TCKD + beta NCKD)``; see `decoupled_parts`. Needs labels, as class numbers.

    Dense answers are taught pixel by pixel, where there is a class. Beside cross-entropy its weight is 1 (``ce=1,dkd=1``), on CIFAR-100
    with the T of 4 that stands here, on ImageNet with 1. The right beta depends on the pair: 8 for ResNet-32x4 to
    8x4, 2 or 6 for others of the paper. With two classes beta plays no part.

    Args:
        alpha: Weight of what is said of the right class.
        beta: Weight of what is said of the others.
        temperature: T; with `standardise` the base temperature, 2 in that paper, where this loss weighs 9.
        standardise: Whether logits are made z-scores first, as in `KD`.
        warmup: Steps within which the loss rises to its full weight; the paper's 20 of 240 epochs are a twelfth of the steps.
    """

    needs = Needs(student=True, targets=True)

    def __init__(
        self, alpha: float = 1.0, beta: float = 8.0, temperature: float = 4.0, *, standardise: bool = False, warmup: int = 0
    ) -> None:
        super().__init__()
        if min(alpha, beta, warmup) < 0:
            raise InputError(f"dkd: expected alpha, beta and warmup of 0 or more, got {alpha}, {beta} and {warmup}")
        self.alpha, self.beta, self.temperature = alpha, beta, positive_temperature(temperature)
        self.standardise, self.warmup = standardise, warmup

    def forward(self, view: View) -> Tensor:
        logits, targets = view.student.logits, view.targets
        if targets is None or targets.is_floating_point() or targets.ndim != logits.ndim - 1:
            got = "none" if targets is None else f"{targets.dtype} of shape {list(targets.shape)}"
            raise InputError(f"dkd: expected labels that are class numbers, one an answer, got {got}: without such labels use `kd`")
        pair = [standardised(each) if self.standardise else each for each in (logits, view.teacher.logits)]
        answered, taught, right = (*(each.movedim(1, -1).flatten(0, -2) for each in pair), targets.flatten())
        if logits.ndim > 2:
            known = right != VOID
            answered, taught, right = answered[known], taught[known], right[known]
            if not len(right):
                return answered.sum()  # no pixel has a class: 0
        target, rest = decoupled_parts(answered, taught, right, self.temperature)
        return risen(view, self.warmup) * self.temperature**2 * (self.alpha * target + self.beta * rest)
