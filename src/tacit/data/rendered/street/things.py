"""Things: flat pictures of what stands in a street, upright and facing the camera; where they are, and what is drawn of them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from tacit.data.rendered.noise import Draw
from tacit.data.rendered.street.frame import Camera, Patch
from tacit.data.rendered.street.ground import Layout

__all__ = ["Flat", "Place", "beside"]


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where B things are."""

    scene: Tensor
    """In which image, of shape (B,)."""
    across: Tensor
    """In metres from the camera's lane, on a straight road."""
    ahead: Tensor
    """In metres."""

    def __len__(self) -> int:
        return len(self.scene)

    def at(self, chosen: Tensor) -> Place:
        """Return those in `chosen`, a mask (B,)."""
        return Place(scene=self.scene[chosen], across=self.across[chosen], ahead=self.ahead[chosen])

    def moved(self, across: Tensor | float) -> Place:
        """Return the same, so many metres to the right."""
        return Place(scene=self.scene, across=self.across + across, ahead=self.ahead)


def beside(layout: Layout, draw: Draw, ahead: Tensor, there: Tensor, *, inset: Tensor) -> Place:
    """Return places along the road, of those that are `there`: at a negative distance on the left side, else on the right.

    Args:
        layout: Of the roads.
        draw: Knows the number of scenes.
        ahead: How far ahead, of shape (N, K); its sign is drawn apart, see `there`.
        there: -1: on the left, 1: on the right, 0: not there; of shape (N, K).
        inset: Metres beyond the road's edge, of shape (N, K); below 0 on the road.
    """
    edge = torch.where(there < 0, layout.left[:, None] - inset, layout.right[:, None] + inset)
    scene = torch.arange(draw.scenes)[:, None].expand_as(ahead)
    seen = there != 0
    return Place(scene=scene[seen], across=edge[seen], ahead=ahead[seen])


class Flat:
    """The pixels that upright things of a width and height may cover, with where on the thing each is.

    Args:
        camera: The cameras.
        place: Where the things stand.
        half: Half their width in metres, of shape (B,) or a number.
        top: Their height above the road.
        bottom: What they begin at.
    """

    def __init__(self, camera: Camera, place: Place, half: Tensor | float, top: Tensor | float, bottom: Tensor | float = 0.0) -> None:
        z, scene = place.ahead, place.scene
        self.place, middle, eye = place, place.across + camera.bend[scene] * z * z, camera.height[scene]
        left, right = ((middle + sign * half) / z for sign in (-1, 1))
        self.patch: Patch = camera.patch(scene, left, right, (eye - top) / z, (eye - bottom) / z)
        self.of = self.patch.thing
        self.z = z[self.of]
        self.x = self.patch.u * self.z - middle[self.of]
        """Metres to the right of the thing's middle, of shape (R,)."""
        self.y = eye[self.of] - self.patch.v * self.z
        """Metres above the road."""
        self.pixel = self.z / camera.focal[scene][self.of]
        """How many metres a pixel is wide."""
