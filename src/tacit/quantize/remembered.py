"""Remembered: ranges of activations from what batch norms remember, and from no image at all.

"Data-Free Quantization Through Weight Equalization and Bias Correction", Nagel et al., 2019, https://arxiv.org/abs/1906.04721, sec. 5: a
range is that of mean -+ 6 standard deviations of a normal distribution, less what an activation function cuts off. Behind a sum of
branches means and variances are added, as if the branches were independent.
"""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from tacit.core.errors import InputError
from tacit.core.network import Network
from tacit.quantize.equalise import absorb, clipped_mean, correct, equalise
from tacit.quantize.fold import Folded, fold_and_remember, replace_module
from tacit.quantize.scheme import Scheme
from tacit.quantize.simulate import INPUT, Simulated, simulate
from tacit.quantize.trace import Call, trace

__all__ = ["NoNormsError", "quantize_from_norms", "set_remembered_ranges"]

DEVIATIONS = 6.0
HANDED_ON = {
    *("flatten", "reshape", "view", "squeeze", "contiguous", "dropout", "interpolate", "mean"),
    *("adaptive_avg_pool2d", "avg_pool2d", "max_pool2d", "adaptive_max_pool2d"),
}
"""Functions that take no value out of its range."""
CEILINGS = {"relu": math.inf, "relu6": 6.0}
"""Activations whose output is known, and where they end."""


class NoNormsError(InputError):
    """A network remembers nothing of its activations."""


@dataclass(frozen=True)
class _Value:
    """What is known of a feature map; each of shape (channels,)."""

    mean: Tensor
    std: Tensor
    least: Tensor
    most: Tensor

    @staticmethod
    def normal(mean: Tensor, std: Tensor) -> _Value:
        return _Value(mean, std, mean - DEVIATIONS * std, mean + DEVIATIONS * std)

    def clipped(self, ceiling: float) -> _Value:
        mean = clipped_mean(self.mean, self.std)
        ratio = self.mean / self.std.clamp_min(1e-12)
        above = (1 + torch.erf(ratio / math.sqrt(2))) / 2
        square = (self.mean.square() + self.std.square()) * above
        square = square + self.mean * self.std * torch.exp(-ratio.square() / 2) / math.sqrt(2 * math.pi)
        std = (square - mean.square()).clamp_min(0.0).sqrt()
        return _Value(mean, std, self.least.clamp(0.0, ceiling), self.most.clamp(0.0, ceiling))

    def plus(self, other: _Value) -> _Value:
        found = _Value.normal(self.mean + other.mean, (self.std.square() + other.std.square()).sqrt())
        least, most = self.least + other.least, self.most + other.most
        return replace(found, least=torch.maximum(found.least, least), most=torch.minimum(found.most, most))


def _next(call: Call, known: dict[int, _Value], folded: Folded) -> _Value | None:
    """Return what is known of a call's output; None for nothing."""
    if call.module in folded.outputs and call.kind == "":
        return _Value.normal(*folded.outputs[call.module])
    read = [known[value] for value in call.inputs if value in known]
    if not read:
        return None
    if call.kind == "sum" and len(read) == 2:
        return read[0].plus(read[1]) if read[0].mean.shape == read[1].mean.shape else None
    if call.kind == "activation" and call.function in CEILINGS:
        return read[0].clipped(CEILINGS[call.function])
    return read[0] if call.function in HANDED_ON else None


@torch.no_grad()
def set_remembered_ranges(quantized: Network, folded: Folded) -> int:
    """Set the ranges of activations of a simulated network; return how many could not be known, and stay in floating point.

    Args:
        quantized: Made of ``folded.network`` by `simulate`.
        folded: With what is remembered.
    """
    model, network = quantized.model, folded.network
    if not isinstance(model, Simulated):
        raise InputError(f"expected a network made by `simulate`, got a {type(model).__name__}")
    found = trace(network)
    known = {found.image: _pixels(network)}
    for call in found.calls:
        value = _next(call, known, folded)
        if value is not None and call.outputs:
            known[call.output] = value
    quantized_values = defaultdict[str, list[int]](list)
    for call in found.calls:
        quantized_values[f"sums.{call.watched}"].append(call.output)
        quantized_values[f"net.{call.module}.{INPUT}"].extend(call.inputs[:1])
    unknown = 0
    for name, quantizer in model.activations.items():
        values = [known.get(value) for value in quantized_values[name]]
        sure = [value for value in values if value is not None]
        if sure and len(sure) == len(values):
            quantizer.set_range(min(value.least.min() for value in sure), max(value.most.max() for value in sure))
        else:
            unknown += 1
    return unknown


def _pixels(network: Network) -> _Value:
    """Return what the user's module reads: images in [0, 1], normalised where the network does that."""
    mean, std = network.mean.flatten(), network.std.flatten()
    nothing = torch.zeros_like(mean)
    if not network.normalise:
        return _Value(mean, std, nothing, nothing + 1)
    return _Value(nothing, nothing + 1, -mean / std, (1 - mean) / std)


@torch.no_grad()
def quantize_from_norms(network: Network, scheme: Scheme) -> tuple[Network, int]:
    """Return a simulated network made without any image: equalised, high biases absorbed, biases corrected, ranges remembered.

    Before that each ReLU6 that is a module becomes a ReLU, as in sec. 5.1, since scales can't be handed through its ceiling. The second
    value is the number of activations whose ranges could not be known, which stay in floating point.

    Args:
        network: With batch norm that keeps running statistics.
        scheme: Bits; `activation_ranges` plays no part.
    """
    folded = fold_and_remember(network)
    if not folded.outputs:
        raise NoNormsError("no batch norm with running statistics reads a layer alone, so that nothing is remembered of any activation")
    model = folded.network.model
    for module in [module for module in model.modules() if type(module) is nn.ReLU6]:
        replace_module(model, module, nn.ReLU(inplace=module.inplace).train(module.training))
    equalise(folded)
    absorb(folded)
    quantized = simulate(folded.network, scheme)
    correct(quantized, folded)
    return quantized, set_remembered_ranges(quantized, folded)
