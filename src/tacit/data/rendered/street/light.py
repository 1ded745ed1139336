"""Light: haze, sun and shade over a whole picture, and what a camera makes of it."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from tacit.core.batch import as_bytes
from tacit.data.rendered.noise import Draw
from tacit.data.rendered.street.frame import Frame
from tacit.data.rendered.street.ground import Layout

__all__ = ["developed", "haze", "shadow"]


def shadow(frame: Frame, layout: Layout, draw: Draw) -> None:
    """Let houses of one side darken a part of the road and the pavements; to be called when nothing but the ground is there."""
    camera, shape = frame.camera, (draw.scenes, 1, 1)
    sunny, side = draw.chance(0.45, *shape), torch.where(draw.chance(0.5, *shape), 1.0, -1.0)
    z = camera.height[:, None, None] / camera.v.clamp_min(1e-4)
    x = camera.u * z - camera.bend[:, None, None] * z * z
    share = draw.uniform(0.25, 0.85, *shape)
    wide = (layout.right_wall - layout.left_wall)[:, None, None]
    reach = torch.where(side < 0, x - layout.left_wall[:, None, None], layout.right_wall[:, None, None] - x)
    notch = torch.where(((z + share * 40) / 11) % 1 < 0.7, share, share * 0.6)
    inside = sunny & (reach < notch * wide) & (camera.v > 0.004)
    dark = torch.tensor([0.55, 0.58, 0.66])
    frame.colour *= torch.where(inside[..., None], dark, torch.ones(3)).expand(*frame.shape, 3).reshape(-1, 3)


def haze(frame: Frame, horizon: Tensor, draw: Draw) -> None:
    """Let far things take on the colour `horizon` (N, 3), in fog soon, else late."""
    thick = torch.where(draw.chance(0.12), draw.uniform(0.015, 0.035), draw.uniform(0.0, 0.006))
    clear = (-thick[:, None] * frame.depth.view(frame.shape[0], -1)).exp()
    clear = torch.where(frame.depth.view(frame.shape[0], -1) > 1e5, 1.0, clear)[..., None]
    colour = frame.colour.view(frame.shape[0], -1, 3)
    frame.colour = torch.lerp(horizon[:, None].expand_as(colour), colour, clear).view(-1, 3)


def developed(frame: Frame, draw: Draw) -> Tensor:
    """Return pictures, uint8 of shape (N, 3, H, W): exposed, tinted, a little unsharp, and with noise."""
    n, height, width = frame.shape
    picture = frame.colour.view(n, height, width, 3).permute(0, 3, 1, 2)
    picture = picture * draw.uniform(0.75, 1.18, n, 1, 1, 1) * draw.uniform(0.94, 1.06, n, 3, 1, 1)
    rows, columns = torch.linspace(-1, 1, height)[:, None], torch.linspace(-1, 1, width)
    picture = picture * (1 - draw.uniform(0.0, 0.18, n, 1, 1, 1) * (rows.square() + columns.square()))
    soft = F.avg_pool2d(F.pad(picture, (1, 1, 1, 1), mode="replicate"), 3, 1)
    picture = torch.lerp(picture, soft, draw.uniform(0.0, 0.55, n, 1, 1, 1))
    picture = picture.clamp(0, 1) ** draw.uniform(0.85, 1.15, n, 1, 1, 1)
    grain = torch.randn(picture.shape, generator=draw.generator) * draw.uniform(0.004, 0.03, n, 1, 1, 1)
    return as_bytes(picture + grain)
