"""Sharing: which tensors of a network travel, and under which names."""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from tacit.core.network import Network
from tacit.federate.head import Split
from tacit.federate.messages import Tensors

__all__ = ["Part", "Sharing", "Statistics", "statistics_keys"]

Part = Literal["all", "head", "none"]
Statistics = Literal["aggregate", "local"]


def statistics_keys(model: nn.Module) -> set[str]:
    """Return the keys of running statistics in the state dict of `model`."""
    inside = {name for name, module in model.named_modules() if isinstance(module, _NormBase)}
    parameters = {key for key, _ in model.named_parameters(remove_duplicate=False)}
    return {key for key in model.state_dict() if key.rpartition(".")[0] in inside and key not in parameters}


class Sharing:
    """Which tensors of a network travel.

    Whole networks use their own keys. Heads go as ``head.0``, ``head.1``, ... in the order of their state dict, so that networks whose
    layers have other names can share a head.

    Args:
        network: One of the clients' or the server's.
        part: The whole network, its head, or nothing.
        bn: Whether running statistics of batch norm travel, or stay where they are.
        split: Where the head begins; wanted for ``head``.
    """

    def __init__(self, network: Network, *, part: Part, bn: Statistics = "aggregate", split: Split | None = None) -> None:
        kept = statistics_keys(network.model) if bn == "local" else set()
        keys: tuple[str, ...] = ()
        if part == "all":
            keys = tuple(network.model.state_dict())
        elif part == "head":
            assert split is not None
            keys = split.keys
        prefix = part == "head"
        self.names = {(f"head.{place}" if prefix else key): key for place, key in enumerate(keys) if key not in kept}
        """Keys of the network's state dict by the names that they have on the way."""
        statistics = statistics_keys(network.model)
        self.positive = {name for name, key in self.names.items() if key in statistics and not key.endswith("running_mean")}
        """Names of what travels and can't be less than 0: variances and counts of batches."""
        self.whole = set(self.names.values()) == set(network.model.state_dict())
        """Whether the network can be put together from what travels, and nothing else."""

    def out(self, network: Network) -> dict[str, Tensor]:
        """Return copies of what travels, on the CPU."""
        state = network.model.state_dict()
        return {name: state[key].detach().cpu().clone() for name, key in self.names.items()}

    def kept(self, network: Network) -> dict[str, Tensor]:
        """Return copies of what does not travel, by the network's keys, on the CPU."""
        travels = set(self.names.values())
        return {key: value.detach().cpu().clone() for key, value in network.model.state_dict().items() if key not in travels}

    def at_home(self, weights: Tensors) -> dict[str, Tensor]:
        """Return what came, by the network's own keys."""
        return {self.names[name]: value for name, value in weights.items()}
