"""Folding: batch norm into the layer before it, and which layer follows which, in any network, by a trace."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from tacit.core.network import Network
from tacit.core.state import evaluation_mode
from tacit.quantize.trace import Call, Trace, trace

__all__ = ["Folded", "Link", "fold", "fold_and_remember", "links", "replace_module"]

TOLERANCE = 1e-3
"""How far the logits of a folded network may be from what they were, of the largest."""


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
    """Return a link for each layer that is called once and whose parameters nothing else reads, in the order of the calls."""
    found, modules = trace(network), dict(network.model.named_modules())
    made, names = [], found.layers(modules)
    free = {name for name in names if found.weight(name) is not None and found.alone(name)}
    for call in found.calls:
        if call.module not in free:
            continue
        norm = activation = ""
        reader = _only_reader(found, call.output)
        if reader is not None and isinstance(modules.get(reader.module), _BatchNorm) and found.alone(reader.module):
            norm = reader.module
            reader = _only_reader(found, reader.output)
        if reader is not None and reader.kind == "activation":
            activation = reader.function
            reader = _only_reader(found, reader.output)
        made.append(Link(call.module, norm, activation, reader.module if reader is not None and reader.module in free else ""))
    return made


def replace_module(model: nn.Module, old: nn.Module, new: nn.Module) -> None:
    """Put a module in another's place, under each of its names."""
    for path, module in list(model.named_modules(remove_duplicate=False)):
        if module is old:
            parent, _, name = path.rpartition(".")
            setattr(model.get_submodule(parent), name, new)


@dataclass(frozen=True)
class Folded:
    """A network whose batch norms went into the layers before them, and what they remembered of those layers' outputs.

    Args:
        network: It computes what it computed before.
        outputs: Mean and standard deviation of each output channel, of shape (channels,) each, by the dotted name of the layer.
    """

    network: Network
    outputs: dict[str, tuple[Tensor, Tensor]]


def _foldable(modules: Mapping[str, nn.Module], link: Link) -> bool:
    layer, norm = modules[link.first], modules.get(link.norm)
    if not isinstance(norm, _BatchNorm) or norm.running_mean is None or norm.running_var is None:
        return False
    if isinstance(layer, nn.ConvTranspose1d | nn.ConvTranspose2d | nn.ConvTranspose3d):
        return False
    return len(norm.running_mean) == len(layer.get_parameter("weight"))


def _folded(network: Network, chosen: Iterable[Link]) -> Folded:
    """Return a copy of `network` with the norms of these links folded."""
    model, outputs = copy.deepcopy(network.model), dict[str, tuple[Tensor, Tensor]]()
    modules = dict(model.named_modules())
    for link in chosen:
        layer, norm = modules[link.first], modules[link.norm]
        assert isinstance(norm, _BatchNorm)
        mean, var = norm.running_mean, norm.running_var
        assert mean is not None
        assert var is not None
        gamma = norm.weight if norm.weight is not None else torch.ones_like(mean)
        beta = norm.bias if norm.bias is not None else torch.zeros_like(mean)
        slope = gamma / (var + norm.eps).sqrt()
        weight = layer.get_parameter("weight")
        weight.mul_(slope.view(-1, *[1] * (weight.ndim - 1)))
        bias = layer.bias if isinstance(layer.bias, Tensor) else torch.zeros_like(mean)
        layer.bias = nn.Parameter(beta + (bias - mean) * slope)
        outputs[link.first] = (beta.detach().clone(), (slope * var.sqrt()).abs())
        replace_module(model, norm, nn.Identity())
    return Folded(Network(model, network.spec, normalise=network.normalise).train(network.training), outputs)


def _same(one: Network, other: Network) -> bool:
    """Return whether two networks give the same logits for two random images."""
    images = torch.rand(2, *one.spec.shape, generator=torch.Generator().manual_seed(0)).to(one.mean.device)
    try:
        with evaluation_mode(one), evaluation_mode(other):
            before, after = one(images), other(images)
    except AttributeError:  # of a norm that is gone, where the model reads more of it than its output
        return False
    return bool((before - after).abs().max() <= TOLERANCE * before.abs().max())


@torch.no_grad()
def fold_and_remember(network: Network) -> Folded:
    """Return a copy of `network` with each batch norm that reads a layer alone folded into that layer.

    A norm that keeps no running statistics, is read with others or is called more than once stays, and so does one without which the
    copy would compute something else: two random images tell.
    """
    modules = dict(network.model.named_modules())
    chosen = [link for link in links(network) if _foldable(modules, link)]
    made = _folded(network, chosen)
    if _same(network, made.network):
        return made
    made = _folded(network, [link for link in chosen if _same(network, _folded(network, [link]).network)])
    return made if _same(network, made.network) else _folded(network, [])


def fold(network: Network) -> Network:
    """Return the network of `fold_and_remember`."""
    return fold_and_remember(network).network
