"""Answers: what a network said of a labelled set, and how right that is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

__all__ = ["Answers"]


@dataclass(frozen=True)
class Answers:
    """What a network said of a set, beside the truth: one class an image; each int64 of shape (N,)."""

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

    @property
    def scores(self) -> dict[str, float]:
        """How right it is, by measure, the one that counts most first; empty where that can't be told."""
        return {"accuracy": self.accuracy}

    def metrics(self, role: str, suffix: str = "") -> dict[str, float]:
        """Return `scores` as metrics: ``student_accuracy``; with a suffix ``student_accuracy_ema``."""
        return {f"{role}_{name}{suffix}": value for name, value in self.scores.items()}

    def metrics_by_class(self, role: str) -> dict[str, Any]:
        """Return the same by class, as metrics: lists of one number a class."""
        return {f"{role}_class_accuracy": self.class_accuracy}

    def agreement(self, other: Answers) -> float:
        """Share of images on which both name the same class."""
        return float((self.predicted == other.predicted).double().mean())

    def confusion(self, other: Answers) -> list[list[int]]:
        """Return counts; rows are `other`'s classes, columns this one's."""
        pairs = other.predicted * self.classes + self.predicted
        counts: list[list[int]] = torch.bincount(pairs, minlength=self.classes**2).view(self.classes, self.classes).tolist()
        return counts
