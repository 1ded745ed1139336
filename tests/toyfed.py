"""What tests of federations share: digits among a few clients, a tiny network, and plans of few, quick rounds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from tacit.core.device import Runtime
from tacit.core.network import Network
from tacit.core.spec import Spec
from tacit.data import digits
from tacit.data.images import ImageSet
from tacit.federate import (
    Algorithm,
    Dirichlet,
    Download,
    InProcess,
    Local,
    Lost,
    Partition,
    Plan,
    Rounds,
    Rules,
    Server,
    Upload,
    set_aside,
    sites_of,
)
from tacit.zoo import fednet

__all__ = ["SPEC", "TEST", "TRAIN", "Tampered", "digest", "flat", "masked", "network", "plan", "server", "sites"]

SPEC = Spec(shape=(1, 8, 8), classes=10, mean=(0.305,), std=(0.376,))
TRAIN, TEST = digits("train"), digits("test")


def masked() -> list[tuple[Tensor, Tensor]]:
    """Return images with a class for every pixel."""
    return [(torch.rand(1, 8, 8), torch.zeros(8, 8, dtype=torch.long)) for _ in range(4)]


def network(width: int = 32, seed: int = 0) -> Network:
    torch.manual_seed(seed)
    return Network(fednet(side=8, width=width), SPEC)


def sites(clients: int = 4, partition: Partition | None = None, held: float = 0.1, data: ImageSet = TRAIN) -> Any:
    draw = torch.Generator().manual_seed(0)
    parts = (partition or Dirichlet(alpha=0.5)).deal(data.labels, clients, draw)
    return sites_of(data, set_aside(parts, held, draw), public=TEST)


def plan(algorithm: Algorithm, runtime: Runtime, *, clients: int = 4, networks: Any = None, **fields: Any) -> Plan:
    """Return a plan of two rounds on digits; `fields` go to `Local`, `Rounds` and `Rules` by their names."""
    kinds: tuple[Any, ...] = (Local, Rounds, Rules)
    chosen = [{name: fields.pop(name) for name in list(fields) if name in kind.__dataclass_fields__} for kind in kinds]
    assert not fields
    local, rounds, rules = Local(**chosen[0]), Rounds(**{"rounds": 2, **chosen[1]}), Rules(**chosen[2])
    return Plan(networks or [network()], algorithm, local, rounds, clients, rules, 0, runtime)


class Tampered(InProcess):
    """An engine that spoils what one client answers, from a round on."""

    def __init__(self, inner: InProcess, client: int, spoil: Any, since: int = 0) -> None:
        self.__dict__ |= inner.__dict__
        self.client, self.spoil, self.since = client, spoil, since

    def train(self, downloads: Mapping[int, Download]) -> Mapping[int, Upload | Lost]:
        replies = dict(super().train(downloads))
        if self.client in replies and downloads[self.client].round >= self.since:
            spoiled = self.spoil(replies.pop(self.client))
            if spoiled is not None:
                replies[self.client] = spoiled
        return replies


def server(
    algorithm: Algorithm, runtime: Runtime, *, tamper: tuple[int, Any] | None = None, partition: Partition | None = None, **fields: Any
) -> Server:
    """Return a server with all clients in this process, the answers of one of them spoiled where `tamper` says how."""
    made = plan(algorithm, runtime, **fields)
    engine = made.in_process(sites(made.clients, partition))
    return made.server(Tampered(engine, *tamper) if tamper is not None else engine, TEST)


def flat(state: Mapping[str, Tensor]) -> Tensor:
    return torch.cat([value.flatten().double() for value in state.values()])


def digest(running: Server) -> Tensor:
    """Return all numbers that the next round depends on."""
    central = running.central
    modules = [*central.networks, *([central.generator] if central.generator is not None else [])]
    states: list[Mapping[str, Tensor]] = [module.state_dict() for module in modules]
    states += [central.tensors, *central.latest.values(), *running.engine.state_dict()["states"].values()]
    return torch.cat([flat(state) for state in states if state])
