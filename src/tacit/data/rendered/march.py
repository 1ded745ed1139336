"""Marching: where rays meet surfaces that are known by their distance alone, and which way these face there."""

from __future__ import annotations

import torch
from torch import Tensor

from tacit.data.rendered.bodies import Distance

__all__ = ["Camera", "cast", "look_at", "normals", "turned"]

STEPS = 40
"""Most steps along a ray."""
NEAR = 2e-3
"""Distance at which a surface is met, of a body of radius 1: a tenth of a pixel."""
TOGETHER = 4
"""Steps between two looks at which rays are still under way."""


class Camera:
    """Rays through the pixels of images, one camera an image.

    Args:
        eyes: Where the cameras are, of shape (N, 3).
        at: What they look at, of shape (N, 3); y is up.
        size: Height and width of the images.
        opening: Tangent of half the angle that the shorter side shows.
    """

    def __init__(self, eyes: Tensor, at: Tensor, size: tuple[int, int], opening: float) -> None:
        height, width = size
        self.eyes, self.turns = eyes, look_at(eyes, at)
        unit = opening / min(size)
        across = (torch.arange(width) * 2 + 1 - width) * unit
        down = (torch.arange(height) * 2 + 1 - height) * unit
        plane = (across.expand(height, width), -down[:, None].expand(height, width), torch.ones(height, width))
        rays = torch.stack(plane, dim=2).view(-1, 3)
        lengths = rays.square().sum(dim=1).sqrt()
        self.directions = (rays / lengths[:, None]) @ self.turns
        """Of length 1, of shape (N, pixels, 3), row by row."""
        self.forward = 1 / lengths
        """How far into the picture a step of 1 along a ray goes, of shape (pixels,)."""


def look_at(eyes: Tensor, at: Tensor) -> Tensor:
    """Return the axes of cameras, of shape (N, 3, 3): in rows what is right, up and forward; y is up."""
    forward = torch.nn.functional.normalize(at - eyes, dim=1)
    right = torch.nn.functional.normalize(torch.linalg.cross(forward, forward.new_tensor([0.0, 1.0, 0.0]).expand_as(forward)), dim=1)
    return torch.stack([right, torch.linalg.cross(right, forward), forward], dim=1)


def turned(yaw: Tensor, tilt: Tensor, towards: Tensor) -> Tensor:
    """Return rotations of shape (N, 3, 3), for rows of points: by `yaw` about y, then by `tilt` about a level axis that points `towards`.

    All three in radians, of shape (N,).
    """
    zero, one = torch.zeros_like(yaw), torch.ones_like(yaw)

    def upright(angle: Tensor) -> Tensor:
        rows = [angle.cos(), zero, -angle.sin(), zero, one, zero, angle.sin(), zero, angle.cos()]
        return torch.stack(rows, dim=1).view(-1, 3, 3)

    leaned = torch.stack([one, zero, zero, zero, tilt.cos(), tilt.sin(), zero, -tilt.sin(), tilt.cos()], dim=1).view(-1, 3, 3)
    back = upright(-towards)
    return upright(yaw) @ back.transpose(1, 2) @ leaned @ back


def cast(distance: Distance, origins: Tensor, directions: Tensor, sizes: Tensor) -> Tensor:
    """Return how far along each ray a body of radius 1 about the origin is met, of shape (R,); infinite where it is missed.

    Args:
        distance: Of the body.
        origins: Of the rays, of shape (R, 3).
        directions: Of length 1, of shape (R, 3).
        sizes: What `distance` is given beside the points, one row a ray.
    """
    along = -(origins * directions).sum(dim=1)
    half = (1.0 - origins.square().sum(dim=1) + along.square()).clamp_min(0.0).sqrt()  # of the chord in the sphere of radius 1
    rays = ((half > 0) & (along + half > 0)).nonzero()[:, 0]
    found = torch.full_like(along, torch.inf)
    here, last = (along - half).clamp_min(0.0)[rays], (along + half)[rays]
    starts, ways, theirs = origins[rays], directions[rays], sizes[rays]
    for _ in range(STEPS // TOGETHER):
        for _ in range(TOGETHER):
            apart = distance(starts + here[:, None] * ways, theirs)
            here = here + torch.where(apart > NEAR, apart, 0.0)
        met, gone = apart <= NEAR, here > last
        found[rays[met]] = here[met]
        going = ~(met | gone)
        rays, here, last, starts, ways, theirs = (kept[going] for kept in (rays, here, last, starts, ways, theirs))
        if not len(rays):
            break
    return found  # a ray that is still under way grazes the body, and misses it


def normals(distance: Distance, points: Tensor, sizes: Tensor) -> Tensor:
    """Return which way a surface faces, of length 1, of shape (R, 3), by differences of the distance about points (R, 3) on it."""
    corners = points.new_tensor([[1.0, -1.0, -1.0], [-1.0, -1.0, 1.0], [-1.0, 1.0, -1.0], [1.0, 1.0, 1.0]])
    slope = sum(distance(points + 0.01 * corner, sizes)[:, None] * corner for corner in corners)
    assert isinstance(slope, Tensor)
    return torch.nn.functional.normalize(slope, dim=1)
