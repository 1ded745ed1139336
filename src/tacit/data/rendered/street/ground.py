"""Ground: sky, road, pavements, and what stands where the road ends."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from tacit.data.rendered.noise import Draw, noise, smooth
from tacit.data.rendered.street.frame import NAMES, Frame

__all__ = ["Layout", "end", "ground", "sky"]

SKY, BUILDING, ROAD, PAVEMENT, TREE = (NAMES.index(name) for name in ("sky", "building", "road", "pavement", "tree"))
ASPHALT = [(0.36, 0.36, 0.38), (0.30, 0.30, 0.32), (0.43, 0.42, 0.42), (0.25, 0.26, 0.29)]
SLABS = [(0.62, 0.60, 0.57), (0.55, 0.54, 0.54), (0.66, 0.60, 0.52), (0.58, 0.50, 0.46)]
LEAVES = [(0.22, 0.36, 0.14), (0.30, 0.40, 0.16), (0.16, 0.28, 0.14), (0.42, 0.40, 0.16), (0.46, 0.30, 0.12)]
CLEAR = [(0.33, 0.53, 0.84), (0.42, 0.60, 0.86), (0.28, 0.45, 0.75)]
GREY = [(0.66, 0.69, 0.73), (0.75, 0.76, 0.78), (0.56, 0.60, 0.66)]
DUSK = [(0.36, 0.38, 0.56), (0.48, 0.42, 0.50)]


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Where things are along the roads, in metres from the camera's lane; each of shape (N,)."""

    left: Tensor
    """Of the road's left edge, below 0."""
    right: Tensor
    left_wall: Tensor
    """Of the walls beyond the pavement."""
    right_wall: Tensor
    end: Tensor
    """How far ahead the road ends."""
    town: Tensor
    """True where houses are high and close."""

    @classmethod
    def drawn(cls, draw: Draw) -> Layout:
        """Return roads of two lanes, driven on the right or, in some, on the left."""
        wide, narrow = draw.uniform(4.4, 6.6), draw.uniform(1.9, 3.2)
        mirrored, town = draw.chance(0.35), draw.chance(0.6)
        left, right = -torch.where(mirrored, narrow, wide), torch.where(mirrored, wide, narrow)
        yard = torch.where(town, draw.uniform(0.0, 0.4), draw.uniform(1.0, 4.0))
        return cls(
            left=left,
            right=right,
            left_wall=left - draw.uniform(1.8, 4.0) - yard,
            right_wall=right + draw.uniform(1.8, 4.0) + yard,
            end=draw.uniform(45.0, 110.0),
            town=town,
        )


def sky(frame: Frame, draw: Draw) -> Tensor:
    """Fill the frame with sky; return its colour at the horizon, of shape (N, 3), which far things take on."""
    height = frame.camera.size[0]
    kind, shape = draw.below(5)[:, None], (draw.scenes, 1, 1)
    top = torch.where(kind < 2, draw.colours(CLEAR), torch.where(kind < 4, draw.colours(GREY), draw.colours(DUSK)))
    warm = torch.tensor([0.86, 0.88, 0.92]) * draw.uniform(0.85, 1.05)[:, None]
    low = torch.where(kind < 4, 0.35 * top + 0.65 * warm, torch.tensor([0.92, 0.70, 0.52]) * draw.uniform(0.8, 1.0)[:, None])
    rise = (1 - (torch.arange(height) + 0.5) / frame.camera.horizon[:, None]).clamp(0, 1)[..., None].sqrt()
    colour = torch.lerp(low[:, None], top[:, None], rise)[:, :, None].expand(*frame.shape, 3)
    away = 1 / (0.25 - frame.camera.v.clamp_max(0.0))  # clouds are flat, and nearer overhead
    x, y = frame.camera.u * away * 12 + draw.uniform(0, 128, *shape), away * 12 + draw.uniform(0, 128, *shape)
    cover = torch.where(kind[:, :, None] < 2, draw.uniform(0.45, 0.8, *shape), draw.uniform(0.2, 0.5, *shape))
    cloud = smooth(noise(7, x, y) - cover, 0.0, 0.3) * torch.where(kind[:, :, None] < 4, 0.85, 0.4)
    white = torch.tensor([0.94, 0.95, 0.96]) * draw.uniform(0.8, 1.02, draw.scenes, 1, 1, 1)
    colour = torch.lerp(colour, white.expand_as(colour), cloud[..., None])
    everywhere = torch.ones(frame.shape, dtype=torch.bool)
    frame.cover(everywhere, torch.full((1, 1, 1), 1e6), colour, SKY)
    return low


def end(frame: Frame, layout: Layout, draw: Draw) -> None:
    """Put in what closes the view: houses across, a row of trees, or nothing."""
    camera, kind = frame.camera, draw.below(3)[:, None, None]
    z = layout.end[:, None, None]
    across = camera.u * z
    up = camera.height[:, None, None] - camera.v * z
    block = ((across + 400) / draw.uniform(8, 15, draw.scenes, 1, 1)).floor().long() % 64
    tall = draw.uniform(5.0, 17.0, draw.scenes, 64).gather(1, block[:, 0])[:, None]
    tint = draw.colours([(0.62, 0.58, 0.54), (0.55, 0.45, 0.40), (0.70, 0.68, 0.64)], draw.scenes, 64)
    colour = tint.gather(1, block[:, 0, :, None].expand(-1, -1, 3))[:, None]
    window = ((across / 2.4) % 1 > 0.5) & ((up / 3.0) % 1 > 0.5)
    colour = colour * torch.where(window, 0.72, 1.0)[..., None]
    frame.cover((kind == 0) & (up < tall) & (up > -0.5), z, colour, BUILDING)
    ragged = 5.0 + 7.0 * noise(5, across * 2 + 300, torch.zeros(1, 1, 1)) + 2 * noise(1, across * 5 + 300, torch.ones(1, 1, 1))
    leaves = draw.colours(LEAVES)[:, None, None] * (0.5 + noise(2, across * 4 + 900, up * 4 + 900))[..., None]
    frame.cover((kind == 1) & (up < ragged) & (up > -0.5), z, leaves, TREE)


def ground(frame: Frame, layout: Layout, draw: Draw) -> None:
    """Put in road, marks, kerbs and pavements, all on one level."""
    camera, shape = frame.camera, (draw.scenes, 1, 1)
    z = camera.height[:, None, None] / camera.v.clamp_min(1e-4)
    x = camera.u * z - camera.bend[:, None, None] * z * z
    left, right = layout.left[:, None, None], layout.right[:, None, None]
    fine = (8.0 / z).clamp_max(1.0)  # what is smaller than a pixel is seen as its mean
    start = draw.uniform(0, 128, *shape)
    grain = noise(draw.below(3, *shape), x * 14 + start, z * 14) - 0.5
    stains = noise(draw.below(3, *shape) + 4, x * 6 + start, z * 1.6) - 0.5
    wheels = (torch.cos((x - left) * (2 * torch.pi / 1.7)) * 0.02) * draw.chance(0.5, *shape)
    road = draw.colours(ASPHALT, spread=0.03)[:, None, None] * (1 + 0.35 * grain * fine + 0.4 * stains + wheels)[..., None]
    white, dash = draw.uniform(0.7, 0.95, *shape), draw.uniform(3, 6, *shape)
    lane = torch.where(draw.chance(0.8, *shape), (left + right) / 2, torch.full(shape, 99.0))
    broken = ((z + start) / dash) % 1 < draw.uniform(0.4, 1.0, *shape)
    wide = torch.maximum(torch.full(shape, 0.08), 0.35 * z / camera.focal[:, None, None])
    mark = ((x - lane).abs() < wide) & broken
    edge = draw.chance(0.4, *shape) & (torch.minimum((x - left - 0.3).abs(), (x - right + 0.3).abs()) < 0.7 * wide)
    stop = draw.uniform(7, 30, *shape)
    zebra = draw.chance(0.25, *shape) & ((z - stop).abs() < 1.6) & ((x / 0.9) % 1 < 0.5)
    worn = 0.55 + 0.6 * (grain + 0.5)
    painted = ((mark | edge | zebra) & (x > left) & (x < right)).float() * worn.clamp(0, 1) * (20 / z).clamp_max(1.0)
    road = torch.lerp(road, white[..., None].expand_as(road), painted[..., None])
    frame.cover(camera.v.expand(frame.shape) > 0.004, z, road, ROAD)
    slab = draw.uniform(0.5, 1.0, *shape)
    joint = (((x / slab) % 1 < 0.1) | ((z / slab) % 1 < 0.1)).float() * fine.square() * draw.chance(0.75, *shape)
    paved = draw.colours(SLABS, spread=0.04)[:, None, None] * (1 + 0.3 * grain * fine + 0.25 * stains - 0.25 * joint)[..., None]
    beyond = torch.maximum(left - x, x - right)
    kerb = (beyond < 0.22)[..., None]
    paved = torch.where(kerb, draw.uniform(0.6, 0.85, *shape)[..., None].expand_as(paved), paved)
    inside = (beyond > 0) & (x > layout.left_wall[:, None, None] - 0.4) & (x < layout.right_wall[:, None, None] + 0.4)
    frame.cover(inside & (camera.v > 0.004), z * 0.9999, paved, PAVEMENT)
