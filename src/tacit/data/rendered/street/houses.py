"""Houses: walls along both sides of a road, in blocks; here and there a fence with green behind it, or a side street."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from tacit.data.rendered.noise import Draw, noise
from tacit.data.rendered.street.frame import NAMES, Camera, Frame, Patch
from tacit.data.rendered.street.ground import LEAVES, Layout

__all__ = ["houses"]

BUILDING, TREE, FENCE = (NAMES.index(name) for name in ("building", "tree", "fence"))
WALLS = [
    (0.60, 0.36, 0.28), (0.52, 0.30, 0.25), (0.80, 0.74, 0.64), (0.74, 0.72, 0.70), (0.66, 0.58, 0.46),
    (0.86, 0.84, 0.80), (0.50, 0.50, 0.52), (0.78, 0.62, 0.44), (0.56, 0.60, 0.62), (0.44, 0.34, 0.28),
]  # fmt: skip
ROOFS = [(0.42, 0.22, 0.16), (0.30, 0.28, 0.30), (0.48, 0.32, 0.24)]
FRONTS = [(0.20, 0.24, 0.30), (0.42, 0.14, 0.14), (0.14, 0.30, 0.22), (0.30, 0.28, 0.26), (0.60, 0.52, 0.20), (0.12, 0.20, 0.42)]
FENCES = [(0.44, 0.32, 0.20), (0.24, 0.26, 0.26), (0.82, 0.82, 0.78), (0.34, 0.40, 0.30), (0.58, 0.46, 0.32)]
TRIMS = [(0.9, 0.9, 0.88), (0.3, 0.28, 0.26), (0.6, 0.58, 0.55)]
DARK, BRIGHT = torch.tensor([0.16, 0.19, 0.24]), torch.tensor([0.55, 0.60, 0.66])
BLOCKS = 32
GREEN, GAP = 0.16, 0.22
"""Kinds of block: below the first a fence with green behind it, from there to the second a gap, above it a house."""


def met(camera: Camera, place: Tensor) -> Tensor:
    """Return how far away a wall along the road at X = `place` (N, 1) is met in each column, of shape (N, W); infinite where it isn't."""
    u, bend = camera.u[:, 0], camera.bend[:, None]
    inside = u * u - 4 * bend * place  # of the root that solves u z - bend z^2 = place
    root = inside.clamp_min(0.0).sqrt()
    both = torch.stack([2 * place / (u + root), 2 * place / (u - root)])
    return torch.where((both > 0.3) & both.isfinite() & (inside >= 0), both, torch.inf).amin(dim=0)


class Blocks:
    """The blocks of one side of each road, and what is true of them.

    Args:
        town: Where houses are high, of shape (N,).
        draw: Source of all draws.
    """

    def __init__(self, town: Tensor, draw: Draw) -> None:
        n = draw.scenes
        self.each, self.start, high = draw.uniform(6.0, 14.0, n, 1), draw.uniform(0, 60, n, 1), town[:, None]
        floors = torch.where(high, 2 + draw.below(4, n, BLOCKS), 1 + draw.below(2, n, BLOCKS))
        floor = draw.uniform(2.7, 3.4, n, BLOCKS)
        kind = draw.uniform(0, 1, n, BLOCKS)
        self.numbers = {
            "kind": torch.where(high, kind + 0.05, kind * 0.75),
            "floor": floor,
            "tall": floor * floors + 0.7,
            "roof": torch.where(high, 0.0, 1.4).expand(n, BLOCKS),
            "pitch": draw.uniform(1.5, 3.2, n, BLOCKS),
            "share": draw.uniform(0.35, 0.62, n, BLOCKS),
            "sill": draw.uniform(0.2, 0.4, n, BLOCKS),
            "shop": draw.chance(0.45, n, BLOCKS) & high,
            "fenced": draw.chance(0.5, n, BLOCKS) & ~high,
            "pattern": draw.below(4, n, BLOCKS),
            "rail": draw.uniform(1.0, 2.1, n, BLOCKS),
        }
        palettes = {"wall": WALLS, "roofs": ROOFS, "front": FRONTS, "leaves": LEAVES, "fence": FENCES, "trim": TRIMS}
        self.colours = {name: draw.colours(palette, n, BLOCKS) for name, palette in palettes.items()}

    def number(self, z: Tensor) -> Tensor:
        """Return which block is at depths (N, W)."""
        return ((z.clamp(0, 400) + self.start) / self.each).floor().long() % BLOCKS


@dataclass(frozen=True, kw_only=True)
class Spot:
    """Pixels of walls; each of shape (R,)."""

    scene: Tensor
    block: Tensor
    z: Tensor
    along: Tensor
    """Metres along the wall."""
    up: Tensor
    patch: Patch

    def of(self, table: Tensor) -> Tensor:
        """Return what a table of blocks, of shape (N, BLOCKS, ...), says of each pixel."""
        return table[self.scene, self.block]


def spots(camera: Camera, blocks: Blocks, place: Tensor, least: Tensor, end: Tensor) -> Spot:
    """Return the pixels of the wall at `place` (N, 1), up to the height `least` (N, BLOCKS), and up to the road's `end` (N,)."""
    z = met(camera, place)
    block = blocks.number(z)
    up = camera.height[:, None, None] - camera.v * z[:, None]
    inside = (up > -0.05) & (up < least.gather(1, block)[:, None]) & (z < end[:, None])[:, None]
    scene, y, x = inside.nonzero().unbind(dim=1)
    pixel = (scene * camera.size[0] + y) * camera.size[1] + x
    deep = z[scene, x]
    patch = Patch(thing=scene, pixel=pixel, u=camera.u[scene, 0, x], v=camera.v[scene, y, 0], x=x, y=y)
    return Spot(scene=scene, block=block[scene, x], z=deep, along=deep + blocks.start[scene, 0], up=up[scene, y, x], patch=patch)


def houses(frame: Frame, layout: Layout, draw: Draw) -> None:
    """Put in both sides."""
    for place, outward in ((layout.left_wall[:, None], -1.0), (layout.right_wall[:, None], 1.0)):
        blocks, light = Blocks(layout.town, draw), draw.uniform(0.65, 1.08)
        told = blocks.numbers
        tall = torch.where(told["kind"] < GAP, torch.where(told["kind"] < GREEN, 7.0, 0.0), told["tall"] + told["roof"])
        spot = spots(frame.camera, blocks, place, tall, layout.end)
        house = spot.of(told["kind"]) >= GAP
        colour = torch.where(house[:, None], _wall(frame.camera, blocks, spot, place), _leaves(blocks, spot)) * light[spot.scene, None]
        ragged = 2.0 + 3.4 * noise(5, spot.along * 3, 0 * spot.along) + 1.2 * noise(1, spot.along * 7, 0 * spot.along + 1)
        frame.put(spot.patch, house | (spot.up < ragged), spot.z, colour, torch.where(house, BUILDING, TREE))
        rail = torch.where((told["kind"] < GREEN) | (told["fenced"] & (told["kind"] >= GAP)), told["rail"], 0.0)
        spot = spots(frame.camera, blocks, place - outward * 0.7, rail, layout.end)
        colour = _fence(blocks, spot) * light[spot.scene, None]
        frame.put(spot.patch, torch.ones_like(spot.z, dtype=torch.bool), spot.z, colour, FENCE)
        behind = Blocks(layout.town, draw)  # what is seen through the gaps
        behind.each *= 2
        low = torch.where(layout.town[:, None], behind.numbers["tall"] * 0.8, 0.0)
        spot = spots(frame.camera, behind, place + outward * 9.0, low, layout.end)
        colour = spot.of(behind.colours["wall"]) * (0.75 * light[spot.scene, None])
        frame.put(spot.patch, torch.ones_like(spot.z, dtype=torch.bool), spot.z, colour, BUILDING)


def _leaves(blocks: Blocks, spot: Spot) -> Tensor:
    return spot.of(blocks.colours["leaves"]) * (0.45 + 1.1 * noise(2, spot.along * 8, spot.up * 8))[:, None]


def _wall(camera: Camera, blocks: Blocks, spot: Spot, place: Tensor) -> Tensor:
    """Return the colours of houses: windows with sills and frames, shops on the ground, roofs."""
    told = {name: spot.of(table) for name, table in blocks.numbers.items()}
    tint = {name: spot.of(table) for name, table in blocks.colours.items()}
    along, up = spot.along, spot.up
    grain = noise(told["pattern"], along * 9, up * 9) - 0.5
    base = tint["wall"] * (1 + 0.3 * grain)[:, None]
    across, above = (along / told["pitch"]) % 1, (up / told["floor"]) % 1
    glass = (across < told["share"]) & (above > told["sill"]) & (above < 0.85) & (up < told["tall"] - 0.6)
    rim = (across < told["share"] + 0.08) & (above > told["sill"] - 0.06) & (above < 0.91) & (up < told["tall"] - 0.5)
    cell = noise(0, (along / told["pitch"]).floor() * 7, (up / told["floor"]).floor() * 5)
    pane = torch.lerp(DARK, BRIGHT, (cell.square() * 1.2).clamp(0, 1)[:, None])
    pixel = spot.z.square() / (camera.focal[spot.scene] * place[spot.scene, 0].abs())  # metres of the wall in a column
    clear = (told["pitch"] / (2 * pixel)).clamp(0.0, 1.0)[:, None]
    base = torch.where(rim[:, None], torch.lerp(base, tint["trim"], 0.8 * clear), base)
    base = torch.where(glass[:, None], torch.lerp(base * 0.85, pane, clear), base)
    base = torch.where(((above < 0.07) & (up > 1))[:, None], base * 1.12, base)
    front = tint["front"] * torch.where(up > 2.5, 1.25, 0.8)[:, None]
    bright = ((along / 2.1) % 1 < 0.75) & (up > 0.5) & (up < 2.4)
    front = torch.where(bright[:, None], torch.lerp(pane * 1.1, tint["wall"] * 0.9, 0.3), front)
    base = torch.where((told["shop"] & (up < 3.2))[:, None], front, base)
    return torch.where((up > told["tall"])[:, None], tint["roofs"] * (1 + 0.3 * grain)[:, None], base)


def _fence(blocks: Blocks, spot: Spot) -> Tensor:
    """Return the colours of fences: slats, which are seen as their mean from afar, posts, and a rail."""
    slats = torch.where((spot.along / 0.28) % 1 < 0.35, 0.55, 1.1)
    shade = torch.lerp(torch.full_like(slats, 0.9), slats, (6.0 / spot.z).clamp(0.0, 1.0))
    shade = torch.where((spot.along / 2.2) % 1 < 0.07, 0.7, shade)
    shade = shade * torch.where(spot.up > spot.of(blocks.numbers["rail"]) - 0.14, 1.2, 1.0)
    return spot.of(blocks.colours["fence"]) * shade[:, None]
