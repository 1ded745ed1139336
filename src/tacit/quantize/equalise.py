"""Equalisation: what can be done for a quantized network with no image at all.

"Data-Free Quantization Through Weight Equalization and Bias Correction", Nagel et al., 2019, https://arxiv.org/abs/1906.04721: cross-layer
equalisation (sec. 4.1), absorption of high biases (sec. 4.1.3), and correction of biases by the means that batch norms remember (sec. 4.2).
Each changes a `Folded` network in place, in that order.
With one scale a channel the first matters little; with one scale a layer it matters most where layers are depthwise.
"""

from __future__ import annotations

import math
from collections.abc import Collection

import torch
from torch import Tensor, nn

from tacit.core.errors import InputError
from tacit.core.network import Network
from tacit.quantize.fold import Folded, Link, links
from tacit.quantize.simulate import Simulated

__all__ = ["absorb", "clipped_mean", "correct", "equalise"]

HOMOGENEOUS = ("", "relu", "leaky_relu", "prelu")
"""Functions f with f(s x) = s f(x) for s > 0, between two layers that are equalised."""


def _columns(layer: nn.Module) -> Tensor:
    """Return the weights that read each input channel, of shape (inputs, the rest)."""
    weight = layer.get_parameter("weight")
    groups = getattr(layer, "groups", 1)
    if groups == 1:
        return weight.transpose(0, 1).flatten(1)
    return weight.view(groups, -1, *weight.shape[1:]).transpose(1, 2).flatten(0, 1).flatten(1)


def _scale_columns(layer: nn.Module, scale: Tensor) -> None:
    weight = layer.get_parameter("weight")
    groups = getattr(layer, "groups", 1)
    shape = (groups, 1, -1, *[1] * (weight.ndim - 2))
    weight.view(groups, -1, *weight.shape[1:]).mul_(scale.view(shape))


def _pairs(folded: Folded, functions: Collection[str]) -> list[tuple[Link, nn.Module, nn.Module]]:
    """Return the pairs of following layers with one of these functions between, and no norm; both are convolutions, or both linear."""
    modules, found = dict(folded.network.model.named_modules()), []
    for link in links(folded.network):
        if not link.second or link.norm or link.activation not in functions:
            continue
        first, second = modules[link.first], modules[link.second]
        if any(isinstance(first, kind) and isinstance(second, kind) for kind in ((nn.Conv1d, nn.Conv2d, nn.Conv3d), nn.Linear)):
            found.append((link, first, second))
    return found


@torch.no_grad()
def equalise(folded: Folded, *, rounds: int = 40) -> None:
    """Make the ranges of following layers alike, in place; the network computes the same.

    Of two layers with only a ReLU between, channel i of the first is divided, and what reads it in the second multiplied, by
    ``s_i = sqrt(r1_i r2_i) / r2_i``, r being the largest absolute weight (eq. 11); pair by pair, until nothing changes. What is
    remembered of the first layer's outputs is divided likewise.

    Args:
        folded: Of any network; layers that branch are left alone.
        rounds: At most.
    """
    pairs = _pairs(folded, HOMOGENEOUS)
    for _ in range(rounds):
        most = 0.0
        for link, first, second in pairs:
            weight, columns = first.get_parameter("weight"), _columns(second)
            if len(columns) != len(weight):
                continue
            rows, reading = weight.flatten(1).abs().amax(1), columns.abs().amax(1)
            alive = (rows > 0) & (reading > 0)
            scale = torch.where(alive, (rows / reading.clamp_min(1e-12)).sqrt(), torch.ones_like(rows))
            most = max(most, float((scale - 1).abs().max()))
            weight.div_(scale.view(-1, *[1] * (weight.ndim - 1)))
            if isinstance(first.bias, Tensor):
                first.bias.div_(scale)
            _scale_columns(second, scale)
            if link.first in folded.outputs:
                mean, std = folded.outputs[link.first]
                folded.outputs[link.first] = (mean / scale, std / scale)
        if most < 1e-4:
            break


def clipped_mean(mean: Tensor, std: Tensor) -> Tensor:
    """Return the mean of ``max(x, 0)`` for x of N(mean, std): ``std phi(-mean / std) + mean (1 - Phi(-mean / std))`` (eq. 19)."""
    ratio = mean / std.clamp_min(1e-12)
    density = torch.exp(-ratio.square() / 2) / math.sqrt(2 * math.pi)
    return std * density + mean * (1 + torch.erf(ratio / math.sqrt(2))) / 2


@torch.no_grad()
def absorb(folded: Folded, *, times: float = 3.0) -> None:
    """Let layers hand less of their biases through a ReLU, in place.

    Where ``c = max(0, mean - times std)`` of a layer's output is above 0, nearly every value passes the ReLU: c is taken from the bias and
    given, through the next layer's weights, to that layer's (eq. 15). Exact but at borders that are padded and for the few values below c.

    Args:
        folded: Of any network; layers of which nothing is remembered are left alone.
        times: Standard deviations.
    """
    for link, first, second in _pairs(folded, ("relu",)):
        if link.first not in folded.outputs:
            continue
        mean, std = folded.outputs[link.first]
        over = (mean - times * std).clamp_min(0.0)
        columns = _columns(second)
        if len(columns) != len(over) or getattr(second, "groups", 1) not in (1, len(over)):
            continue
        first.get_parameter("bias").sub_(over)
        folded.outputs[link.first] = (mean - over, std)
        weight = second.get_parameter("weight").flatten(2) if second.get_parameter("weight").ndim > 2 else second.get_parameter("weight")
        through = weight.sum(dim=-1) if weight.ndim > 2 else weight
        depthwise = getattr(second, "groups", 1) > 1
        given = through[:, 0] * over.repeat_interleave(len(through) // len(over)) if depthwise else through @ over
        second.bias = nn.Parameter((second.bias if isinstance(second.bias, Tensor) else torch.zeros_like(given)) + given)


@torch.no_grad()
def correct(quantized: Network, folded: Folded) -> int:
    """Change the biases of a simulated network so that quantized weights shift no mean; return how many layers were changed.

    The mean of a layer's input is what the batch norm before it remembered, behind the ReLU, so that a layer behind a sum, or a pooling, is
    left alone; ``b -= (W_q - W) E[x]`` (eq. 17).

    Args:
        quantized: Made of ``folded.network`` by `simulate`.
        folded: With what is remembered.
    """
    model = quantized.model
    if not isinstance(model, Simulated):
        raise InputError(f"expected a network made by `simulate`, got a {type(model).__name__}")
    layers, changed = dict(model.net.named_modules()), 0
    for link, _, _ in _pairs(folded, ("", "relu")):
        if link.first not in folded.outputs:
            continue
        layer = layers[link.second]
        mean, std = folded.outputs[link.first]
        expected = clipped_mean(mean, std) if link.activation else mean
        weight = layer.get_submodule("parametrizations.weight").get_parameter("original")
        error = (layer.weight - weight).flatten(2).sum(dim=2) if weight.ndim > 2 else layer.weight - weight
        groups = getattr(layer, "groups", 1)
        inputs = expected.view(groups, -1).repeat_interleave(len(error) // groups, dim=0)
        shift = (error * inputs).sum(dim=1)
        layer.bias = nn.Parameter((layer.bias if isinstance(layer.bias, Tensor) else torch.zeros_like(shift)) - shift)
        changed += 1
    return changed
