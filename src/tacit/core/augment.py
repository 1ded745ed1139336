"""Augmentations: random crops, shifts and holes, of each image on its own, through which gradients flow.

What kornia's RandomCrop with padding and RandomResizedCrop do, by one bilinear sampling; contrastive methods take their views so:
"A Simple Framework for Contrastive Learning of Visual Representations", Chen et al., 2020,
https://arxiv.org/abs/2002.05709, sec. 2.1.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["LEARNED_AREA", "crop_windows", "cutout", "resized_crop", "seen", "shifted"]

LEARNED_AREA = (0.08, 1.0)
"""Share of an image that the crops cover by which networks of ImageNet are trained ("Going Deeper with Convolutions", Szegedy et al., 2014,
https://arxiv.org/abs/1409.4842, sec. 6)."""


def seen(maps: Tensor, windows: Tensor, *, classes: bool = False, beyond: Literal["zeros", "border"] = "zeros") -> Tensor:
    """Return what is in a window of each map, resized to the whole; float.

    Args:
        maps: Of shape (N, C, H, W).
        windows: As `crop_windows` gives them.
        classes: Whether the maps hold class numbers, which must not mix: the nearest is taken.
        beyond: What is read beyond the edge, which a window ends at half a pixel of.
    """
    with torch.autocast(maps.device.type, enabled=False):
        grid = F.affine_grid(windows, list(maps.shape), align_corners=False)
        mode = "nearest" if classes else "bilinear"
        return F.grid_sample(maps.float(), grid, mode=mode, padding_mode=beyond, align_corners=False)


def _windows(scale: Tensor, centre: Tensor, flip: bool, generator: torch.Generator) -> Tensor:
    """Return windows of half-size `scale` around `centre`, each of shape (N, 2) as (x, y) in [-1, 1]: matrices of shape (N, 2, 3)."""
    if flip:
        mirrored = torch.rand(len(scale), generator=generator, device=scale.device) < 0.5
        scale = torch.stack([torch.where(mirrored, -scale[:, 0], scale[:, 0]), scale[:, 1]], dim=1)
    return torch.cat([torch.diag_embed(scale), centre[:, :, None]], dim=2)


def shifted(images: Tensor, generator: torch.Generator, *, most: float = 1 / 8, flip: bool = False) -> Tensor:
    """Return each image moved by whole pixels, zeros coming in, and by option mirrored half of the time.

    Args:
        images: Of shape (N, C, H, W).
        generator: Source of the draws, on the device of `images`.
        most: Largest shift, as a share of width and height; 1/8 is the 4 pixels of a CIFAR image that papers use.
        flip: Whether to mirror.
    """
    n, _, height, width = images.shape
    size = torch.tensor([width, height], device=images.device)
    limit = (size * most).round()
    draws = torch.rand(n, 2, generator=generator, device=images.device)
    pixels = (draws * (2 * limit + 1)).floor() - limit
    return seen(images, _windows(torch.ones(n, 2, device=images.device), 2 * pixels / size, flip, generator))


def resized_crop(
    images: Tensor, generator: torch.Generator, *, area: tuple[float, float] = (0.25, 1.0), ratio: float = 4 / 3, flip: bool = False
) -> Tensor:
    """Return a random window of each image, resized to the whole.

    Args:
        images: Of shape (N, C, H, W).
        generator: Source of the draws, on the device of `images`.
        area: Least and largest share of the image that a window covers.
        ratio: Largest ratio of its sides; log-uniform between that and its inverse.
        flip: Whether windows are mirrored half of the time.
    """
    return seen(images, crop_windows(len(images), generator, area=area, ratio=ratio, flip=flip))


def crop_windows(n: int, generator: torch.Generator, *, area: tuple[float, float], ratio: float = 4 / 3, flip: bool = False) -> Tensor:
    """Return `n` windows as `resized_crop` takes them: affine matrices of shape (n, 2, 3), for images and for maps that go with them."""
    draws = torch.rand(n, 4, generator=generator, device=generator.device)
    side = (area[0] + (area[1] - area[0]) * draws[:, 0]).sqrt()
    stretch = ((2 * draws[:, 1] - 1) * math.log(ratio) / 2).exp()
    scale = torch.stack([side * stretch, side / stretch], dim=1).clamp(max=1.0)
    return _windows(scale, (2 * draws[:, 2:] - 1) * (1 - scale), flip, generator)


def cutout(images: Tensor, generator: torch.Generator, *, holes: int = 4, side: float = 1 / 3) -> Tensor:
    """Return each image with up to `holes` rectangles set to zero, of random places and sizes.

    "Improved Regularization of Convolutional Neural Networks with Cutout", DeVries and Taylor, 2017, https://arxiv.org/abs/1708.04552.

    Args:
        images: Of shape (N, C, H, W).
        generator: Source of the draws, on the device of `images`.
        holes: Largest number of rectangles an image; as likely as fewer, none included.
        side: Largest side of a rectangle, as a share of height and width.
    """
    n, _, height, width = images.shape
    draws = torch.rand(n, holes, 5, generator=generator, device=images.device)
    there = torch.arange(holes, device=images.device) < (draws[:, :1, 4] * (holes + 1)).floor()
    inside = []
    for axis, length in ((0, height), (1, width)):
        size = draws[:, :, axis] * side * length
        start = draws[:, :, 2 + axis] * (length - size)
        place = torch.arange(length, device=images.device) + 0.5
        inside.append((place >= start[..., None]) & (place < (start + size)[..., None]))
    cut = (inside[0][..., :, None] & inside[1][..., None, :] & there[..., None, None]).any(dim=1)
    return images.masked_fill(cut[:, None], 0.0)
