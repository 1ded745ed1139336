"""Gather: what every process of a launch has, put together, so that memories stay the same everywhere."""

from __future__ import annotations

import torch
from torch import Tensor, distributed

__all__ = ["gather"]


@torch.no_grad()
def gather(mine: Tensor) -> Tensor:
    """Return the rows of all processes, in the order of their ranks; `mine` where there is one process.

    Args:
        mine: Of shape (N, ...), the same everywhere; every process must ask.
    """
    if not (distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > 1):
        return mine
    parts = [torch.empty_like(mine) for _ in range(distributed.get_world_size())]
    distributed.all_gather(parts, mine.contiguous())
    return torch.cat(parts)
