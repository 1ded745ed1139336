"""Sharing: which tensors of a network travel, and under which names."""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from tacit.core.network import Network
from tacit.federate.head import Split
from tacit.federate.messages import Tensors

__all__ = ["Part", "Sharing", "Statistics", "constant_keys", "statistics_keys"]

Part = Literal["all", "head", "none"]
Statistics = Literal["aggregate", "local"]


def statistics_keys(model: nn.Module) -> set[str]:
    """Return the keys of running statistics in the state dict of `model`."""
    inside = {name for name, module in model.named_modules() if isinstance(module, _NormBase)}
    parameters = {key for key, _ in model.named_parameters(remove_duplicate=False)}
    return {key for key in model.state_dict() if key.rpartition(".")[0] in inside and key not in parameters}


def constant_keys(model: nn.Module) -> set[str]:
    """Return the keys of buffers that hold infinite values, as a mask of -inf does: nothing learns them."""
    buffers = {key: value for key, value in model.named_buffers(remove_duplicate=False) if value.is_floating_point()}
    return {key for key, value in buffers.items() if bool(value.isinf().any())} & set(model.state_dict())


class Sharing:
    """Which tensors of a network travel. Buffers that hold infinite values when it is made stay as they are, on both sides.

    Whole networks use their own keys. Heads go as ``head.0``, ``head.1``, ... in the order of their state dict, so that networks whose
    layers have other names can share a head.

    Args:
        network: One of the clients' or the server's.
        part: The whole network, its head, or nothing.
        bn: Whether running statistics of batch norm travel, or stay where they are.
        split: Where the head begins; wanted for ``head``.
    """

    def __init__(self, network: Network, *, part: Part, bn: Statistics = "aggregate", split: Split | None = None) -> None:
        statistics = statistics_keys(network.model)
        self.constant = constant_keys(network.model)
        """Keys of what is the same at the server and at every client, whatever is learned."""
        kept = self.constant | (statistics if bn == "local" else set())
        keys: tuple[str, ...] = ()
        if part == "all":
            keys = tuple(network.model.state_dict())
        elif part == "head":
            assert split is not None
            keys = split.keys
        prefix = part == "head"
        self.names = {(f"head.{place}" if prefix else key): key for place, key in enumerate(keys) if key not in kept}
        """Keys of the network's state dict by the names that they have on the way."""
        self.positive = {name for name, key in self.names.items() if key in statistics and not key.endswith("running_mean")}
        """Names of what travels and can't be less than 0: variances and counts of batches."""
        self.whole = {*self.names.values(), *self.constant} == set(network.model.state_dict())
        """Whether the network can be put together from what travels, and nothing else."""

    def out(self, network: Network) -> dict[str, Tensor]:
        """Return copies of what travels, on the CPU."""
        state = network.model.state_dict()
        return {name: state[key].detach().cpu().clone() for name, key in self.names.items()}

    def kept(self, network: Network) -> dict[str, Tensor]:
        """Return copies of what does not travel and may change, by the network's keys, on the CPU."""
        travels = set(self.names.values())
        return {key: value.detach().cpu().clone() for key, value in self.changing(network).items() if key not in travels}

    def changing(self, network: Network) -> dict[str, Tensor]:
        """Return all of a network's state that may change, by its own keys."""
        return {key: value for key, value in network.model.state_dict().items() if key not in self.constant}

    def at_home(self, weights: Tensors) -> dict[str, Tensor]:
        """Return what came, by the network's own keys."""
        return {self.names[name]: value for name, value in weights.items()}
