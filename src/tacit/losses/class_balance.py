"""Class balance: over a batch, the teacher must see all classes equally often.

"Data-Free Learning of Student Networks", Chen et al., 2019, https://arxiv.org/abs/1904.01186, eq. 4 (information entropy loss).
Their code takes logarithms to base 10, so that its weight 5 is 2.17 in nats; RDSKD, DFQ and the toolbox of CMI use natural logarithms.
"""

from __future__ import annotations

import math
from typing import Literal

from torch import Tensor

from tacit.core.errors import InputError
from tacit.core.loss import Loss, View

__all__ = ["ClassBalance", "negative_entropy"]


def negative_entropy(logits: Tensor) -> Tensor:
    """Return ``sum_c p_c ln p_c`` of the batch's mean softmax p, of shape (), in nats: from -ln(classes), all equal, to 0, one class.

    Args:
        logits: Of shape (N, classes, ...); the mean is over images and pixels alike.
    """
    share = logits.softmax(dim=1).movedim(1, -1).flatten(0, -2).mean(dim=0)
    return (share * share.clamp_min(1e-12).log()).sum()


class ClassBalance(Loss):
    """Minus the entropy of the batch's mean answer; see `negative_entropy`.

    Args:
        log: ``ln``, or ``log10`` as in DAFL's code.
    """

    def __init__(self, log: Literal["ln", "log10"] = "ln") -> None:
        super().__init__()
        if log not in ("ln", "log10"):
            raise InputError(f"log: expected ln or log10, got {log!r}")
        self.scale = 1.0 if log == "ln" else 1 / math.log(10)

    def forward(self, view: View) -> Tensor:
        return negative_entropy(view.teacher.logits) * self.scale
