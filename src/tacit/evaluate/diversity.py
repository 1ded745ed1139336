"""How a set of images is spread over classes; `tacit.core.similarity` has how alike they are. Nothing here needs real data."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Classes", "class_histogram"]


@dataclass(frozen=True, kw_only=True)
class Classes:
    """How a set is spread over classes."""

    counts: list[int]
    """Images of each class."""
    covered: int
    """Classes with at least one image."""
    entropy: float
    """Of the shares of the classes, in nats: 0 where all images are of one class, ln(classes) where all are equally frequent."""


def class_histogram(labels: Tensor, classes: int) -> Classes:
    """Return how `labels`, int64 of shape (N,) in [0, classes), are spread."""
    counts = torch.bincount(labels.cpu(), minlength=classes)
    shares = counts.double() / counts.sum().clamp_min(1)
    entropy = torch.special.entr(shares).sum()
    return Classes(counts=counts.tolist(), covered=int((counts > 0).sum()), entropy=float(entropy))
