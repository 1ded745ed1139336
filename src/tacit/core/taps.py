"""Taps found without being named: the classifier of any network, and one feature map a resolution."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd
from torch.nn.modules.dropout import _DropoutNd

from tacit.core.calls import Call, calls_of
from tacit.core.errors import InputError
from tacit.core.layout import MAP, Layouts
from tacit.core.network import Network, dry_run, members
from tacit.core.probe import INPUT
from tacit.core.state import evaluation_mode

__all__ = [
    "ACTIVATIONS",
    "classifier_inputs",
    "classifier_name",
    "classifier_rows",
    "layouts_of",
    "no_classifier",
    "penultimate_tap",
    "stage_names",
]

ACTIVATIONS = (nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.PReLU, nn.SiLU, nn.GELU, nn.Hardswish)
NORMS = (nn.modules.batchnorm._BatchNorm, nn.modules.instancenorm._InstanceNorm, nn.GroupNorm)


def _watch(network: Network, note: Callable[[str, nn.Module, Tensor], None]) -> None:
    """Call `note` with name, module and output of each part of `network` that returns one tensor in a dry run, as it does."""
    dry_run(network, lambda name, module, _, output: note(name, module, output) if name and output is not None else None)


def _classifier(network: Network) -> tuple[str, nn.Module]:
    found: list[tuple[str, nn.Module]] = []

    def note(name: str, module: nn.Module, _: Tensor) -> None:
        wide = getattr(module, "out_features", None) if isinstance(module, nn.Linear) else getattr(module, "out_channels", None)
        if isinstance(module, nn.Linear | nn.Conv2d) and wide == network.spec.classes:
            found.append((name, module))

    _watch(network, note)
    if not found:
        raise InputError(
            f"{type(network.model).__name__} has no linear or convolution layer with {network.spec.classes} outputs, whose input would be "
            "its features: use a method or loss that reads the logits alone"
        )
    return found[-1] if len(found) == 1 else (_leading(network, found) or found)[-1]


def _leading(network: Network, found: list[tuple[str, nn.Module]]) -> list[tuple[str, nn.Module]]:
    """Return those of `found` on which the logits depend, by their gradient: an auxiliary head may be called last."""
    made: dict[nn.Module, Tensor] = {}
    handles = [layer.register_forward_hook(lambda layer, _, output: made.update({layer: output})) for _, layer in found]
    try:
        with torch.enable_grad(), evaluation_mode(network):
            logits = network(torch.full((1, *network.spec.shape), 0.5, device=network.mean.device, requires_grad=True))
            outputs = [made[layer] for _, layer in found]
            slopes = torch.autograd.grad(logits.sum(), outputs, allow_unused=True) if logits.requires_grad else [None] * len(found)
    finally:
        for handle in handles:
            handle.remove()
    return [each for each, slope in zip(found, slopes, strict=True) if slope is not None]


def classifier_name(network: Network) -> str:
    """Return the dotted name of the layer that makes the logits.

    It is the last linear layer or convolution with as many outputs as classes, of those that the logits depend on.

    Its input, the tap ``f"{classifier_name(network)}:in"``, is what papers call the penultimate features.

    Raises:
        InputError: Where there is no such layer.
    """
    return _classifier(network)[0]


def penultimate_tap(network: Network) -> str:
    """Return the tap of what the classifier reads: its input, as a map where it has its channels last.

    Where a dropout makes that, it is what goes into the dropout: the same in evaluation mode, and whole in a student that learns. One that
    is a function (``F.dropout``) can't be seen: name the tap of what goes into it.

    Raises:
        InputError: Where there is no such layer.
    """
    name, layer = _classifier(network)
    given: list[Tensor] = []
    dropped: dict[str, Tensor] = {}

    def note(part: str, module: nn.Module, shown: Tensor | None, made: Tensor | None) -> None:
        if module is layer and shown is not None:
            given.append(shown)
        if isinstance(module, _DropoutNd) and made is not None:
            dropped[part] = made

    dry_run(network, note)
    read = given[-1] if given else None
    tapped = next((part for part, made in dropped.items() if made is read), name)
    return f"{tapped}{INPUT}{MAP if isinstance(layer, nn.Linear) and read is not None and read.ndim == 4 else ''}"


def no_classifier(network: Network, use: str) -> str | None:
    """Return why a method can't be used that needs such a layer, None where there is one.

    Args:
        network: A classifier.
        use: What the layer is for, and what can be done without it: the end of the sentence.
    """
    try:
        classifier_inputs(network)
    except InputError:
        return f"needs a linear or convolution layer with {network.spec.classes} outputs, which this teacher has not, {use}"
    return None


def classifier_inputs(network: Network) -> tuple[str, ...]:
    """Return the taps of what makes the logits; of an ensemble, one a member. `InputError` where there is none."""
    return tuple(f"{prefix}{classifier_name(member)}{INPUT}" for prefix, member in members(network).items())


def classifier_rows(network: Network) -> Tensor:
    """Return the weights of that layer, one row a class, of shape (classes, features), detached; kernels are flattened.

    Those of an ensemble's members stand side by side.
    """
    rows = [cast("Tensor", _classifier(member)[1].weight) for member in members(network).values()]
    return torch.cat([weight.detach().flatten(1) for weight in rows], dim=1)


def _seen(network: Network) -> tuple[dict[str, tuple[nn.Module, tuple[int, ...]]], Layouts]:
    """Return each part, with the shape of what it made of one image, in order; and what that tells of layouts."""
    seen: dict[str, tuple[nn.Module, tuple[int, ...]]] = {}

    def note(name: str, module: nn.Module, output: Tensor) -> None:
        seen.pop(name, None)
        seen[name] = module, tuple(output.shape)

    _watch(network, note)
    return seen, Layouts(seen.values(), network.spec.shape[1:])


def layouts_of(network: Network) -> Layouts:
    """Return how the maps of `network` are laid out."""
    return _seen(network)[1]


def _activated(network: Network, convolutions: Sequence[str]) -> dict[str, str]:
    """Return by the name of each convolution the tap of what is made of its map by the activation behind it, straight or through norms.

    That is the activation; where it is a function, or is called again, it is what goes into the part behind it (``pool:in``) and, where
    no such part reads a map of this shape, what comes out of the norm. A map that something else reads too, as the one that a
    pre-activation net hands on, stands for itself.
    """
    calls = calls_of(network, lambda module: not isinstance(module, nn.Identity) and not any(True for _ in module.children()))
    found: dict[str, str] = {}
    for name in convolutions:
        at, normed = next((call for call in calls if call.name == name and not call.again), None), ""
        while at is not None:
            place, active = calls.index(at), isinstance(at.module, ACTIVATIONS)
            readers = [call for call in calls[place + 1 :] if call.given is at.made]
            reader = readers[0] if readers else None
            changed = reader is not None and reader.came > at.went
            if len(readers) > 1 and not (active or changed or getattr(readers[0].module, "inplace", False)):
                break
            if reader is not None and isinstance(reader.module, ACTIVATIONS) and not reader.again:
                found[name] = reader.name
                break
            if reader is None or active or (changed and not isinstance(reader.module, ACTIVATIONS)):
                behind = reader or _behind(calls, place)
                tap = normed if behind is None or behind.again else f"{behind.name}{INPUT}"
                found |= {name: tap} if tap else {}
                break
            at = reader if isinstance(reader.module, (*NORMS, *ACTIVATIONS)) else None
            normed = reader.name if isinstance(reader.module, NORMS) and not reader.again else normed
    return found


def _behind(calls: Sequence[Call], place: int) -> Call | None:
    """Return the first part behind a call that reads a map of the same shape that no part made or read before: a function made it."""
    known = {id(tensor) for call in calls[: place + 1] for tensor in (call.given, call.made)}
    return next((call for call in calls[place + 1 :] if call.given.shape == calls[place].made.shape and id(call.given) not in known), None)


def stage_names(network: Network) -> list[str]:
    """Return the taps of the last feature map of each resolution, largest first.

    For a ResNet these are its stages; where maps grow again, as in a U-Net, the coarsest and those of the way back. Maps of one pixel don't
    count, nor does what the classifier makes, nor layers that only rescale a map (norms, activations): a pre-activation net begins a stage
    with those of the stage before. A single convolution counts only where no larger part makes a map of that size: a block that halves its
    map often begins with one (bottlenecks, MobileNet). The tokens of a transformer are a map too, as is one with channels last
    (``blocks:map``); where only the embedding of its patches can be read as one, there is none. A stage that ends in a convolution by
    itself, as in a chain of convolutions, norms and activations, goes on to what the activation makes, be it a module or a function.
    """
    seen, layouts = _seen(network)
    last = ""
    with suppress(InputError):
        last = classifier_name(network)
    made: dict[str, tuple[tuple[int, ...], int, str]] = {}
    for name, (module, shape) in seen.items():
        size, channels, behind = layouts.read(module, shape) or ((), 0, "")
        says = channels == network.spec.classes and f"{last}.".startswith(f"{name}.")
        if size and max(size) > 1 and not says:
            made[name] = size, sum(isinstance(part, _ConvNd | nn.Linear) for part in module.modules()), behind
    whole = [name for name, (size, *_) in made.items() if made.get(name.rpartition(".")[0], ((), 0))[0] != size]
    chosen: dict[tuple[int, ...], str] = {}
    for name in whole:
        size, layers, _ = made[name]
        held = chosen.get(size)
        if held is None or layers > 1 or (made[held][1] <= 1 and name.count(".") <= held.count(".")):
            chosen[size] = name
    names = sorted((name for name in whole if name in chosen.values()), key=lambda name: -math.prod(made[name][0]))
    if layouts.tokens and len(names) == 1 and made[names[0]][1] <= 1:
        return []
    active = _activated(network, [name for name in names if isinstance(seen[name][0], _ConvNd)])
    return [f"{active.get(name, name)}{made[name][2]}" for name in names]
