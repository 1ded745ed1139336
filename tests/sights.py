"""Views of somebody else, found by import path."""

from __future__ import annotations

from torch import Tensor, nn

from tacit.data import Modality, Views

__all__ = ["LEFT", "SIDES", "Seer", "darker", "left", "mean", "wild"]

WORDS = "no view"


def darker(images: Tensor) -> Tensor:
    """Return images half as bright, of any number of channels."""
    return images / 2


def mean(images: Tensor) -> Tensor:
    """Return one channel of any number of them."""
    return images.mean(dim=1, keepdim=True)


def left(images: Tensor) -> Tensor:
    """Return the left half."""
    return images[..., : images.shape[-1] // 2]


def wild(images: Tensor) -> Tensor:
    """Return what is outside of [0, 1]."""
    return images - 0.5


class Seer(nn.Module):
    """A class, which is no function of images."""


LEFT = Modality(name="left", show=left, source=lambda seen: (seen[0], seen[1], 2 * seen[2]))
SIDES = Views(teacher=LEFT, student=Modality(name="right", show=lambda images: images[..., images.shape[-1] // 2 :]))
