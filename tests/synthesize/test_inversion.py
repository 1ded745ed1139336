"""DeepInversion, its adaptive form, CMI and noise: what each does its own way, and what painting achieves."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from quick_methods import quick, synthesizer
from tacit.core.device import Clock, Runtime
from tacit.core.loss import View
from tacit.core.network import Teacher
from tacit.core.probe import Probe, Signals
from tacit.distill import Synthetic
from tacit.losses import InstanceContrast
from tacit.losses.bn_alignment import bn_distance
from tacit.synthesize import (
    BNS,
    CMI,
    NAYER,
    ZSKD,
    AdaptiveDeepInversion,
    DeepInversion,
    FastDFKD,
    Gaussian,
    Inception,
    Method,
    Synthesizer,
)
from tacit.synthesize.deep_inversion import roll


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def views_of(work: Synthesizer) -> list[View]:
    """Note every view that the objective is shown."""
    seen: list[View] = []
    parts = work.objective.parts

    def noted(view: View) -> dict[str, Tensor]:
        seen.append(view)
        return parts(view)

    work.objective.parts = noted  # type: ignore[method-assign]
    return seen


def totals_of(work: Synthesizer) -> list[tuple[float, Tensor]]:
    """Note the total loss of every step, and the canvas it is of."""
    seen: list[tuple[float, Tensor]] = []
    total = work.objective.total

    def noted(parts: Any, view: View) -> Tensor:
        value = total(parts, view)
        seen.append((float(value.detach()), view.canvas.detach().clone()))
        return value

    work.objective.total = noted  # type: ignore[method-assign]
    return seen


@pytest.mark.parametrize(
    ("kind", "betas"),
    [(DeepInversion, (0.5, 0.9)), (CMI, (0.5, 0.999)), (FastDFKD, (0.5, 0.999)), (NAYER, (0.5, 0.999)), (ZSKD, (0.9, 0.999))],
)
def test_adam_has_the_published_betas(kind: type[Method], betas: tuple[float, float], teacher: Teacher, runtime: Runtime) -> None:
    work = synthesizer(quick(kind, lr=0.0123), teacher, runtime)
    work.round()
    assert work.canvas_optimizer is not None
    assert {group["betas"] for group in work.canvas_optimizer.param_groups} == {betas}
    rates = [group["lr"] for group in work.canvas_optimizer.param_groups]
    assert rates == ([0.0123, 0.01] if kind is FastDFKD else [0.0123])


def test_a_roll_moves_the_whole_batch_by_at_most_the_limit_and_mirrors_where_asked() -> None:
    image = torch.arange(48.0).view(1, 1, 6, 8).repeat(2, 1, 1, 1)
    draws, found = seeded(), set()
    for _ in range(300):
        shown = roll(image, (1, 2), True, draws)
        assert torch.equal(shown[0], shown[1])
        for down in (-1, 0, 1):
            for across in (-2, -1, 0, 1, 2):
                moved = image.roll((down, across), dims=(2, 3))
                found |= {(down, across, flip) for flip in (False, True) if torch.equal(shown, moved.flip(-1) if flip else moved)}
    assert len(found) == 3 * 5 * 2
    assert not any(torch.equal(roll(image, (0, 0), False, draws), image.flip(-1)) for _ in range(20))


def test_deep_inversion_rolls_by_a_share_of_the_height_down_and_of_the_width_across() -> None:
    image, method, draws, found = torch.arange(8 * 32).view(1, 1, 8, 32), DeepInversion(jitter=1 / 4), seeded(), set[tuple[int, int]]()
    for _ in range(300):
        shown = method.augment(image, draws)
        row, column = divmod(int(shown[0, 0, 4, 16]), 32)
        found.add((4 - row, 16 - column))
        assert torch.equal(shown, image.roll((4 - row, 16 - column), dims=(2, 3)))
    assert [{at[axis] for at in found} for axis in (0, 1)] == [set(range(-2, 3)), set(range(-8, 9))]


def test_adaptive_deep_inversion_paints_a_batch_every_so_many_steps_into_the_same_pool(teacher: Teacher, runtime: Runtime) -> None:
    assert AdaptiveDeepInversion().every == 50
    work = synthesizer(quick(AdaptiveDeepInversion, every=3, warmup=2), teacher, runtime)
    source = Synthetic(work, size=4, clock=Clock())
    list(source.prepare())
    sizes = []
    for step in range(8):
        source.batch(step)
        sizes.append(work.rounds)
    assert sizes == [2, 2, 2, 3, 3, 3, 4, 4]
    assert len(source.pool) + len(source.held_out) == 4 * 16


def test_cmi_keeps_its_head_its_bank_and_the_best_iterate(teacher: Teacher, runtime: Runtime) -> None:
    work = synthesizer(quick(CMI, bank=40, restart=1), teacher, runtime)
    contrast = work.objective.losses["contrast"]
    assert isinstance(contrast, InstanceContrast)
    head, optimizer, canvas_optimizers, canvases = list(contrast.head.parameters()), work.loss_optimizer, [], []
    weights = [head[0].detach().clone()]
    steps = totals_of(work)
    for number in (1, 2, 3):
        steps.clear()
        batch = work.round()
        best = min(steps, key=lambda pair: pair[0])[1]
        assert torch.equal(batch.images, best.mul(255).round().div(255))
        assert len(contrast.get_buffer("bank")) == min(16 * number, 40)
        canvas_optimizers.append(work.canvas_optimizer)
        canvases.append(work.canvas)
        weights.append(head[0].detach().clone())
    assert [id(p) for p in contrast.head.parameters()] == [id(p) for p in head]
    assert all(not torch.equal(one, other) for one, other in itertools.pairwise(weights))
    assert work.loss_optimizer is optimizer
    assert optimizer is not None
    assert all(int(optimizer.state[parameter]["step"]) == 9 for parameter in head)
    assert len({id(one) for one in canvas_optimizers}) == 3
    assert len({id(one) for one in canvases}) == 3


def test_cmis_generator_starts_anew_from_other_weights_or_stays(teacher: Teacher, runtime: Runtime) -> None:
    for restart, kept in ((1, []), (2, [(0, 1), (2, 3)]), (0, [(0, 1), (1, 2), (2, 3)])):
        work, canvases = synthesizer(quick(CMI, restart=restart, steps=1), teacher, runtime), []
        for _ in range(4):
            work.round()
            canvases.append(work.canvas)
        assert [(i, i + 1) for i in range(3) if canvases[i] is canvases[i + 1]] == kept
        fresh = work.method.canvas(teacher, work.generator).state_dict()["net.project.weight"]
        assert not torch.equal(fresh, canvases[0].state_dict()["net.project.weight"])


def test_cmis_teacher_is_shown_shifted_images_and_its_terms_but_contrast_read_these_alone(teacher: Teacher, runtime: Runtime) -> None:
    work = synthesizer(quick(CMI), teacher, runtime)
    seen = views_of(work)
    work.round()
    for view in seen:
        assert not torch.equal(view.images, view.canvas)
        torch.testing.assert_close(view.teacher.logits, teacher(view.images))
    contrast, last = work.objective.losses["contrast"], seen[-1]
    shown = last.images.detach().requires_grad_()
    for name, reads in (("ce", True), ("bn", True), ("contrast", False)):
        with torch.enable_grad(), Probe(teacher, taps=work.needs.teacher_taps, bn=True) as look:
            view = View(shown, last.targets, teacher=look(shown), look=look, canvas=last.canvas.detach(), generator=seeded())
            value = work.objective.losses[name](view)
        (gradient,) = torch.autograd.grad(value, shown, allow_unused=True)
        assert (gradient is not None) == reads
    assert isinstance(contrast, InstanceContrast)


@pytest.mark.parametrize("flip", [False, True])
def test_cmi_mirrors_half_of_the_parts_that_it_contrasts_where_it_mirrors_images(flip: bool, teacher: Teacher) -> None:
    contrast, parts = quick(CMI, flip=flip).objective(teacher).losses["contrast"], list[Tensor]()
    assert isinstance(contrast, InstanceContrast)
    ramps = torch.linspace(0.5, 1.0, 8).expand(64, 1, 8, 8)
    with torch.no_grad(), Probe(teacher, taps=contrast.needs.teacher_taps) as look:

        def noted(part: Tensor) -> Signals:
            parts.append(part)
            return look(part)

        contrast.remember(View(ramps, teacher=look(ramps), look=noted, generator=seeded()))
    falling = int((parts[0][:, 0, 4, 2:6].diff() < 0).all(dim=1).sum())
    assert 16 < falling < 48 if flip else falling == 0


def test_cmi_without_contrast_has_no_head_and_no_taps(teacher: Teacher) -> None:
    objective = quick(CMI, contrast=0.0).objective(teacher)
    assert not list(objective.parameters())
    assert objective.needs.teacher_taps == ()


@pytest.mark.parametrize(("kind", "lr"), [(DeepInversion, 0.05), (CMI, 0.02)])
def test_bn_methods_come_nearer_to_the_training_statistics_than_noise(
    kind: type[Method], lr: float, teacher: Teacher, runtime: Runtime
) -> None:
    def distance(method: Method) -> float:
        images = synthesizer(method, teacher, runtime).round().images
        with torch.no_grad(), Probe(teacher, bn=True) as look:
            return float(bn_distance(look(images).bn))

    wider = {"width": 8, "latent": 16} if kind is CMI else {}
    assert distance(quick(kind, steps=60, lr=lr, batch=64, **wider)) < distance(quick(Gaussian, batch=64)) / 1.6  # CMI's: 17 to 18 of 35


@pytest.mark.parametrize("kind", [BNS, DeepInversion, CMI])
def test_a_batch_in_parts_is_painted_as_it_would_be_at_once(kind: type[Method], teacher: Teacher, monkeypatch: pytest.MonkeyPatch) -> None:
    most, called = [0], Teacher.forward

    def noted(self: Teacher, images: Tensor) -> Tensor:
        most[0] = max(most[0], len(images)) if images.requires_grad else most[0]
        return called(self, images)

    monkeypatch.setattr(Teacher, "forward", noted)
    made = []
    for at_once in (None, 5):
        runtime, most[0] = Runtime("cpu", "32-true", at_once=at_once), 0
        made.append(synthesizer(quick(kind), teacher, runtime).round())
        assert most[0] == 5 if at_once else most[0] >= 16
    torch.testing.assert_close(made[1].images, made[0].images, rtol=0, atol=1.01 / 255)  # a byte may be rounded the other way
    assert float((made[1].images != made[0].images).float().mean()) < 0.02


def test_deep_inversion_gives_the_wanted_classes(teacher: Teacher, runtime: Runtime) -> None:
    batch = synthesizer(quick(DeepInversion, steps=40, lr=0.1, batch=100), teacher, runtime).round()
    assert batch.targets is not None
    assert batch.logits is not None
    assert (batch.logits.argmax(dim=1) == batch.targets).float().mean() > 0.9
    assert sorted(set(batch.targets.tolist())) == list(range(10))


def test_bns_can_be_painted_as_fine_tuning_will_show_it() -> None:
    ramp = torch.linspace(0.5, 1.0, 3 * 16 * 16).view(1, 3, 16, 16).repeat(64, 1, 1, 1)
    shown = BNS(copies=2, views="shift").augment(ramp, torch.Generator().manual_seed(0))
    assert shown.shape == (128, 3, 16, 16)
    assert {round(float(value), 4) for value in shown[:, 0, 8, 8]} <= {round(float(value), 4) for value in ramp[0, 0, 6:11, 6:11].flatten()}
    assert (shown == 0).any(), "zeros come in from outside"
    flipped = BNS(copies=1, views="shift-flip").augment(ramp, torch.Generator().manual_seed(0))
    rising = (flipped[:, 0, 8, 4:12].diff() > 0).all(dim=1)
    assert 16 < int(rising.sum()) < 48, "about half are mirrored"
    assert torch.equal(BNS(copies=0, views="shift").augment(ramp, torch.Generator()), ramp)


@pytest.mark.parametrize("kind", [Inception, BNS])
def test_the_last_fifth_of_each_round_is_painted_at_a_tenth_of_the_rate(kind: type[Method], teacher: Teacher, runtime: Runtime) -> None:
    work, rates = synthesizer(quick(kind, batch=4, steps=10, lr=0.02), teacher, runtime), list[float]()
    step = work._step

    def noted(loss: Tensor, rate: float) -> None:
        step(loss, rate)
        assert work.canvas_optimizer is not None
        rates.append(work.canvas_optimizer.param_groups[0]["lr"])

    work._step = noted  # type: ignore[method-assign]
    for _ in range(2):
        work.round()
    assert rates == pytest.approx(2 * (8 * [0.02] + 2 * [0.002]))


def test_gaussian_has_the_moments_of_the_spec(teacher: Teacher, runtime: Runtime) -> None:
    spec = replace(teacher.spec, mean=(0.5,), std=(0.1,))
    work = Synthesizer(Teacher(teacher.model, spec), Gaussian(batch=512), runtime=runtime, generator=runtime.generator(0))
    images = work.round().images
    assert abs(float(images.mean()) - 0.5) < 0.003
    assert abs(float(images.std()) - 0.1) < 0.003


@pytest.mark.parametrize(
    ("kind", "pull"),
    [
        (BNS, "logit"),
        (Inception, "logit"),
        (DeepInversion, "ce"),
        (AdaptiveDeepInversion, "ce"),
        (CMI, "ce"),
        (FastDFKD, "ce"),
    ],
)
def test_classes_that_nothing_pulls_towards_are_no_labels(kind: type[Method], pull: str, teacher: Teacher, runtime: Runtime) -> None:
    pulled, free = (synthesizer(quick(kind, **{pull: weight}), teacher, runtime) for weight in (1.0, 0.0))
    assert pulled.gives_targets
    assert pulled.round().targets is not None
    assert not free.gives_targets
    assert free.round().targets is None
