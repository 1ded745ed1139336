"""Repaint: streets of the same shapes in other colours and patterns, for what a network makes of images that are not like its own."""

from __future__ import annotations

import torch

from tacit.data.rendered.noise import PATTERNS, Draw, noise
from tacit.data.rendered.street.frame import NAMES, Frame

__all__ = ["repaint"]


def repaint(frame: Frame, draw: Draw) -> None:
    """Give each class of each image colours, and a pattern of two, that are drawn; how light and dark lie on things stays."""
    (n, height, width), classes = frame.shape, len(NAMES)
    pixel = torch.arange(len(frame.label))
    scene, rest = pixel // (height * width), pixel % (height * width)
    row = scene * classes + frame.label
    first, second = (draw.uniform(0.05, 0.95, n * classes, 3)[row] for _ in range(2))
    grain, start = draw.uniform(0.5, 4.0, n * classes)[row], draw.uniform(0, 128, n * classes)[row]
    pattern = draw.below(PATTERNS, n * classes)[row]
    share = noise(pattern, rest % width * grain + start, rest // width * grain)
    painted = torch.lerp(first, second, ((share - 0.5) * 5 + 0.5).clamp(0, 1)[:, None])
    light = frame.colour.mean(dim=1, keepdim=True)
    mean = torch.zeros(n * classes).scatter_reduce(0, row, light[:, 0], "mean", include_self=False)[row, None]
    frame.colour = painted * (0.4 + 0.6 * light / mean.clamp_min(0.05)).clamp(0.3, 1.6)
