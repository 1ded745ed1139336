"""Trace: the calls that one pass through a network makes, and which of them reads what.

Layers are found by what they do and not by how the code is written: a residual sum is a sum, in a module or as a ``+``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from tacit.core.network import Network
from tacit.core.state import evaluation_mode

__all__ = ["LAYERS", "OUTSIDE", "Call", "Kind", "Trace", "is_watched", "kind_of", "trace"]

LAYERS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d, nn.Linear)
"""Modules whose weights are quantized."""

Kind = str
"""``sum``, ``activation``, or "" for everything else."""

OUTSIDE = "(network)"
"""Stands for the name of a module where a call is made around the user's module, as to normalise images."""

_SUMS = {torch.add, Tensor.add, Tensor.add_, Tensor.__add__, Tensor.__radd__, Tensor.__iadd__}
_ACTIVATIONS = {
    *(F.relu, F.relu6, F.leaky_relu, F.elu, F.gelu, F.silu, F.mish, F.hardswish, F.hardtanh, F.prelu),
    *(torch.relu, torch.relu_, Tensor.relu, Tensor.relu_, Tensor.clamp, Tensor.clamp_min, torch.clamp),
}
_PRODUCTS = {
    *("conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d", "linear", "bilinear"),
    *("matmul", "rmatmul", "mm", "bmm", "addmm", "baddbmm", "einsum", "tensordot", "multi_head_attention_forward"),
}
"""Names of functions that multiply what comes in with weights."""
_LOOKS = {
    *("__get__", "__len__", "__hash__", "dim", "ndimension", "size", "numel", "nelement", "stride", "storage_offset", "element_size"),
    *("get_device", "data_ptr", "type", "is_floating_point", "is_complex", "is_signed", "is_contiguous", "is_same_size", "result_type"),
}
"""Functions that look at a tensor's shape, type or place and not at its values, where they return no tensor."""


def is_watched(function: Callable[..., Any], args: tuple[Any, ...]) -> bool:
    """Return whether a call is numbered: a later pass counts alike, with more images and in training too.

    A number that is counted up, as a batch norm does in training, is no feature map.
    """
    if function not in _SUMS and function not in _ACTIVATIONS:
        return False
    return any(isinstance(arg, Tensor) and arg.ndim > 1 for arg in args[:2])


def kind_of(function: Callable[..., Any], args: tuple[Any, ...]) -> Kind:
    """Return what a call is: the sum of two feature maps of one shape, an activation function, or something else.

    Only the calls of a trace tell: with a single image a parameter of shape (1, C, H, W) has the shape of a feature map.
    """
    if function in _SUMS:
        maps = [arg for arg in args[:2] if isinstance(arg, Tensor) and arg.ndim > 1]
        return "sum" if len(maps) == 2 and maps[0].shape == maps[1].shape else ""
    return "activation" if function in _ACTIVATIONS else ""


@dataclass(frozen=True)
class Call:
    """One call of a torch function.

    Args:
        kind: What it is.
        module: Dotted name of the innermost module that made it; `OUTSIDE` for none.
        inputs: Numbers of the values that it read; a value changed in place has a new number.
        output: Number of the value that it made, the first of `outputs`; -1 for none.
        watched: Its number among the calls of functions that are watched, by which a later pass knows it again; -1: it is none.
        function: Its name, without the underscores of forms in place; ``relu6`` also for ``hardtanh`` from 0 to 6, as torch's ReLU6 is.
        outputs: Numbers of all values that it made or, as ``x[:, :2] = y`` does, changed.
    """

    kind: Kind
    module: str
    inputs: tuple[int, ...]
    output: int
    watched: int
    function: str = ""
    outputs: tuple[int, ...] = ()


@dataclass(frozen=True)
class Trace:
    """All calls of a pass, in order; the last one, ``return``, stands for the caller, who reads the logits.

    Args:
        calls: All of them.
        image: Number of the value that the user's module reads.
        parameters: Numbers of the parameters, by dotted name; one that has several names is there under each.
    """

    calls: tuple[Call, ...]
    image: int = -1
    parameters: Mapping[str, int] = field(default_factory=dict)

    def readers(self, value: int) -> list[Call]:
        """Return the calls that read a value."""
        return [call for call in self.calls if value in call.inputs]

    def alone(self, name: str) -> bool:
        """Return whether a module makes one call, and nothing else reads its parameters."""
        own = [value for key, value in self.parameters.items() if key.rpartition(".")[0] == name]
        return sum(call.module == name for call in self.calls) == 1 and all(len(self.readers(value)) == 1 for value in own)

    def layers(self, modules: Mapping[str, nn.Module]) -> list[str]:
        """Return the names of the layers with weights, in the order of their first calls."""
        return list(dict.fromkeys(call.module for call in self.calls if isinstance(modules.get(call.module), LAYERS)))

    def uncalled(self, modules: Mapping[str, nn.Module]) -> list[str]:
        """Return what is multiplied without a layer's call: layers, as in ``F.linear(x, self.head.weight)``, and parameters of no layer."""
        called, found = {call.module for call in self.calls}, []
        for name, module in modules.items():
            value = self.weight(name)
            if isinstance(module, LAYERS):
                if name not in called and value is not None and any(self.weight(call.module) != value for call in self.readers(value)):
                    found.append(name)  # and not one that shares them with a layer that is called
                continue
            for key, own in module.named_parameters(name, recurse=False):
                if own.ndim > 1 and any(call.function in _PRODUCTS for call in self.readers(self.parameters[key])):
                    found.append(key)
        return found

    def weight(self, name: str) -> int | None:
        """Return the number of a module's own parameter ``weight``; None where it has none, or computes it."""
        return self.parameters.get(f"{name}.weight".lstrip("."))


class _Recorder(TorchFunctionMode):
    def __init__(self) -> None:
        super().__init__()
        self.calls: list[Call] = []
        self.stack: list[str] = [OUTSIDE]
        self.image = -1
        self._numbers: dict[int, int] = {}
        self._kept: list[Tensor] = []
        self._watched = 0

    def number(self, tensor: Tensor) -> int:
        if id(tensor) not in self._numbers:
            self.fresh(tensor)
        return self._numbers[id(tensor)]

    def fresh(self, tensor: Tensor) -> int:
        self._kept.append(tensor)  # so that no other tensor takes its place in memory, and its id
        self._numbers[id(tensor)] = len(self._kept)
        return len(self._kept)

    def enter(self, name: str, args: tuple[Any, ...]) -> None:
        if self.stack == [OUTSIDE]:
            self.image = next(map(self.number, _tensors(args)), -1)
        self.stack.append(name)

    def record(self, kind: Kind, inputs: tuple[int, ...], made: list[Tensor], watched: int, function: str) -> None:
        outputs = tuple(self.fresh(tensor) for tensor in made)
        self.calls.append(Call(kind, self.stack[-1], inputs, outputs[0] if outputs else -1, watched, function, outputs))

    def __torch_function__(
        self, func: Callable[..., Any], types: Iterable[type], args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        inputs = tuple(self.number(tensor) for tensor in _tensors((*args, *kwargs.values())))
        kind, watched = kind_of(func, args), -1
        output = func(*args, **kwargs)
        made = _tensors(args[:1] if func is Tensor.__setitem__ else [output])
        if is_watched(func, args):
            watched, self._watched = self._watched, self._watched + 1
        if made or (inputs and getattr(func, "__name__", "") not in _LOOKS):
            self.record(kind, inputs, made, watched, _name(func, args, kwargs))
        return output


def _name(function: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> str:
    if function is F.hardtanh:
        bounds = dict(zip(("min_val", "max_val"), args[1:3], strict=False))
        low, high = (kwargs.get(key, bounds.get(key, usual)) for key, usual in (("min_val", -1.0), ("max_val", 1.0)))
        return "relu6" if (low, high) == (0, 6) else "hardtanh"
    return getattr(function, "__name__", "").strip("_")


def _tensors(values: Iterable[Any]) -> list[Tensor]:
    found: list[Tensor] = []
    for value in values:
        if isinstance(value, Tensor):
            found.append(value)
        elif isinstance(value, list | tuple):
            found.extend(_tensors(value))
        elif isinstance(value, Mapping):
            found.extend(_tensors(value.values()))
    return found


@torch.no_grad()
def trace(network: Network) -> Trace:
    """Show `network` two grey images, in evaluation mode, and return the calls of its pass; modes and hooks are put back.

    Two, since with one a parameter of shape (1, C, H, W) looks like a feature map, and norms by the batch need more than one.
    """
    recorder, handles = _Recorder(), []

    def leave(*_: Any) -> None:
        recorder.stack.pop()

    for name, module in network.model.named_modules():
        handles.append(module.register_forward_pre_hook(lambda _, args, name=name: recorder.enter(name, args)))
        handles.append(module.register_forward_hook(leave))
    try:
        with evaluation_mode(network), recorder:
            logits = network(torch.full((2, *network.spec.shape), 0.5, device=network.mean.device))
    finally:
        for handle in handles:
            handle.remove()
    recorder.record("", (recorder.number(logits),), [], -1, "return")
    parameters = {name: recorder.number(value) for name, value in network.model.named_parameters(remove_duplicate=False)}
    return Trace(tuple(recorder.calls), recorder.image, parameters)
