"""Health: each measure against what it must be, and no trace left by looking."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tacit.core.device import Clock, Runtime
from tacit.core.network import Network, Teacher
from tacit.core.spec import Spec
from tacit.data import digits
from tacit.distill import Synthetic
from tacit.distill.health import KEPT, Monitor, StudentMonitor, image_health
from tacit.synthesize import DFAD, Gaussian, Method, Synthesizer
from tacit.zoo import resnet

LIVE = DFAD(batch=16, latent=8, width=4)


class Brightness(nn.Module):
    """Two classes, dark and bright, and no layer that has an output for each."""

    def forward(self, x: Tensor) -> Tensor:
        mean = x.mean(dim=(1, 2, 3))
        return torch.stack([0.5 - mean, mean - 0.5], dim=1) * 20


def source(teacher: Teacher, runtime: Runtime, method: Method, student: Network) -> Synthetic:
    synthesizer = Synthesizer(teacher, method, runtime=runtime, generator=runtime.generator(0), student=student)
    return Synthetic(synthesizer, size=16, clock=Clock())


def student(teacher: Teacher) -> Network:
    torch.manual_seed(4)
    return Network(resnet(channels=1, width=2), teacher.spec)


def test_real_images_are_well(teacher: Teacher, runtime: Runtime) -> None:
    images = digits("test").images[:256].float().div(255)
    values, counts = image_health(images, teacher, runtime)
    assert values["class_coverage"] == 1.0
    assert sum(counts) == 256
    assert min(counts) > 10
    assert (values["teacher_confidence"] or 0) > 0.9
    assert values["duplicate_rate"] == 0.0
    assert (values["feature_distance"] or 0) > 0
    assert values["pixel_deviation"] == pytest.approx(float(images.numpy().std(axis=0).mean()), rel=1e-4)


def test_copies_of_one_image_are_found(teacher: Teacher, runtime: Runtime) -> None:
    images = digits("test").images[:1].float().div(255).expand(64, -1, -1, -1)
    values, _ = image_health(images, teacher, runtime)
    assert values["class_coverage"] == 0.1
    assert values["duplicate_rate"] == 1.0
    assert values["pixel_deviation"] == 0.0
    assert values["feature_distance"] == pytest.approx(0.0, abs=1e-5)


def test_a_network_without_a_classifier_layer_is_seen_by_its_logits(runtime: Runtime) -> None:
    network = Teacher(Brightness(), Spec(shape=(1, 2, 2), classes=2))
    images = torch.cat([torch.zeros(3, 1, 2, 2), torch.ones(1, 1, 2, 2)])
    values, counts = image_health(images, network, runtime)
    assert counts == [3, 1]
    # of six pairs three are apart, by the length of (20, -20)
    assert values["feature_distance"] == pytest.approx(0.5 * 20 * 2**0.5, rel=1e-5)
    assert values["duplicate_rate"] == 0.75


def test_checks_are_spread_evenly_and_the_last_comes_at_the_end(teacher: Teacher, runtime: Runtime) -> None:
    monitor, steps = Monitor(teacher, LIVE, checks=4, runtime=runtime), []
    for step in range(1, 11):
        if monitor.due(step / 10):
            monitor.check(torch.rand(8, 1, 8, 8), step / 10)
            steps.append(step)
    assert steps == [3, 5, 8, 10]
    assert not any(Monitor(teacher, LIVE, checks=0, runtime=runtime).due(share) for share in (0.0, 0.5, 1.0, 2.0))


def test_nothing_is_warned_of_early_and_what_stays_is(teacher: Teacher, runtime: Runtime) -> None:
    monitor, grey = Monitor(teacher, LIVE, checks=100, runtime=runtime), torch.full((256, 1, 8, 8), 0.5)
    for share in (0.05, 0.1, 0.21):
        monitor.check(grey, share)
    assert monitor.advice.texts == []
    monitor.check(grey, 0.22)
    assert any("the samples are all alike" in text for text in monitor.advice.texts)
    assert any("9 of 10 classes" in text for text in monitor.advice.texts)
    assert monitor.notes["classes"] == "1/10"


@pytest.mark.parametrize("method", [LIVE, Gaussian(batch=32, warmup=3)], ids=lambda method: method.name)
def test_a_student_that_is_the_teacher_agrees_everywhere(method: Method, teacher: Teacher, runtime: Runtime) -> None:
    twin = Network(copy.deepcopy(teacher.model), teacher.spec)
    made = source(teacher, runtime, method, twin)
    list(made.prepare())
    monitor = StudentMonitor(made, twin, checks=2, seed=0)
    for share in (0.5, 1.0):
        monitor.observe(share)
    for name in ("agreement_fresh", "agreement_old", "agreement_noise"):
        assert monitor.values[name] == 1.0
    for name in ("kd_fresh", "kd_noise"):
        assert monitor.values[name] == pytest.approx(0.0, abs=1e-5)
    assert monitor.agreement() == 1.0
    assert monitor.notes["agree"] == "1.00"


def test_a_student_that_knows_nothing_does_not(teacher: Teacher, runtime: Runtime) -> None:
    ours = student(teacher)
    made = source(teacher, runtime, Gaussian(batch=64, warmup=3), ours)
    list(made.prepare())
    monitor = StudentMonitor(made, ours, checks=1, seed=0)
    monitor.observe(1.0)
    with torch.no_grad():
        images = made.unseen(512).images
        expected = float((ours.eval()(images).argmax(1) == teacher(images).argmax(1)).float().mean())
    assert monitor.agreement() == pytest.approx(expected)
    assert monitor.agreement() < 0.9
    assert (monitor.values["kd_noise"] or 0) > 0.1


@pytest.mark.parametrize("method", [LIVE, Gaussian(batch=32, warmup=1, every=1)], ids=lambda method: method.name)
def test_looking_leaves_no_trace(method: Method, teacher: Teacher, runtime: Runtime) -> None:
    def run(checks: int) -> tuple[list[Tensor], dict[str, Tensor]]:
        ours = student(teacher).train()
        made = source(teacher, runtime, method, ours)
        list(made.prepare())
        monitor = StudentMonitor(made, ours, checks=checks, seed=0)
        torch.manual_seed(7)
        shown = []
        for step in range(4):
            shown.append(made.batch(step).images)
            if checks:
                with torch.random.fork_rng():
                    monitor.observe(step / 4)
                assert ours.training
        shown.append(torch.rand(3))
        canvas = {f"canvas.{key}": value for key, value in made.synthesizer.canvas.state_dict().items()}
        return shown, {**ours.state_dict(), **canvas, "draws": made.synthesizer.generator.get_state()}

    (shown, state), (bare, bare_state) = run(4), run(0)
    assert all(torch.equal(one, other) for one, other in zip(shown, bare, strict=True))
    assert all(torch.equal(state[key], bare_state[key]) for key in bare_state)


def test_images_of_a_live_generator_are_kept_of_every_check_alike(teacher: Teacher, runtime: Runtime) -> None:
    ours = student(teacher)
    made = source(teacher, runtime, LIVE, ours)
    monitor = StudentMonitor(made, ours, checks=8, seed=0)
    assert len(monitor._kept) == 0
    sizes: list[int] = []
    batches: list[int] = []
    peek = made.synthesizer.peek

    def numbered(images: int, generator: torch.Generator, **options: Any) -> object:
        batches.append(len(batches))
        found = peek(images, generator, **options)
        found.images.fill_(batches[-1] / 255)
        return found

    made.synthesizer.peek = numbered  # type: ignore[method-assign, assignment]
    for check in range(8):
        monitor.observe((check + 1) / 8)
        sizes.append(len(monitor._kept))
    assert sizes == [256, 512, *[KEPT] * 6]
    counts = torch.bincount(monitor._kept[:, 0, 0, 0].long(), minlength=8)
    assert int(counts[7]) == KEPT // 8
    assert int(counts.min()) > 40


def test_a_monitor_goes_on_where_it_was(teacher: Teacher, runtime: Runtime) -> None:
    def begun() -> StudentMonitor:
        ours = student(teacher)
        return StudentMonitor(source(teacher, runtime, LIVE, ours), ours, checks=4, seed=0)

    through, first, second = begun(), begun(), begun()
    for share in (0.25, 0.5, 0.75, 1.0):
        through.observe(share)
    for share in (0.25, 0.5):
        first.observe(share)
    second.load_state_dict(first.state_dict())
    for share in (0.75, 1.0):
        second.observe(share)
    assert second.values == through.values
    assert second.advice.texts == through.advice.texts
    assert torch.equal(second._kept, through._kept)
