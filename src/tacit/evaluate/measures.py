"""Measures on labelled images: accuracy, agreement of student and teacher, confusion."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from tacit.core.batch import Batch
from tacit.core.device import Runtime
from tacit.core.network import Network
from tacit.core.state import evaluation_mode

__all__ = ["Answers", "agreement", "predict"]


@dataclass(frozen=True)
class Answers:
    """What a network said of a set, beside the truth; each int64 of shape (N,)."""

    predicted: Tensor
    labels: Tensor
    classes: int

    @property
    def accuracy(self) -> float:
        """Share of images whose class is named rightly."""
        return float((self.predicted == self.labels).double().mean())

    @property
    def class_accuracy(self) -> list[float | None]:
        """The same by true class; None for a class without images."""
        right = torch.bincount(self.labels[self.predicted == self.labels], minlength=self.classes)
        there = torch.bincount(self.labels, minlength=self.classes)
        return [int(r) / int(n) if n else None for r, n in zip(right, there, strict=True)]

    def agreement(self, other: Answers) -> float:
        """Share of images on which both name the same class."""
        return float((self.predicted == other.predicted).double().mean())

    def confusion(self, other: Answers) -> list[list[int]]:
        """Return counts; rows are `other`'s classes, columns this one's."""
        pairs = other.predicted * self.classes + self.predicted
        counts: list[list[int]] = torch.bincount(pairs, minlength=self.classes**2).view(self.classes, self.classes).tolist()
        return counts


@torch.no_grad()
def predict(network: Network, batches: Iterable[Batch], runtime: Runtime) -> Answers:
    """Return the class that `network` names for every image, in evaluation mode; its modes are put back."""
    said, labels = [], []
    with evaluation_mode(network):
        for batch in batches:
            with runtime.autocast():
                logits = network(batch.images.to(runtime.device))
            said.append(logits.argmax(dim=1).cpu())
            if batch.targets is not None:
                labels.append(batch.targets.cpu())
    predicted = torch.cat(said)
    return Answers(predicted, torch.cat(labels) if labels else torch.full_like(predicted, -1), network.spec.classes)


def agreement(student: Network, teacher: Network, batch: Batch, runtime: Runtime) -> float | None:
    """Return the share of `batch` on which student and teacher name the same class; None for no images."""
    if not len(batch.images):
        return None
    return predict(student, [batch], runtime).agreement(predict(teacher, [batch], runtime))
