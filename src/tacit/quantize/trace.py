"""Trace: the calls that one pass through a network makes, and which of them reads what.

Layers are found by what they do and not by how the code is written: a residual sum is a sum, in a module or as a ``+``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from tacit.core.network import Network
from tacit.core.state import evaluation_mode

__all__ = ["LAYERS", "Call", "Kind", "Trace", "kind_of", "trace"]

LAYERS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d, nn.Linear)
"""Modules whose weights are quantized."""

Kind = str
"""``sum``, ``activation``, or "" for everything else."""

_SUMS = {torch.add, Tensor.add, Tensor.add_, Tensor.__add__, Tensor.__radd__, Tensor.__iadd__}
_ACTIVATIONS = {
    *(F.relu, F.relu6, F.leaky_relu, F.elu, F.gelu, F.silu, F.mish, F.hardswish, F.hardtanh, F.prelu),
    *(torch.relu, torch.relu_, Tensor.relu, Tensor.relu_, Tensor.clamp, Tensor.clamp_min, torch.clamp),
}


def kind_of(function: Callable[..., Any], args: tuple[Any, ...]) -> Kind:
    """Return what a call is: the sum of two feature maps of one shape, an activation function, or something else."""
    if function in _SUMS:
        maps = [arg for arg in args[:2] if isinstance(arg, Tensor) and arg.ndim > 1]
        return "sum" if len(maps) == 2 and maps[0].shape == maps[1].shape else ""
    return "activation" if function in _ACTIVATIONS else ""


@dataclass(frozen=True)
class Call:
    """One call of a torch function.

    Args:
        kind: What it is.
        module: Dotted name of the innermost module that made it.
        inputs: Numbers of the values that it read; a value changed in place has a new number.
        output: Number of the value that it made.
        function: Its name, without the underscores of forms in place.
        watched: Its number among the sums and activations of the pass, by which a later pass knows it again; -1: neither.
    """

    kind: Kind
    module: str
    inputs: tuple[int, ...]
    output: int
    watched: int
    function: str = ""


@dataclass(frozen=True)
class Trace:
    """All calls of a pass, in order."""

    calls: tuple[Call, ...]

    def readers(self, value: int) -> list[Call]:
        """Return the calls that read a value."""
        return [call for call in self.calls if value in call.inputs]

    def of_module(self, name: str) -> Call | None:
        """Return the call that a layer makes; None where it makes none, or is used more than once."""
        found = [call for call in self.calls if call.module == name]
        return found[-1] if found and len({call.output for call in found}) == 1 else None

    def layers(self, modules: Mapping[str, nn.Module]) -> list[str]:
        """Return the names of the layers with weights, in the order of their first calls."""
        return list(dict.fromkeys(call.module for call in self.calls if isinstance(modules.get(call.module), LAYERS)))


class _Recorder(TorchFunctionMode):
    def __init__(self) -> None:
        super().__init__()
        self.calls: list[Call] = []
        self.stack: list[str] = [""]
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

    def __torch_function__(
        self, func: Callable[..., Any], types: Iterable[type], args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        inputs = tuple(self.number(tensor) for tensor in _tensors((*args, *kwargs.values())))
        kind = kind_of(func, args)
        output = func(*args, **kwargs)
        if isinstance(output, Tensor):
            watched = self._watched if kind else -1
            self._watched += bool(kind)
            name = getattr(func, "__name__", "").strip("_")
            self.calls.append(Call(kind, self.stack[-1], inputs, self.fresh(output), watched, name))
        return output


def _tensors(values: Iterable[Any]) -> list[Tensor]:
    found: list[Tensor] = []
    for value in values:
        if isinstance(value, Tensor):
            found.append(value)
        elif isinstance(value, list | tuple):
            found.extend(_tensors(value))
    return found


@torch.no_grad()
def trace(network: Network) -> Trace:
    """Show `network` one grey image, in evaluation mode, and return the calls of its module's pass; modes and hooks are put back."""
    recorder, handles = _Recorder(), []

    def leave(*_: Any) -> None:
        recorder.stack.pop()

    for name, module in network.model.named_modules():
        handles.append(module.register_forward_pre_hook(lambda _, __, name=name: recorder.stack.append(name)))
        handles.append(module.register_forward_hook(leave))
    try:
        with evaluation_mode(network), recorder:
            network(torch.full((1, *network.spec.shape), 0.5, device=network.mean.device))
    finally:
        for handle in handles:
            handle.remove()
    return Trace(tuple(recorder.calls))
