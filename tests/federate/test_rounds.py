"""Every algorithm in the one loop: it learns, is resumed exactly, and one bad answer harms nothing."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, cast

import pytest
import torch
from torch import nn

from tacit.core.device import Runtime
from tacit.core.errors import InputError
from tacit.core.network import Network
from tacit.distill import Training
from tacit.federate import (
    ALGORITHMS,
    DENSE,
    IID,
    Algorithm,
    Client,
    FedAvg,
    FedDF,
    FedDistill,
    FedDistillPlus,
    FedEnsemble,
    FederationError,
    FedFTG,
    FedGen,
    FedProx,
    InProcess,
    Lost,
    Round,
    Upload,
)
from tacit.federate.central import Central
from tacit.synthesize import BNS, Gaussian
from tacit.zoo import resnet
from toyfed import SPEC, TEST, Tampered, digest, flat, network, plan, server, sites

MADE: dict[type[Algorithm], Algorithm] = {
    FedAvg: FedAvg(),
    FedProx: FedProx(proximal=0.1),
    FedEnsemble: FedEnsemble(),
    FedDistill: FedDistill(),
    FedDistillPlus: FedDistillPlus(),
    FedDF: FedDF(steps=5, batch=32, method=Gaussian(batch=32, warmup=1)),
    FedGen: FedGen(steps=10, generated=1, latent=1),
    FedFTG: FedFTG(steps=2, student_steps=2, batch=16, width=4, latent=8, server_lr=1e-3),
    DENSE: DENSE(method=Gaussian(batch=64, warmup=2), training=Training(steps=30, batch=32, lr=0.02)),
}
ONE_SHOT = [kind for kind in ALGORITHMS if kind.rounds == 1]
SEVERAL = [kind for kind in ALGORITHMS if kind.rounds is None]
LEARNS = 0.3
"""Accuracy that a few rounds must reach on digits; chance is 0.1."""


def test_every_algorithm_is_tried() -> None:
    assert set(MADE) == set(ALGORITHMS)


@pytest.mark.parametrize("kind", ALGORITHMS)
def test_it_learns_and_every_number_is_finite(kind: type[Algorithm], runtime: Runtime) -> None:
    told: list[Round] = []
    running = server(MADE[kind], runtime, rounds=4, steps=60 if kind in ONE_SHOT else 20, partition=IID(), every=0)
    running.run(told.append)
    assert [done.number for done in told] == list(range(1, (1 if kind in ONE_SHOT else 4) + 1))
    assert all(done.learned and done.replies == 4 and not done.dropped for done in told)
    assert bool(torch.isfinite(digest(running)).all())
    last = told[-1]
    assert last.accuracy is not None
    best = max([last.accuracy, *last.beside.values()]) if kind is DENSE else last.accuracy  # noise teaches a student little
    assert best > LEARNS
    assert len(last.own) == 4
    assert all(done.accuracy is None and not done.own for done in told[:-1])
    assert all(done.bytes_down > 0 and done.bytes_up > 0 and done.seconds > 0 for done in told)


@pytest.mark.parametrize("kind", ALGORITHMS)
def test_a_resumed_federation_takes_the_very_same_rounds(kind: type[Algorithm], runtime: Runtime) -> None:
    options: dict[str, Any] = {"rounds": 3, "steps": 4, "active": 3}
    whole = server(MADE[kind], runtime, **options)
    before = digest(whole)
    if kind in ONE_SHOT:
        whole.round()
        again = server(MADE[kind], runtime, **options)
        again.round()
        assert torch.equal(digest(whole), digest(again))
        return
    whole.round()
    buffer = io.BytesIO()
    torch.save(whole.state_dict(), buffer)
    first = [whole.round(), whole.round()]
    again = server(MADE[kind], runtime, **options)
    buffer.seek(0)
    torch.manual_seed(99)  # which must not matter
    again.load_state_dict(torch.load(buffer, weights_only=True))
    second = [again.round(), again.round()]
    assert torch.equal(digest(whole), digest(again))
    assert digest(whole).shape != before.shape or not torch.equal(digest(whole), before)
    for one, two in zip(first, second, strict=True):
        assert replace(one, seconds=0.0) == replace(two, seconds=0.0)


def test_what_clients_keep_of_one_federation_does_not_leak_into_the_next(runtime: Runtime) -> None:
    made = plan(FedAvg(share="head"), runtime, active=2, steps=2)
    used = made.in_process(sites())
    made.server(used, TEST).round()
    second, fresh = (replace(made, seed=3).server(engine, TEST) for engine in (used, made.in_process(sites())))
    assert second.central.federation != fresh.central.federation
    assert replace(second.round(), seconds=0.0) == replace(fresh.round(), seconds=0.0)
    assert torch.equal(digest(second), digest(fresh))


def nan_weights(reply: Upload) -> Upload:
    if not reply.weights:
        return replace(reply, tensors={key: value * float("nan") for key, value in reply.tensors.items()})
    return replace(
        reply, weights={key: value * float("nan") if value.is_floating_point() else value for key, value in reply.weights.items()}
    )


@pytest.mark.parametrize("kind", ALGORITHMS)
def test_a_bad_answer_is_dropped_and_the_round_is_that_of_the_others(kind: type[Algorithm], runtime: Runtime) -> None:
    spoiled = server(MADE[kind], runtime, tamper=(2, nan_weights), steps=4)
    done = spoiled.round()
    assert list(done.dropped) == [2]
    assert "holds NaN or infinite values" in done.dropped[2]
    assert (done.replies, done.learned) == (3, True)
    silent = server(MADE[kind], runtime, tamper=(2, lambda reply: None), steps=4)
    assert silent.round().dropped == {2: "no answer in time"}
    for one, two in zip(spoiled.central.networks, silent.central.networks, strict=True):
        assert torch.equal(flat(one.model.state_dict()), flat(two.model.state_dict()))
        assert bool(torch.isfinite(flat(one.model.state_dict())).all())


def many_batches(reply: Upload) -> dict[str, torch.Tensor]:
    return {key: value if value.is_floating_point() else value + 2**62 for key, value in reply.weights.items()}


SPOILT: list[tuple[str, Callable[[Upload], Any], str]] = [
    ("wrong shape", lambda r: replace(r, weights={**r.weights, "classifier.bias": torch.zeros(1)}), "expected [10]"),
    ("wrong keys", lambda r: replace(r, weights={key + "x": value for key, value in r.weights.items()}), "lacks stages.0.weight"),
    ("no images", lambda r: replace(r, examples=0), "its number of images is 0"),
    ("bad counts", lambda r: replace(r, counts=(-1.0,) * 10), "not all finite and 0 or more"),
    ("too many", lambda r: replace(r, counts=(1e9,) * 10), "at most 128 images can have been seen"),
    ("no counts", lambda r: replace(r, counts=None), "its label counts are missing"),
    ("variance", lambda r: replace(r, weights={key: -v if "running_var" in key else v for key, v in r.weights.items()}), "values below 0"),
    ("images", lambda r: replace(r, examples=2001), "its number of images is more than 2,000"),
    ("loss", lambda r: replace(r, metrics={"loss": 1.7e308}), "such beyond 1e+30"),
    ("batches", lambda r: replace(r, weights=many_batches(r)), "num_batches_tracked holds values beyond"),
    ("lost", lambda r: Lost("the node is gone"), "the node is gone"),
    ("chatty", lambda r: Lost("the node\nis gone " * 100), "the node is gone the node"),
]


@pytest.mark.parametrize(("spoil", "why"), [case[1:] for case in SPOILT], ids=[case[0] for case in SPOILT])
def test_whatever_comes_from_one_client_the_federation_goes_on(spoil: Any, why: str, runtime: Runtime) -> None:
    running = server(FedGen(steps=2), runtime, tamper=(1, spoil), steps=4, images=2000)
    for _ in range(2):
        done = running.round()
        assert why in done.dropped[1]
        assert len(done.dropped[1].splitlines()) == 1
        assert len(done.dropped[1]) < 310
        assert done.learned
        assert running.central.ready
    assert bool(torch.isfinite(digest(running)).all())


def test_what_is_sent_for_tests_is_counted_apart(runtime: Runtime) -> None:
    running = server(FedAvg(), runtime, steps=1, rounds=2, every=2, active=2)
    first, second = running.round(), running.round()
    download = running.questions([0])[0].bytes
    assert (first.bytes_tests, second.bytes_tests) == (0, 4 * (download + 8 * 2))  # an answer: a number of images and an accuracy
    assert first.bytes_down == second.bytes_down == 2 * running.downloads([0])[0].bytes


@pytest.mark.parametrize("algorithm", [FedAvg(), FedDistill()], ids=lambda one: one.name)
def test_a_bad_measurement_is_dropped_with_its_reason(algorithm: Algorithm, runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    measure = Client.measure

    def odd(self: Client, *args: Any) -> Upload:
        if self.site.number == 3:
            raise OSError("the disk is gone")
        spoilt = {1: float("nan"), 2: 7.0}.get(self.site.number)
        found = measure(self, *args)
        return found if spoilt is None else replace(found, metrics=dict.fromkeys(found.metrics, spoilt))

    monkeypatch.setattr(Client, "measure", odd)
    done = server(algorithm, runtime, steps=2).round()
    assert list(done.own) == [0]
    assert 0 <= (done.accuracy or 0) <= 1
    assert list(done.unmeasured) == [1, 2, 3]
    assert done.unmeasured[3] == "OSError: the disk is gone"
    assert not done.dropped


def test_a_client_that_raises_is_one_answer_less(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    train = Client.train

    def broken(self: Client, *args: Any) -> Any:
        if self.site.number == 3:
            raise MemoryError("out of memory")
        return train(self, *args)

    monkeypatch.setattr(Client, "train", broken)
    assert server(FedAvg(), runtime, steps=2).round().dropped == {3: "MemoryError: out of memory"}


@pytest.mark.parametrize("algorithm", [FedAvg(share="head"), FedAvg(bn="local"), FedDistill()], ids=["head", "bn", "nothing"])
def test_a_client_that_diverged_once_goes_on_from_what_it_kept_before(algorithm: Algorithm, runtime: Runtime) -> None:
    running = server(algorithm, runtime, steps=2, rounds=4, every=0)
    running.round()
    before = flat(running.engine.state_dict()["states"][2])
    downloads = running.ask()
    wild = replace(downloads[2], config={**downloads[2].config, "lr": 1e30})
    done = running.take(downloads, running.engine.train({**downloads, 2: wild}))
    assert "holds NaN or infinite values" in done.dropped[2]
    assert torch.equal(flat(running.engine.state_dict()["states"][2]), before)
    assert not running.round().dropped


def test_with_too_few_answers_nothing_is_learned_and_in_the_end_the_run_stops(runtime: Runtime) -> None:
    running = server(FedAvg(), runtime, tamper=(0, nan_weights), steps=2, replies=4, patience=2, rounds=5)
    before = digest(running)
    done = running.round()
    assert not done.learned
    assert done.dropped[1] == "3 sound answers, at least 4 were asked for"
    assert torch.equal(digest(running), before)
    with pytest.raises(FederationError, match="in 2 rounds in a row more than 50% of the answers failed"):
        running.run(lambda _: None)


def test_failures_that_are_not_in_a_row_do_not_stop_a_run(runtime: Runtime) -> None:
    running = server(FedAvg(), runtime, steps=1, failures=0.2, patience=2, rounds=6, clients=4)
    spoils = iter([nan_weights, lambda r: r] * 3)
    running.engine = Tampered(cast("InProcess", running.engine), 0, lambda reply: next(spoils)(reply))  # type: ignore[no-untyped-call]
    told: list[Round] = []
    running.run(told.append)
    assert [len(done.dropped) for done in told] == [1, 0, 1, 0, 1, 0]


def test_weights_that_no_training_makes_are_dropped_before_they_are_the_mean(runtime: Runtime) -> None:
    def huge(reply: Upload) -> Upload:
        return replace(reply, weights={key: value * 1e12 if value.is_floating_point() else value for key, value in reply.weights.items()})

    running = server(FedAvg(), runtime, steps=2, tamper=(0, huge))
    assert "which no training of a round makes of what was sent" in running.round().dropped[0]
    assert float(flat(running.central.network.model.state_dict()).abs().max()) < 100


def test_more_answers_than_clients_take_part_are_refused(runtime: Runtime) -> None:
    with pytest.raises(InputError, match="must have 3 sound answers and asks 2 of 4 clients"):
        plan(FedAvg(), runtime, active=2, replies=3)


def test_a_run_in_which_nothing_was_learned_is_an_error(runtime: Runtime) -> None:
    with pytest.raises(FederationError, match=r"in no round was anything learned; in the last one: client 0: stages\.0\.weight holds NaN"):
        server(DENSE(), runtime, steps=1, replies=4, tamper=(0, nan_weights)).run(lambda _: None)


def test_mean_logits_that_would_overflow_their_sum_are_dropped(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    train = Client.train

    def huge(self: Client, *args: Any) -> Any:
        reply, kept = train(self, *args)
        return (replace(reply, tensors={**reply.tensors, "logits": torch.full((10, 10), 3e38)}) if self.site.number < 2 else reply), kept

    monkeypatch.setattr(Client, "train", huge)
    running = server(FedDistill(), runtime, steps=2)
    assert running.round().dropped == dict.fromkeys((0, 1), "tensors.logits holds values beyond 1e+30")
    assert bool(torch.isfinite(running.central.tensors["logits"]).all())


@pytest.mark.parametrize("what", ["network", "generator", "tensors"])
def test_what_a_round_broke_at_the_server_is_put_back(what: str, runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    learn = FedGen.learn

    def breaks(self: FedGen, central: Central, replies: Mapping[int, Upload]) -> dict[str, float]:
        numbers = learn(self, central, replies)
        module = central.network.model if what == "network" else central.generator
        assert module is not None
        spoilt = central.tensors["ever"] if what == "tensors" else next(module.parameters()).data
        spoilt += float("inf")
        return numbers

    running = server(FedGen(steps=2), runtime, steps=2, rounds=3)
    running.round()
    before = digest(running)
    monkeypatch.setattr(FedGen, "learn", breaks)
    done = running.round()
    assert not done.learned
    assert "holds NaN or infinite values" in done.dropped[0]
    assert torch.equal(digest(running), before)


def test_weights_that_explode_are_dropped_and_the_reason_is_guessed(runtime: Runtime) -> None:
    with pytest.raises(FederationError, match="too high a learning rate is a common cause"):
        server(FedAvg(), runtime, lr=1e12, rounds=5, patience=2).run(lambda _: None)


def test_who_takes_part_depends_on_seed_and_round_alone(runtime: Runtime) -> None:
    running = server(FedAvg(), runtime, active=2, clients=6)
    drawn = []
    for round in range(30):
        running.central.round = round
        drawn.append(tuple(running.sample()))
        assert drawn[-1] == tuple(running.sample()) == tuple(sorted(drawn[-1]))
    assert {client for pair in drawn for client in pair} == set(range(6))
    assert len(set(drawn)) > 5
    assert all(len(pair) == 2 for pair in drawn)


def test_more_active_clients_than_there_are_is_refused(runtime: Runtime) -> None:
    with pytest.raises(InputError, match="active: expected at most 4, the number of clients, got 5"):
        plan(FedAvg(), runtime, active=5)


# ------------------------------------------------------------------------------------------------------------------- several architectures


def two_kinds() -> list[Any]:
    torch.manual_seed(1)
    return [network(), Network(resnet(8, channels=1, width=4), SPEC)]


def same_heads() -> list[Any]:
    torch.manual_seed(1)
    return [network(width=32), Network(resnet(8, channels=1, width=8), SPEC)]  # 32 features each


@pytest.mark.parametrize("kind", [FedDistill, FedDF, DENSE])
def test_clients_may_have_architectures_of_their_own(kind: type[Algorithm], runtime: Runtime) -> None:
    running = server(MADE[kind], runtime, networks=two_kinds(), partition=IID(), rounds=2, every=0)
    told: list[Round] = []
    running.run(told.append)
    assert told[-1].replies == 4
    assert not told[-1].dropped
    assert max([told[-1].accuracy or 0, *told[-1].beside.values()]) > LEARNS
    assert bool(torch.isfinite(digest(running)).all())


@pytest.mark.parametrize(
    "algorithm", [FedAvg(share="head"), FedGen(share="head", steps=5, generated=1, latent=1), FedDistillPlus(share="head")], ids=str
)
def test_heads_are_shared_between_architectures(algorithm: Algorithm, runtime: Runtime) -> None:
    running = server(algorithm, runtime, networks=same_heads(), partition=IID(), rounds=3, every=0)
    told: list[Round] = []
    running.run(told.append)
    heads = [split.part(split.network.model.state_dict()) for split in running.central.splits if split is not None]
    assert torch.equal(flat(heads[0]), flat(heads[1]))
    assert told[-1].bytes_up < 4 * (4 * 330 + 8 * 40 + 4 * 110)
    assert (told[-1].accuracy or 0) > LEARNS


@pytest.mark.parametrize("algorithm", [FedAvg(), FedProx(), FedGen(), FedEnsemble(), FedFTG()], ids=lambda one: one.name)
def test_averaging_whole_networks_of_two_architectures_is_refused(algorithm: Algorithm, runtime: Runtime) -> None:
    with pytest.raises(InputError, match="all clients must have the same architecture"):
        server(algorithm, runtime, networks=two_kinds())


def test_heads_that_differ_are_refused(runtime: Runtime) -> None:
    with pytest.raises(InputError, match="those of the architectures differ: give them latents of one width"):
        server(FedAvg(share="head"), runtime, networks=[network(width=32), network(width=16)])


def test_networks_of_other_classes_are_refused(runtime: Runtime) -> None:
    with pytest.raises(InputError, match="all clients must agree on shape and classes"):
        plan(FedDistill(), runtime, networks=[network(), Network(resnet(8, 5, 1, 4), replace(SPEC, classes=5))])


# ---------------------------------------------------------------------------------------------------------------- what travels, and stays


def test_a_head_is_shared_and_the_rest_stays_with_its_client(runtime: Runtime) -> None:
    running = server(FedAvg(share="head"), runtime)
    first = flat(running.central.network.model.state_dict()).clone()
    running.round()
    states = running.engine.state_dict()["states"]
    keys = {key for key in running.central.network.model.state_dict() if not key.startswith("classifier")}
    assert all(set(state) == keys for state in states.values())
    assert not torch.equal(flat(states[0]), flat(states[1]))
    moved = flat(running.central.network.model.state_dict()) != first
    assert int(moved.sum()) == 330
    assert running.algorithm.judged(running.central) is None


def test_statistics_may_stay_with_each_client(runtime: Runtime) -> None:
    running = server(FedAvg(bn="local"), runtime)
    running.round()
    model = running.central.network.model
    kept = running.engine.state_dict()["states"][0]
    assert {key.rpartition(".")[2] for key in kept} == {"running_mean", "running_var", "num_batches_tracked"}
    assert float(model.state_dict()["stages.1.running_mean"].abs().sum()) == 0  # never aggregated
    assert float(kept["stages.1.running_mean"].abs().sum()) > 0
    assert running.algorithm.judged(running.central) is None  # its own statistics are those of no data
    done = running.round()
    assert done.accuracy is not None  # the mean of the clients' own models


@pytest.mark.parametrize("kind", [FedEnsemble, FedDF, FedFTG])
@pytest.mark.parametrize("fields", [{"share": "head"}, {"bn": "local"}])
def test_algorithms_that_ask_the_clients_models_want_whole_ones(kind: Any, fields: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="whole ones must be sent"):
        kind(**fields)


class Plain(nn.Module):
    """No batch norm, which BNS makes images of."""

    def __init__(self) -> None:
        super().__init__()
        self.classifier = nn.Linear(64, 10)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.classifier(images.flatten(1))
        return found


@pytest.mark.parametrize("algorithm", [FedDF(method=BNS()), DENSE(method=BNS())], ids=lambda one: one.name)
def test_a_method_that_the_clients_networks_cannot_serve_is_refused_before_anybody_trains(algorithm: Algorithm, runtime: Runtime) -> None:
    with pytest.raises(InputError, match="BNS"):
        server(algorithm, runtime, networks=[Network(Plain(), SPEC)])


def test_the_servers_network_is_not_the_clients(runtime: Runtime) -> None:
    made = plan(FedAvg(), runtime)
    engine = made.in_process(sites())
    running = made.server(engine)
    theirs = engine._clients[0].kind.network
    assert theirs is not running.central.network
    assert theirs is engine._clients[3].kind.network  # one network serves all of a kind in turn
    before = flat(made.networks[0].model.state_dict()).clone()
    running.round()
    assert torch.equal(flat(made.networks[0].model.state_dict()), before)
