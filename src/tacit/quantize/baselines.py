"""Baselines: what can be had of a network without any image, beside which a calibrated one has to stand."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from tacit.core.network import Network, stored_bytes
from tacit.quantize.remembered import NoNormsError, quantize_from_norms
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
    """A module in bfloat16, which takes float32 images."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model.to(torch.bfloat16)

    def forward(self, images: Tensor) -> Any:
        """Return what the module returns, in bfloat16."""
        return self.model(images.to(torch.bfloat16))


class _FloatLogits(Network):
    """A network that answers in float32, whatever its module computes in."""

    def _logits(self, output: object) -> Tensor:
        return super()._logits(output).float()


def _bf16(network: Network, scheme: Scheme) -> Baseline:
    made = _FloatLogits(_BFloat16(copy.deepcopy(network.model)), network.spec, normalise=network.normalise)
    return Baseline(network=made, bytes=stored_bytes(made.model))


def _weights_only(network: Network, scheme: Scheme) -> Baseline:
    made = simulate(network, replace(scheme, activations=32))
    return Baseline(network=made, bytes=-(-stored_bits(made) // 8))


def _from_norms(network: Network, scheme: Scheme) -> Baseline:
    made, unknown = quantize_from_norms(network, scheme)
    return Baseline(network=made, bytes=-(-stored_bits(made) // 8), unknown=unknown)


BASELINES: Mapping[str, Callable[[Network, Scheme], Baseline]] = {"bf16": _bf16, "weights only": _weights_only, "DFQ (Nagel)": _from_norms}
"""bfloat16 throughout; the scheme's weights with activations in floating point; the scheme, with all that batch norms tell
(`quantize_from_norms`)."""


def make_baselines(network: Network, scheme: Scheme, *, report: Callable[[str], object] | None = None) -> dict[str, Baseline]:
    """Return each baseline that `network` allows, by name, tried on two images; none stops a run that is nearly done.

    Args:
        network: In floating point; not changed.
        scheme: Bits.
        report: Is given a line for each that is left out though it could be made, as one that can't be computed in bfloat16.
    """
    found = {}
    for name, make in BASELINES.items():
        try:
            made = make(network, scheme)
            made.network.check()
        except NoNormsError:
            continue
        except Exception as error:  # a model may raise anything in a type that it was not made for
            reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
            if report is not None:
                report(f"baseline {name}: left out, since {reason}")
        else:
            found[name] = made
    return found
