"""Scenes: bodies on a floor before a wall, under one light; colour and depth of every pixel."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from tacit.data.rendered.bodies import Distance
from tacit.data.rendered.march import Camera, cast, normals

__all__ = ["Background", "Group", "Light", "Picture", "Surface", "pattern"]

AMBIENT = 0.45
"""Share of the light that comes from everywhere."""


@dataclass(frozen=True, kw_only=True)
class Surface:
    """How surfaces look, one row a body: two colours, and how they alternate."""

    colours: Tensor
    """In [0, 1], of shape (B, 2, 3)."""
    kind: Tensor
    """0: the first colour alone, 1: stripes, 2: a chequered pattern; int64 of shape (B,)."""
    waves: Tensor
    """How often the colours alternate along each axis, in radians a unit, of shape (B, 3)."""

    def at(self, points: Tensor, rows: Tensor) -> Tensor:
        """Return the colour of `points` (R, 3) of the bodies `rows` (R,), of shape (R, 3)."""
        share = pattern(points * self.waves[rows], self.kind[rows])[:, None]
        return torch.lerp(self.colours[rows, 0], self.colours[rows, 1], share)


def pattern(angles: Tensor, kind: Tensor) -> Tensor:
    """Return the share of the second colour, of shape (R,), at `angles` (R, 3) of three waves; `kind` as in `Surface`."""
    waves = angles.sin()
    stripes, chequered = angles.sum(dim=1).sin(), waves.prod(dim=1)
    chosen = torch.where(kind == 1, stripes, torch.where(kind == 2, 6 * chequered, -1.0))
    return (4 * chosen + 0.5).clamp(0.0, 1.0)


@dataclass(frozen=True, kw_only=True)
class Light:
    """One light far away, an image."""

    towards: Tensor
    """Where it is, of length 1, of shape (N, 3)."""
    colour: Tensor
    """In [0, 1], of shape (N, 3)."""


@dataclass(frozen=True, kw_only=True)
class Group:
    """Bodies of one kind; ``point = size * body point @ turn + centre``."""

    distance: Distance
    image: Tensor
    """In which image each is, int64 of shape (B,)."""
    centre: Tensor
    """Of shape (B, 3)."""
    size: Tensor
    """Of shape (B,)."""
    turn: Tensor
    """Rotations, of shape (B, 3, 3)."""
    sizes: Tensor
    """What `distance` is given, one row a body."""
    surface: Surface

    def reach(self, bodies: Tensor, origins: Tensor, directions: Tensor) -> Tensor:
        """Return how far along each ray its body is met: for rays (R, 3) in the world, of the bodies `bodies` (R,)."""
        turn, size = self.turn[bodies], self.size[bodies]
        starts = _rotated(origins - self.centre[bodies], turn) / size[:, None]
        return cast(self.distance, starts, _rotated(directions, turn), self.sizes[bodies]) * size


def _rotated(points: Tensor, turn: Tensor) -> Tensor:
    """Return points (R, 3) of the world in the axes of bodies (R, 3, 3)."""
    return torch.einsum("rc,rdc->rd", points, turn)


@dataclass(frozen=True, kw_only=True)
class Background:
    """A level floor and an upright wall across z, an image."""

    floor: Tensor
    """Its height, of shape (N,)."""
    wall: Tensor
    """Its z, of shape (N,)."""
    surfaces: Surface
    """Of shape (2 N, ...): of the floors, then of the walls."""


class Picture:
    """What cameras see, pixel by pixel: first the background, then groups of bodies over it; `shade` gives the colours.

    Args:
        camera: The cameras, N of them.
        background: Floors and walls.
        light: The lights.
    """

    def __init__(self, camera: Camera, background: Background, light: Light) -> None:
        self.camera, self.light = camera, light
        self.images, self.pixels = camera.directions.shape[:2]
        eyes, ways = camera.eyes[:, None], camera.directions
        down = torch.where(ways[..., 1] < -1e-4, (background.floor[:, None] - eyes[..., 1]) / ways[..., 1], torch.inf)
        back = torch.where(ways[..., 2] < -1e-4, (background.wall[:, None] - eyes[..., 2]) / ways[..., 2], torch.inf)
        upright = back < down
        self.away = torch.minimum(down, back).reshape(-1)
        """How far along its ray a pixel shows something, of shape (N * pixels,)."""
        rows = torch.arange(self.images)[:, None] + self.images * upright
        self.normal = torch.where(upright[..., None], torch.tensor([0.0, 0.0, 1.0]), torch.tensor([0.0, 1.0, 0.0])).view(-1, 3)
        self.colour = background.surfaces.at(self.points(torch.arange(len(self.away))), rows.view(-1))
        self.shade = torch.zeros(len(self.away), dtype=torch.bool)

    def points(self, pixels: Tensor) -> Tensor:
        """Return where the pixels numbered `pixels` (R,) show something, of shape (R, 3)."""
        image = pixels // self.pixels
        return self.camera.eyes[image] + self.away[pixels, None] * self.camera.directions.view(-1, 3)[pixels]

    def add(self, group: Group) -> None:
        """Put bodies before what is there."""
        ways = self.camera.directions[group.image]
        from_centre = self.camera.eyes[group.image] - group.centre
        beside = from_centre.square().sum(dim=1)[:, None] - torch.einsum("bc,bpc->bp", from_centre, ways).square()
        body, place = (beside < group.size.square()[:, None]).nonzero().unbind(dim=1)  # the rays that meet the sphere about the body
        pixels = group.image[body] * self.pixels + place
        away = group.reach(body, self.camera.eyes[group.image[body]], ways[body, place])
        for_each = torch.full_like(self.away, torch.inf).scatter_reduce(0, pixels, away, "amin")  # several bodies may be in one image
        seen = (away < self.away[pixels]) & (away == for_each[pixels])
        pixels, body = pixels[seen], body[seen]
        self.away[pixels] = away[seen]
        turn = group.turn[body]
        points = _rotated(self.points(pixels) - group.centre[body], turn) / group.size[body, None]
        self.normal[pixels] = torch.einsum("rd,rdc->rc", normals(group.distance, points, group.sizes[body]), turn)
        self.colour[pixels] = group.surface.at(points, body)

    def cast_shadows(self, group: Group) -> None:
        """Darken what lies behind bodies, seen from the light; each image has one body of the group at most."""
        body_of = torch.full((self.images,), -1)
        body_of[group.image] = torch.arange(len(group.image))
        bodies = body_of.repeat_interleave(self.pixels)
        lit = (self.normal * self.light.towards.repeat_interleave(self.pixels, dim=0)).sum(dim=1) > 0
        pixels = ((bodies >= 0) & lit & ~self.shade).nonzero()[:, 0]
        points = self.points(pixels) + 0.02 * self.normal[pixels]
        towards = self.light.towards[pixels // self.pixels]
        self.shade[pixels] = group.reach(bodies[pixels], points, towards).isfinite()

    def colours(self, gloss: Tensor) -> Tensor:
        """Return the colours, in [0, 1], of shape (N, pixels, 3); `gloss` (N,) is the strength of highlights."""
        towards = self.light.towards.repeat_interleave(self.pixels, dim=0)
        facing = (self.normal * towards).sum(dim=1).clamp_min(0.0) * ~self.shade
        mirrored = 2 * facing[:, None] * self.normal - towards
        shine = (-(mirrored * self.camera.directions.view(-1, 3)).sum(dim=1)).clamp_min(0.0) ** 20 * (facing > 0)
        lit = (AMBIENT + (1 - AMBIENT) * facing)[:, None] * self.colour + (gloss.repeat_interleave(self.pixels) * shine)[:, None]
        return (lit.view(self.images, self.pixels, 3) * self.light.colour[:, None]).clamp(0.0, 1.0)

    def depth(self) -> Tensor:
        """Return how far into the picture each pixel shows something, of shape (N, pixels)."""
        return self.away.view(self.images, self.pixels) * self.camera.forward
