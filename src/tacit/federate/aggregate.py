"""Aggregation: the weighted mean of many states, the same whoever transports them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from tacit.federate.messages import Tensors

__all__ = ["average"]


def average(states: Sequence[Tensors], weights: Sequence[float]) -> dict[str, Tensor]:
    """Return the weighted mean of `states`, tensor by tensor.

    Sums are taken in fp64 and in the order given, so that the same answers in the same order make the very same model on any engine; whole
    numbers (as batch norm's count of batches) are rounded back.

    Args:
        states: As many as weights, all with the same keys and shapes.
        weights: Positive; they are made to add up to 1.
    """
    total = float(sum(weights))
    if not states or not total > 0:
        raise ValueError(f"expected states and positive weights, got {len(states)} of a total weight of {total}")
    shares = torch.tensor([weight / total for weight in weights], dtype=torch.float64)
    mean: dict[str, Tensor] = {}
    for key, first in states[0].items():
        total_ = torch.zeros(first.shape, dtype=torch.float64)
        for share, state in zip(shares, states, strict=True):
            total_ += share * state[key].double()
        mean[key] = (total_ if first.is_floating_point() else total_.round()).to(first.dtype)
    return mean
