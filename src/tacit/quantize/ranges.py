"""Ranges: from which least to which most value the levels of a quantizer reach."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from tacit.quantize.fake import Quantizer, fake_quantize, levels
from tacit.quantize.scheme import Ranges

__all__ = ["RangeOf", "laplace_clip", "least_error", "weight_range"]

SHARE = 0.9999
"""Of the values, that are no farther out than each end of a range by percentile."""
MOST = 2**18
"""Values of one batch that are looked at, where all would be too many."""
FRACTIONS = 40
"""Of the whole range, that are tried for the least error."""


def laplace_clip(bits: int) -> float:
    """Return the clip, in units of b = E|x - E x|, with the least mean squared error for a Laplace distribution.

    "Post training 4-bit quantization of convolutional networks for rapid-deployment", Banner et al., 2019,
    https://arxiv.org/abs/1810.05723, eq. 6: 2.83, 3.89 and 5.03 for 2, 3 and 4 bits. The root of ``alpha / (3 4^bits) = exp(-alpha)``.
    """
    low, high = 0.0, 50.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if math.exp(-middle) > middle / (3 * 4**bits) else (low, middle)
    return low


def least_error(x: Tensor, least: Tensor, most: Tensor, low: int, high: int, *, symmetric: bool) -> tuple[Tensor, Tensor]:
    """Return the share of the range [least, most], one of `FRACTIONS`, of least squared error, row by row.

    Args:
        x: Of shape (rows, values).
        least: Of shape (rows,).
        most: The same.
        low: Lowest level.
        high: Highest level.
        symmetric: As in `levels`.
    """
    best = torch.full_like(least, math.inf)
    found = (least.clone(), most.clone())
    for number in range(FRACTIONS, 0, -1):
        tried = (least * number / FRACTIONS, most * number / FRACTIONS)
        scale, zero = levels(*tried, low, high, symmetric=symmetric)
        error = (fake_quantize(x, scale[:, None], zero[:, None], low, high) - x).square().mean(dim=1)
        better = error < best
        best = torch.where(better, error, best)
        found = (torch.where(better, tried[0], found[0]), torch.where(better, tried[1], found[1]))
    return found


def _laplace_range(x: Tensor, least: Tensor, most: Tensor, bits: int) -> tuple[Tensor, Tensor]:
    """Return mean -+ the clip, row by row, within [least, most].

    Values that are never negative, as behind a ReLU, are taken for half of a Laplace distribution around 0: their range starts there and
    has all levels, as if there were one bit more, and b is the mean of those above 0.
    """
    middle = x.mean(dim=1)
    reach = laplace_clip(bits) * (x - middle[:, None]).abs().mean(dim=1)
    half = laplace_clip(bits + 1) * x.clamp_min(0.0).sum(dim=1) / (x > 0).sum(dim=1).clamp_min(1)
    low = torch.where(least >= 0, torch.zeros_like(least), torch.maximum(least, middle - reach))
    return low, torch.minimum(most, torch.where(least >= 0, half, middle + reach))


def _quantiles(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Return the ends, each of which `SHARE` of a row keeps to; by order, since torch.quantile takes no more than 2^24 values."""
    count = rows.shape[1]
    drop = int((1 - SHARE) * count)
    return rows.kthvalue(drop + 1, dim=1).values, rows.kthvalue(count - drop, dim=1).values


def weight_range(rows: Tensor, how: Ranges, quantizer: Quantizer) -> tuple[Tensor, Tensor]:
    """Return least and most, each of shape (rows,), for the weights of each row.

    Args:
        rows: Weights, of shape (rows, values).
        how: As in `Scheme`.
        quantizer: Which is to get the range.
    """
    rows = rows.float()
    least, most = rows.amin(dim=1).clamp(max=0.0), rows.amax(dim=1).clamp(min=0.0)
    if how == "mse":
        return least_error(rows, least, most, quantizer.low, quantizer.high, symmetric=quantizer.symmetric)
    if how == "percentile":
        low_end, high_end = _quantiles(rows)
        return low_end.clamp(max=0.0), high_end.clamp(min=0.0)
    if how == "aciq":
        low_end, high_end = _laplace_range(rows, least, most, quantizer.bits)
        return low_end.clamp(max=0.0), high_end.clamp(min=0.0)
    return least, most


class RangeOf:
    """The range of one activation, over batches.

    Args:
        how: As in `Scheme`.
        bits: Of a level.
        generator: Source of the draws by which large batches are thinned.
    """

    def __init__(self, how: Ranges, bits: int, generator: torch.Generator) -> None:
        self.how, self.bits, self.generator = how, bits, generator
        self._sums = torch.zeros(2, dtype=torch.double)
        self._count = 0
        self._least, self._most = math.inf, -math.inf

    def see(self, x: Tensor) -> None:
        """Take a batch into account, of shape (N, ...)."""
        x = x.detach().float()
        least, most = x.flatten(1).amin(dim=1), x.flatten(1).amax(dim=1)
        self._least, self._most = min(self._least, float(least.min())), max(self._most, float(most.max()))
        if self.how == "average":
            found = torch.stack([least, most]).double()
        else:
            found = torch.stack(self._of_batch(x, least.min().view(1), most.max().view(1))).double()
        self._sums += found.sum(dim=1).cpu()
        self._count += found.shape[1]

    def _of_batch(self, x: Tensor, least: Tensor, most: Tensor) -> tuple[Tensor, Tensor]:
        if self.how == "minmax":
            return least, most
        values = x.flatten()
        if len(values) > MOST:
            picked = torch.randint(len(values), (MOST,), generator=self.generator, device=self.generator.device)
            values = values[picked.to(values.device)]
        row = values[None]
        if self.how == "percentile":
            return _quantiles(row)
        if self.how == "aciq":
            return _laplace_range(row, least, most, self.bits)
        return least_error(row, least.clamp(max=0.0), most.clamp(min=0.0), 0, 2**self.bits - 1, symmetric=False)

    @property
    def range(self) -> tuple[Tensor, Tensor]:
        """Least and most, each of shape ()."""
        if self.how == "minmax":
            return torch.tensor(self._least), torch.tensor(self._most)
        least, most = (self._sums / max(1, self._count)).float()
        return least, most
