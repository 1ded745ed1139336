"""FedGen: schedules, both objectives, what is sent, and that a generator that breaks is put back."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tacit.core.device import Runtime
from tacit.core.errors import InputError
from tacit.core.network import Network, count_parameters
from tacit.core.spec import Spec
from tacit.data.images import ImageSet
from tacit.federate import IID, FedAvg, FedGen, Site, Upload
from tacit.federate.generator import LatentGenerator
from tacit.federate.latent import class_weights, latent_diversity, mean_logit_loss, student_loss, teacher_loss
from tacit.zoo import fednet
from toyfed import TRAIN, flat, plan, server, sites


def test_weights_fall_by_0_98_a_round_to_a_floor() -> None:
    reference, paper = FedGen(), FedGen(objective="paper")
    for round in (0, 1, 50, 199):
        assert reference.scheduled("generated", round) == pytest.approx(max(1e-4, 10 * 0.98**round))
        assert reference.scheduled("latent", round) == pytest.approx(max(1e-4, 10 * 0.98**round))
        assert (paper.scheduled("generated", round), paper.scheduled("latent", round)) == (1.0, 0.0)
    assert reference.scheduled("latent", 700) == 1e-4
    assert FedGen(latent=0).scheduled("latent", 3) == 0.0  # an ablation stays one
    assert FedGen(generated=2, decay=0.5).scheduled("generated", 3) == 0.25
    assert FedGen(latent=5e-5).scheduled("latent", 3) == 5e-5  # below the floor from the start


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"objective": "code"}, "objective: expected paper or reference, got 'code'"),
        ({"share": "none"}, "share: expected all or head, got 'none'"),
        ({"bn": "mean"}, "bn: expected aggregate or local, got 'mean'"),
        ({"batch": 1}, "batch: expected at least 2, got 1"),
        ({"counts": "hidden"}, "counts: expected told or withheld"),
        ({"count_noise": -1}, "count_noise: expected 0 or more"),
        ({"generated": -5}, "generated: expected 0 or more, got -5"),
        ({"latent": float("nan")}, "latent: expected 0 or more, got nan"),
        ({"diversity": -1}, "diversity: expected 0 or more"),
        ({"decay": -1}, "decay: expected more than 0, and 1 at most, got -1"),
        ({"decay": 1.5}, "decay: expected more than 0, and 1 at most"),
    ],
)
def test_fields_are_checked(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        FedGen(**fields)


def test_the_generator_is_sent_once_it_was_trained_and_counts_against_the_bytes(runtime: Runtime) -> None:
    gen, avg = (server(algorithm, runtime) for algorithm in (FedGen(steps=3), FedAvg()))
    first, second = gen.round(), gen.round()
    plain = avg.round()
    size = sum(value.numel() * value.element_size() for value in gen.central.generator.state_dict().values())  # type: ignore[union-attr]
    clients = len(gen.engine.clients)
    assert first.bytes_down - plain.bytes_down == clients * (4 * 10 + 8 * 2)  # the prior, and two weights
    assert second.bytes_down - first.bytes_down == clients * size
    assert second.bytes_up - plain.bytes_up == clients * 8 * 10  # ten counts


def test_the_mnist_download_is_as_much_larger_as_published(runtime: Runtime) -> None:
    network = Network(fednet(), Spec(shape=(1, 28, 28), classes=10))
    central = plan(FedGen(), runtime, networks=[network]).central()
    FedGen().begin(central)
    assert central.generator is not None
    assert (count_parameters(network) + count_parameters(central.generator)) / count_parameters(network) == pytest.approx(1.75, abs=0.005)


def replies_of(algorithm: FedGen, runtime: Runtime, **fields: Any) -> tuple[Any, dict[int, Upload]]:
    made = server(algorithm, runtime, **fields)
    downloads = {client: algorithm.download(made.central, made.central.kinds[client]) for client in made.sample()}
    replies = {client: reply for client, reply in made.engine.train(downloads).items() if isinstance(reply, Upload)}
    return made, replies


@pytest.mark.parametrize("objective", ["reference", "paper"])
def test_one_step_of_the_generator_is_the_one_that_the_objective_says(objective: Any, runtime: Runtime) -> None:
    algorithm = FedGen(objective=objective, steps=1, batch=8, noise=4, hidden=6, student=0.7)
    made, replies = replies_of(algorithm, runtime)
    central = made.central
    central.round = 5
    rng = central.rng("server")
    before = {key: value.clone() for key, value in central.generator.state_dict().items()}
    twin = LatentGenerator(10, (32,), noise=4, hidden=6, prior="normal" if objective == "paper" else "uniform").train()
    twin.load_state_dict(before)
    optimizer = torch.optim.Adam(twin.parameters(), lr=3e-4 * 0.98**5, weight_decay=1e-2)
    counts = torch.tensor([reply.counts for reply in replies.values()])
    prior = counts.sum(dim=0) if objective == "paper" else (counts.max(dim=0).values > 0).float()
    labels = torch.multinomial(prior / prior.sum(), 8, replacement=True, generator=rng)
    noise = (torch.randn if objective == "paper" else torch.rand)(8, 4, generator=rng)
    features = twin(noise, labels)
    said = torch.stack([features @ reply.weights["classifier.weight"].T + reply.weights["classifier.bias"] for reply in replies.values()])
    if objective == "paper":
        loss = mean_logit_loss(said, labels)
        own = said.mean(dim=0)  # the models are averaged first
    else:
        loss = latent_diversity(noise, features)
        for k, each in enumerate(said):
            w = torch.stack([(1 + counts[k, y]) / (1 + counts[:, y]).sum() for y in labels.tolist()])
            loss = loss + (w * F.cross_entropy(each, labels, reduction="none")).mean()
        own = central.network.model.classifier(features)
    loss = loss - 0.7 * student_loss(said, labels, class_weights(counts), own)
    torch.autograd.backward(loss)
    optimizer.step()
    numbers = algorithm.learn(central, replies)
    assert central.ready
    told = sum(numbers.get(f"loss/{name}", 0.0) for name in ("teacher", "diversity", "student"))
    assert told == pytest.approx(float(loss.detach()), rel=1e-5)
    assert torch.allclose(flat(central.generator.state_dict()), flat(twin.state_dict()), atol=1e-6)
    assert not torch.allclose(flat(before), flat(twin.state_dict()), atol=1e-6)


@pytest.mark.parametrize("objective", ["reference", "paper"])
def test_models_are_averaged_as_the_objective_says(objective: Any, runtime: Runtime) -> None:
    made, replies = replies_of(FedGen(objective=objective, steps=1), runtime)
    made.algorithm.learn(made.central, replies)
    weights = [1.0 if objective == "paper" else reply.examples for reply in replies.values()]
    for key, value in made.central.network.model.state_dict().items():
        if value.is_floating_point():
            slow = sum(w * reply.weights[key].double() for w, reply in zip(weights, replies.values(), strict=True)) / sum(weights)
            assert torch.allclose(value.double(), torch.as_tensor(slow), atol=1e-6)


def loss_of(algorithm: FedGen, runtime: Runtime, tensors: dict[str, Tensor] | None = None) -> tuple[Any, Tensor, Tensor, Tensor]:
    """Return a client's work in the second round, labels, logits, and its loss."""
    made = server(algorithm, runtime)
    made.round()
    kind = made.engine._clients[0].kind  # type: ignore[attr-defined]
    download = algorithm.download(made.central, 0)
    kind.load(download, {})
    work = kind.work(replace(download, tensors=tensors or download.tensors), torch.Generator().manual_seed(7))
    labels = sites()[0].train.labels[:9]
    logits = kind.network(sites()[0].train.images[:9].float().div(255))
    return work, labels, logits, algorithm.loss(work, labels, logits)


@pytest.mark.parametrize("algorithm", [FedGen(), FedGen(latent=0), FedGen(generated=0), FedGen(objective="paper")], ids=str)
def test_the_clients_loss_is_the_sum_of_the_objectives_terms(algorithm: FedGen, runtime: Runtime) -> None:
    work, labels, logits, loss = loss_of(algorithm, runtime)
    rng, alpha, beta = torch.Generator().manual_seed(7), algorithm.scheduled("generated", 1), algorithm.scheduled("latent", 1)
    wanted = torch.multinomial(work.tensors["prior"], 9, replacement=True, generator=rng) if alpha else labels[:0]
    asked = torch.cat([wanted, labels] if beta else [wanted])
    features = work.generator(work.generator.draw(len(asked), rng), asked)
    head = work.network.model.classifier
    slow = F.nll_loss(F.log_softmax(logits, dim=1), labels)
    if alpha:
        slow = slow + alpha * F.nll_loss(F.log_softmax(head(features[: len(wanted)]), dim=1), wanted)
    if beta:
        target = F.softmax(head(features[len(wanted) :]), dim=1).detach()
        slow = slow + beta * (target * (target.log() - F.log_softmax(logits, dim=1))).sum(dim=1).mean()
    assert not work.generator.training
    assert float(loss.detach()) == pytest.approx(float(slow.detach()), rel=1e-5)
    parameters = list(work.network.parameters())
    for one, two in zip(torch.autograd.grad(loss, parameters, retain_graph=True), torch.autograd.grad(slow, parameters), strict=True):
        assert torch.allclose(one, two, atol=1e-5)


def test_clients_draw_only_classes_that_somebody_has(runtime: Runtime) -> None:
    some = TRAIN.labels < 7
    data = ImageSet(TRAIN.images[some], TRAIN.labels[some])
    for objective in ("reference", "paper"):
        made = plan(FedGen(objective=objective, steps=1), runtime)
        running = made.server(made.in_process(sites(4, IID(), data=data)))
        running.round()
        prior = running.central.tensors["prior"]
        assert float(prior.sum()) == pytest.approx(1)
        assert bool((prior[:7] > 0).all())
        assert not bool(prior[7:].any())


@pytest.mark.parametrize("when", ["loss", "weights"])
def test_a_generator_that_breaks_is_put_back_and_goes_on(when: str, runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    made = server(FedGen(steps=3), runtime, rounds=3)
    made.round()
    central = made.central
    kept = flat(central.generator.state_dict()).clone()  # type: ignore[union-attr]
    if when == "loss":
        monkeypatch.setattr("tacit.federate.algorithms.fedgen.teacher_loss", lambda said, *_: said.sum() * float("nan"))
    else:
        monkeypatch.setattr("tacit.federate.algorithms.fedgen.teacher_loss", lambda said, *_: (said * 0).sum().sqrt())  # its slope is NaN
    done = made.round()
    assert done.numbers == {"generator_skipped": 3.0, "skipped": 1.0}
    assert done.learned
    assert torch.equal(flat(central.generator.state_dict()), kept)  # type: ignore[union-attr]
    monkeypatch.undo()
    assert made.round().numbers["generator_skipped"] == 0


@pytest.mark.parametrize("bad", [2, 4])
def test_one_bad_step_is_left_out_and_its_loss_is_not_told(bad: int, runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []

    def sometimes(said: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
        calls.append(1)
        return teacher_loss(said, labels, weights) * (float("nan") if len(calls) == bad else 1.0)

    monkeypatch.setattr("tacit.federate.algorithms.fedgen.teacher_loss", sometimes)
    made = server(FedGen(steps=4), runtime)
    done = made.round()
    assert done.numbers["generator_skipped"] == 1
    assert {"loss/teacher", "loss/diversity"} <= set(done.numbers)
    assert all(math.isfinite(value) for value in done.numbers.values())
    assert made.central.ready


def test_counts_are_what_was_shown_noised_or_withheld(runtime: Runtime) -> None:
    _, told = replies_of(FedGen(), runtime)
    for client, reply in told.items():
        assert reply.counts is not None
        assert sum(reply.counts) == 20 * 32
        has = torch.bincount(sites()[client].train.labels, minlength=10) > 0
        assert [count > 0 for count in reply.counts] == has.tolist()  # 640 looks are enough for each image of every client
    made, noised = replies_of(FedGen(count_noise=20.0), runtime)
    apart = torch.tensor([reply.counts for reply in noised.values()]) - torch.tensor([reply.counts for reply in told.values()])
    assert 5 < float(apart.abs().mean()) < 40
    assert all(count >= 0 and count == round(count) for reply in noised.values() for count in reply.counts or ())
    assert made.round().replies == 4
    made, withheld = replies_of(FedGen(counts="withheld"), runtime)
    assert all(reply.counts is None for reply in withheld.values())
    done = made.round()
    assert (done.replies, "loss/teacher" in done.numbers) == (4, True)
    assert made.central.tensors["prior"].tolist() == pytest.approx([0.1] * 10)


@pytest.mark.parametrize(("images", "most"), [(9, 72), (640, 1), (1000, 1)])
def test_an_image_of_another_class_moves_counts_by_twice_how_often_it_was_shown(images: int, most: int, runtime: Runtime) -> None:
    """What the noise of counts is scaled by: `most` is 20 x 32 / images, rounded up."""
    labels = torch.arange(images) % 10
    counts: list[Tensor] = []
    for first in (0, 7):
        data = ImageSet(torch.zeros(images, 1, 8, 8, dtype=torch.uint8), torch.cat([torch.tensor([first]), labels[1:]]))
        made = plan(FedGen(), runtime, clients=1).in_process([Site(0, data)])
        reply = made.train(server(FedGen(), runtime, clients=1).downloads([0]))[0]
        assert isinstance(reply, Upload)
        counts.append(torch.tensor(reply.counts))
    assert float(counts[0].sum()) == float(counts[1].sum()) == 640
    moved = float((counts[0] - counts[1]).abs().sum())
    assert moved % 2 == 0
    assert 2 * (640 // images) <= moved <= 2 * most


def test_the_noise_of_counts_is_laplace() -> None:
    draw = torch.Generator().manual_seed(0)
    seen = torch.full((40_000,), 1000)
    told = FedGen(count_noise=5.0).tell_counts(seen, lambda count: torch.rand(count, generator=draw))
    noise = torch.tensor(told) - 1000
    assert abs(float(noise.mean())) < 0.1
    assert float(noise.abs().mean()) == pytest.approx(5.0, rel=0.02)
    assert float(noise.square().mean()) == pytest.approx(2 * 25, rel=0.04)


@pytest.mark.parametrize(
    ("algorithm", "taught"),
    [
        (FedGen(steps=2), 20),
        (FedGen(steps=2, until=3), 3),
        (FedGen(steps=2, until=0), 0),
        (FedGen(steps=2, objective="paper"), 24),
        (FedGen(steps=2, objective="paper", until=5), 5),
    ],
    ids=str,
)
def test_clients_learn_from_the_generator_in_the_first_steps_of_a_round(
    algorithm: FedGen, taught: int, runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = server(algorithm, runtime, steps=24, clients=2, every=0)
    running.round()
    calls: list[bool] = []
    draw = LatentGenerator.draw

    def counted(self: LatentGenerator, *args: Any) -> Tensor:
        calls.append(self.training)
        return draw(self, *args)

    monkeypatch.setattr(LatentGenerator, "draw", counted)
    running.engine.train(running.downloads([0]))
    assert calls == [False] * taught


def test_a_negative_number_of_steps_is_refused() -> None:
    with pytest.raises(InputError, match=r"FedGen.until: expected 0 or more, got -1"):
        FedGen(until=-1)
