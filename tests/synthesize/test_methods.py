"""What holds for every method, from one list."""

from __future__ import annotations

import copy
import io
import math
from dataclasses import fields
from typing import Any

import pytest
import torch
from torch import Tensor

from quick_methods import QUICK, quick, synthesizer
from tacit.core.device import Runtime
from tacit.core.loss import Objective, View
from tacit.core.network import Teacher
from tacit.core.spec import Spec
from tacit.synthesize import METHODS, RDSKD, ZSKD, ZSKT, Gaussian, IterativeMethod, Method, Synthesizer
from toy import BNNet

ITERATIVE = [kind for kind in METHODS if issubclass(kind, IterativeMethod)]


def test_every_method_has_quick_settings() -> None:
    assert set(QUICK) == set(METHODS)


def snapshot(module: torch.nn.Module) -> dict[str, Tensor]:
    return copy.deepcopy(module.state_dict())


def same(module: torch.nn.Module, before: dict[str, Tensor]) -> bool:
    return all(torch.equal(value, before[key]) for key, value in module.state_dict().items())


@pytest.mark.parametrize("kind", METHODS)
def test_images_are_in_bounds_and_the_teacher_is_left_as_it_was(kind: type[Method], teacher: Teacher, runtime: Runtime) -> None:
    method = quick(kind)
    work = synthesizer(method, teacher, runtime)
    assert work.student is not None
    before, student_before = snapshot(teacher), snapshot(work.student)
    for _ in range(2):
        batch = work.round()
        assert batch.images.shape == (method.batch, *teacher.spec.shape)
        assert batch.images.dtype == torch.float32
        assert not batch.images.requires_grad
        assert batch.images.min() >= 0
        assert batch.images.max() <= 1
        assert work.gives_targets == (batch.targets is not None)
    if method.pooled:
        assert torch.equal(batch.images, batch.images.mul(255).round().div(255))
    if method.pooled or method.shows == "painted":
        assert batch.logits is not None
        torch.testing.assert_close(batch.logits, teacher(batch.images), rtol=1e-4, atol=1e-4)
    else:
        assert work.sample(5).images.shape == (5, *teacher.spec.shape)
    assert same(teacher, before)
    assert not teacher.training
    assert all(p.grad is None for p in teacher.parameters())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in (*teacher.modules(), *work.student.modules()))
    assert all(p.requires_grad and p.grad is None for p in work.student.parameters())
    assert same(work.student, student_before) != method.student_buffers_move


@pytest.mark.parametrize("kind", METHODS)
def test_in_bf16_convolutions_compute_in_it_and_what_is_given_is_fp32(kind: type[Method], teacher: Teacher) -> None:
    work, computed = synthesizer(quick(kind), teacher, Runtime("cpu", "bf16-mixed")), set[torch.dtype]()

    def noted(module: torch.nn.Module, _: object, said: object) -> None:
        if isinstance(module, torch.nn.Conv2d) and isinstance(said, Tensor) and len(said) >= work.method.batch:  # of images
            computed.add(said.dtype)

    with torch.nn.modules.module.register_module_forward_hook(noted):
        batch = work.round()
    assert computed == {torch.bfloat16}
    given = [batch.images, *([] if batch.logits is None else [batch.logits]), *([] if work.method.pooled else [work.sample(4).images])]
    assert all(each.dtype == torch.float32 and bool(torch.isfinite(each).all()) for each in given)


@pytest.mark.parametrize("kind", METHODS)
def test_the_same_seed_gives_the_same_images_and_another_seed_others(kind: type[Method], teacher: Teacher, runtime: Runtime) -> None:
    method, shown = quick(kind), []
    for number, seed in enumerate((0, 0, 1)):
        work = synthesizer(method, teacher, runtime, seed)
        torch.manual_seed(number)  # nothing may depend on the global generator
        shown.append([work.round().images for _ in range(2)])
    assert all(torch.equal(one, again) for one, again in zip(shown[0], shown[1], strict=True))
    assert not any(torch.equal(one, other) for one, other in zip(shown[0], shown[2], strict=True))
    assert not torch.equal(*shown[0])


def watched(work: Synthesizer, objective: Objective) -> list[float]:
    """Note the value of `objective` at every step of `work`, and that all gradients are there."""
    totals: list[float] = []
    view_of, step = work._view, work._step

    def seen(*args: Any) -> View:
        view = view_of(*args)
        if objective is not work.objective:
            with torch.no_grad():
                totals.append(float(objective(view)))
        return view

    def stepped(loss: Tensor, rate: float) -> None:
        if objective is work.objective:
            totals.append(float(loss.detach()))
        step(loss, rate)
        assert work.canvas_optimizer is not None
        groups = [*work.canvas_optimizer.param_groups, *(work.loss_optimizer.param_groups if work.loss_optimizer else [])]
        optimised = [parameter for group in groups for parameter in group["params"]]
        assert {id(p) for p in work.canvas.parameters() if p.requires_grad} <= {id(p) for p in optimised}
        assert {id(p) for p in work.objective.parameters()} <= {id(p) for p in optimised}
        for parameter in optimised:
            assert parameter.grad is not None
            assert bool(torch.isfinite(parameter.grad).all())
            assert float(parameter.grad.abs().sum()) > 0

    work._view, work._step = seen, stepped  # type: ignore[method-assign, assignment]
    return totals


FALLING: dict[str, dict[str, Any]] = {
    "AdaptiveDeepInversion": {"lr": 0.05},
    "FastDFKD": {"lr": 0.02, "reset": 0},
    "CMI": {"lr": 0.02},
    "NAYER": {"lr": 0.02, "restart": 0},
    "RDSKD": {"penalty": "none"},
}
"""What differs from the quick settings where the objective must be seen to fall in a few steps."""


@pytest.mark.parametrize("kind", ITERATIVE)
def test_the_objective_falls_against_a_frozen_student_and_every_gradient_is_finite(
    kind: type[Method], teacher: Teacher, runtime: Runtime
) -> None:
    many = kind().iterations > 1
    work = synthesizer(quick(kind, **{"batch": 32, **({"steps": 25} if many else {}), **FALLING.get(kind.__name__, {})}), teacher, runtime)
    totals = watched(work, work.objective)
    for _ in range(2 if many else 30):  # the second round is after the warm-up, with the adversarial term and a bank
        work.round()
    assert all(math.isfinite(total) for total in totals)
    last = totals[25:] if many else totals
    assert sum(last[-5:]) < sum(last[:5])


def test_the_plain_losses_of_rdskd_fall_under_the_penalty_whose_references_move(teacher: Teacher, runtime: Runtime) -> None:
    work = synthesizer(quick(RDSKD, batch=32, epoch=10), teacher, runtime)
    totals = watched(work, quick(RDSKD, penalty="none").objective(teacher))
    for _ in range(30):
        work.round()
    assert sum(totals[-5:]) < sum(totals[:5])


@pytest.mark.parametrize("kind", METHODS)
def test_a_resumed_synthesizer_goes_on_exactly(kind: type[Method], teacher: Teacher, runtime: Runtime) -> None:
    rounds = 4  # after the warm-up, with a full bank, a reset meta-generator and a generator made anew
    one = synthesizer(quick(kind), teacher, runtime)
    for _ in range(rounds):
        one.round()
    torch.save(one.state_dict(), saved := io.BytesIO())
    student = copy.deepcopy(one.student)
    wanted = [one.round().images for _ in range(3)]
    other = Synthesizer(teacher, quick(kind), runtime=runtime, generator=runtime.generator(5), student=student)
    saved.seek(0)
    other.load_state_dict(torch.load(saved, weights_only=True))
    assert other.rounds == rounds
    assert all(torch.equal(other.round().images, images) for images in wanted)
    if not one.method.pooled:
        assert torch.equal(one.sample(4).images, other.sample(4).images)


@pytest.mark.parametrize("kind", [kind for kind in METHODS if kind.minimum["warmup"] == 1 and kind is not RDSKD])
def test_terms_that_wait_are_computed_once_the_warm_up_is_over(kind: type[Method], teacher: Teacher, runtime: Runtime) -> None:
    work = synthesizer(quick(kind, warmup=2), teacher, runtime)
    named = []
    for _ in range(3):
        work.round()
        named.append(set(work.parts))
    everything = {name for name, weight in work.objective.weights.items() if weight}
    assert named == [everything - {"adv"}, everything - {"adv"}, everything]
    assert "adv" in everything


def weighed(kind: type[Method]) -> list[str]:
    """Return the terms that have a weight of their own, as DFAD's adversarial one has not, where there are several."""
    terms = quick(kind).objective(Teacher(BNNet(classes=10), Spec(shape=(1, 8, 8), classes=10))).weights
    return [name for name in terms if name in {field.name for field in fields(kind)}] if len(terms) > 1 else []


TERMS = [(kind, name) for kind in METHODS for name in weighed(kind)]


def test_only_methods_of_one_term_have_none_that_can_be_left_out() -> None:
    assert set(METHODS) - {kind for kind, _ in TERMS} == {Gaussian, ZSKD, ZSKT}


@pytest.mark.parametrize(("kind", "name"), TERMS)
def test_a_term_of_weight_zero_is_left_out_whatever_it_is(kind: type[Method], name: str, teacher: Teacher, runtime: Runtime) -> None:
    work = synthesizer(quick(kind, **{name: 0.0}), teacher, runtime)
    for _ in range(2):
        work.round()
    assert work.parts
    assert name not in work.parts
