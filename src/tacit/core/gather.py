"""Gather: what every process of a launch has, put together, so that memories stay the same everywhere, and batches are whole."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import torch
from torch import Tensor, distributed, nn

from tacit.core.probe import BNStat

__all__ = ["average_gradients", "gather", "gather_with_gradient", "rank", "share", "whole_moments"]


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


@torch.no_grad()
def average_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Average gradients over all processes, in one message; every process must ask.

    This takes the place of a DDP wrapper, so that probes, copies and state dicts see plain modules.
    """
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    if _alone() or not gradients:
        return
    mean = torch.cat([gradient.flatten() for gradient in gradients])
    distributed.all_reduce(mean)
    mean /= distributed.get_world_size()
    for gradient, part in zip(gradients, torch.split_with_sizes(mean, [gradient.numel() for gradient in gradients]), strict=True):
        gradient.copy_(part.view_as(gradient))


@torch.no_grad()
def share(module: nn.Module) -> None:
    """Give all processes the first one's parameters and buffers; every process must ask."""
    if not _alone():
        for tensor in [*module.parameters(), *module.buffers()]:
            first = tensor.contiguous()
            distributed.broadcast(first, src=0)
            tensor.copy_(first)


def whole_moments(stats: Sequence[BNStat]) -> tuple[BNStat, ...]:
    """Return the statistics of the batches of all processes together, which are equally large; `stats` where there is one process.

    The gradients of all processes' losses come back to the images of each, so that they can be averaged as those of other losses are.
    """
    if _alone() or not stats:
        return tuple(stats)
    sizes = [stat.mean.numel() for stat in stats]
    mine = torch.stack([torch.cat([stat.mean for stat in stats]), torch.cat([stat.var for stat in stats])])
    means, variances = gather_with_gradient(mine[None]).unbind(1)
    mean = means.mean(dim=0)
    var = (variances + (means - mean).square()).mean(dim=0)
    parts = zip(stats, torch.split_with_sizes(mean, sizes), torch.split_with_sizes(var, sizes), strict=True)
    return tuple(replace(stat, mean=one, var=other) for stat, one, other in parts)
