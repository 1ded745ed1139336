"""Simulate: any network with its weights and activations quantized in the forward pass, in floating point.

Weights are quantized where a layer reads them (a parametrization), activations where a layer takes them in (a hook), sums of branches
where the activation behind them hands them on. The user's code is not touched; names of modules stay as they are, under ``net.``.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from typing import Any, Self

from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.overrides import TorchFunctionMode

from tacit.core.errors import InputError
from tacit.core.models import ModelRef
from tacit.core.network import Network, Origin
from tacit.core.norms import hold_statistics
from tacit.quantize.fake import Quantizer
from tacit.quantize.ranges import weight_range
from tacit.quantize.scheme import Scheme
from tacit.quantize.trace import Trace, is_watched, trace

__all__ = ["Simulated", "build", "check_layers", "left_alone", "plain", "refuse_computed_weights", "simulate", "stored_bits"]

INPUT = "input_quantizer"
"""Name of the quantizer inside a layer."""


class _Sums(TorchFunctionMode):
    """Quantizes the outputs of those sums and activations that have a quantizer."""

    def __init__(self, quantizers: Mapping[int, Quantizer]) -> None:
        super().__init__()
        self.quantizers, self.watched = quantizers, 0

    def __torch_function__(
        self, func: Callable[..., Any], types: Iterable[type], args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        output = func(*args, **(kwargs or {}))
        if not is_watched(func, args):
            return output
        quantizer = self.quantizers.get(self.watched)
        self.watched += 1
        return quantizer(output) if quantizer is not None else output


class Simulated(nn.Module):
    """A network's module with quantizers.

    Args:
        net: The module, which has quantizers in its layers already.
        sums: Quantizers of sums, by the number of the call among the sums and activations of a pass.
        freeze: Whether batch norm stays in evaluation mode while the network is trained. Modules that hold others always do: they then
            make the same calls as when they are measured.
    """

    def __init__(self, net: nn.Module, sums: Mapping[int, Quantizer], *, freeze: bool = True) -> None:
        super().__init__()
        self.net = net
        self.sums = nn.ModuleDict({str(number): quantizer for number, quantizer in sums.items()})
        self.freeze = freeze

    def forward(self, images: Tensor) -> Any:
        """Return what the module returns."""
        quantizers = {int(number): quantizer for number, quantizer in self.sums.items() if isinstance(quantizer, Quantizer)}
        with _Sums(quantizers):
            return self.net(images)

    def train(self, mode: bool = True) -> Self:
        super().train(mode)
        for module in self.net.modules():
            if mode and next(module.children(), None) is not None:
                module.training = False  # an auxiliary head that is called in training alone would count as further calls
        if self.freeze:
            hold_statistics(self)
        return self

    @property
    def activations(self) -> dict[str, Quantizer]:
        """The quantizers of activations, by dotted name."""
        return {name: module for name, module in self.named_modules() if isinstance(module, Quantizer) and not module.weights}

    @property
    def weights(self) -> dict[str, Quantizer]:
        """The quantizers of weights, by dotted name."""
        return {name: module for name, module in self.named_modules() if isinstance(module, Quantizer) and module.weights}


def _quantized_sums(found: Trace) -> dict[int, int]:
    """Return the numbers of the calls whose output is quantized for the sake of a sum, by the value that they make."""
    chosen: dict[int, int] = {}
    for call in found.calls:
        if call.kind != "sum":
            continue
        readers = found.readers(call.output)
        only = readers[0] if len(readers) == 1 and readers[0].kind == "activation" else call
        chosen[only.output] = only.watched
    return chosen


def _weight_shape(layer: nn.Module, per_channel: bool) -> tuple[tuple[int, ...], int]:
    weight = layer.weight
    assert isinstance(weight, Tensor)
    axis = 1 if isinstance(layer, nn.ConvTranspose1d | nn.ConvTranspose2d | nn.ConvTranspose3d) and getattr(layer, "groups", 1) == 1 else 0
    shape = tuple(size if number == axis else 1 for number, size in enumerate(weight.shape))
    return (shape, axis) if per_channel else ((), axis)


def _set_weight_range(quantizer: Quantizer, weight: Tensor, axis: int, scheme: Scheme) -> None:
    rows = weight.detach().transpose(0, axis).flatten(1) if quantizer.base.numel() > 1 else weight.detach().flatten()[None]
    quantizer.set_range(*weight_range(rows, scheme.weight_ranges, quantizer))


def _take_in(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    quantizer = module.get_submodule(INPUT)
    return ((quantizer(args[0]), *args[1:]), kwargs) if args else (args, {**kwargs, "input": quantizer(kwargs["input"])})


def simulate(network: Network, scheme: Scheme, *, freeze: bool = True) -> Network:
    """Return a copy of `network` that computes with quantized weights; its activations are quantized once `calibrate` set their ranges.

    All weights of the copy can be trained, whether or not those of `network` can.

    Args:
        network: Any network; it is not changed.
        scheme: Bits and ranges.
        freeze: Whether batch norm stays in evaluation mode while the copy is trained.

    Raises:
        InputError: Where the network has no layer that can be quantized.
    """
    found, net = trace(network), copy.deepcopy(network.model).requires_grad_(True)  # a teacher's weights are frozen
    modules = dict(net.named_modules())
    names = _layers(found, net)
    sums = _quantized_sums(found) if scheme.sums and scheme.activations < 32 else {}
    device = network.mean.device
    for name in names:
        layer, edge = modules[name], name in (names[0], names[-1])
        shape, axis = _weight_shape(layer, scheme.per_channel)
        quantizer = Quantizer(scheme.last if edge else scheme.weights, weights=True, shape=shape).to(device)
        _set_weight_range(quantizer, layer.get_parameter("weight"), axis, scheme)
        parametrize.register_parametrization(layer, "weight", quantizer)
        read = [value for call in found.calls if call.module == name for value in call.inputs[:1]]
        if scheme.activations < 32 and not (read and all(value in sums for value in read)):
            of_last = scheme.ends if name == names[-1] and scheme.ends else scheme.activations
            bits = 8 if name == names[0] or set(read) == {found.image} else of_last
            layer.add_module(INPUT, Quantizer(bits, weights=False).to(device))
            layer.register_forward_pre_hook(_take_in, with_kwargs=True)
    watched = {number: Quantizer(scheme.activations, weights=False).to(device) for number in sums.values()}
    origin = None
    if network.origin is not None:
        kwargs = {"factory": network.origin.factory, "kwargs": dict(network.origin.kwargs), "spec": asdict(network.spec)}
        origin = Origin(factory=f"{__name__}:build", kwargs={**kwargs, "scheme": asdict(scheme)})
    return Network(Simulated(net, watched, freeze=freeze), network.spec, origin=origin, normalise=network.normalise)


def check_layers(network: Network) -> None:
    """Raise the `InputError` of `simulate`, where there is one."""
    _layers(trace(network), network.model)


def _layers(found: Trace, model: nn.Module) -> list[str]:
    names = found.layers(dict(model.named_modules()))
    if not names:
        raise InputError(f"{type(model).__name__} calls no convolution or linear layer, so that there is nothing to quantize")
    refuse_computed_weights(model, names)
    return names


def left_alone(network: Network) -> list[str]:
    """Return the names of layers whose weights `simulate` does not reach, since `forward` reads them without calling the layer."""
    return trace(network).uncalled(dict(network.model.named_modules()))


def refuse_computed_weights(model: nn.Module, names: Iterable[str]) -> None:
    """Raise `InputError` where one of the layers computes its weights from others, as `weight_norm` does."""
    modules = dict(model.named_modules())
    for name in names:
        if not isinstance(dict(modules[name].named_parameters(recurse=False)).get("weight"), nn.Parameter):
            raise InputError(
                f"{type(model).__name__} computes the weights of {name!r} from others, as weight_norm and spectral_norm do: take that off "
                "first, by torch.nn.utils.parametrize.remove_parametrizations"
            )


def build(factory: str, kwargs: Mapping[str, Any], spec: Mapping[str, Any], scheme: Mapping[str, Any]) -> nn.Module:
    """Return the module that `simulate` makes of ``factory(**kwargs)``: what model.json names for a network with fake quantization."""
    return simulate(ModelRef.of(factory, kwargs, spec).load(), Scheme(**scheme)).model


def plain(network: Network, original: Network) -> Network:
    """Return a copy of `original` with the floating-point weights of `network`, which `simulate` made of it and training changed."""
    model, state = copy.deepcopy(original.model), {}
    for key, value in _simulated(network).net.state_dict().items():
        name = key.replace("parametrizations.weight.original", "weight")
        state[name] = value
    model.load_state_dict({name: state[name] for name in model.state_dict()})
    return Network(model, original.spec, origin=original.origin, normalise=original.normalise)


def stored_bits(network: Network) -> int:
    """Return the bits of a simulated network, were its weights packed: those at their bits, all else as it is, what is shared once."""
    model = _simulated(network)
    packed = {f"{name.rpartition('.parametrizations.')[0]}.parametrizations.weight.original": q.bits for name, q in model.weights.items()}
    kept = {id(value): (key, value) for key, value in reversed(model.state_dict(keep_vars=True).items())}  # a shared one by its first name
    stored = [(key, value) for key, value in kept.values() if not key.endswith((".ready", ".growth"))]
    return sum(value.numel() * packed.get(key, 8 * value.element_size()) for key, value in stored)


def _simulated(network: Network) -> Simulated:
    if not isinstance(network.model, Simulated):
        raise InputError(f"expected a network made by `simulate`, got a {type(network.model).__name__}")
    return network.model
