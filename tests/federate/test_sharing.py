"""What travels of a network: a mask of -inf does not, and breaks nothing."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from tacit.core.device import Runtime
from tacit.core.network import Network
from tacit.distill import Training
from tacit.federate import ALGORITHMS, DENSE, Algorithm, FedAvg, FedDF, FedFTG, FedGen
from tacit.federate.sharing import Sharing, constant_keys
from tacit.synthesize import Gaussian
from toyfed import SPEC, flat, server

QUICK: dict[type[Algorithm], Algorithm] = {
    FedDF: FedDF(steps=3, batch=16, method=Gaussian(batch=16, warmup=1)),
    FedGen: FedGen(steps=5, generated=1, latent=1),
    FedFTG: FedFTG(steps=1, student_steps=1, batch=16, width=4, latent=8, server_lr=1e-3),
    DENSE: DENSE(method=Gaussian(batch=32, warmup=1), training=Training(steps=5, batch=16, lr=0.02)),
}


class Attentive(nn.Module):
    """Pools by attention that must not look at the last four of 16 places."""

    mask: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.AvgPool2d(2))
        self.score = nn.Linear(16, 1)
        self.classifier = nn.Linear(16, 10)
        self.register_buffer("mask", torch.tensor([0.0] * 12 + [-math.inf] * 4))

    def forward(self, images: Tensor) -> Tensor:
        places = self.body(images).flatten(2).transpose(1, 2)
        looked = torch.softmax(self.score(places)[..., 0] + self.mask, dim=1)
        found: Tensor = self.classifier((looked[..., None] * places).sum(dim=1))
        return found


def attentive() -> Network:
    torch.manual_seed(0)
    return Network(Attentive(), SPEC)


@pytest.mark.parametrize("kind", ALGORITHMS)
def test_a_mask_of_infinite_values_stays_where_it_is(kind: type[Algorithm], runtime: Runtime) -> None:
    running = server(QUICK.get(kind, kind()), runtime, networks=[attentive()], steps=4, rounds=1 if kind.rounds == 1 else 2)
    while running.central.round < running.rounds.rounds:
        done = running.round()
        assert (done.dropped, done.learned, done.numbers.get("skipped", 0)) == ({}, True, 0)
    state = running.central.network.model.state_dict()
    assert torch.equal(state["mask"], attentive().model.state_dict()["mask"])
    assert bool(torch.isfinite(flat({key: value for key, value in state.items() if key != "mask"})).all())
    assert "mask" not in running.downloads([0])[0].weights


def test_values_that_became_infinite_are_still_told_from_a_mask(runtime: Runtime) -> None:
    running = server(FedAvg(), runtime, networks=[attentive()], steps=1, lr=1e30)
    running.central.network.model.state_dict()["body.1.running_var"][0] = math.inf
    assert running.central.broken(running.central.network) == "body.1.running_var"
    reply = next(iter(server(FedAvg(), runtime, networks=[attentive()], steps=3, lr=1e30).round().dropped.values()))
    assert "NaN or infinite" in reply


@pytest.mark.parametrize(("bn", "kept"), [("aggregate", set()), ("local", {"body.1.running_mean", "body.1.running_var"})])
def test_what_travels_and_what_is_kept_leave_out_the_mask(bn: str, kept: set[str]) -> None:
    network = attentive()
    sharing = Sharing(network, part="all", bn=bn)  # type: ignore[arg-type]
    assert constant_keys(network.model) == sharing.constant == {"mask"}
    assert set(sharing.kept(network)) - {"body.1.num_batches_tracked"} == kept
    assert set(sharing.out(network)).isdisjoint({"mask", *kept})
    assert sharing.whole is (bn == "aggregate")
