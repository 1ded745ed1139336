"""Opening: what every rendered set begins with."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from tacit.core.device import derived_seed
from tacit.core.errors import InputError

__all__ = ["opening"]


def opening(
    name: str, split: str, images: int | None, size: tuple[int, int], seed: int, *, counts: Mapping[str, int], least: int
) -> tuple[int, torch.Generator]:
    """Return how many images there will be, and the source of their draws, another one for each set, split and seed.

    Args:
        name: Of the set.
        split: A key of `counts`.
        images: How many; None: as `counts` has it.
        size: Height and width.
        seed: Of all draws.
        counts: Images of each split.
        least: Least height and width.

    Raises:
        InputError: There is no such split, or nothing would be seen.
    """
    if split not in counts:
        raise InputError(f"split: {name} has {' and '.join(map(repr, counts))}, got {split!r}")
    count = counts[split] if images is None else images
    if count < 1 or min(size) < least:
        raise InputError(f"{name}: expected at least 1 image of at least {least}x{least} pixels, got {count} of {size[0]}x{size[1]}")
    return count, torch.Generator().manual_seed(derived_seed(seed, name, split))
