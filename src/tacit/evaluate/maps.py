"""Measures of label maps: pixel accuracy, and intersection over union by class and in the mean."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from statistics import fmean
from typing import Any

import torch
from torch import Tensor

from tacit.core.spec import VOID
from tacit.evaluate.answers import Answers

__all__ = ["Maps"]

AT_ONCE = 1 << 22
"""Pixels that are counted at once: counting takes 8 bytes for each."""


@dataclass(frozen=True)
class Maps(Answers):
    """What a network said of every pixel of a set, beside the truth; each uint8 of shape (N, H, W).

    Pixels whose label is `VOID` count in no measure but `agreement` and `confusion`, which compare two networks.
    """

    @cached_property
    def counts(self) -> Tensor:
        """Pixels by true class (rows) and named class (columns), int64 of shape (classes, classes), as torchmetrics counts them."""
        from torchmetrics.functional.classification import multiclass_confusion_matrix

        found = torch.zeros(self.classes, self.classes, dtype=torch.long)
        parts = (torch.split(each.flatten(), AT_ONCE) for each in (self.predicted, self.labels))
        for said, true in zip(*parts, strict=True):
            found += multiclass_confusion_matrix(said.long(), true.long(), self.classes, ignore_index=VOID, validate_args=False)
        return found

    @property
    def accuracy(self) -> float:
        """Share of the pixels with a class that are named rightly; NaN where none has a class."""
        return float(self.counts.diagonal().sum().double() / self.counts.sum())

    @property
    def class_accuracy(self) -> list[float | None]:
        """The same by true class; None for a class without pixels."""
        return _shares(self.counts.diagonal(), self.counts.sum(dim=1))

    @property
    def class_iou(self) -> list[float | None]:
        """By class, over the whole set: pixels of it that are named so, by pixels that are of it or named so; None where there are none."""
        right = self.counts.diagonal()
        return _shares(right, self.counts.sum(dim=0) + self.counts.sum(dim=1) - right)

    @property
    def miou(self) -> float | None:
        """Mean of `class_iou` over the classes that have one; None where no pixel has a class."""
        known = [value for value in self.class_iou if value is not None]
        return fmean(known) if known else None

    @property
    def scores(self) -> dict[str, float]:
        return {"miou": self.miou, "accuracy": self.accuracy} if self.miou is not None else {}

    def metrics_by_class(self, role: str) -> dict[str, Any]:
        return {f"{role}_class_accuracy": self.class_accuracy, f"{role}_class_iou": self.class_iou}

    def agreement(self, other: Answers) -> float:
        """Share of all pixels on which both name the same class."""
        return int((self.predicted == other.predicted).sum()) / self.predicted.numel()

    def confusion(self, other: Answers) -> list[list[int]]:
        found = torch.zeros(self.classes**2, dtype=torch.long)
        for said, theirs in zip(*(torch.split(each.predicted.flatten(), AT_ONCE) for each in (self, other)), strict=True):
            found += torch.bincount(theirs.long() * self.classes + said.long(), minlength=self.classes**2)
        counts: list[list[int]] = found.view(self.classes, self.classes).tolist()
        return counts


def _shares(parts: Tensor, wholes: Tensor) -> list[float | None]:
    return [int(part) / int(whole) if whole else None for part, whole in zip(parts, wholes, strict=True)]
