"""Noise: patterns without an edge, of many sizes of grain, that are looked up wherever a surface should not be of one colour."""

from __future__ import annotations

from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["PATTERNS", "Draw", "noise", "smooth"]

SIDE = 128
"""Rows and columns of a pattern; behind the last comes the first again."""
PATTERNS = 8
"""How many there are, from fine grain (0) to clouds (7)."""


class Draw:
    """Draws for scenes from one seed.

    Args:
        generator: Source of all draws.
        scenes: How many scenes.
    """

    def __init__(self, generator: torch.Generator, scenes: int) -> None:
        self.generator, self.scenes = generator, scenes

    def uniform(self, least: float, most: float, *shape: int) -> Tensor:
        """Return evenly distributed numbers, one a scene, or of `shape`."""
        return least + (most - least) * torch.rand(*(shape or (self.scenes,)), generator=self.generator)

    def chance(self, share: float | Tensor, *shape: int) -> Tensor:
        """Return what is true in about this share of the cases."""
        return torch.rand(*(shape or (self.scenes,)), generator=self.generator) < share

    def below(self, end: int, *shape: int) -> Tensor:
        """Return whole numbers from 0 up to, without, `end`."""
        return torch.randint(end, shape or (self.scenes,), generator=self.generator)

    def colours(self, palette: list[tuple[float, float, float]], *shape: int, spread: float = 0.06) -> Tensor:
        """Return colours near those of a palette, of shape (..., 3)."""
        wanted = shape or (self.scenes,)
        chosen = torch.tensor(palette)[torch.randint(len(palette), wanted, generator=self.generator)]
        return (chosen + spread * torch.randn(*wanted, 3, generator=self.generator)).clamp(0.02, 0.98)


def smooth(x: Tensor, low: float, high: float) -> Tensor:
    """Return 0 below `low`, 1 above `high`, and what rises softly between."""
    t = ((x - low) / (high - low)).clamp(0.0, 1.0)
    return t * t * (3 - 2 * t)


@lru_cache(maxsize=1)
def _bank() -> Tensor:
    """Return the patterns, of shape (PATTERNS * SIDE * SIDE,), each of mean 0.5 and deviation 0.18, in [0, 1]."""
    draw = torch.Generator().manual_seed(20)
    made = []
    for number in range(PATTERNS):
        total = torch.zeros(SIDE, SIDE)
        for octave in range(7 - number, -1, -1) if number < 7 else (2, 1, 0):
            cells = max(4, SIDE >> (7 - octave) if number < 7 else 4 << octave)
            grid = F.pad(torch.rand(1, 1, cells, cells, generator=draw), (2, 2, 2, 2), mode="circular")
            grown = F.interpolate(grid, scale_factor=SIDE // cells, mode="bicubic", align_corners=False)
            edge = 2 * (SIDE // cells)
            total += grown[0, 0, edge:-edge, edge:-edge] * 0.6 ** (octave if number >= 7 else abs(octave - (7 - number)))
        made.append((0.5 + 0.18 * (total - total.mean()) / total.std()).clamp(0.0, 1.0))
    return torch.stack(made).flatten()


def noise(pattern: Tensor | int, x: Tensor, y: Tensor) -> Tensor:
    """Return the value of a pattern, in [0, 1], at (x, y), which count its rows and columns; of the shape that all have together."""
    place = ((y.floor().long() % SIDE) * SIDE + x.floor().long() % SIDE) + pattern * (SIDE * SIDE)
    return _bank()[place]
