"""The engine costs little beside a plain loop that does the same learning."""

from __future__ import annotations

import copy
import time

import torch
import torch.nn.functional as F

from tacit.core.device import Runtime
from tacit.core.network import Network
from tacit.core.spec import Spec
from tacit.data.images import ImageSet
from tacit.federate import IID, FedAvg, set_aside, sites_of
from tacit.zoo import fednet
from toyfed import plan

CLIENTS, STEPS, BATCH = 5, 20, 32
ALLOWED = 1.15


def plain_round(network: Network, sets: list[ImageSet], draw: torch.Generator) -> None:
    """One round of FedAvg as one would write it down: five clients in turn, and the mean of their weights."""
    sent = {key: value.clone() for key, value in network.state_dict().items()}
    states = []
    for data in sets:
        network.load_state_dict(sent)
        network.train()
        optimizer = torch.optim.SGD(network.parameters(), lr=0.01)
        order = torch.randperm(len(data), generator=draw)
        for step in range(STEPS):
            index = order[torch.arange(step * BATCH, (step + 1) * BATCH) % len(order)]
            loss = F.cross_entropy(network(data.images[index].float().div(255)), data.labels[index])
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
        states.append(copy.deepcopy(network.state_dict()))
    network.load_state_dict({key: sum(state[key] for state in states) / len(states) for key in sent})


def test_a_round_takes_hardly_longer_than_a_plain_loop(runtime: Runtime) -> None:
    draw = torch.Generator().manual_seed(0)
    data = ImageSet(torch.randint(0, 256, (3000, 1, 28, 28), dtype=torch.uint8), torch.arange(3000) % 10)
    sites = sites_of(data, set_aside(IID().deal(data.labels, CLIENTS, draw), 0.0, draw))
    network = Network(fednet(), Spec(shape=(1, 28, 28), classes=10, mean=(0.5,), std=(0.5,)))
    made = plan(FedAvg(), runtime, networks=[network], clients=CLIENTS, steps=STEPS, batch=BATCH, rounds=1000, every=0)
    server = made.server(made.in_process(sites))
    own = copy.deepcopy(network)
    taken: dict[str, list[float]] = {"engine": [], "plain": []}
    for _ in range(8):  # in turn, so that a busy machine harms both alike; the time of this process alone
        for name, work in (("engine", server.round), ("plain", lambda: plain_round(own, [site.train for site in sites], draw))):
            start = time.process_time()
            work()
            taken[name].append(time.process_time() - start)
    ratio = min(taken["engine"][1:]) / min(taken["plain"][1:])
    print(f"engine {min(taken['engine']):.3f} s, plain {min(taken['plain']):.3f} s, ratio {ratio:.3f}")
    assert ratio < ALLOWED
