"""Frame: what cameras in streets have before them, pixel by pixel; what is put in covers what is farther away."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from tacit.core.spec import VOID
from tacit.data.rendered.noise import Draw

__all__ = ["NAMES", "Camera", "Frame", "Patch"]

NAMES = ("sky", "building", "pole", "road", "pavement", "tree", "sign", "fence", "car", "pedestrian", "cyclist")
"""The classes, as in CamVid: "Semantic object classes in video: A high-definition ground truth database", Brostow et al., 2009,
https://doi.org/10.1016/j.patrec.2008.04.005, in the eleven classes that segmentation networks are compared on."""


@dataclass(frozen=True, kw_only=True)
class Camera:
    """Level cameras, one a scene.

    A point (X across, Y up from the road, Z ahead; in metres) is seen at ``u = X / Z`` to the right of the middle and at
    ``v = (height - Y) / Z`` below the horizon, both in focal lengths. Roads bend: what is at X on a straight one is at ``X + bend Z^2``.
    """

    size: tuple[int, int]
    focal: Tensor
    """In pixels, of shape (N,)."""
    middle: Tensor
    """Column of the vanishing point."""
    horizon: Tensor
    """Row of the horizon."""
    height: Tensor
    """Above the road, in metres."""
    bend: Tensor
    """In 1 / metres."""

    @classmethod
    def drawn(cls, draw: Draw, size: tuple[int, int]) -> Camera:
        """Return cameras as behind the windscreens of cars."""
        height, width = size
        return cls(
            size=size,
            focal=draw.uniform(0.72, 0.95) * max(size),
            middle=draw.uniform(0.38, 0.62) * width,
            horizon=draw.uniform(0.38, 0.5) * height,
            height=draw.uniform(1.3, 1.9),
            bend=draw.uniform(-0.0022, 0.0022) * draw.chance(0.6),
        )

    @property
    def u(self) -> Tensor:
        """Of columns, of shape (N, 1, W)."""
        return ((torch.arange(self.size[1]) + 0.5 - self.middle[:, None]) / self.focal[:, None])[:, None]

    @property
    def v(self) -> Tensor:
        """Of rows, of shape (N, H, 1)."""
        return ((torch.arange(self.size[0]) + 0.5 - self.horizon[:, None]) / self.focal[:, None])[..., None]

    def patch(self, scene: Tensor, left: Tensor, right: Tensor, top: Tensor, bottom: Tensor) -> Patch:
        """Return the pixels between these u and v of things, one a row of `scene` (B,); none of a thing outside of the image."""
        (height, width), focal = self.size, self.focal[scene]
        first = (left * focal + self.middle[scene]).floor().clamp(0, width).long()
        wide = ((right * focal + self.middle[scene]).ceil().clamp(0, width).long() - first).clamp_min(0)
        upper = (top * focal + self.horizon[scene]).floor().clamp(0, height).long()
        tall = ((bottom * focal + self.horizon[scene]).ceil().clamp(0, height).long() - upper).clamp_min(0)
        count = wide * tall
        thing = torch.repeat_interleave(torch.arange(len(scene)), count)
        place = torch.arange(len(thing)) - torch.repeat_interleave(count.cumsum(0) - count, count)
        x, y = first[thing] + place % wide[thing], upper[thing] + place // wide[thing]
        of = scene[thing]
        return Patch(
            thing=thing,
            pixel=(of * height + y) * width + x,
            u=(x + 0.5 - self.middle[of]) / self.focal[of],
            v=(y + 0.5 - self.horizon[of]) / self.focal[of],
            x=x,
            y=y,
        )


@dataclass(frozen=True, kw_only=True)
class Patch:
    """Pixels of things; each of shape (R,)."""

    thing: Tensor
    """Whose pixel it is."""
    pixel: Tensor
    """Its number among all of all images."""
    u: Tensor
    v: Tensor
    x: Tensor
    y: Tensor


class Frame:
    """Colour, class and depth of every pixel of N images; first there is nothing, infinitely far away.

    Args:
        camera: The cameras.
    """

    def __init__(self, camera: Camera) -> None:
        self.camera, self.shape = camera, (len(camera.focal), *camera.size)
        pixels = self.shape[0] * self.shape[1] * self.shape[2]
        self.colour = torch.zeros(pixels, 3)
        self.label = torch.full((pixels,), VOID, dtype=torch.uint8)
        self.depth = torch.full((pixels,), torch.inf)

    def cover(self, mask: Tensor, depth: Tensor, colour: Tensor, label: Tensor | int) -> None:
        """Put in what may be anywhere: `mask` of shape (N, H, W), `colour` (N, H, W, 3), the others of shapes that grow to (N, H, W)."""
        deep = depth.expand(self.shape).reshape(-1)
        seen = (mask.expand(self.shape).reshape(-1) & (deep < self.depth)).nonzero()[:, 0]
        self.depth[seen] = deep[seen]
        self.colour[seen] = colour.expand(*self.shape, 3).reshape(-1, 3)[seen]
        self.label[seen] = torch.as_tensor(label, dtype=torch.uint8).expand(self.shape).reshape(-1)[seen]

    def put(self, patch: Patch, mask: Tensor, depth: Tensor, colour: Tensor, label: Tensor | int) -> None:
        """Put in the pixels of a patch where `mask` (R,) is true; `depth` and `label` of shape (R,), `colour` (R, 3)."""
        pixel, deep = patch.pixel[mask], depth[mask]
        nearest = self.depth.scatter_reduce(0, pixel, deep, "amin")  # two things of a kind may be before one another
        seen = (deep < self.depth[pixel]) & (deep == nearest[pixel])
        pixel = pixel[seen]
        self.depth[pixel] = deep[seen]
        self.colour[pixel] = colour[mask][seen]
        self.label[pixel] = torch.as_tensor(label, dtype=torch.uint8).expand(mask.shape)[mask][seen]

    def shade(self, patch: Patch, share: Tensor) -> None:
        """Darken the pixels of a patch to a share, of shape (R,), of what they are."""
        least = torch.ones_like(self.depth).scatter_reduce(0, patch.pixel, share, "amin")
        self.colour *= least[:, None]
