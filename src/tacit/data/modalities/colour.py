"""Luminance and chrominance: CIE L*a*b* of sRGB.

sRGB is linearised as IEC 61966-2-1 says, taken to XYZ by the primaries of ITU-R BT.709 with the white D65, and to L*a*b* as CIE 15 says.
As two views of an image: "Colorful Image Colorization", Zhang et al., 2016, https://arxiv.org/abs/1603.08511; in distillation "Contrastive
Representation Distillation", Tian et al., 2020, https://arxiv.org/abs/1910.10699, sec. 4.2.
"""

from __future__ import annotations

import torch
from torch import Tensor

from tacit.core.errors import InputError
from tacit.data.modalities.modality import Modality

__all__ = ["CHROMINANCE", "LUMINANCE", "lab"]

XYZ = ((0.4124564, 0.3575761, 0.1804375), (0.2126729, 0.7151522, 0.0721750), (0.0193339, 0.1191920, 0.9503041))
LEAST, MOST = (0.0, -86.19, -107.87), (100.0, 98.24, 94.49)
"""What L*, a* and b* of colours of sRGB lie between."""


def lab(images: Tensor) -> Tensor:
    """Return CIE L*a*b* (D65) of sRGB images.

    Args:
        images: float in [0, 1], of shape (N, 3, H, W).

    Returns:
        Of the same shape: L* in [0, 100], a* about -86 to 98, b* about -108 to 94.

    Raises:
        InputError: Where there are not three channels.
    """
    if images.ndim != 4 or images.shape[1] != 3:
        raise InputError(f"luminance and chrominance are of RGB images: expected shape (N, 3, H, W), got {list(images.shape)}")
    linear = torch.where(images <= 0.04045, images / 12.92, ((images.clamp_min(0.0) + 0.055) / 1.055) ** 2.4)
    matrix = torch.tensor(XYZ, dtype=images.dtype, device=images.device)
    relative = torch.einsum("dc,nchw->ndhw", matrix / matrix.sum(dim=1, keepdim=True), linear)  # white is 1, 1, 1
    third = torch.where(relative > (6 / 29) ** 3, relative.clamp_min(1e-6) ** (1 / 3), relative / (3 * (6 / 29) ** 2) + 4 / 29)
    x, y, z = third.unbind(dim=1)
    return torch.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], dim=1)


def _scaled(images: Tensor) -> Tensor:
    """Return L*, a* and b*, each scaled into [0, 1]; grey has 0.467 in a* and 0.533 in b*."""
    least, most = (torch.tensor(ends, dtype=images.dtype, device=images.device).view(3, 1, 1) for ends in (LEAST, MOST))
    return ((lab(images) - least) / (most - least)).clamp(0.0, 1.0)


LUMINANCE = Modality(name="luminance", show=lambda images: _scaled(images)[:, :1], source=lambda seen: (3, *seen[1:]))
"""L* of an RGB image: one channel."""
CHROMINANCE = Modality(name="chrominance", show=lambda images: _scaled(images)[:, 1:], source=lambda seen: (3, *seen[1:]))
"""a* and b* of an RGB image: two channels, in which brightness is not to be seen."""
