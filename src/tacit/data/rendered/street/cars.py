"""Cars: parked along the road and driving on it, each a back (or front) and the side that can be seen."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from tacit.data.rendered.noise import Draw
from tacit.data.rendered.street.frame import NAMES, Frame
from tacit.data.rendered.street.ground import Layout
from tacit.data.rendered.street.things import Flat, Place, beside

__all__ = ["cars"]

CAR = NAMES.index("car")
PAINT = [
    (0.72, 0.72, 0.73), (0.90, 0.90, 0.90), (0.12, 0.12, 0.13), (0.35, 0.36, 0.38), (0.55, 0.08, 0.09),
    (0.12, 0.20, 0.45), (0.16, 0.30, 0.24), (0.70, 0.62, 0.42), (0.28, 0.42, 0.60), (0.80, 0.45, 0.10),
]  # fmt: skip
GLASS, TYRE, PLATE = (0.15, 0.18, 0.22), (0.07, 0.07, 0.075), (0.88, 0.86, 0.74)


@dataclass(frozen=True, kw_only=True)
class Cars:
    """B cars."""

    place: Place
    """Of the middle of the end that is nearer."""
    wide: Tensor
    tall: Tensor
    long: Tensor
    paint: Tensor
    """Of shape (B, 3)."""
    van: Tensor
    """True for vans, which are boxes."""
    comes: Tensor
    """True for those that are seen from the front."""


def cars(frame: Frame, layout: Layout, draw: Draw) -> None:
    """Put in cars, with their shadows on the road."""
    count, n = 7, draw.scenes
    number = torch.arange(count)[None]
    ahead = draw.uniform(2.5, 11.0, n, 2).repeat_interleave(count, 1) + torch.cat([number, number], 1) * draw.uniform(5.4, 7.5, n, 1)
    row = draw.chance(0.55, n, 2).repeat_interleave(count, 1) & draw.chance(0.62, n, 2 * count) & (ahead < 60)
    there = torch.where(row, torch.tensor([-1] * count + [1] * count), 0)
    parked = beside(layout, draw, ahead, there, inset=-draw.uniform(0.85, 1.15, n, 2 * count))
    lanes = 4
    moving = draw.uniform(5.0, 45.0, n, lanes)
    on = draw.chance(0.36, n, lanes)
    wide = layout.right - layout.left
    own = (torch.arange(lanes) % 2 == 0).expand(n, lanes)
    rightwards = (layout.right < -layout.left)[:, None]  # where the camera's lane is the right one
    other = torch.where(rightwards, layout.left[:, None] + 0.3 * wide[:, None], layout.right[:, None] - 0.3 * wide[:, None])
    lane = torch.where(own, torch.zeros(()), other) + draw.uniform(-0.3, 0.3, n, lanes)
    scene = torch.arange(n)[:, None].expand(n, lanes)
    driving = Place(scene=scene[on], across=lane[on], ahead=moving[on])
    place = Place(**{name: torch.cat([getattr(one, name) for one in (parked, driving)]) for name in ("scene", "across", "ahead")})
    comes = torch.cat([draw.chance(0.3, len(parked)), ~own[on]])
    things = len(place)
    van = draw.chance(0.16, things)
    made = Cars(
        place=place,
        wide=torch.where(van, draw.uniform(1.9, 2.3, things), draw.uniform(1.65, 1.9, things)),
        tall=torch.where(van, draw.uniform(2.0, 3.0, things), draw.uniform(1.38, 1.7, things)),
        long=torch.where(van, draw.uniform(4.8, 6.5, things), draw.uniform(3.6, 4.7, things)),
        paint=draw.colours(PAINT, things, spread=0.04),
        van=van,
        comes=comes,
    )
    _shadows(frame, made)
    _sides(frame, made)
    _ends(frame, made)


def _shadows(frame: Frame, made: Cars) -> None:
    camera, place = frame.camera, made.place
    eye, scene = camera.height[place.scene], place.scene
    near, far = (place.ahead - 0.5).clamp_min(1.0), place.ahead + made.long + 0.3
    middle = place.across + camera.bend[scene] * place.ahead.square()
    half = made.wide / 2 + 0.25
    sides = torch.stack([(middle + sign * half) / z for sign in (-1, 1) for z in (near, far)])
    patch = camera.patch(scene, sides.amin(0), sides.amax(0), eye / far, eye / near)
    of = patch.thing
    z = eye[of] / patch.v
    x = (patch.u * z - middle[of]).abs() / half[of]
    along = ((z - (near + far)[of] / 2).abs() / ((far - near)[of] / 2)).clamp(0, 2)
    frame.shade(patch, 1 - 0.62 * ((1.25 - torch.maximum(x, along)) / 0.45).clamp(0, 1))


def _sides(frame: Frame, made: Cars) -> None:
    """Put in the side that looks to the camera's column: of a car on the right its left one."""
    camera, place = frame.camera, made.place
    scene, near = place.scene, place.ahead
    far = near + made.long
    middle = place.across + camera.bend[scene] * near.square()
    x = middle - middle.sign() * made.wide / 2
    ends = torch.stack([x / near, x / far])
    eye = camera.height[scene]
    seen = x * middle > 0  # else the camera looks at the end alone
    left, right = ends.amin(0), torch.where(seen, ends.amax(0), ends.amin(0))
    patch = camera.patch(scene, left, right, (eye - made.tall) / torch.where(eye > made.tall, far, near), eye / near)
    of = patch.thing
    z = x[of] / patch.u
    y = eye[of] - patch.v * z
    share = (z - near[of]) / made.long[of]
    nose = torch.where(made.comes[of], share, 1 - share)  # 0 at the front
    up = y / made.tall[of]
    soft = torch.where(nose < 0.5, 0.60 + (nose - 0.22) * 2.6, 0.72 + (0.98 - nose) * 2.2).clamp(0.58, 1.0)
    roof = torch.where(made.van[of], (0.6 + nose * 4).clamp(0.6, 1.0), soft)
    along = torch.minimum((share - 0.19).abs(), (share - 0.81).abs()) * made.long[of]
    wheel = torch.hypot(along, y - 0.32)
    inside = (share > 0) & (share < 1) & (((up < roof) & (y > 0.2)) | (wheel < 0.33))
    pane = (up > 0.62) & (up < 0.93) & (up < roof - 0.06) & (nose > 0.2) & ((share * made.long[of] / 1.15) % 1 > 0.1)
    pane = pane & (~made.van[of] | (nose < 0.35))
    lit = 0.78 + 0.25 * (up > 0.5)
    colour = made.paint[of] * torch.where((y < 0.35) & (wheel > 0.3), 0.5, lit)[:, None]
    colour = torch.where(pane[:, None], torch.tensor(GLASS) * (0.9 + 0.8 * (up - 0.6))[:, None], colour)
    colour = torch.where((wheel < 0.33)[:, None], torch.where((wheel < 0.17)[:, None], torch.tensor(0.45), torch.tensor(TYRE)), colour)
    frame.put(patch, inside & (z > 0.5), z + 0.01, colour, CAR)


def _ends(frame: Frame, made: Cars) -> None:
    flat = Flat(frame.camera, made.place, made.wide / 2, made.tall)
    of = flat.of
    x, up, van = flat.x.abs() / (made.wide[of] / 2), flat.y / made.tall[of], made.van[of]
    cabin = torch.where(van, torch.full_like(x, 0.98), 1.0 - 0.62 * (up - 0.55).clamp_min(0.0))
    inside = (up < 1) & torch.where(flat.y > 0.2, x < cabin, (x > 0.62) & (x < 0.95))
    glass = (up > 0.60) & (up < 0.93) & (x < cabin - 0.14)
    colour = made.paint[of] * (0.82 + 0.3 * (up - 0.5))[:, None]
    shine = (0.75 + 1.3 * (up - 0.6))[:, None]
    colour = torch.where(glass[:, None], torch.tensor(GLASS) * shine, colour)
    light = (up > 0.40) & (up < 0.56) & (x > 0.66)
    lamps = torch.where(made.comes[of][:, None], torch.tensor([0.96, 0.95, 0.84]), torch.tensor([0.72, 0.08, 0.07]))
    colour = torch.where(light[:, None], lamps, colour)
    colour = torch.where(((up < 0.26) & (flat.y > 0.2))[:, None], torch.tensor([0.17, 0.17, 0.18]), colour)
    colour = torch.where(((up > 0.28) & (up < 0.38) & (x < 0.3))[:, None], torch.tensor(PLATE), colour)
    colour = torch.where((flat.y <= 0.2)[:, None], torch.tensor(TYRE), colour)
    frame.put(flat.patch, inside, flat.z, colour, CAR)
