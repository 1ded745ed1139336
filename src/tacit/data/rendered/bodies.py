"""Bodies: signed distance functions of solids about the origin, none larger than a sphere of radius 1.

A signed distance function gives how far a point is from a surface, negative inside; one that never says more than that is enough to march
along a ray. "Sphere tracing: a geometric method for the antialiased ray tracing of implicit surfaces", Hart, 1996,
https://doi.org/10.1007/s003710050084.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

__all__ = ["BODIES", "Distance", "box_distance", "pebble"]

Distance = Callable[[Tensor, Tensor], Tensor]
"""From points (R, 3), y up, and what says how large the body is, one row a point, to distances (R,)."""


def box_distance(points: Tensor, half: Tensor) -> Tensor:
    """Return the distance from boxes whose half edges are `half`: both of shape (R, 3)."""
    apart = points.abs() - half
    return apart.clamp_min(0.0).square().sum(dim=1).sqrt() + apart.amax(dim=1).clamp_max(0.0)


def _out(points: Tensor) -> Tensor:
    """Return how far points are from the upright axis."""
    return torch.hypot(points[:, 0], points[:, 2])


def _sphere(points: Tensor, tall: Tensor) -> Tensor:
    return points.square().sum(dim=1).sqrt() - 0.65 - 0.1 * tall


def _box(points: Tensor, tall: Tensor) -> Tensor:
    return box_distance(points, torch.stack([torch.full_like(tall, 0.52), 0.52 * tall, torch.full_like(tall, 0.52)], dim=1))


def _cylinder(points: Tensor, tall: Tensor) -> Tensor:
    return torch.maximum(_out(points) - 0.45, points[:, 1].abs() - 0.65 * tall)


def _cone(points: Tensor, tall: Tensor) -> Tensor:
    top = 0.62 * tall
    slope = torch.hypot(torch.full_like(top, 0.6), 2 * top)
    side = (_out(points) * 2 * top + (points[:, 1] - top) * 0.6) / slope  # a line from the tip to the rim, at 0.6
    return torch.maximum(side, -top - points[:, 1])


def _torus(points: Tensor, tall: Tensor) -> Tensor:
    return torch.hypot(_out(points) - 0.62, points[:, 1]) - 0.22 * tall


def _pyramid(points: Tensor, tall: Tensor) -> Tensor:
    top = 0.52 * tall
    slope = torch.hypot(torch.full_like(top, 0.52), 2 * top)
    side = (torch.maximum(points[:, 0].abs(), points[:, 2].abs()) * 2 * top + (points[:, 1] - top) * 0.52) / slope
    return torch.maximum(side, -top - points[:, 1])


def _capsule(points: Tensor, tall: Tensor) -> Tensor:
    half = 0.5 * tall
    along = points[:, 1] - torch.maximum(torch.minimum(points[:, 1], half), -half)
    return torch.hypot(_out(points), along) - 0.33


def _octahedron(points: Tensor, tall: Tensor) -> Tensor:
    stretched = points[:, 0].abs() + points[:, 1].abs() / tall.clamp_min(1.0) + points[:, 2].abs()
    return (stretched - 0.8) / 3**0.5


def _prism(points: Tensor, tall: Tensor) -> Tensor:
    side = torch.maximum(points[:, 0].abs() * 3**0.5 / 2 + points[:, 1] / 2, -points[:, 1]) - 0.33
    return torch.maximum(side, points[:, 2].abs() - 0.6 * tall)


def _cross(points: Tensor, tall: Tensor) -> Tensor:
    thickness = (0.2 * tall).clamp_max(0.25)
    turned = points.abs().sort(dim=1, descending=True).values  # the arms are alike, so that one, along the largest part, stands for all
    half = torch.stack([torch.full_like(tall, 0.8), thickness, thickness], dim=1)
    return box_distance(turned, half)


def pebble(points: Tensor, sizes: Tensor) -> Tensor:
    """Return the distance from boxes with round edges; `sizes` of shape (R, 4): half edges, and what is rounded of them."""
    return box_distance(points, sizes[:, :3] - sizes[:, 3:]) - sizes[:, 3]


BODIES: dict[str, Distance] = {
    "sphere": _sphere,
    "box": _box,
    "cylinder": _cylinder,
    "cone": _cone,
    "torus": _torus,
    "pyramid": _pyramid,
    "capsule": _capsule,
    "octahedron": _octahedron,
    "prism": _prism,
    "cross": _cross,
}
"""By name; the second argument, of shape (R,), is a factor of the height, from 0.8 to 1.25."""
