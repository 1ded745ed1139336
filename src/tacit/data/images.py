"""Images with labels: small sets as 8-bit tensors on the device, augmentation included."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from tacit.core.batch import Batch
from tacit.core.errors import InputError
from tacit.core.network import Spec

__all__ = ["Augmentation", "ImageSet", "augment"]

Augmentation = Literal["none", "shift", "shift-flip"]


@dataclass(frozen=True)
class ImageSet:
    """A small labelled set.

    Args:
        images: uint8, of shape (N, C, H, W).
        labels: int64, of shape (N,).
        names: Names of the classes, where they are known.
    """

    images: Tensor
    labels: Tensor
    names: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.labels)

    def to(self, device: torch.device) -> ImageSet:
        """Return the set on `device`."""
        return ImageSet(self.images.to(device), self.labels.to(device), self.names)

    def batch(self, index: Tensor) -> Batch:
        """Return the samples at `index`, images as floats in [0, 1]."""
        return Batch(self.images[index].float().div(255), self.labels[index], index=index)

    def batches(self, size: int) -> Iterator[Batch]:
        """Yield the whole set in order, `size` images at a time."""
        for start in range(0, len(self), size):
            yield self.batch(torch.arange(start, min(start + size, len(self)), device=self.labels.device))

    def check(self, spec: Spec) -> None:
        """Raise `InputError` where the set does not fit a model's `spec`."""
        if not len(self):
            raise InputError("the data hold no images")
        if tuple(self.images.shape[1:]) != spec.shape:
            raise InputError(f"the images have shape {list(self.images.shape[1:])}, the model expects {list(spec.shape)}")
        low, high = int(self.labels.min()), int(self.labels.max())
        if low < 0 or high >= spec.classes:
            raise InputError(f"labels run from {low} to {high}, the model has {spec.classes} classes (0 to {spec.classes - 1})")


def augment(images: Tensor, kind: Augmentation, generator: torch.Generator) -> Tensor:
    """Return each image shifted by up to an eighth of its size (zeros come in), and mirrored half of the time, each on its own.

    Args:
        images: Of shape (N, C, H, W).
        kind: ``none``, ``shift`` or ``shift-flip``.
        generator: Source of the draws, on the device of `images`.
    """
    if kind == "none":
        return images
    n, _, height, width = images.shape
    down, across = max(1, height // 8), max(1, width // 8)
    padded = F.pad(images, (across, across, down, down))
    rows = torch.randint(0, 2 * down + 1, (n, 1), generator=generator, device=images.device) + torch.arange(height, device=images.device)
    columns = torch.randint(0, 2 * across + 1, (n, 1), generator=generator, device=images.device) + torch.arange(
        width, device=images.device
    )
    if kind == "shift-flip":
        mirrored = torch.rand(n, 1, generator=generator, device=images.device) < 0.5
        columns = torch.where(mirrored, columns.flip(1), columns)
    sample = torch.arange(n, device=images.device)[:, None, None]
    return padded.permute(0, 2, 3, 1)[sample, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)
