"""People: on foot, on the pavements and across the road, and on bicycles."""

from __future__ import annotations

import torch
from torch import Tensor

from tacit.data.rendered.noise import Draw
from tacit.data.rendered.street.frame import NAMES, Frame
from tacit.data.rendered.street.ground import Layout
from tacit.data.rendered.street.things import Flat, Place

__all__ = ["cyclists", "pedestrians"]

PEDESTRIAN, CYCLIST = (NAMES.index(name) for name in ("pedestrian", "cyclist"))
SKIN = [(0.86, 0.67, 0.55), (0.72, 0.52, 0.40), (0.45, 0.31, 0.23), (0.93, 0.76, 0.65)]
HAIR = [(0.12, 0.09, 0.08), (0.36, 0.25, 0.15), (0.70, 0.58, 0.36), (0.6, 0.6, 0.6)]
TOPS = [
    (0.75, 0.15, 0.15), (0.15, 0.25, 0.55), (0.90, 0.88, 0.84), (0.12, 0.12, 0.14), (0.85, 0.65, 0.15),
    (0.20, 0.45, 0.30), (0.55, 0.35, 0.55), (0.45, 0.45, 0.45), (0.90, 0.50, 0.20),
]  # fmt: skip
LEGS = [(0.14, 0.17, 0.28), (0.10, 0.10, 0.11), (0.45, 0.38, 0.28), (0.30, 0.32, 0.36)]
FRAMES = [(0.65, 0.10, 0.10), (0.10, 0.10, 0.12), (0.10, 0.30, 0.55), (0.75, 0.75, 0.76)]


def pedestrians(frame: Frame, layout: Layout, draw: Draw) -> None:
    """Put in people who walk: most on the pavements, some on the road."""
    n, count = draw.scenes, 8
    ahead = 3.5 + 14.0 * draw.uniform(0, 1, n, count).square()
    there = draw.chance(draw.uniform(0.25, 1.0)[:, None], n, count)
    right = draw.chance(0.55, n, count)
    edge = torch.where(right, layout.right[:, None], -layout.left[:, None]) + draw.uniform(0.3, 2.4, n, count)
    on_road = draw.chance(0.4, n, count) & (ahead > 4.5)
    share = draw.uniform(0, 1, n, count)
    crossing = layout.left[:, None] + share * (layout.right - layout.left)[:, None]
    across = torch.where(on_road, crossing, torch.where(right, edge, -edge))
    scene = torch.arange(n)[:, None].expand(n, count)
    place = Place(scene=scene[there], across=across[there], ahead=ahead[there])
    things = len(place)
    tall = draw.uniform(1.5, 1.92, things) * torch.where(draw.chance(0.1, things), 0.68, 1.0)
    flat = Flat(frame.camera, place, 0.36 * tall, tall)
    of = flat.of
    x, y = flat.x / tall[of], flat.y / tall[of]
    stride, arms = draw.uniform(0.0, 0.13, things)[of], draw.uniform(0.01, 0.05, things)[of]
    broad = draw.uniform(0.105, 0.15, things)[of]
    thin = 0.5 * flat.pixel / tall[of]
    head = torch.hypot(x / 0.068, (y - 0.925) / 0.08) < torch.maximum(torch.ones_like(x), thin / 0.068)
    torso = (y > 0.5) & (y < 0.85) & (x.abs() < broad * (0.82 + 0.6 * (y - 0.5)))
    sleeve = (y > 0.46) & (y < 0.82) & ((x.abs() - broad - arms * (0.85 - y) * 6).abs() < 0.036)
    fall = (0.52 - y) / 0.52
    leg = (y < 0.52) & (y > 0.0) & ((x.abs() - 0.045 - stride * fall).abs() < torch.maximum(torch.tensor(0.05), 0.8 * thin))
    skirt = draw.chance(0.2, things)[of] & (y > 0.25) & (y < 0.55) & (x.abs() < 0.09 + 0.16 * (0.55 - y))
    bag = draw.chance(0.25, things)[of] & (y > 0.32) & (y < 0.5) & ((x - 0.19).abs() < 0.05)
    hair = head & (y > 0.935)
    colour = draw.colours(LEGS, things)[of]
    top = draw.colours(TOPS, things)
    colour = torch.where((torso | sleeve)[:, None], top[of] * (0.85 + 0.3 * (x > 0))[:, None], colour)
    colour = torch.where(skirt[:, None], top[of] * 0.7, colour)
    colour = torch.where(bag[:, None], draw.colours(TOPS, things)[of] * 0.6, colour)
    colour = torch.where(head[:, None], draw.colours(SKIN, things)[of], colour)
    colour = torch.where(hair[:, None], draw.colours(HAIR, things)[of], colour)
    frame.put(flat.patch, head | torso | sleeve | leg | skirt | bag, flat.z, colour, PEDESTRIAN)


def cyclists(frame: Frame, layout: Layout, draw: Draw) -> None:
    """Put in people on bicycles, at the road's edges along it, or across it, seen from the side."""
    n, count = draw.scenes, 3
    ahead = 2.9 + 11.0 * draw.uniform(0, 1, n, count).square()
    there = draw.chance(0.45, n, count)
    right = draw.chance(0.6, n, count)
    inset = draw.uniform(-0.7, 1.3, n, count)
    edge = torch.where(right, layout.right[:, None] - inset, layout.left[:, None] + inset)
    aside = draw.chance(0.45, n, count)
    anywhere = layout.left[:, None] + draw.uniform(0, 1, n, count) * (layout.right - layout.left)[:, None]
    across = torch.where(aside & draw.chance(0.6, n, count), anywhere, edge)
    scene = torch.arange(n)[:, None].expand(n, count)
    place = Place(scene=scene[there], across=across[there], ahead=ahead[there])
    things = len(place)
    turned, mirrored = aside[there], draw.chance(0.5, things)
    flat = Flat(frame.camera, place, 0.95, 1.85)
    of = flat.of
    x, y = torch.where(mirrored[of], -flat.x, flat.x), flat.y
    thin = 0.5 * flat.pixel
    tints = [draw.colours(palette, things)[of] for palette in (TOPS, LEGS, SKIN, FRAMES, HAIR)]
    along, ahead_view = _aside(x, y, thin), _ahead(x, y, thin)
    parts = [torch.where(turned[of], one, other) for one, other in zip(along, ahead_view, strict=True)]
    top, legs, head, bike, wheel = parts
    helmet = head & (y > 1.66)
    colour = torch.where(wheel[:, None], torch.tensor([0.08, 0.08, 0.09]), tints[3])
    for mask, tint in ((legs, tints[1]), (top, tints[0]), (head, tints[2]), (helmet, tints[4])):
        colour = torch.where(mask[:, None], tint, colour)
    frame.put(flat.patch, top | legs | head | bike | wheel, flat.z, colour, CYCLIST)


def _segment(x: Tensor, y: Tensor, start: tuple[float, float], end: tuple[float, float], thick: Tensor) -> Tensor:
    """Return which points are within `thick` of a line."""
    across, up = end[0] - start[0], end[1] - start[1]
    share = (((x - start[0]) * across + (y - start[1]) * up) / (across * across + up * up)).clamp(0, 1)
    return torch.hypot(x - start[0] - share * across, y - start[1] - share * up) < thick


def _aside(x: Tensor, y: Tensor, thin: Tensor) -> list[Tensor]:
    """Return what is body, legs, head, bicycle and wheel, of one that rides to the right."""
    rim = torch.minimum(torch.hypot(x - 0.53, y - 0.34), torch.hypot(x + 0.53, y - 0.34))
    wheel = (rim - 0.32).abs() < torch.maximum(torch.tensor(0.045), thin)
    line = torch.maximum(torch.tensor(0.035), 0.9 * thin)
    ends = [((-0.53, 0.34), (-0.15, 0.85)), ((-0.15, 0.85), (0.42, 0.85)), ((0.42, 0.95), (0.53, 0.34)), ((-0.05, 0.33), (0.40, 0.82)),
            ((-0.05, 0.33), (-0.2, 0.92)), ((-0.53, 0.34), (-0.05, 0.33))]  # fmt: skip
    bike = torch.stack([_segment(x, y, one, other, line) for one, other in ends]).any(0)
    body = torch.maximum(torch.tensor(0.15), thin)
    top = _segment(x, y, (-0.15, 0.98), (0.14, 1.42), body) | _segment(x, y, (0.14, 1.36), (0.44, 1.0), 0.07 + 0 * thin)
    legs = _segment(x, y, (-0.15, 0.95), (0.15, 0.68), 0.09 + 0 * thin) | _segment(x, y, (0.15, 0.68), (0.0, 0.25), 0.07 + 0 * thin)
    head = torch.hypot(x - 0.24, y - 1.64) < torch.maximum(torch.tensor(0.14), thin)
    return [top, legs, head, bike, wheel]


def _ahead(x: Tensor, y: Tensor, thin: Tensor) -> list[Tensor]:
    """Return the same of one that rides along the road."""
    wheel = torch.hypot(x / torch.maximum(torch.tensor(0.05), thin), (y - 0.34) / 0.34) < 1
    bar = _segment(x, y, (-0.3, 1.02), (0.3, 1.02), torch.maximum(torch.tensor(0.03), 0.8 * thin))
    bike = bar | _segment(x, y, (0.0, 0.5), (0.0, 0.95), torch.maximum(torch.tensor(0.05), thin))
    top = (y > 0.92) & (y < 1.5) & (x.abs() < 0.17 + 0.12 * (y - 0.92))
    legs = (y > 0.3) & (y < 1.0) & ((x.abs() - 0.13).abs() < torch.maximum(torch.tensor(0.075), 0.7 * thin))
    head = torch.hypot(x / 0.115, (y - 1.64) / 0.14) < torch.maximum(torch.ones_like(thin), thin / 0.115)
    return [top, legs, head, bike, wheel]
