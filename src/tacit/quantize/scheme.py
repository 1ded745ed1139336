"""Scheme: how a network is quantized."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from tacit.core.errors import InputError

__all__ = ["Ranges", "Scheme"]

Ranges = Literal["average", "minmax", "percentile", "mse", "aciq"]


@dataclass(frozen=True, kw_only=True)
class Scheme:
    """Bits and ranges. The images themselves keep their 8 bits; biases, batch norm and scales stay in floating point."""

    weights: int = 8
    """Bits of a weight, 2 to 8."""
    activations: int = 8
    """Bits of an activation, 2 to 8; 32: activations stay in floating point (weight-only)."""
    ends: int | None = None
    """Bits of the weights of the first and the last layer, and of the last one's input; not given: as all others."""
    per_channel: bool = True
    """Whether each output channel's weights have a scale of their own."""
    weight_ranges: Ranges = "mse"
    """How the range of weights is chosen: minmax, average (the same here), percentile, mse (least squared error) or aciq."""
    activation_ranges: Ranges | None = None
    """How the range of an activation is chosen: minmax over all images; average of the images' own (as in The Knowledge Within);
    percentile (99.99 % at each end, the average over batches); mse (least squared error); aciq (the best for a Laplace distribution);
    not given: minmax for 8 bits, which can afford what is rare, average for fewer."""
    sums: bool = True
    """Whether sums of branches, as in residual networks, are quantized too, behind the activation that follows them."""

    def __post_init__(self) -> None:
        for name in ("weights", "activations", "ends"):
            bits = getattr(self, name)
            if not (bits is None and name == "ends") and bits not in range(2, 9) and not (name == "activations" and bits == 32):
                raise InputError(f"scheme.{name}: expected 2 to 8 bits{', or 32 for none' * (name == 'activations')}, got {bits}")
        if self.activation_ranges is None:
            object.__setattr__(self, "activation_ranges", "minmax" if self.activations >= 8 else "average")
        for name in ("weight_ranges", "activation_ranges"):
            if getattr(self, name) not in get_args(Ranges):
                raise InputError(f"scheme.{name}: expected one of {', '.join(get_args(Ranges))}, got {getattr(self, name)!r}")

    @property
    def ranges(self) -> Ranges:
        """How the range of an activation is chosen."""
        assert self.activation_ranges is not None
        return self.activation_ranges

    @property
    def name(self) -> str:
        """As papers write it: W4A4."""
        return f"W{self.weights}A{self.activations}"

    @property
    def last(self) -> int:
        """Bits of the first and the last layer."""
        return self.weights if self.ends is None else self.ends
