"""Central: what the server holds between rounds."""

from __future__ import annotations

import copy
import secrets
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from tacit.core.device import Clock, Runtime, derived_seed
from tacit.core.network import Network
from tacit.data.images import ImageSet
from tacit.federate.aggregate import average
from tacit.federate.checks import FederationError, not_finite
from tacit.federate.head import Split
from tacit.federate.messages import Tensors, Upload
from tacit.federate.sharing import Part, Sharing, Statistics
from tacit.federate.work import Local

__all__ = ["Central"]


class Central:
    """The server's models and memories; an algorithm works on them and holds nothing itself.

    Args:
        networks: One of each architecture that clients have; the first is the global model where there is one. Not shared with clients.
        kinds: Which of `networks` each client has, by the client's number.
        part: What of a network travels.
        bn: Whether running statistics travel.
        head: Where the head begins, as `Split` takes it; looked at where `splits` asks for it.
        splits: Whether networks are split.
        local: How clients learn.
        runtime: Device and precision.
        seed: Of every draw.
        least: Answers of one architecture with fewer of which its mean stays as it was, so that it is not a single client's own.
    """

    def __init__(
        self,
        networks: Sequence[Network],
        kinds: Mapping[int, int],
        *,
        part: Part,
        bn: Statistics,
        head: str | None,
        splits: bool,
        local: Local,
        runtime: Runtime,
        seed: int,
        least: int = 1,
    ) -> None:
        self.networks, self.kinds = tuple(networks), dict(kinds)
        self.part, self.local, self.runtime, self.seed = part, local, runtime, seed
        self.least = least
        self.splits = tuple(Split(network, head) if splits or part == "head" else None for network in self.networks)
        self.sharing = tuple(
            Sharing(network, part=part, bn=bn, split=split) for network, split in zip(self.networks, self.splits, strict=True)
        )
        self.round = 0
        self.federation = secrets.token_hex(16)
        """Name of this federation, made when it begins and kept over resumes: clients keep their states under it."""
        self.generator: nn.Module | None = None
        self.optimizer: Optimizer | None = None
        self.ready = False
        """Whether the generator was trained, so that it can be sent."""
        self.tensors: dict[str, Tensor] = {}
        """What an algorithm remembers, as mean logits."""
        self.latest: dict[int, dict[str, Tensor]] = {}
        """The last weights of each client, for algorithms that keep them."""
        self.examples: dict[int, float] = {}
        """Numbers of images of those clients."""
        self.proxy: ImageSet | None = None
        """Images that were given to the server, to teach on."""
        self.clock = Clock()

    @property
    def network(self) -> Network:
        """The global model; of several architectures, the first."""
        return self.networks[0]

    @property
    def classes(self) -> int:
        """Number of classes."""
        return self.network.spec.classes

    def rng(self, role: str) -> torch.Generator:
        """Return the source of this round's draws for one purpose; it depends on (seed, role, round) alone, also in a resumed run."""
        return torch.Generator(self.runtime.device).manual_seed(derived_seed(self.seed, role, self.round))

    def aggregate(self, replies: Mapping[int, Upload], weights: Sequence[float]) -> None:
        """Put the weighted mean of what came back into the networks: each architecture's own, or, of heads, one for all.

        An architecture of which fewer than `least` answers came stays as it was.

        Args:
            replies: In the order of their clients.
            weights: One for each, positive.

        Raises:
            FederationError: Where a mean holds NaN or infinite values; all is left as it was then.
        """
        groups: dict[int, list[tuple[Upload, float]]] = {}
        for (client, reply), weight in zip(replies.items(), weights, strict=True):
            groups.setdefault(self.kinds[client] if self.part == "all" else 0, []).append((reply, weight))
        enough = {kind: zip(*those, strict=True) for kind, those in groups.items() if len(those) >= self.least}
        means = {kind: average([reply.weights for reply in those], mass) for kind, (those, mass) in enough.items()}
        for mean in means.values():
            if (key := not_finite(mean)) is not None:
                raise FederationError(f"the mean of {len(replies)} answers holds NaN or infinite values, first in {key}: it is not used")
        for kind, network in enumerate(self.networks):
            mean_ = means.get(kind if self.part == "all" else 0)
            if mean_ is not None:
                self.load(network, self.sharing[kind].at_home(mean_))

    def model_of(self, client: int, weights: Tensors) -> Network:
        """Return a network of the client's architecture with the weights that it sent, in evaluation mode."""
        kind = self.kinds[client]
        network = copy.deepcopy(self.networks[kind])
        self.load(network, self.sharing[kind].at_home(weights))
        return network.eval()

    @staticmethod
    def load(network: Network, state: Tensors) -> None:
        """Put tensors into a network, by the keys of its module's state dict; those that are not given stay."""
        network.model.load_state_dict({**network.model.state_dict(), **state})

    def broken(self, network: Network) -> str | None:
        """Return which tensor of one of `networks` holds NaN or infinite values that were not always there; None where all are sound."""
        kind = next(kind for kind, one in enumerate(self.networks) if one is network)
        return not_finite(self.sharing[kind].changing(network))

    def check(self) -> None:
        """Raise `FederationError` where something that may be sent out or tested holds NaN or infinite values."""
        states: list[tuple[str, Tensors]] = [
            (f"model {kind}", sharing.changing(one)) for kind, (one, sharing) in enumerate(zip(self.networks, self.sharing, strict=True))
        ]
        states += [("the generator", self.generator.state_dict())] if self.generator is not None else []
        for name, state in (*states, ("the memory", self.tensors)):
            if (key := not_finite(state)) is not None:
                raise FederationError(f"after the round, {name} holds NaN or infinite values, first in {key}: it is as it was before")

    def memory(self) -> dict[str, Any]:
        """Return `state_dict` as it will stay, whatever is learned from now on; what clients sent last is replaced, and never changed."""
        state = self.state_dict()
        latest = state.pop("latest")
        return {**copy.deepcopy(state), "latest": latest}

    def state_dict(self) -> dict[str, Any]:
        """Return all that the next round depends on."""
        return {
            "round": self.round,
            "federation": self.federation,
            "networks": [network.model.state_dict() for network in self.networks],
            "generator": self.generator.state_dict() if self.generator is not None else None,
            "optimizer": self.optimizer.state_dict() if self.optimizer is not None else None,
            "ready": self.ready,
            "tensors": self.tensors,
            "latest": self.latest,
            "examples": self.examples,
            "global_rng": torch.get_rng_state(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from where `state_dict` was taken."""
        self.round, self.ready = state["round"], state["ready"]
        self.federation = state.get("federation", "")  # which older checkpoints lack
        for network, weights in zip(self.networks, state["networks"], strict=True):
            network.model.load_state_dict(weights)
        if self.generator is not None:
            self.generator.load_state_dict(state["generator"])
        if self.optimizer is not None:
            self.optimizer.load_state_dict(state["optimizer"])
        self.tensors = {name: value.to(self.runtime.device) for name, value in state["tensors"].items()}
        self.latest, self.examples = dict(state["latest"]), dict(state["examples"])
        torch.set_rng_state(state["global_rng"])
