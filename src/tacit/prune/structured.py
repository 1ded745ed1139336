"""Structured pruning: whole channels are taken out of a network, by Torch-Pruning; to load the result that package is not needed.

"DepGraph: Towards Any Structural Pruning", Fang et al., 2023, https://arxiv.org/abs/2301.12900: layers that must lose the same channels
(around a residual sum, a depthwise convolution, a flattening) are found in the graph of one pass, and are ranked and pruned together.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, get_args

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from tacit.core.errors import InputError, import_extra
from tacit.core.models import ModelRef
from tacit.core.network import Network, Origin
from tacit.core.norms import norm_layers
from tacit.prune.graph import Importance, make_ranking, named, take_out

__all__ = ["build", "check_options", "prune"]


def check_options(share: float, importance: Importance) -> None:
    """Raise `InputError` where the options of `prune` are out of range, or Torch-Pruning is not installed."""
    if not 0 < share < 1:
        raise InputError(f"share: expected more than 0 and less than 1, got {share}")
    if importance not in get_args(Importance):
        raise InputError(f"importance: expected one of {', '.join(get_args(Importance))}, got {importance!r}")
    import_extra("torch_pruning", "prune", "pruning")


def prune(network: Network, share: float, *, importance: Importance = "magnitude", seed: int = 0) -> Network:
    """Return a copy of `network` without the least important channels of each layer; its weights are those that are left.

    Layers behind which no other comes, which say the classes, keep all their outputs, and so do those of auxiliary heads, also where
    only training calls them. Parameters that several layers share are shared in the copy. No layer loses its last channel; a group of a
    grouped convolution or group norm loses as many channels as the next.

    Args:
        network: Any network that torch's autograd can follow; it is not changed.
        share: Of its channels that each layer loses, above 0 and below 1, to the nearest whole channel.
        importance: What ranks channels.
        seed: For the importance `random`.

    Raises:
        InputError: Where nothing can be taken out, or what is left does not compute; the message names the module.
        MissingExtraError: Where Torch-Pruning is not installed.
    """
    check_options(share, importance)
    model = copy.deepcopy(network.model).cpu().requires_grad_(True)
    name = type(model).__name__
    changed = next((part for part, module in model.named_modules() if parametrize.is_parametrized(module)), None)
    if changed is not None:
        raise InputError(f"{name} computes the weights of {changed!r} from others, so that none can be taken out: prune it before")
    if importance == "bn-scale" and not norm_layers(model):
        raise InputError(f"importance: {name} has no batch norm with running statistics to go by; use `magnitude`")
    pruned = Network(model, network.spec, normalise=network.normalise)
    before, shared = _sizes(model), _shared(model)
    taken = take_out(pruned, share, make_ranking(importance, torch.Generator().manual_seed(seed)))
    if not taken:
        raise InputError(f"share: {share} takes no whole channel from any layer of {name}: give more")
    _share_again(model, shared)
    with named(model, f"{name} does not compute with fewer channels"):
        pruned.check()
    origin = None
    if network.origin is not None:
        kwargs = {"factory": network.origin.factory, "kwargs": dict(network.origin.kwargs), "spec": asdict(network.spec)}
        origin = Origin(factory=f"{__name__}:build", kwargs={**kwargs, **_differences(before, _sizes(model))})
    pruned = Network(model.to(network.mean.device), network.spec, origin=origin, normalise=network.normalise)
    return pruned.train(network.training)


def _shared(model: nn.Module) -> list[list[str]]:
    """Return the names of each parameter that has several."""
    names: dict[int, list[str]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        names.setdefault(id(parameter), []).append(name)
    return [found for found in names.values() if len(found) > 1]


def _share_again(model: nn.Module, shared: Sequence[Sequence[str]]) -> None:
    """Make one parameter again of those that were one before; `InputError` where different channels were taken from them."""
    for first, *others in shared:
        kept = model.get_parameter(first)
        for name in others:
            if not torch.equal(model.get_parameter(name), kept):
                raise InputError(
                    f"{type(model).__name__} has one parameter as {first!r} and {name!r}, which would lose different channels: "
                    "give each its own before"
                )
            path, _, last = name.rpartition(".")
            setattr(model.get_submodule(path), last, kept)


def _sizes(model: nn.Module) -> tuple[dict[str, list[int]], dict[str, dict[str, Any]]]:
    """Return the shapes of parameters and buffers, and the numbers that modules keep of themselves, by dotted name."""
    tensors = [*model.named_parameters(remove_duplicate=False), *model.named_buffers(remove_duplicate=False)]
    numbers = {
        name: {key: value for key, value in vars(module).items() if _is_number(value)}
        for name, module in model.named_modules(remove_duplicate=False)
    }
    return {name: list(tensor.shape) for name, tensor in tensors}, numbers


def _is_number(value: object) -> bool:
    single = isinstance(value, int) and not isinstance(value, bool)
    return single or (isinstance(value, tuple) and all(isinstance(part, int) for part in value))


def _differences(before: tuple[Any, Any], after: tuple[Any, Any]) -> dict[str, Any]:
    shapes = {name: shape for name, shape in after[0].items() if shape != before[0].get(name)}
    numbers = {
        name: {key: list(value) if isinstance(value, tuple) else value for key, value in found.items() if value != before[1][name].get(key)}
        for name, found in after[1].items()
    }
    return {"shapes": shapes, "numbers": {name: found for name, found in numbers.items() if found}}


def build(
    factory: str,
    kwargs: Mapping[str, Any],
    spec: Mapping[str, Any],
    shapes: Mapping[str, Sequence[int]],
    numbers: Mapping[str, Mapping[str, Any]],
) -> nn.Module:
    """Return the module of ``factory(**kwargs)`` with its tensors cut to smaller shapes: what model.json names for a pruned network.

    Args:
        factory: ``package.module:callable`` of the network that was pruned.
        kwargs: Its arguments.
        spec: What that network expects and says.
        shapes: Of the parameters and buffers that pruning changed, by dotted name.
        numbers: What the changed modules keep of their own sizes, by dotted name and attribute, as ``in_channels``.

    Raises:
        InputError: Where the factory's module has no such tensors, or smaller ones.
    """
    model = ModelRef.of(factory, kwargs, spec).load().model
    modules = dict(model.named_modules(remove_duplicate=False))
    shared = _shared(model)
    for key, shape in shapes.items():
        path, _, name = key.rpartition(".")
        whole = getattr(modules.get(path), name, None)
        if not isinstance(whole, Tensor) or len(shape) != whole.ndim or any(one > two for one, two in zip(shape, whole.shape, strict=True)):
            size = list(whole.shape) if isinstance(whole, Tensor) else "nothing"
            raise InputError(f"{factory} makes another network than the one that was pruned: {key} should hold {list(shape)}, got {size}")
        part = whole.detach()[tuple(slice(size) for size in shape)].clone()
        setattr(modules[path], name, nn.Parameter(part, requires_grad=whole.requires_grad) if isinstance(whole, nn.Parameter) else part)
    for path, kept in numbers.items():
        for name, value in kept.items():
            setattr(modules[path], name, tuple(value) if isinstance(value, list) else value)
    _share_again(model, shared)
    return model
