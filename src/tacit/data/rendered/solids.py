"""Solids: a set of rendered pictures of ten kinds of bodies, each with its depth; made anew from a seed wherever it is wanted."""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor

from tacit.core.batch import as_bytes
from tacit.data.images import ImageSet
from tacit.data.rendered.bodies import BODIES, pebble
from tacit.data.rendered.march import Camera, turned
from tacit.data.rendered.opening import opening
from tacit.data.rendered.scene import Background, Group, Light, Picture, Surface

__all__ = ["IMAGES", "solids"]

IMAGES = {"train": 4000, "test": 1000}
"""How many images a split has."""
NEAR, FAR = 2.5, 10.0
"""Depth of a pixel that is 0, and of one that is 1; the camera is 4.2 to 5.2 away from the body."""
TOGETHER = 500
"""Images that are rendered together."""
CLUTTER = 4
"""Small things that lie about in an image."""


@lru_cache(maxsize=4)
def solids(split: str = "train", images: int | None = None, size: tuple[int, int] = (32, 32), seed: int = 0) -> ImageSet:
    """Return pictures of ten kinds of bodies, of four channels: red, green, blue, and depth (0 is near, 1 is far).

    Pose, size, colours, pattern, light, camera, floor, wall, the things that lie about, and noise are drawn for each image. All of it
    depends on the arguments alone; splits are drawn from different seeds. Classes are equally many, but for one.

    Args:
        split: ``train`` or ``test``.
        images: How many; not given: 4,000 and 1,000.
        size: Height and width.
        seed: Of all draws.

    Raises:
        InputError: There is no such split, or nothing would be seen.
    """
    count, draw = opening("solids", split, images, size, seed, counts=IMAGES, least=4)
    labels = torch.arange(count)[torch.randperm(count, generator=draw)] % len(BODIES)
    pictures = torch.cat([_render(part, size, draw) for part in torch.split(labels, TOGETHER)])
    return ImageSet(pictures, labels, tuple(BODIES))


def _render(labels: Tensor, size: tuple[int, int], draw: torch.Generator) -> Tensor:
    """Return uint8 images of shape (N, 4, H, W) of the kinds `labels`."""
    count = len(labels)

    def uniform(least: float, most: float, *shape: int) -> Tensor:
        return least + (most - least) * torch.rand(*(shape or (count,)), generator=draw)

    far, high, aside = uniform(4.2, 5.2), uniform(0.3, 0.75), uniform(-0.4, 0.4)
    eyes = far[:, None] * torch.stack([aside.sin() * high.cos(), high.sin(), aside.cos() * high.cos()], dim=1)
    camera = Camera(eyes, uniform(-0.2, 0.2, count, 3), size, opening=0.29)
    up, around = uniform(0.5, 1.3), uniform(-math.pi, math.pi)
    towards = torch.stack([around.sin() * up.cos(), up.sin(), around.cos() * up.cos()], dim=1)
    light = Light(towards=towards, colour=uniform(0.75, 1.0, count, 3))
    scale, centre = uniform(0.65, 1.0), uniform(-0.3, 0.3, count, 3)
    floor = centre[:, 1] - uniform(0.6, 0.8) * scale
    background = Background(floor=floor, wall=-uniform(2.0, 4.5), surfaces=_surface(2 * count, draw, waves=(0.5, 3.0)))
    turns = turned(uniform(-math.pi, math.pi), uniform(0.0, 0.7), uniform(-math.pi, math.pi))
    tall, surface = uniform(0.8, 1.25), _surface(count, draw, waves=(2.0, 9.0))
    picture = Picture(camera, background, light)
    picture.add(_clutter(centre, floor, draw))
    for label, distance in enumerate(BODIES.values()):
        chosen = (labels == label).nonzero()[:, 0]
        look = Surface(colours=surface.colours[chosen], kind=surface.kind[chosen], waves=surface.waves[chosen])
        group = Group(
            distance=distance,
            image=chosen,
            centre=centre[chosen],
            size=scale[chosen],
            turn=turns[chosen],
            sizes=tall[chosen],
            surface=look,
        )
        picture.add(group)
        picture.cast_shadows(group)
    colours = picture.colours(uniform(0.0, 0.5))
    colours = colours + uniform(0.0, 0.05)[:, None, None] * torch.randn(colours.shape, generator=draw)
    depth = (picture.depth() - NEAR) / (FAR - NEAR) + 0.005 * torch.randn(colours.shape[:2], generator=draw)
    whole = torch.cat([colours, depth[:, :, None]], dim=2).clamp(0.0, 1.0)
    return as_bytes(whole).permute(0, 2, 1).reshape(count, 4, *size)


def _surface(count: int, draw: torch.Generator, *, waves: tuple[float, float]) -> Surface:
    colours = 0.1 + 0.9 * torch.rand(count, 2, 3, generator=draw)
    kind = torch.randint(3, (count,), generator=draw)
    return Surface(colours=colours, kind=kind, waves=waves[0] + (waves[1] - waves[0]) * torch.rand(count, 3, generator=draw))


def _clutter(centre: Tensor, floor: Tensor, draw: torch.Generator) -> Group:
    """Return small boxes and pebbles that lie on the floors, around the places `centre`."""
    count = CLUTTER * len(floor)
    image = torch.arange(len(floor)).repeat_interleave(CLUTTER)
    half = 0.1 + 0.2 * torch.rand(count, 3, generator=draw)
    size = half.square().sum(dim=1).sqrt()
    rounded = half.amin(dim=1) * torch.rand(count, generator=draw)
    away, around = 1.0 + 1.2 * torch.rand(count, generator=draw), 2 * math.pi * torch.rand(count, generator=draw)
    place = torch.stack([centre[image, 0] + away * around.cos(), floor[image] + half[:, 1], centre[image, 2] + away * around.sin()], dim=1)
    level = torch.zeros(count)
    return Group(
        distance=pebble,
        image=image,
        centre=place,
        size=size,
        turn=turned(2 * math.pi * torch.rand(count, generator=draw), level, level),
        sizes=torch.cat([half, rounded[:, None]], dim=1) / size[:, None],
        surface=_surface(count, draw, waves=(2.0, 9.0)),
    )
