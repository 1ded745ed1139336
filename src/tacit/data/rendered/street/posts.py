"""Posts: lamps, signs, lights and trees along the pavements."""

from __future__ import annotations

import torch
from torch import Tensor

from tacit.data.rendered.noise import Draw, noise
from tacit.data.rendered.street.frame import NAMES, Frame
from tacit.data.rendered.street.ground import LEAVES, Layout
from tacit.data.rendered.street.things import Flat, Place, beside

__all__ = ["lamps", "signs", "trees"]

POLE, TREE, SIGN = (NAMES.index(name) for name in ("pole", "tree", "sign"))
METAL = [(0.26, 0.27, 0.28), (0.45, 0.46, 0.46), (0.16, 0.20, 0.17), (0.55, 0.53, 0.48)]
RED, BLUE, WHITE, YELLOW, GREEN, DARK = (
    (0.80, 0.10, 0.12), (0.10, 0.25, 0.68), (0.93, 0.93, 0.92), (0.93, 0.75, 0.12), (0.12, 0.45, 0.25), (0.10, 0.10, 0.11),
)  # fmt: skip


def lamps(frame: Frame, layout: Layout, draw: Draw) -> None:
    """Put in rows of lamp posts."""
    rows = 10
    number = torch.arange(rows)[None]
    apart = draw.uniform(9.0, 18.0)[:, None]
    ahead = draw.uniform(3.5, 9.0)[:, None] + apart * (number // 2) + draw.uniform(0.0, 5.0, draw.scenes, 2).repeat(1, rows // 2)
    sides = torch.where(number % 2 == 0, -1, 1) * draw.chance(0.72, draw.scenes, 2).repeat(1, rows // 2)
    place = beside(layout, draw, ahead, torch.where(ahead < 45, sides, 0), inset=draw.uniform(0.35, 0.8)[:, None].expand_as(ahead))
    tall, thick = draw.uniform(4.5, 8.5)[place.scene], draw.uniform(0.09, 0.18)[place.scene]
    tint = draw.colours(METAL, spread=0.03)[place.scene]
    reach = draw.uniform(0.0, 1.8)[place.scene] * -(place.across.sign())  # an arm over the road
    flat = Flat(frame.camera, place, 2.2, tall + 0.2)
    of, top = flat.of, tall[flat.of]
    stem = (flat.x.abs() < torch.maximum(thick[of] * (1.25 - 0.4 * flat.y / top), 0.52 * flat.pixel)) & (flat.y < top)
    out = flat.x / reach[of].where(reach[of].abs() > 0.05, torch.tensor(0.05))
    arm = (flat.y - top + 0.1).abs() < torch.maximum(torch.tensor(0.07), 0.5 * flat.pixel)
    arm = arm & (out > 0) & (out < 1)
    lamp = ((flat.y - top + 0.12).abs() < torch.maximum(torch.tensor(0.13), 0.5 * flat.pixel)) & ((flat.x - reach[of]).abs() < 0.35)
    colour = torch.where(lamp[:, None], torch.tensor([0.85, 0.84, 0.76]), tint[of] * (0.85 + 0.4 * (flat.x > 0))[:, None])
    frame.put(flat.patch, stem | arm | lamp, flat.z, colour, POLE)


def signs(frame: Frame, layout: Layout, draw: Draw) -> None:
    """Put in road signs and traffic lights on posts."""
    count = 5
    ahead = 3.2 + 13.0 * draw.uniform(0, 1, draw.scenes, count).square()
    there = torch.where(draw.chance(0.5, draw.scenes, count), torch.where(draw.chance(0.62, draw.scenes, count), 1, -1), 0)
    place = beside(layout, draw, ahead, there, inset=draw.uniform(0.3, 0.9, draw.scenes, count))
    things = len(place)
    kind, size = draw.below(6, things), draw.uniform(0.45, 0.75, things)
    high, thick = draw.uniform(2.1, 3.3, things), draw.uniform(0.045, 0.08, things)
    post = Flat(frame.camera, place, 0.2, high)
    stem = post.x.abs() < torch.maximum(thick[post.of], 0.5 * post.pixel)
    frame.put(post.patch, stem, post.z + 0.02, draw.colours(METAL, things)[post.of], POLE)
    flat = Flat(frame.camera, place, 0.9, high + 1.4, high - 0.8)
    colour, inside = _plates(flat, kind, size, high, draw)
    frame.put(flat.patch, inside, flat.z, colour, SIGN)


def _plates(flat: Flat, kind: Tensor, size: Tensor, high: Tensor, draw: Draw) -> tuple[Tensor, Tensor]:
    """Return colour and shape of signs: ring, triangle, disc, board, diamond, or a light."""
    of, things = flat.of, len(kind)
    x, y, what = flat.x / size[of], (flat.y - high[of]) / size[of], kind[of]
    round_ = torch.hypot(x, y)
    three = torch.maximum(x.abs() * 1.7 + y, -y * 1.7)
    square, turned = torch.maximum(x.abs(), y.abs() * 0.8), x.abs() + y.abs()
    light = torch.maximum(x.abs() * 2.2, (y - 0.3).abs() * 0.85)
    edge = torch.stack([round_, three, round_, square, turned, light])
    outer = edge.gather(0, what[None])[0]
    inner, outside = torch.tensor([WHITE, WHITE, BLUE, BLUE, YELLOW, DARK]), torch.tensor([RED, RED, WHITE, WHITE, WHITE, DARK])
    other = torch.tensor([WHITE, WHITE, BLUE, GREEN, YELLOW, DARK])
    faces = torch.where(draw.chance(0.5, things)[:, None], inner[kind], other[kind])
    colour = torch.where((outer < 0.68)[:, None], faces[of], outside[what])
    mark = (torch.maximum(x.abs() * 2, y.abs()) < 0.32) & (what < 4)
    colour = torch.where(mark[:, None], torch.where((what < 2)[:, None], torch.tensor(DARK), torch.tensor(WHITE)), colour)
    lit = draw.below(3, things)[of]
    lamp = (torch.hypot(x, y - 0.95 + 0.65 * lit) < 0.3) & (what == 5)
    colour = torch.where(lamp[:, None], torch.tensor([RED, YELLOW, (0.2, 0.9, 0.5)])[lit], colour)
    return colour, outer < torch.maximum(torch.ones_like(outer), 0.9 * flat.pixel / size[of])


def trees(frame: Frame, layout: Layout, draw: Draw) -> None:
    """Put in trees: a stem, and a crown with a ragged edge."""
    count = 8
    ahead = draw.uniform(5.0, 55.0, draw.scenes, count)
    side = torch.where(draw.chance(0.5, draw.scenes, count), 1, -1)
    there = torch.where(draw.chance(draw.uniform(0.0, 0.75)[:, None], draw.scenes, count), side, 0)
    place = beside(layout, draw, ahead, there, inset=draw.uniform(0.9, 2.6, draw.scenes, count))
    _crowns(frame, place, draw)


def _crowns(frame: Frame, place: Place, draw: Draw) -> None:
    things = len(place)
    wide, tall = draw.uniform(1.1, 2.3, things), draw.uniform(1.2, 2.6, things)
    stem, thick = draw.uniform(1.7, 3.0, things), draw.uniform(0.1, 0.2, things)
    tint, bark = draw.colours(LEAVES, things), draw.colours([(0.30, 0.24, 0.18), (0.40, 0.36, 0.30)], things)
    flat = Flat(frame.camera, place, wide * 1.35, stem + 2.4 * tall)
    of, start = flat.of, draw.uniform(0, 128, things)
    leaf = noise(4, flat.x * 9 + start[of], flat.y * 9 + start[of])
    fine = noise(1, flat.x * 12 + start[of], flat.y * 12)
    up = (flat.y - stem[of] - tall[of]) / tall[of]
    crown = torch.hypot(flat.x / wide[of], up) < 0.72 + 0.6 * leaf
    trunk = (flat.x.abs() < torch.maximum(thick[of], 0.5 * flat.pixel)) & (flat.y < stem[of] + tall[of])
    lit = (0.45 + 0.5 * fine + 0.35 * leaf + 0.22 * up).clamp(0.2, 1.5)
    colour = torch.where(crown[:, None], tint[of] * lit[:, None], bark[of] * (0.7 + 0.5 * fine)[:, None])
    frame.put(flat.patch, crown | trunk, flat.z, colour, TREE)
