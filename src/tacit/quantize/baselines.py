"""Baselines: what can be had of a network without any image, beside which a calibrated one has to stand."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from tacit.core.errors import InputError
from tacit.core.network import Network, count_parameters
from tacit.quantize.remembered import quantize_from_norms
from tacit.quantize.scheme import Scheme
from tacit.quantize.simulate import simulate, stored_bits

__all__ = ["BASELINES", "Baseline", "make_baselines"]


@dataclass(frozen=True, kw_only=True)
class Baseline:
    """A network made without images.

    Args:
        network: Simulated: it computes what the small one would.
        bytes: Size, were it packed.
        unknown: Activations that stay in floating point for want of a range.
    """

    network: Network
    bytes: int
    unknown: int = 0


class _BFloat16(nn.Module):
    """A module in bfloat16, between float32 images and logits."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model.to(torch.bfloat16)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.model(images.to(torch.bfloat16)).float()
        return logits


def _bf16(network: Network, scheme: Scheme) -> Baseline:
    made = Network(_BFloat16(copy.deepcopy(network.model)), network.spec, normalise=network.normalise)
    return Baseline(network=made, bytes=2 * count_parameters(network))


def _weights_only(network: Network, scheme: Scheme) -> Baseline:
    made = simulate(network, replace(scheme, activations=32))
    return Baseline(network=made, bytes=-(-stored_bits(made) // 8))


def _from_norms(network: Network, scheme: Scheme) -> Baseline:
    made, unknown = quantize_from_norms(network, scheme)
    return Baseline(network=made, bytes=-(-stored_bits(made) // 8), unknown=unknown)


BASELINES: Mapping[str, Callable[[Network, Scheme], Baseline]] = {"bf16": _bf16, "weights only": _weights_only, "DFQ (Nagel)": _from_norms}
"""bfloat16 throughout; the scheme's weights with activations in floating point; the scheme, with all that batch norms tell
(`quantize_from_norms`)."""


def make_baselines(network: Network, scheme: Scheme) -> dict[str, Baseline]:
    """Return each baseline that `network` allows, by name: one that needs batch norm is left out where there is none.

    Args:
        network: In floating point; not changed.
        scheme: Bits.
    """
    found = {}
    for name, make in BASELINES.items():
        try:
            found[name] = make(network, scheme)
        except InputError:
            continue
    return found
