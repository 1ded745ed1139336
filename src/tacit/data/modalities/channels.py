"""RGB and depth: parts of one stored image of four channels, as `solids` and other rendered sets have."""

from __future__ import annotations

from torch import Tensor

from tacit.core.errors import InputError
from tacit.data.modalities.modality import Modality

__all__ = ["DEPTH", "RGB"]


def _four(images: Tensor) -> Tensor:
    if images.shape[1] != 4:
        raise InputError(f"rgb and depth are seen of images of 4 channels, as those of `solids`: got {images.shape[1]}")
    return images


RGB = Modality(name="rgb", show=lambda images: _four(images)[:, :3], source=lambda seen: (4, *seen[1:]))
"""The first three channels."""
DEPTH = Modality(name="depth", show=lambda images: _four(images)[:, 3:], source=lambda seen: (4, *seen[1:]))
"""The fourth channel: 0 is near, 1 is far."""
