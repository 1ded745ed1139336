"""What each algorithm does beside averaging, against slow loops and formulas."""

from __future__ import annotations

import copy
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tacit.core.batch import Batch
from tacit.core.device import Runtime
from tacit.core.errors import InputError
from tacit.core.network import Network, Teacher
from tacit.data.images import ImageSet
from tacit.distill import Training
from tacit.evaluate import predict
from tacit.federate import (
    DENSE,
    IID,
    Algorithm,
    Download,
    FedAvg,
    FedDF,
    FedDistill,
    FedDistillPlus,
    FedEnsemble,
    FederationError,
    FedFTG,
    FedGen,
    FedProx,
    Server,
    Site,
    Upload,
)
from tacit.federate.algorithms.base import Averaging
from tacit.federate.algorithms.fedftg import DISTANCES, _Turns
from tacit.federate.believed import Believed, beliefs
from tacit.federate.client import Client, Kind
from tacit.federate.latent import latent_diversity
from tacit.federate.teaching import ensemble_of, pixels_of, pool_of, teach
from tacit.federate.work import Local, Work
from tacit.synthesize import DAFL, Gaussian
from tacit.zoo import resnet
from toyfed import SPEC, TEST, flat, network, plan, server, sites


def answers(made: Server) -> dict[int, Upload]:
    """Return what all clients answer in this round; nothing is learned from it."""
    clients = sorted(made.engine.clients)
    downloads = {client: made.algorithm.download(made.central, made.central.kinds[client]) for client in clients}
    return {client: reply for client, reply in made.engine.train(downloads).items() if isinstance(reply, Upload)}


def work_of(algorithm: Algorithm, runtime: Runtime, **tensors: Tensor) -> Work:
    made = plan(algorithm, runtime)
    kind = Kind(made.networks[0], algorithm, runtime)
    central = made.central()
    algorithm.begin(central)
    download = replace(algorithm.download(central, 0), tensors=tensors)
    kind.load(download, {})
    return kind.work(download, torch.Generator().manual_seed(0))


LABELS = torch.tensor([0, 3, 3, 9, 1])
LOGITS = torch.randn(5, 10, generator=torch.Generator().manual_seed(3))


# ------------------------------------------------------------------------------------------------------------------------------- FedProx


def test_the_proximal_term_is_half_the_squared_distance(runtime: Runtime) -> None:
    work = work_of(FedProx(proximal=0.7), runtime)
    plain = F.cross_entropy(LOGITS, LABELS)
    algorithm = FedProx(proximal=0.7)
    assert float(algorithm.loss(work, LABELS, LOGITS).detach()) == pytest.approx(float(plain))
    start = [parameter.detach().numpy().copy() for parameter in work.network.parameters()]
    with torch.no_grad():
        for place, parameter in enumerate(work.network.parameters()):
            parameter.add_(0.01 * (place + 1))
    apart = sum(
        float(((p.detach().numpy().astype(np.float64) - s) ** 2).sum()) for p, s in zip(work.network.parameters(), start, strict=True)
    )
    loss = algorithm.loss(work, LABELS, LOGITS)
    assert float(loss.detach()) == pytest.approx(float(plain) + 0.35 * apart, rel=1e-5)
    gradients = torch.autograd.grad(loss, list(work.network.parameters()))
    for place, gradient in enumerate(gradients):  # mu (w - w_global)
        assert torch.allclose(gradient, torch.full_like(gradient, 0.7 * 0.01 * (place + 1)), atol=1e-6)


def test_a_strong_proximal_term_keeps_clients_near(runtime: Runtime) -> None:
    far = []
    for algorithm in (FedAvg(), FedProx(proximal=10.0)):
        made = server(algorithm, runtime, lr=0.02)
        sent = made.central.sharing[0].out(made.central.network)
        keys = [key for key, _ in made.central.network.model.named_parameters()]
        apart = [sum(float((reply.weights[key] - sent[key]).square().sum()) for key in keys) for reply in answers(made).values()]
        far.append(sum(apart))
    assert far[1] < 0.5 * far[0]


def test_without_a_proximal_term_it_is_fedavg(runtime: Runtime) -> None:
    one, two = (server(algorithm, runtime) for algorithm in (FedAvg(), FedProx(proximal=0.0)))
    one.round()
    two.round()
    assert torch.equal(flat(one.central.network.model.state_dict()), flat(two.central.network.model.state_dict()))


# ---------------------------------------------------------------------------------------------------------------------------- FedDistill


@pytest.mark.parametrize("algorithm", [FedDistill(), FedDistillPlus()], ids=lambda one: one.name)
def test_what_goes_up_is_the_mean_logit_of_each_label_over_the_steps(
    algorithm: Any, runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[Tensor, Tensor]] = []
    observe = FedDistill.observe

    def spy(self: FedDistill, work: Work, labels: Tensor, logits: Tensor) -> None:
        seen.append((labels.clone(), logits.clone()))
        observe(self, work, labels, logits)

    monkeypatch.setattr(FedDistill, "observe", spy)
    made = plan(algorithm, runtime, steps=3, batch=16)
    central = made.central()
    algorithm.begin(central)
    client = Client(sites()[0], made.kind(0), seed=0)
    upload, _ = client.train(algorithm.download(central, 0), {})
    assert len(seen) == 3
    for label in range(10):
        rows = [row.numpy() for labels, logits in seen for one, row in zip(labels.tolist(), logits, strict=True) if one == label]
        slow = np.mean(rows, axis=0) if rows else np.zeros(10)
        assert np.allclose(upload.tensors["logits"][label].numpy(), slow, atol=1e-5)
        assert float(upload.tensors["seen"][label]) == float(bool(rows))
    again, _ = client.train(algorithm.download(central, 0), {})  # a round begins with nothing remembered
    assert torch.equal(again.tensors["logits"], upload.tensors["logits"])


def test_the_servers_mean_counts_clients_that_saw_the_class_and_no_others(runtime: Runtime) -> None:
    made = server(FedDistill(), runtime)
    replies = answers(made)
    made.algorithm.learn(made.central, replies)
    logits, known = made.central.tensors["logits"].clone(), made.central.tensors["known"]
    for label in range(10):
        rows = [reply.tensors["logits"][label].numpy() for reply in replies.values() if float(reply.tensors["seen"][label])]
        assert float(known[label]) == float(bool(rows))
        assert np.allclose(logits[label].numpy(), np.mean(rows, axis=0) if rows else np.zeros(10), atol=1e-5)
    blind = {client: replace(reply, tensors={key: value * 0 for key, value in reply.tensors.items()}) for client, reply in replies.items()}
    made.algorithm.learn(made.central, blind)
    assert torch.equal(made.central.tensors["logits"], logits)  # nobody saw anything: what is known stays


def test_clients_are_drawn_to_the_mean_logits_of_labels_that_are_known(runtime: Runtime) -> None:
    mean = torch.randn(10, 10, generator=torch.Generator().manual_seed(1))
    known = torch.ones(10)
    known[3] = 0
    algorithm = FedDistill(weight=2.0)
    work = work_of(algorithm, runtime, logits=mean, known=known)
    p, q = F.softmax(mean, dim=1), F.log_softmax(LOGITS, dim=1)
    terms = [float((p[label] * (p[label].log() - q[row])).sum()) for row, label in enumerate(LABELS.tolist()) if label != 3]
    slow = float(F.cross_entropy(LOGITS, LABELS)) + 2.0 * sum(terms) / len(terms)
    assert float(algorithm.loss(work, LABELS, LOGITS)) == pytest.approx(slow, rel=1e-5)
    nothing = work_of(algorithm, runtime, logits=mean, known=torch.zeros(10))
    assert float(algorithm.loss(nothing, LABELS, LOGITS)) == pytest.approx(float(F.cross_entropy(LOGITS, LABELS)))


# --------------------------------------------------------------------------------------------------------------------- models at the server


def test_the_ensemble_is_the_sum_of_all_clients_last_logits(runtime: Runtime) -> None:
    made = server(FedEnsemble(), runtime, active=2, rounds=5)
    last: dict[int, Upload] = {}
    for _ in range(3):
        took = {client: made.algorithm.download(made.central, 0) for client in made.sample()}
        last |= {client: reply for client, reply in made.engine.train(took).items() if isinstance(reply, Upload)}
        made.round()
    judged = made.algorithm.judged(made.central)
    assert judged is not None
    assert set(made.central.latest) == set(last)
    images = TEST.images[:50].float().div(255)
    summed = torch.zeros(50, 10)
    for client, reply in last.items():
        summed += made.central.model_of(client, reply.weights)(images).detach()
    assert torch.equal(judged(images).argmax(dim=1), summed.argmax(dim=1))


def test_feddf_teaches_the_mean_towards_the_ensemble(runtime: Runtime) -> None:
    made = server(FedDF(steps=60, batch=64, proxy="digits", server_lr=3e-3), runtime, partition=None, steps=20)
    replies = answers(made)
    teacher = ensemble_of([made.central.model_of(client, reply.weights) for client, reply in replies.items()])
    images = TEST.images.float().div(255)
    FedAvg().learn(made.central, replies)
    before = (made.central.network.eval()(images).argmax(1) == teacher(images).argmax(1)).float().mean()
    numbers = made.algorithm.learn(made.central, replies)
    after = (made.central.network.eval()(images).argmax(1) == teacher(images).argmax(1)).float().mean()
    assert float(after) > max(0.8, float(before))
    assert numbers["images_made"] == 0


@pytest.mark.parametrize("labels", [(-1,) * 12, tuple(range(12))])
def test_feddf_looks_at_no_label_of_what_it_teaches_on(labels: tuple[int, ...], runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("toy.labelled", lambda: [(torch.rand(1, 8, 8), label) for label in labels], raising=False)
    made = server(FedDF(steps=2, batch=8, proxy="toy:labelled"), runtime, steps=2)
    assert made.round().learned
    assert made.central.proxy is not None
    assert made.central.proxy.labels.tolist() == list(labels)


def test_an_architecture_with_too_few_answers_keeps_its_mean(runtime: Runtime) -> None:
    kinds = [network(), Network(resnet(8, channels=1, width=4), SPEC)]
    made = plan(FedDF(), runtime, networks=kinds, clients=5, replies=3, steps=2)
    central, engine = made.central(), made.in_process(sites(5))
    replies = engine.train({client: made.algorithm.download(central, central.kinds[client]) for client in range(5)})
    before = [flat(one.model.state_dict()) for one in central.networks]
    central.aggregate({client: reply for client, reply in replies.items() if isinstance(reply, Upload)}, [1.0] * 5)
    after = [flat(one.model.state_dict()) for one in central.networks]
    assert not torch.equal(after[0], before[0])  # of three clients
    assert torch.equal(after[1], before[1])  # of two


def test_dense_whose_student_breaks_learned_nothing(runtime: Runtime) -> None:
    broken = DENSE(method=Gaussian(batch=16, warmup=1), training=Training(steps=30, batch=16, lr=1e12, clip=0.0))
    with pytest.raises(
        FederationError, match=r"in no round was anything learned.* student's training broke: a lower training\.lr may help"
    ):
        server(broken, runtime, steps=2).run(lambda _: None)


def test_dense_starts_from_first_weights_and_stands_beside_ensemble_and_mean(runtime: Runtime) -> None:
    algorithm = DENSE(method=DAFL(batch=32, width=4, latent=8), training=Training(steps=2, batch=32, lr=0.0))
    made = server(algorithm, runtime, steps=10, partition=IID())
    first = {key: value.clone() for key, value in made.central.network.model.named_parameters()}
    done = made.round()
    assert all(torch.equal(value, first[key]) for key, value in made.central.network.model.named_parameters())  # at a rate of 0
    assert set(done.beside) == {"ensemble", "plain ensemble", "mean"}
    replies = {
        client: Upload(weights=weights, examples=int(made.central.examples[client])) for client, weights in made.central.latest.items()
    }
    FedAvg().learn(made.central, replies)
    assert done.beside["mean"] == predict(made.central.network, TEST.batches(512), runtime).accuracy


def test_dense_with_its_usual_generator_teaches_the_student(runtime: Runtime) -> None:
    made = server(DENSE(training=Training(steps=60, batch=64, lr=0.05)), runtime, steps=60, partition=IID())
    before = made.accuracy(made.central.network)
    done = made.round()
    assert (before or 0) < 0.2
    assert (done.accuracy or 0) > 0.4  # of the student itself, whatever stands beside it; the ensemble has 0.83
    assert done.numbers["images_made"] > 0


def test_dense_with_counts_withheld_teaches_the_plain_ensemble(runtime: Runtime) -> None:
    algorithm = DENSE(counts="withheld", method=Gaussian(batch=16, warmup=1), training=Training(steps=1, batch=8, lr=0.0))
    made = server(algorithm, runtime, steps=2, partition=IID())
    assert set(made.round().beside) == {"ensemble", "mean"}
    assert not made.central.tensors


def test_members_are_believed_by_their_images_of_each_class() -> None:
    networks = [network(seed=seed) for seed in range(2)]
    images = TEST.images[:5].float().div(255)
    counts = [[40.0] * 9 + [0.0], [0.0] * 9 + [90.0]]
    replies = {place: Upload(examples=examples, counts=tuple(counts[place])) for place, examples in enumerate((9, 3))}
    weights = beliefs(replies)
    assert weights is not None
    # 9 images of 9 classes are one of each, 3 images of one class are three: shown more often, they don't count more
    assert weights[:, 0].tolist() == pytest.approx([2 / 3, 1 / 3])
    assert weights[:, 9].tolist() == pytest.approx([1 / 5, 4 / 5])
    said = Believed.by(networks, weights).eval()(images)
    first, second = (one.eval()(images) for one in networks)
    slow = torch.stack([first[:, c] * weights[0, c] + second[:, c] * weights[1, c] for c in range(10)], dim=1)
    assert torch.allclose(said, slow.float(), atol=1e-5)
    even = Believed.by(networks, torch.full((2, 10), 0.5)).eval()(images)
    assert torch.allclose(even, ensemble_of(networks)(images), atol=1e-5)
    assert beliefs({**replies, 2: Upload(examples=4)}) is None


@pytest.mark.parametrize("make", [pixels_of, pool_of])
def test_usual_methods_weigh_batch_norm_by_the_number_of_members(make: Any) -> None:
    one, three = ensemble_of([network()]), ensemble_of([network(seed=seed) for seed in range(3)])
    assert make(one).bn == pytest.approx(3 * make(three).bn)
    bare = Network(torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10)), SPEC)
    assert make(ensemble_of([bare])).bn == 0


def test_a_student_that_breaks_is_put_back(runtime: Runtime) -> None:
    central = plan(FedAvg(), runtime).central()
    teacher, student = ensemble_of([network(seed=1)]), central.network
    before = flat(student.model.state_dict()).clone()
    options: dict[str, Any] = {"method": Gaussian(batch=16, warmup=1), "images": None, "temperature": 1.0, "role": "teach"}
    numbers = teach(central, student, teacher, Training(steps=30, batch=16, lr=1e12, clip=0.0), **options)
    assert numbers == {"skipped": 1.0}
    assert torch.equal(flat(student.model.state_dict()), before)
    assert "loss/teaching" in teach(central, student, teacher, Training(steps=3, batch=16, lr=0.01), **options)


@pytest.mark.parametrize("distance", ["l1", "kl"])
def test_fedftg_believes_each_client_by_its_share_of_the_class(distance: Any, runtime: Runtime) -> None:
    algorithm = FedFTG(distance=distance, batch=6, width=4, latent=5)
    central = plan(algorithm, runtime).central()
    algorithm.begin(central)
    counts = torch.tensor([[3.0, 0, 5, 1, 0, 0, 2, 0, 0, 0], [0.0, 9, 5, 0, 0, 0, 1, 0, 0, 0]])
    teachers = [Teacher.of(network(seed=seed)) for seed in (1, 2)]
    turns = _Turns(algorithm, central, teachers, counts)
    noise, labels, images = turns.draw()
    assert set(labels.tolist()) <= {0, 1, 2, 3, 6}  # classes that somebody has
    assert noise.shape == (6, 5)
    assert 0 <= float(images.detach().min()) <= float(images.detach().max()) <= 1
    said = torch.stack([teacher(images) for teacher in teachers])
    slow = 0.0
    mine = central.network.eval()(images).detach().double()
    for b, y in enumerate(labels.tolist()):
        for k in range(2):
            w = float((1 + counts[k, y]) / (2 + counts[:, y].sum()))
            theirs = said[k, b].detach().double()
            if distance == "l1":
                far = float((mine[b] - theirs).abs().mean())
            else:
                p = F.softmax(theirs, dim=0)
                far = float((p * (p.log() - F.log_softmax(mine[b], dim=0))).sum())
            slow += w * far / len(labels)
    assert float(turns.apart(images, said, labels).detach()) == pytest.approx(slow, rel=1e-4)
    assert set(DISTANCES) == {"l1", "kl"}


def test_fedftgs_generator_steps_towards_hard_images_that_clients_are_sure_of(runtime: Runtime) -> None:
    algorithm = FedFTG(batch=6, width=4, latent=5, adversarial=0.7, sure=1.3, diversity=0.6)
    central = plan(algorithm, runtime).central()
    algorithm.begin(central)
    assert central.generator is not None
    twin, rng = copy.deepcopy(central.generator).train(), central.rng("server")
    central.optimizer, optimizer = (torch.optim.SGD(one.parameters(), lr=0.1) for one in (central.generator, twin))  # as steep as the loss
    counts = torch.tensor([[3.0, 0, 5, 1, 0, 0, 2, 0, 0, 0], [0.0, 9, 5, 0, 0, 0, 1, 0, 0, 0]])
    teachers = [Teacher.of(network(seed=seed)) for seed in (1, 2)]
    before = flat(twin.state_dict())
    labels = torch.multinomial(counts.sum(dim=0), 6, replacement=True, generator=rng)
    noise = torch.randn(6, 5, generator=rng)
    images = twin(torch.cat([noise, F.one_hot(labels, 10)], dim=1))
    loss = 0.6 * latent_diversity(noise, images)
    for teacher, had in zip(teachers, counts, strict=True):
        said, share = teacher(images), (1 + had[labels]) / (2 + counts.sum(dim=0)[labels])
        far = (central.network.eval()(images) - said).abs().mean(dim=1)
        loss = loss + (share * (1.3 * F.cross_entropy(said, labels, reduction="none") - 0.7 * far)).mean()
    torch.autograd.backward(loss)
    optimizer.step()
    turns = _Turns(algorithm, central, teachers, counts)
    turns.make()
    told = sum(turns.numbers[f"loss/{name}"] for name in ("adversarial", "sure", "diversity"))
    assert told == pytest.approx(float(loss.detach()), rel=1e-5)
    assert torch.allclose(flat(central.generator.state_dict()), flat(twin.state_dict()), atol=1e-6)
    assert not torch.allclose(before, flat(twin.state_dict()), atol=1e-3)


def test_fedftg_tunes_the_mean_towards_what_the_clients_say(runtime: Runtime) -> None:
    algorithm = FedFTG(batch=6, width=4, latent=5)
    central = plan(algorithm, runtime).central()
    algorithm.begin(central)
    turns = _Turns(algorithm, central, [Teacher.of(network(seed=seed)) for seed in (1, 2)], torch.ones(2, 10))
    with torch.no_grad():
        _, labels, images = turns.draw()
        said = torch.stack([teacher(images) for teacher in turns.teachers])
    before = float(turns.apart(images, said, labels).detach())
    for _ in range(20):
        turns.tune()
    assert float(turns.apart(images, said, labels).detach()) < 0.9 * before


def test_fedftg_goes_by_what_clients_have_and_not_by_what_they_were_shown(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    came: list[torch.Tensor] = []
    begin = _Turns.__init__

    def noted(self: _Turns, config: Any, central: Any, teachers: Any, counts: torch.Tensor) -> None:
        came.append(counts)
        begin(self, config, central, teachers, counts)

    monkeypatch.setattr(_Turns, "__init__", noted)
    options: dict[str, Any] = {"steps": 1, "student_steps": 1, "width": 4, "latent": 8, "batch": 8}
    for counts in ("told", "withheld"):
        made = server(FedFTG(counts=counts, **options), runtime)
        downloads = made.ask()
        replies = made.engine.train(downloads)
        made.take(downloads, replies)
    rows = [reply for _, reply in sorted(replies.items()) if isinstance(reply, Upload)]
    assert len({reply.examples for reply in rows}) == 4
    assert came[0].sum(dim=1).tolist() == pytest.approx([float(reply.examples) for reply in rows], rel=1e-5)
    for row, site in zip(came[0], sites(), strict=True):
        has = torch.bincount(site.train.labels, minlength=10).float()
        assert bool((row[has == 0] == 0).all())
        assert float((row - has).abs().max()) <= max(3.0, 0.15 * float(has.max()))
    assert torch.equal(came[1], torch.ones(4, 10))


def test_the_generator_of_fedftg_stays_at_the_server(runtime: Runtime) -> None:
    made = server(FedFTG(steps=2, student_steps=1, width=4, latent=8, batch=8), runtime)
    made.round()
    assert made.central.generator is not None
    assert made.algorithm.download(made.central, 0).generator is None


def test_fine_tuning_that_breaks_leaves_the_mean(runtime: Runtime) -> None:
    broken = server(FedFTG(steps=3, server_lr=1e30, width=4, latent=8, batch=8), runtime)
    plain = server(FedAvg(), runtime)
    done = broken.round()
    plain.round()
    assert done.numbers.get("skipped") == 1.0
    assert torch.equal(flat(broken.central.network.model.state_dict()), flat(plain.central.network.model.state_dict()))


# ------------------------------------------------------------------------------------------------------------------------------- the rest


@pytest.mark.parametrize(
    ("algorithm", "equal"),
    [
        (FedAvg(), False),
        (FedAvg(average="equal"), True),
        (FedGen(), False),
        (FedGen(average="equal"), True),
        (FedGen(objective="paper"), True),
        (FedGen(objective="paper", average="examples"), False),
    ],
    ids=str,
)
def test_clients_count_by_their_images_or_all_alike(algorithm: Averaging, equal: bool, runtime: Runtime) -> None:
    replies = answers(server(algorithm, runtime))
    assert algorithm.weights(replies) == [1.0 if equal else float(reply.examples) for reply in replies.values()]


def test_a_mean_that_is_not_finite_is_refused_and_nothing_is_loaded(runtime: Runtime) -> None:
    made = server(FedAvg(), runtime)
    replies = answers(made)
    before = flat(made.central.network.model.state_dict()).clone()
    bad = {key: value * math.inf if value.is_floating_point() else value for key, value in replies[1].weights.items()}
    with pytest.raises(FederationError, match="the mean of 4 answers holds NaN or infinite values"):
        made.algorithm.learn(made.central, {**replies, 1: replace(replies[1], weights=bad)})
    assert torch.equal(flat(made.central.network.model.state_dict()), before)


def test_a_client_with_fewer_images_than_a_batch_takes_whole_batches(runtime: Runtime) -> None:
    made = plan(FedAvg(), runtime, steps=5, batch=32)
    few = Site(0, ImageSet(TEST.images[:3], TEST.labels[:3]))
    one = Site(1, ImageSet(TEST.images[:1], TEST.labels[:1]))
    download = made.algorithm.download(made.central(), 0)
    for site in (few, one):
        upload, kept = Client(site, made.kind(0), seed=0).train(download, {})
        assert upload.examples == len(site.train)
        assert math.isfinite(upload.metrics["loss"])
        assert int(upload.weights["stages.1.num_batches_tracked"]) == 5
        assert kept == {}


def test_a_clients_learning_rate_falls_from_the_second_round_on() -> None:
    assert [Local(lr=1.0, decay=0.5).numbers(round)["lr"] for round in (0, 1, 3)] == [1.0, 0.5, 0.125]


def test_a_client_learns_by_sgd_with_momentum_and_weight_decay(runtime: Runtime) -> None:
    made = plan(FedAvg(), runtime, steps=2, batch=16, lr=0.1, momentum=0.9, weight_decay=0.1)
    site = Site(0, TEST.part(torch.arange(16)))  # every step has all of its images
    upload, _ = Client(site, made.kind(0), seed=0).train(made.algorithm.download(made.central(), 0), {})
    slow = network().train()
    moving = {key: torch.zeros_like(parameter) for key, parameter in slow.model.named_parameters()}
    for _ in range(2):
        loss = F.cross_entropy(slow(site.train.images.float() / 255), site.train.labels)
        slopes = torch.autograd.grad(loss, list(slow.model.parameters()))
        with torch.no_grad():
            for (key, parameter), slope in zip(slow.model.named_parameters(), slopes, strict=True):
                moving[key] = 0.9 * moving[key] + slope + 0.1 * parameter
                parameter.sub_(0.1 * moving[key])
    for key, parameter in slow.model.named_parameters():
        assert torch.allclose(upload.weights[key], parameter, atol=1e-5), key


def test_an_algorithms_loss_is_computed_outside_of_autocast_as_all_others_are(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[torch.dtype, bool]] = []
    loss = FedAvg.loss

    def spy(self: FedAvg, work: Work, labels: Tensor, logits: Tensor) -> Tensor:
        seen.append((logits.dtype, torch.is_autocast_enabled("cpu")))
        return loss(self, work, labels, logits)

    monkeypatch.setattr(FedAvg, "loss", spy)
    made = plan(FedAvg(), Runtime("cpu", "bf16-mixed"), steps=2)
    Client(sites()[0], made.kind(0), seed=0).train(made.algorithm.download(made.central(), 0), {})
    assert seen == [(torch.float32, False)] * 2


def test_a_stream_shows_every_image_before_it_shows_one_again(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[Tensor] = []
    batch = ImageSet.batch

    def spy(self: ImageSet, index: Tensor) -> Batch:
        shown.append(index)
        return batch(self, index)

    monkeypatch.setattr(ImageSet, "batch", spy)
    algorithm = FedDistill()
    made = plan(algorithm, runtime, steps=6, batch=50)
    central = made.central()
    algorithm.begin(central)
    site = sites()[0]
    upload, _ = Client(site, made.kind(0), seed=0).train(algorithm.download(central, 0), {})
    assert len(site.train) <= 300
    times = torch.bincount(torch.cat(shown), minlength=len(site.train))
    assert (int(times.sum()), int(times.max() - times.min())) == (300, 1)
    assert {label for label in range(10) if float(upload.tensors["seen"][label])} == set(site.train.labels.tolist())


def test_draws_of_a_client_depend_on_seed_number_and_round(runtime: Runtime) -> None:
    made = plan(FedAvg(), runtime, steps=2)
    download, site, kind = made.algorithm.download(made.central(), 0), sites()[0], made.kind(0)

    def weights(seed: int, download: Download, number: int = 0) -> Tensor:
        return flat(Client(replace(site, number=number), kind, seed=seed).train(download, {})[0].weights)

    first = weights(0, download)
    assert torch.equal(first, weights(0, download))
    for other in (weights(1, download), weights(0, replace(download, round=1)), weights(0, download, number=1)):
        assert not torch.equal(first, other)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: FedProx(proximal=-1), "FedProx.proximal: expected 0 or more"),
        (lambda: FedDistill(weight=-1), "FedDistill.weight: expected 0 or more"),
        (lambda: FedDF(proxy="digits", method=Gaussian(warmup=1)), "`proxy` and `method` were both given"),
        (lambda: FedDF(steps=0), "training.steps: expected at least 1"),
        (lambda: FedFTG(distance="l2"), "distance: expected l1 or kl"),  # type: ignore[arg-type]
        (lambda: FedFTG(server_lr=-1), "server_lr: expected 0 or more, got -1"),
        (lambda: FedFTG(adversarial=float("nan")), "adversarial: expected 0 or more, got nan"),
        (lambda: DENSE(temperature=0), "temperature: expected more than 0"),
    ],
)
def test_fields_are_checked(make: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        make()
