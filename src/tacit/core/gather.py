"""Gather: what every process of a launch has, put together, so that memories stay the same everywhere, and batches are whole."""

from __future__ import annotations

import torch
from torch import Tensor, distributed

__all__ = ["gather", "gather_with_gradient", "rank"]


def _alone() -> bool:
    return not (distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > 1)


def rank() -> int:
    """Return the number of this process among all of them, from 0."""
    return 0 if _alone() else distributed.get_rank()


@torch.no_grad()
def gather(mine: Tensor) -> Tensor:
    """Return the rows of all processes, in the order of their ranks; `mine` where there is one process.

    Args:
        mine: Of shape (N, ...), the same everywhere; every process must ask.
    """
    if _alone():
        return mine
    parts = [torch.empty_like(mine) for _ in range(distributed.get_world_size())]
    distributed.all_gather(parts, mine.contiguous())
    return torch.cat(parts)


def gather_with_gradient(mine: Tensor) -> Tensor:
    """Return the same; what the losses of all processes want of `mine` comes back to it, so that their gradients can be averaged."""
    if _alone():
        return mine
    from torch.distributed.nn.functional import all_gather

    return torch.cat(all_gather(mine.contiguous()))  # type: ignore[no-untyped-call]
