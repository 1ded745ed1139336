"""Grey, and its edges: the magnitude of Sobel's gradient."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from tacit.data.modalities.modality import Modality

__all__ = ["EDGES", "GREY", "grey", "sobel"]

LUMA = (0.299, 0.587, 0.114)
"""Of red, green and blue, ITU-R BT.601: as Pillow makes a picture grey."""


def grey(images: Tensor) -> Tensor:
    """Return images of shape (N, 1, H, W): the luma of three channels, the mean of any other number."""
    if images.shape[1] == 3:
        return torch.einsum("c,nchw->nhw", torch.tensor(LUMA, dtype=images.dtype, device=images.device), images)[:, None]
    return images.mean(dim=1, keepdim=True)


def sobel(images: Tensor) -> Tensor:
    """Return how steep images are, of shape (N, 1, H, W), in [0, 1].

    The magnitude of Sobel's gradient, by the largest that nine pixels in [0, 1] can have, the root of 20; at the border the nearest pixel
    goes on.

    Args:
        images: float in [0, 1], of shape (N, C, H, W); more than one channel are made grey before.
    """
    across = torch.tensor([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]], dtype=images.dtype, device=images.device)
    padded = F.pad(grey(images), (1, 1, 1, 1), mode="replicate")
    gradient = F.conv2d(padded, torch.stack([across, across.T])[:, None])
    return gradient.square().sum(dim=1, keepdim=True).sqrt() / math.sqrt(20.0)


GREY = Modality(name="grey", show=grey, source=lambda seen: seen)
"""Brightness alone: one channel. Pictures are stored grey; where a teacher sees them in colour, they are not."""
EDGES = Modality(name="edges", show=sobel, source=lambda seen: seen)
"""Edges of a grey image: one channel."""
