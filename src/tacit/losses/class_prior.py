"""Class prior: the teacher must see the wanted class in the image.

"Data-Free Learning of Student Networks", Chen et al., 2019, https://arxiv.org/abs/1904.01186, eq. 2 (one-hot loss);
"Dreaming to Distill", Yin et al., 2020, https://arxiv.org/abs/1912.08795, eq. 1.
"""

from __future__ import annotations

from torch import Tensor

from tacit.core.loss import Loss, View, positive_temperature
from tacit.losses.logits import cross_entropy

__all__ = ["ClassPrior"]


class ClassPrior(Loss):
    """Cross-entropy (nats, mean over the batch) of the teacher's answer to the targets; to its own argmax where there are none.

    Targets may be class numbers of shape (N,), soft labels of shape (N, classes), or dense labels of shape (N, H, W), of which the mean is
    over the pixels that have a class.

    Args:
        temperature: Divides the logits; ZSKD uses 20.
    """

    def __init__(self, temperature: float = 1.0) -> None:
        super().__init__()
        self.temperature = positive_temperature(temperature)

    def forward(self, view: View) -> Tensor:
        logits = view.teacher.logits
        targets = logits.argmax(dim=1) if view.targets is None else view.targets
        return cross_entropy(logits / self.temperature, targets)
