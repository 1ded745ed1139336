"""Full and low resolution: squares of pixels become their mean."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from tacit.core.errors import InputError
from tacit.data.modalities.modality import Modality

__all__ = ["FULL", "low", "small"]

FULL = Modality(name="full", show=lambda images: images, source=lambda seen: seen)
"""The image as it is."""


def _pooled(images: Tensor, factor: int) -> Tensor:
    return F.avg_pool2d(images, factor, ceil_mode=True)  # what is cut at the border is a mean of the pixels that are there


def _low(images: Tensor, factor: int) -> Tensor:
    height, width = images.shape[2:]
    return _pooled(images, factor).repeat_interleave(factor, dim=2).repeat_interleave(factor, dim=3)[:, :, :height, :width]


def _checked(factor: int) -> int:
    if factor < 2:
        raise InputError(f"view low, small: expected a factor of at least 2, as low4, got {factor}")
    return factor


def low(factor: int = 2) -> Modality:
    """Return a modality in which squares of `factor` by `factor` pixels show their mean; the size stays, so that any network fits."""
    return Modality(name=f"low{_checked(factor)}", show=lambda images: _low(images, factor), source=lambda seen: seen)


def small(factor: int = 2) -> Modality:
    """Return a modality in which such a square is one pixel: for a student of smaller images."""
    return Modality(
        name=f"small{_checked(factor)}",
        show=lambda images: _pooled(images, factor),
        source=lambda seen: (seen[0], seen[1] * factor, seen[2] * factor),
    )
