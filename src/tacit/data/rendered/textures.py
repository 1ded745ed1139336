"""Textures: pictures of nothing, for what a network makes of images that have nothing to do with its own."""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor

from tacit.core.batch import as_bytes
from tacit.data.images import ImageSet
from tacit.data.rendered.noise import Draw, noise
from tacit.data.rendered.opening import opening

__all__ = ["KINDS", "textures"]

KINDS = ("stripes", "chequers", "rings", "cells", "grain", "clouds")
IMAGES = {"train": 3000, "test": 500}
"""How many images a split has."""
TOGETHER = 1 << 18
"""Pixels that are drawn together."""


@lru_cache(maxsize=2)
def textures(split: str = "train", images: int | None = None, size: tuple[int, int] = (64, 64), seed: int = 0) -> ImageSet:
    """Return pictures of patterns of six kinds, one over the other, in any colours; the label is the kind of the lower one.

    All of it depends on the arguments alone; splits are drawn from different seeds.

    Args:
        split: ``train`` or ``test``.
        images: How many; not given: 3,000 and 500.
        size: Height and width.
        seed: Of all draws.

    Raises:
        InputError: There is no such split, or nothing would be seen.
    """
    count, generator = opening("textures", split, images, size, seed, counts=IMAGES, least=4)
    kinds = torch.arange(count)[torch.randperm(count, generator=generator)] % len(KINDS)
    parts = torch.split(kinds, max(1, TOGETHER // (size[0] * size[1])))
    return ImageSet(torch.cat([_render(part, size, Draw(generator, len(part))) for part in parts]), kinds, KINDS)


def _render(kinds: Tensor, size: tuple[int, int], draw: Draw) -> Tensor:
    """Return uint8 images of shape (N, 3, H, W)."""
    below, above = _layer(kinds, size, draw), _layer(draw.below(len(KINDS)), size, draw)
    hides = (_field(draw.below(len(KINDS)), size, draw) > draw.uniform(0.5, 0.95, draw.scenes, 1, 1))[:, None]
    picture = torch.where(hides, above, below)
    picture = picture + draw.uniform(0.0, 0.03, draw.scenes, 1, 1, 1) * torch.randn(picture.shape, generator=draw.generator)
    return as_bytes(picture)


def _layer(kinds: Tensor, size: tuple[int, int], draw: Draw) -> Tensor:
    """Return patterns between two colours, of shape (N, 3, H, W)."""
    share = ((_field(kinds, size, draw) - 0.5) * draw.uniform(1.0, 8.0, draw.scenes, 1, 1) + 0.5).clamp(0, 1)[:, None]
    first, second = (draw.uniform(0.02, 0.98, draw.scenes, 3, 1, 1) for _ in range(2))
    return torch.lerp(first, second, share)


def _field(kinds: Tensor, size: tuple[int, int], draw: Draw) -> Tensor:
    """Return a pattern of each kind, in [0, 1], of shape (N, H, W)."""
    (height, width), n, shape = size, draw.scenes, (draw.scenes, 1, 1)
    y, x = (torch.arange(side) / max(size) for side in (height, width))
    turn, waves = draw.uniform(0, math.pi, *shape), draw.uniform(3, 12, *shape) * 2 * math.pi
    along = x * turn.cos() + y[:, None] * turn.sin()
    across = -x * turn.sin() + y[:, None] * turn.cos()
    middle = draw.uniform(0, 1, 2, *shape)
    near = torch.full((n, height, width), 9.0)
    for point in draw.uniform(0, 1, 14, 2, *shape):
        near = torch.minimum(near, torch.hypot(x - point[0], y[:, None] - point[1]))
    grain = draw.uniform(24, 96, *shape)
    fields = [
        0.5 + 0.5 * (along * waves).sin(),
        0.5 + 0.5 * ((along * waves).sin() * (across * waves).sin() * 4).clamp(-1, 1),
        0.5 + 0.5 * (torch.hypot(x - middle[0], y[:, None] - middle[1]) * waves).sin(),
        (near * 5).clamp(0, 1),
        noise(draw.below(3, *shape), x * grain + 99 * middle[0], y[:, None] * grain + 99 * middle[1]),
        noise(draw.below(3, *shape) + 5, x * grain + 99 * middle[0], y[:, None] * grain + 99 * middle[1]),
    ]
    return torch.stack(fields, dim=1)[torch.arange(n), kinds]
