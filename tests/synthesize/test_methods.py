"""Behaviour of every method, from one list."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import pytest
import torch

from tacit.core.device import Clock, Runtime
from tacit.core.loss import View
from tacit.core.network import Network, Teacher
from tacit.core.probe import Probe
from tacit.distill import Synthetic
from tacit.evaluate import predict
from tacit.losses.bn_alignment import bn_distance
from tacit.synthesize import DFAD, METHODS, DeepInversion, Gaussian, CMI, Method, Synthesizer
from tacit.zoo import resnet


def small(kind: type[Method], **fields: Any) -> Method:
    """Return a method of few, quick steps."""
    sizes: dict[str, Any] = {"batch": 32, "width": 8, "latent": 16}
    method = kind()
    return replace(method, **{name: value for name, value in {**sizes, **fields}.items() if hasattr(method, name)})


def synthesizer(method: Method, teacher: Teacher, runtime: Runtime, seed: int = 0) -> Synthesizer:
    torch.manual_seed(0)
    student = Network(resnet(8, channels=1, width=2), teacher.spec)
    return Synthesizer(teacher, method, runtime=runtime, generator=runtime.generator(seed), student=student)


@pytest.mark.parametrize("kind", METHODS)
def test_images_are_in_bounds_and_the_teacher_is_left_as_it_was(kind: type[Method], teacher: Teacher, runtime: Runtime) -> None:
    before = copy.deepcopy(teacher.state_dict())
    method = small(kind, steps=min(kind().steps, 3))
    work = synthesizer(method, teacher, runtime)
    student_before = copy.deepcopy(work.student.state_dict()) if work.student else {}
    batch = work.round()
    assert batch.images.shape == (32, *teacher.spec.shape)
    assert batch.images.min() >= 0
    assert batch.images.max() <= 1
    if method.pooled:
        assert torch.equal(batch.images, batch.images.mul(255).round().div(255))
        assert batch.logits is not None
        torch.testing.assert_close(batch.logits, teacher(batch.images))
    assert all(torch.equal(value, teacher.state_dict()[key]) for key, value in before.items())
    assert all(p.grad is None for p in teacher.parameters())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in teacher.modules())
    assert work.student is not None
    assert all(p.requires_grad and p.grad is None for p in work.student.parameters())
    if not method.student_buffers_move:
        assert all(torch.equal(value, work.student.state_dict()[key]) for key, value in student_before.items())


@pytest.mark.parametrize("kind", METHODS)
def test_the_same_seed_gives_the_same_images_and_another_seed_others(kind: type[Method], teacher: Teacher, runtime: Runtime) -> None:
    method = small(kind, steps=min(kind().steps, 3))
    one, same, other = (synthesizer(method, teacher, runtime, seed).round().images for seed in (0, 0, 1))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


@pytest.mark.parametrize("kind", [kind for kind in METHODS if kind().steps])
def test_the_objective_falls_and_every_gradient_is_finite(kind: type[Method], teacher: Teacher, runtime: Runtime) -> None:
    method = small(kind, steps=40 if kind().steps > 1 else 1, lr=max(kind().lr, 5e-3))
    work = synthesizer(method, teacher, runtime)
    totals: list[float] = []
    step = work._step

    def watched(loss: torch.Tensor) -> None:
        totals.append(float(loss.detach()))
        step(loss)
        for parameter in work.canvas.parameters():
            assert parameter.grad is not None
            assert bool(torch.isfinite(parameter.grad).all())

    work._step = watched  # type: ignore[method-assign]
    for _ in range(1 if method.steps > 1 else 40):
        work.round()
    assert sum(totals[-5:]) < sum(totals[:5])


@pytest.mark.parametrize("kind", METHODS)
def test_a_resumed_synthesizer_goes_on_exactly(kind: type[Method], teacher: Teacher, runtime: Runtime) -> None:
    method = small(kind, steps=min(kind().steps, 3))
    one = synthesizer(method, teacher, runtime)
    one.round()
    state = copy.deepcopy(one.state_dict())
    student = copy.deepcopy(one.student)
    wanted = one.round().images
    other = Synthesizer(teacher, method, runtime=runtime, generator=runtime.generator(5), student=student)
    other.load_state_dict(state)
    assert torch.equal(other.round().images, wanted)


@pytest.mark.parametrize("kind", [DeepInversion, CMI])
def test_bn_methods_come_nearer_to_the_training_statistics_than_noise(kind: type[Method], teacher: Teacher, runtime: Runtime) -> None:
    def distance(method: Method) -> float:
        images = synthesizer(method, teacher, runtime).round().images
        with torch.no_grad(), Probe(teacher, bn=True) as look:
            return float(bn_distance(look(images).bn))

    assert distance(small(kind, steps=60, lr=0.05 if kind is DeepInversion else 1e-2, batch=128)) < distance(small(Gaussian, batch=128)) / 2


def test_deep_inversion_gives_the_wanted_classes(teacher: Teacher, runtime: Runtime) -> None:
    batch = synthesizer(small(DeepInversion, steps=60, lr=0.1, batch=128), teacher, runtime).round()
    assert batch.targets is not None
    assert batch.logits is not None
    assert (batch.logits.argmax(dim=1) == batch.targets).float().mean() > 0.9
    assert sorted(set(batch.targets.tolist())) == list(range(10))


def test_gaussian_has_the_moments_of_the_spec(teacher: Teacher, runtime: Runtime) -> None:
    spec = replace(teacher.spec, mean=(0.5,), std=(0.1,))
    work = Synthesizer(Teacher(teacher.model, spec), Gaussian(batch=512), runtime=runtime, generator=runtime.generator(0))
    images = work.round().images
    assert abs(float(images.mean()) - 0.5) < 0.003
    assert abs(float(images.std()) - 0.1) < 0.003


def test_the_adversarial_term_waits_until_the_warm_up_is_over(teacher: Teacher, runtime: Runtime) -> None:
    method = replace(CMI(), steps=1, batch=8, width=4, latent=8, warmup=2)
    work = synthesizer(method, teacher, runtime)
    named = []
    for _ in range(3):
        work.round()
        named.append(set(work.parts))
    assert named == [{"ce", "bn"}, {"ce", "bn"}, {"ce", "bn", "adv"}]


def test_dfad_moves_the_students_batch_norm_as_its_authors_do(teacher: Teacher, runtime: Runtime) -> None:
    work = synthesizer(small(DFAD, batch=16), teacher, runtime)
    assert work.method.student_buffers_move
    assert work.student is not None
    before = work.student.model.get_buffer("stem.1.running_mean").clone()
    work.round()
    assert not torch.equal(before, work.student.model.get_buffer("stem.1.running_mean"))


def test_views_carry_the_time(teacher: Teacher, runtime: Runtime) -> None:
    work = synthesizer(replace(DeepInversion(), steps=2, batch=4), teacher, runtime)
    seen: list[tuple[int, int]] = []
    parts = work.objective.parts

    def watched(view: View) -> dict[str, torch.Tensor]:
        seen.append((view.round, view.step))
        return parts(view)

    work.objective.parts = watched  # type: ignore[method-assign]
    work.round()
    work.round()
    assert seen == [(0, 0), (0, 1), (1, 0), (1, 1)]


def test_a_pool_from_inversion_teaches_far_more_than_noise(teacher: Teacher, runtime: Runtime) -> None:
    from tacit.data import digits
    from tacit.distill import Learner, Training, build_objective

    def learn(method: Method) -> float:
        torch.manual_seed(0)
        student = Network(resnet(8, channels=1, width=4), teacher.spec)
        source = Synthetic(synthesizer(method, teacher, runtime), size=64, clock=Clock(), augmentation="shift")
        learner = Learner(
            student,
            source,
            build_objective("kd"),
            Training(steps=150, batch=64),
            runtime=runtime,
            generator=runtime.generator(0),
            teacher=teacher,
        )
        for _ in source.prepare():
            pass
        for _ in range(150):
            learner.step()
        return predict(student, digits("test").batches(540), runtime).accuracy

    assert learn(DeepInversion(steps=40, lr=0.1, bn=0.3, batch=128, warmup=4)) > learn(Gaussian(batch=128, warmup=4)) + 0.15
