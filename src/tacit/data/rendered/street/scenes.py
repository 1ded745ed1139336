"""Scenes: streets, put together from far to near."""

from __future__ import annotations

from functools import lru_cache
from typing import Literal

import torch
from torch import Tensor

from tacit.core.device import derived_seed
from tacit.data.images import ImageSet
from tacit.data.rendered.noise import Draw
from tacit.data.rendered.opening import opening
from tacit.data.rendered.street.cars import cars
from tacit.data.rendered.street.frame import NAMES, Camera, Frame
from tacit.data.rendered.street.ground import Layout, end, ground, sky
from tacit.data.rendered.street.houses import houses
from tacit.data.rendered.street.light import developed, haze, shadow
from tacit.data.rendered.street.people import cyclists, pedestrians
from tacit.data.rendered.street.posts import lamps, signs, trees
from tacit.data.rendered.street.repaint import repaint

__all__ = ["IMAGES", "street"]

IMAGES = {"train": 3000, "test": 500}
"""How many images a split has."""
Textures = Literal["own", "other"]
TOGETHER = 1 << 18
"""Pixels that are drawn together."""


@lru_cache(maxsize=4)
def street(
    split: str = "train", images: int | None = None, size: tuple[int, int] = (64, 64), seed: int = 0, *, textures: Textures = "own"
) -> ImageSet:
    """Return streets seen from a car, each pixel of one of eleven classes, as in CamVid: sky, building, pole, ...

    Camera, bend, houses, fences, trees, lamps, signs, cars, people, weather, light and noise are drawn for each image. All of it depends
    on the arguments alone; splits are drawn from different seeds.

    Args:
        split: ``train`` or ``test``.
        images: How many; not given: 3,000 and 500.
        size: Height and width.
        seed: Of all draws.
        textures: ``other``: the same streets, each class of each image in other colours and patterns.

    Raises:
        InputError: There is no such split, or nothing would be seen.
    """
    count, generator = opening("street", split, images, size, seed, counts=IMAGES, least=16)
    painter = torch.Generator().manual_seed(derived_seed(seed, "other textures", split)) if textures == "other" else None
    parts = torch.split(torch.arange(count), max(1, TOGETHER // (size[0] * size[1])))
    drawn = [_render(Draw(generator, len(part)), size, painter) for part in parts]
    return ImageSet(torch.cat([pictures for pictures, _ in drawn]), torch.cat([labels for _, labels in drawn]), NAMES)


def _render(draw: Draw, size: tuple[int, int], painter: torch.Generator | None) -> tuple[Tensor, Tensor]:
    """Return uint8 images (N, 3, H, W) and labels (N, H, W); a `painter` gives them other textures."""
    frame, layout = Frame(Camera.drawn(draw, size)), Layout.drawn(draw)
    horizon = sky(frame, draw)
    ground(frame, layout, draw)
    shadow(frame, layout, draw)
    end(frame, layout, draw)
    for add in (houses, trees, lamps, signs, cars, pedestrians, cyclists):
        add(frame, layout, draw)
    if painter is not None:
        repaint(frame, Draw(painter, draw.scenes))
    haze(frame, horizon, draw)
    return developed(frame, draw), frame.label.view(frame.shape)
