"""Folding: batch norm into the layer before it, and which layer follows which, in any network, by a trace."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from tacit.core.network import Network
from tacit.quantize.trace import LAYERS, Call, Trace, trace

__all__ = ["Folded", "Link", "fold", "fold_and_remember", "links"]


@dataclass(frozen=True)
class Link:
    """A layer, what is between, and the layer that alone reads it.

    Args:
        first: Dotted name of a layer with weights.
        norm: Name of the batch norm behind it; "" for none.
        activation: Name of the function between, as ``relu``; "" for none.
        second: Name of the next layer; "" where something else reads it, or several do.
    """

    first: str
    norm: str
    activation: str
    second: str


def _only_reader(found: Trace, value: int) -> Call | None:
    readers = found.readers(value)
    return readers[0] if len(readers) == 1 and readers[0].inputs[:1] == (value,) else None


def links(network: Network) -> list[Link]:
    """Return a link for each layer that is called once, in the order of the calls."""
    found, modules = trace(network), dict(network.model.named_modules())
    calls = [call for call in found.calls if isinstance(modules.get(call.module), LAYERS)]
    used = [call.module for call in calls]
    made = []
    for call in calls:
        if used.count(call.module) > 1:
            continue
        norm = activation = ""
        reader = _only_reader(found, call.output)
        if reader is not None and isinstance(modules.get(reader.module), _BatchNorm):
            norm = reader.module
            reader = _only_reader(found, reader.output)
        if reader is not None and reader.kind == "activation":
            activation = reader.function
            reader = _only_reader(found, reader.output)
        second = reader.module if reader is not None and used.count(reader.module) == 1 else ""
        made.append(Link(call.module, norm, activation, second))
    return made


@dataclass(frozen=True)
class Folded:
    """A network whose batch norms went into the layers before them, and what they remembered of those layers' outputs.

    Args:
        network: It computes what it computed before.
        outputs: Mean and standard deviation of each output channel, of shape (channels,) each, by the dotted name of the layer.
    """

    network: Network
    outputs: dict[str, tuple[Tensor, Tensor]]


@torch.no_grad()
def fold_and_remember(network: Network) -> Folded:
    """Return a copy of `network` with each batch norm that reads a layer alone folded into that layer.

    A norm that keeps no running statistics, or is read with others, stays.
    """
    model, outputs = copy.deepcopy(network.model), dict[str, tuple[Tensor, Tensor]]()
    modules = dict(model.named_modules())
    for link in links(network):
        layer, norm = modules[link.first], modules.get(link.norm)
        if not isinstance(norm, _BatchNorm) or norm.running_mean is None or norm.running_var is None:
            continue
        if isinstance(layer, nn.ConvTranspose1d | nn.ConvTranspose2d | nn.ConvTranspose3d):
            continue
        mean, var = norm.running_mean, norm.running_var
        gamma = norm.weight if norm.weight is not None else torch.ones_like(mean)
        beta = norm.bias if norm.bias is not None else torch.zeros_like(mean)
        slope = gamma / (var + norm.eps).sqrt()
        weight = layer.get_parameter("weight")
        weight.mul_(slope.view(-1, *[1] * (weight.ndim - 1)))
        bias = layer.bias if isinstance(layer.bias, Tensor) else torch.zeros_like(mean)
        layer.bias = nn.Parameter(beta + (bias - mean) * slope)
        outputs[link.first] = (beta.detach().clone(), (slope * var.sqrt()).abs())
        parent, _, name = link.norm.rpartition(".")
        setattr(model.get_submodule(parent), name, nn.Identity())
    return Folded(Network(model, network.spec, normalise=network.normalise).train(network.training), outputs)


def fold(network: Network) -> Network:
    """Return the network of `fold_and_remember`."""
    return fold_and_remember(network).network
