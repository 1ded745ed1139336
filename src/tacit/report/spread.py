"""Spread: one measure over the runs of a row."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from statistics import fmean, stdev

__all__ = ["Spread"]


@dataclass(frozen=True, kw_only=True)
class Spread:
    """A measure over the runs of a row; `sd` is the sample standard deviation, None for fewer than two runs."""

    mean: float
    sd: float | None
    values: tuple[float, ...]

    @classmethod
    def of(cls, values: Iterable[float | None]) -> Spread | None:
        """Return the spread of those values that were measured; None where none was."""
        known = tuple(value for value in values if value is not None)
        return cls(mean=fmean(known), sd=stdev(known) if len(known) > 1 else None, values=known) if known else None
