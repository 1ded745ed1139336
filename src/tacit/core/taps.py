"""Taps found without being named: the classifier of any network, and one feature map a resolution."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd
from torch.nn.modules.pooling import _AvgPoolNd, _MaxPoolNd

from tacit.core.errors import InputError
from tacit.core.network import Network, dry_run

__all__ = ["classifier_name", "classifier_rows", "stage_names"]


def _watch(network: Network, note: Callable[[str, nn.Module, Tensor], None]) -> None:
    """Call `note` with name, module and output of each part of `network` that returns a tensor in a dry run, as it does."""
    dry_run(network, lambda name, module, _, output: note(name, module, output) if name and isinstance(output, Tensor) else None)


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
    return found[-1]


def classifier_name(network: Network) -> str:
    """Return the dotted name of the layer that makes the logits: the last linear layer or convolution with as many outputs as classes.

    Its input, the tap ``f"{classifier_name(network)}:in"``, is what papers call the penultimate features.

    Raises:
        InputError: Where there is no such layer.
    """
    return _classifier(network)[0]


def classifier_rows(network: Network) -> Tensor:
    """Return the weights of that layer, one row a class, of shape (classes, features), detached; kernels are flattened."""
    _, layer = _classifier(network)
    weight = layer.weight
    assert isinstance(weight, Tensor)
    return weight.detach().flatten(1)


def stage_names(network: Network) -> list[str]:
    """Return the dotted names of the modules that make the last feature map of each resolution, largest first.

    Maps of one pixel don't count, nor do layers that only rescale a map (norms, activations): a pre-activation net begins a stage with
    those of the stage before. For a ResNet these are its stages.
    """
    last: dict[tuple[int, ...], str] = {}

    def note(name: str, module: nn.Module, output: Tensor) -> None:
        makes = isinstance(module, _ConvNd | _MaxPoolNd | _AvgPoolNd) or any(True for _ in module.children())
        if makes and output.ndim == 4 and max(output.shape[2:]) > 1:
            last.pop(tuple(output.shape[2:]), None)
            last[tuple(output.shape[2:])] = name

    _watch(network, note)
    return list(last.values())
