"""Plan: everything that both sides of a federation are built from, on whatever engine."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from tacit.core.device import Runtime
from tacit.core.errors import InputError
from tacit.core.network import Network
from tacit.data.images import ImageSet
from tacit.federate.algorithms.base import Algorithm
from tacit.federate.central import Central
from tacit.federate.checks import Rules
from tacit.federate.client import Client, Kind, Site
from tacit.federate.engines import Engine, InProcess
from tacit.federate.server import Rounds, Server
from tacit.federate.work import Local

__all__ = ["Plan", "sites_of"]


@dataclass(frozen=True)
class Plan:
    """What a federation is made of. Both sides build their part of it, each from the same networks, algorithm, options and seed.

    Args:
        networks: One of each architecture, on the device; client number k has number ``k % len(networks)``. Never changed here.
        algorithm: What is done.
        local: How clients learn.
        rounds: How often, and with whom.
        clients: How many clients there are.
        rules: When a round counts.
        seed: Of every draw.
        runtime: Device and precision.
    """

    networks: Sequence[Network]
    algorithm: Algorithm
    local: Local
    rounds: Rounds
    clients: int
    rules: Rules
    seed: int
    runtime: Runtime

    def __post_init__(self) -> None:
        first = self.networks[0].spec
        for network in self.networks[1:]:
            if (network.spec.shape, network.spec.classes) != (first.shape, first.classes):
                raise InputError(
                    f"all clients must agree on shape and classes: {list(first.shape)} and {first.classes} against "
                    f"{list(network.spec.shape)} and {network.spec.classes}"
                )
        if self.rounds.active is not None and self.rounds.active > self.clients:
            raise InputError(f"active: expected at most {self.clients}, the number of clients, got {self.rounds.active}")
        asked = self.clients if self.rounds.active is None else self.rounds.active
        if self.rules.replies > asked:
            raise InputError(
                f"rules.replies: a round must have {self.rules.replies} sound answers and asks {asked} of {self.clients} clients, so that "
                "nothing would ever be learned: raise `active`, or lower `rules.replies`"
            )

    def kind_of(self, client: int) -> int:
        """Return which of the networks a client has."""
        return client % len(self.networks)

    def central(self) -> Central:
        """Return what the server holds before the first round."""
        return Central(
            [copy.deepcopy(network) for network in self.networks],
            {client: self.kind_of(client) for client in range(self.clients)},
            part=self.algorithm.part,
            bn=self.algorithm.bn,
            head=self.algorithm.head,
            splits=self.algorithm.splits,
            local=self.local,
            runtime=self.runtime,
            seed=self.seed,
            least=self.rules.replies,
        )

    def server(self, engine: Engine, test: ImageSet | None = None) -> Server:
        """Return the server's side, over `engine`."""
        return Server(self.central(), self.algorithm, engine, rounds=self.rounds, rules=self.rules, test=test)

    def kind(self, client: int) -> Kind:
        """Return a client's architecture as clients have it; several clients in one process can share it."""
        return Kind(copy.deepcopy(self.networks[self.kind_of(client)]), self.algorithm, self.runtime)

    def in_process(self, sites: Sequence[Site]) -> InProcess:
        """Return an engine with all clients in this process."""
        kinds = {self.kind_of(site.number): self.kind(site.number) for site in sites}
        return InProcess([Client(site, kinds[self.kind_of(site.number)], seed=self.seed) for site in sites])


def sites_of(
    data: ImageSet, cut: Sequence[tuple[torch.Tensor, torch.Tensor]], *, public: ImageSet | None = None, device: torch.device | str = "cpu"
) -> list[Site]:
    """Return what each client has.

    Args:
        data: All images.
        cut: By client, the numbers of the images that it learns from, and of those that it tests itself on; see `set_aside`.
        public: The global test set, where clients may be tested on it too.
        device: Where the images are kept.
    """

    def part(index: torch.Tensor) -> ImageSet:
        return data.part(index).to(torch.device(device))

    return [Site(number, part(train), part(test) if len(test) else None, public) for number, (train, test) in enumerate(cut)]
