"""Batch: some images, and what is known of them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Batch", "as_bytes", "as_floats"]


@dataclass(frozen=True)
class Batch:
    """Some images, and what is known of them.

    Args:
        images: float in [0, 1], of shape (N, C, H, W).
        targets: Class numbers (N,), soft labels (N, classes) or dense labels (N, H, W), where there are any.
        logits: What the teacher says of these very images, where that is known already, of shape (N, classes).
        index: Which samples of a stored set these are, of shape (N,).
        student_images: What the student is shown in place of `images`, where each network has a view of its own; of shape (N, ...).
    """

    images: Tensor
    targets: Tensor | None = None
    logits: Tensor | None = None
    index: Tensor | None = None
    student_images: Tensor | None = None

    def at(self, part: slice | Tensor) -> Batch:
        """Return the samples in `part`: a slice, numbers, or a mask of shape (N,)."""
        columns = (self.targets, self.logits, self.index, self.student_images)
        return Batch(self.images[part], *(column[part] if column is not None else None for column in columns))


def as_floats(images: Tensor) -> Tensor:
    """Return stored images as networks take them, fp32 in [0, 1]: those of 8 bits are divided by 255, floats are in [0, 1] already."""
    return images.float() if images.is_floating_point() else images.float().div(255)


def as_bytes(images: Tensor) -> Tensor:
    """Return images of floats in [0, 1] as they are stored, uint8: each value rounded to the nearest of 256, what lies outside cut off."""
    return images.clamp(0, 1).mul(255).round().to(torch.uint8)
