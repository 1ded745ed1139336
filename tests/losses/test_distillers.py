"""Every distiller that compares features, on any two networks, and on features that say nothing or too much."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tacit.core.errors import InputError
from tacit.core.loss import View
from tacit.core.match import Layer, Match
from tacit.core.network import Ensemble, Network, Teacher
from tacit.core.probe import Probe, Signals
from tacit.core.spec import Spec
from tacit.distill import DISTILLERS, build_objective
from tacit.losses.pairs import AdaptedTaps, PairedTaps
from tacit.zoo import mobilenetv2, resnet

SPEC = Spec(shape=(3, 16, 16), classes=5)
USUAL = {"fitnet": 100.0, "sp": 3000.0, "cc": 0.02, "vid": 1.0, "rkd": 1.0, "pkt": 30000.0, "nst": 50.0, "kdsvd": 1.0}
"""Weights beside cross-entropy."""


def network(name: str) -> Network:
    torch.manual_seed(len(name))
    if name == "mobilenet":
        return Network(mobilenetv2(classes=5, width=0.25, last=24, strides=(1, 2, 2, 1, 1, 1, 1)), SPEC).eval()
    return Network(resnet(8, classes=5, width=int(name.removeprefix("resnet"))), SPEC).eval()


def fitted(name: str, teacher: Network, student: Network) -> PairedTaps:
    torch.manual_seed(0)
    loss = DISTILLERS[name]()
    assert isinstance(loss, PairedTaps)
    loss.fit(teacher, student)
    return loss


def seen(loss: PairedTaps, teacher: Network, student: Network, images: Tensor) -> View:
    with Probe(teacher, taps=loss.needs.teacher_taps) as ask, Probe(student, taps=loss.needs.student_taps) as look:
        with torch.no_grad():
            taught = ask(images)
        return View(images, teacher=taught, student=look(images))


@pytest.mark.parametrize("name", USUAL)
def test_an_objective_is_built_of_its_name(name: str) -> None:
    objective = build_objective(f"ce=1,{name}={USUAL[name]}")
    assert objective.weights == {"ce": 1.0, name: USUAL[name]}
    assert type(objective.losses[name]) is DISTILLERS[name]
    assert f"``ce=1,{name}={USUAL[name]:g}``" in (__import__(DISTILLERS[name].__module__, fromlist=["_"]).__doc__ or "")


@pytest.mark.parametrize(("theirs", "ours"), [("resnet8", "mobilenet"), ("mobilenet", "resnet4"), ("resnet8", "resnet4")])
@pytest.mark.parametrize("name", USUAL)
def test_any_two_networks_learn_through_student_and_adapters(name: str, theirs: str, ours: str) -> None:
    teacher, student = Teacher(network(theirs).model, SPEC), network(ours)
    loss, images = fitted(name, teacher, student), torch.rand(4, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    value = loss(seen(loss, teacher, student, images))
    assert math.isfinite(float(value.detach()))
    value.backward()
    first = next(student.model.parameters())
    for parameter in (first, *loss.parameters()):
        assert parameter.grad is not None
        assert bool(torch.isfinite(parameter.grad).all())
    assert first.grad is not None
    assert float(first.grad.abs().sum()) > 0
    assert any(True for _ in loss.parameters()) == isinstance(loss, AdaptedTaps)


def ready(name: str) -> PairedTaps:
    """Return the loss between layers s0, s1 and t0, t1, those of `features`."""
    torch.manual_seed(0)
    loss = DISTILLERS[name](["t0", "t1"], ["s0", "s1"])
    assert isinstance(loss, PairedTaps)
    shapes = [((6, 4, 4), (3, 4, 4)), ((5, 2, 2), (5, 3, 3))]
    loss.build([Match(Layer(f"t{n}", teacher, 0.0), Layer(f"s{n}", student, 0.0)) for n, (teacher, student) in enumerate(shapes)])
    return loss


def features(images: int, *, scale: float = 1.0, same: bool = False) -> tuple[View, list[Tensor]]:
    draw = torch.Generator().manual_seed(0)

    def some(*shape: int) -> Tensor:
        feature = torch.full((images, *shape), 0.5) if same else torch.rand(images, *shape, generator=draw)
        return feature.mul(scale)

    ours, logits = [some(3, 4, 4).requires_grad_(), some(5, 3, 3).requires_grad_()], torch.zeros(images, 5)
    taught = Signals(logits, {"t0": some(6, 4, 4), "t1": some(5, 2, 2)})
    return View(torch.zeros(images, 1, 1, 1), teacher=taught, student=Signals(logits, {"s0": ours[0], "s1": ours[1]})), ours


@pytest.mark.parametrize("options", [{"same": True}, {"scale": 0.0}, {"scale": 1e-20}, {"scale": 1e-7}, {"scale": 1e4}], ids=str)
@pytest.mark.parametrize("images", [1, 2, 5])
@pytest.mark.parametrize("name", USUAL)
def test_value_and_gradient_are_finite_whatever_is_seen(name: str, images: int, options: dict[str, Any]) -> None:
    loss = ready(name)
    view, ours = features(images, **options)
    value = loss(view)
    assert math.isfinite(float(value.detach()))
    for gradient in torch.autograd.grad(value, [*ours, *loss.parameters()]):
        assert bool(torch.isfinite(gradient).all())


@pytest.mark.parametrize("name", USUAL)
def test_whatever_is_around_it_the_loss_is_in_full_precision(name: str) -> None:
    value = float(ready(name)(features(5)[0]).detach())
    with torch.autocast("cpu", torch.bfloat16):
        found = ready(name)(features(5)[0])
    assert found.dtype == torch.float32
    assert float(found.detach()) == value


@pytest.mark.parametrize("name", ["sp", "rkd", "pkt", "nst", "kdsvd"])
def test_what_learns_nothing_of_its_own_is_nothing_for_the_teacher_itself_and_twice_for_two_teachers(name: str) -> None:
    student, other = network("resnet8"), Network(resnet(8, classes=5, width=8), SPEC).eval()
    images = torch.rand(4, 3, 16, 16)
    itself = fitted(name, student, student)
    assert float(itself(seen(itself, student, student, images)).detach()) == pytest.approx(0.0, abs=1e-6)
    alone, pair = fitted(name, other, student), Ensemble.of([other, copy.deepcopy(other)])
    both = fitted(name, pair, student)
    value = float(alone(seen(alone, other, student, images)).detach())
    assert value > 0
    assert float(both(seen(both, pair, student, images)).detach()) == pytest.approx(2 * value, rel=1e-4)


class Tokens(nn.Module):
    """Makes tokens (N, 9, width) of an image, as transformers do."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.tokens, self.head = nn.Linear(4, width), nn.Linear(width, 5)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.tokens(x.view(len(x), 9, 4)).mean(dim=1))
        return logits


@pytest.mark.parametrize("name", ["crd", "cc", "rkd", "pkt", "sp", "reviewkd"])
def test_tokens_are_compared_as_vectors(name: str) -> None:
    spec = Spec(shape=(1, 6, 6), classes=5)
    teacher, student = Network(Tokens(6), spec), Network(Tokens(8), spec)
    loss = DISTILLERS[name](["tokens"], ["tokens"], **({"bank": "batch"} if name == "crd" else {}))
    assert isinstance(loss, PairedTaps)
    loss.fit(teacher, student)
    value = loss(seen(loss, teacher, student, torch.rand(4, 1, 6, 6)))
    value.backward()
    assert math.isfinite(float(value.detach()))
    weight = student.model.get_parameter("tokens.weight")
    assert weight.grad is not None
    assert float(weight.grad.abs().sum()) > 0


@pytest.mark.parametrize("tap", ["tokens", "head"])
def test_attention_is_of_maps(tap: str) -> None:
    network = Network(Tokens(6), Spec(shape=(1, 6, 6), classes=5))
    with pytest.raises(InputError, match=rf"at: expected feature maps \(C, H, W\), got {tap} of shape .*: name the tap of a map"):
        DISTILLERS["at"]([tap], [tap]).fit(network, network)


def test_an_ensemble_has_a_hint_of_each_member() -> None:
    student, teachers = network("mobilenet"), [network("resnet8"), network("resnet4")]
    loss = fitted("fitnet", Ensemble.of(teachers), student)
    assert [theirs for theirs, _ in loss.pairs] == ["networks.0.model.stages.1", "networks.1.model.stages.1"]
    assert len(list(loss.parameters())) == 8
