"""What methods with a live generator do, each in its own way: ZSKT, DFAD, DAFL, MSKD, RDSKD, DFQ."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from quick_methods import plain_net, quick, synthesizer
from tacit.core.device import Clock, Runtime
from tacit.core.errors import InputError
from tacit.core.loss import View
from tacit.core.network import Network, Teacher
from tacit.core.probe import Probe
from tacit.core.spec import Spec
from tacit.distill import Learner, Synthetic, Training, build_objective
from tacit.losses import Activation, ClassBalance, ClassPrior, Divergence, InterSample, ModeSeeking
from tacit.synthesize import DAFL, DFAD, DFQ, MSKD, RDSKD, ZSKT, Method, Synthesizer
from tacit.synthesize.live_generator import LiveGenerator

LIVE = (DFQ, DFAD, RDSKD, DAFL, MSKD, ZSKT)


def source_of(work: Synthesizer, size: int = 16) -> Synthetic:
    return Synthetic(work, size=size, clock=Clock())


def test_zskt_shows_the_rounds_latents_at_every_step_as_the_generator_is_after_its_own(teacher: Teacher, runtime: Runtime) -> None:
    work = synthesizer(quick(ZSKT, every=4), teacher, runtime)
    source = source_of(work)
    shown: list[Tensor] = []
    for step in range(8):
        shown.append(source.batch(step).images)
        assert work.rounds == step // 4 + 1
        if step % 4 == 0:
            with torch.no_grad():
                torch.testing.assert_close(shown[-1], work.canvas.again())
    assert all(torch.equal(shown[0], image) for image in shown[1:4])
    assert not torch.equal(shown[3], shown[4])
    assert all(torch.equal(shown[4], image) for image in shown[5:])
    assert source.images_made == 32


@pytest.mark.parametrize(("kind", "trains"), [(ZSKT, True), (DFAD, True), (DFQ, False)])
def test_the_student_is_in_the_mode_that_the_paper_says_and_goes_back(
    kind: type[Method], trains: bool, teacher: Teacher, runtime: Runtime
) -> None:
    work = synthesizer(quick(kind), teacher, runtime)
    assert work.student is not None
    modes: list[bool] = []
    norm = work.student.model.get_submodule("stem.1")
    norm.register_forward_hook(lambda module, _, __: modes.append(module.training))
    before = norm.get_buffer("running_mean").clone()
    work.student.eval()
    work.round()
    assert modes == [trains]
    assert not norm.training
    assert torch.equal(before, norm.get_buffer("running_mean")) != trains


def test_dfad_keeps_to_batch_statistics_only_where_it_is_told(teacher: Teacher, runtime: Runtime) -> None:
    assert not DFAD().objective(teacher).needs.bn
    plain, told = (synthesizer(quick(DFAD, **fields), teacher, runtime) for fields in ({}, {"bn": 0.1}))
    for work in (plain, told):
        work.round()
    assert list(plain.parts) == ["adv"]
    assert list(told.parts) == ["adv", "bn"]
    torch.testing.assert_close(plain.parts["adv"], told.parts["adv"])
    before = told.parts["bn"]
    for _ in range(20):
        told.round()
    assert told.parts["bn"] < before
    with pytest.raises(InputError, match="DFAD: "):
        synthesizer(quick(DFAD, bn=0.1), Teacher.of(Network(plain_net(), teacher.spec)), runtime)


@pytest.mark.parametrize("decay", [True, False])
def test_the_rate_of_a_joint_generator_is_the_students_share_of_its_own_and_does_not_compound(
    decay: bool, teacher: Teacher, runtime: Runtime
) -> None:
    work, rates = synthesizer(quick(DFAD, lr=0.02, decay=decay), teacher, runtime), []
    for share in (0.5, 0.5, 1.0):
        work.round(share)
        assert work.canvas_optimizer is not None
        rates.append(work.canvas_optimizer.param_groups[0]["lr"])
    assert rates == ([0.01, 0.01, 0.02] if decay else [0.02] * 3)


def test_zskt_clips_the_gradient_of_its_generator(teacher: Teacher, runtime: Runtime) -> None:
    assert ZSKT().clip == 50.0  # the papers 5, of a divergence divided by ten classes
    parameters = [nn.Parameter(torch.zeros(3)), nn.Parameter(torch.zeros(4))]
    for parameter in parameters:
        parameter.grad = torch.full_like(parameter, 100.0)
    ZSKT().clip_gradients(parameters)
    assert math.sqrt(sum(float(p.grad.square().sum()) for p in parameters if p.grad is not None)) == pytest.approx(50.0, rel=1e-4)


@pytest.mark.parametrize("kind", [DAFL, MSKD])
def test_dafls_student_is_shown_the_very_batch_that_the_generator_was_judged_on(
    kind: type[Method], teacher: Teacher, runtime: Runtime
) -> None:
    work = synthesizer(quick(kind), teacher, runtime)
    judged: list[Tensor] = []
    total, weight = work.objective.total, "net.project.weight"
    before = work.canvas.state_dict()[weight].clone()

    def noted(parts: Any, view: Any) -> Tensor:
        judged.append(view.images.detach().clone())
        value: Tensor = total(parts, view)
        return value

    work.objective.total = noted  # type: ignore[method-assign]
    source = source_of(work, size=5)
    for step in range(3):
        batch = source.batch(step)
        assert len(judged) == step + 1
        assert torch.equal(batch.images, judged[-1])
        assert batch.logits is not None
        torch.testing.assert_close(batch.logits, teacher(batch.images))
    assert source.images_made == 3 * 16
    assert not torch.equal(before, work.canvas.state_dict()[weight])


def test_dafls_student_learns_from_the_teachers_logits_without_asking_again(teacher: Teacher, runtime: Runtime) -> None:
    work = synthesizer(quick(DAFL), teacher, runtime)
    assert work.student is not None
    asked: list[int] = []
    handle = teacher.register_forward_hook(lambda *_: asked.append(1))
    objective, training = build_objective([{"loss": "kd", "temperature": 1.0}]), Training(steps=3, batch=16)
    learner = Learner(work.student, source_of(work), objective, training, runtime=runtime, generator=runtime.generator(1), teacher=teacher)
    for _ in range(3):
        learner.step()
    handle.remove()
    assert len(asked) == 3


def parts_of(work: Synthesizer, images: Tensor, latents: Tensor | None = None) -> dict[str, float]:
    taps = work.needs.teacher_taps
    with torch.no_grad(), Probe(work.teacher, taps=taps, bn=work.needs.bn) as look, Probe(work.student or work.teacher) as watch:
        view = View(images, teacher=look(images), student=watch(images), latent=latents)
        return {name: float(part) for name, part in work.objective.parts(view).items()}


def test_the_terms_of_dafl_and_mskd_are_those_of_the_paper_on_the_penultimate_features(teacher: Teacher, runtime: Runtime) -> None:
    images, latents = torch.rand(6, 1, 8, 8), torch.randn(6, 8)
    work = synthesizer(quick(MSKD), teacher, runtime)
    logits = teacher(images).double()
    share = logits.softmax(1).mean(dim=0)
    with Probe(teacher, taps=("pool",)) as look:
        features = look(images).features["pool"].double()
    found = parts_of(work, images, latents)
    assert found["ce"] == pytest.approx(float(-logits.log_softmax(1).amax(dim=1).mean()), rel=1e-4)
    assert found["balance"] == pytest.approx(float((share * share.log10()).sum()), rel=1e-4)
    assert found["activation"] == pytest.approx(-float(features.abs().mean()), rel=1e-4)
    ratio = float(((images[3:] - images[:3]) / teacher.std).abs().mean() / (latents[3:] - latents[:3]).abs().mean())
    assert found["seeking"] == pytest.approx(1 / (ratio + 1e-5), rel=1e-4)
    assert work.objective.weights == {"ce": 1.0, "balance": 5.0, "activation": 0.1, "seeking": 1.0}
    assert set(DAFL().objective(teacher).weights) == {"ce", "balance", "activation"}


def test_the_entropy_of_dfq_and_rdskd_is_in_nats(teacher: Teacher, runtime: Runtime) -> None:
    images = torch.rand(6, 1, 8, 8)
    share = teacher(images).double().softmax(1).mean(dim=0)
    nats = float((share * share.log()).sum())
    found = parts_of(synthesizer(quick(DFQ), teacher, runtime), images)
    assert found["balance"] == pytest.approx(nats, rel=1e-4)
    assert set(found) == {"adv", "bn", "ce", "balance"}
    assert DFQ().objective(teacher).weights == {"adv": 1.0, "bn": 1.0, "ce": 1.0, "balance": 20.0}
    assert parts_of(synthesizer(quick(RDSKD, penalty="none"), teacher, runtime), images)["classes"] == pytest.approx(nats, rel=1e-4)


def test_the_defaults_are_those_of_the_papers() -> None:
    assert (DAFL().ce, DAFL().balance, DAFL().activation, DAFL().every, DAFL().steps) == (1.0, 5.0, 0.1, 1, 1)
    assert (DFAD().every, DFAD().lr, DFAD().steps) == (5, 1e-3, 1)
    assert (ZSKT().every, ZSKT().latent, ZSKT().lr) == (10, 100, 1e-3)
    assert (RDSKD().batch, RDSKD().warmup, RDSKD().epoch, RDSKD().every, RDSKD().lr) == (512, 20 * 120, 120, 0, 1e-3)
    assert (RDSKD().authenticity, RDSKD().classes, RDSKD().samples) == (1.0, 1.0, 1.0)


@pytest.mark.parametrize("kind", LIVE)
def test_the_inner_batch_norms_of_dafl_and_rdskd_have_an_eps_of_08_and_the_first_and_last_never(
    kind: type[LiveGenerator], teacher: Teacher, runtime: Runtime
) -> None:
    canvas = quick(kind).canvas(teacher, runtime.generator(0))
    found = [module.eps for module in canvas.modules() if isinstance(module, nn.BatchNorm2d)]
    inner = 0.8 if kind in (DAFL, MSKD, RDSKD) else 1e-5
    assert found == [1e-5, inner, inner, 1e-5]


def references(work: Synthesizer) -> tuple[float, float]:
    found = [float(work.objective.get_buffer(f"losses.{name}.reference")) for name in ("authenticity", "classes")]
    return found[0], found[1]


def test_rdskd_refreshes_its_references_once_an_epoch_at_its_second_step(teacher: Teacher, runtime: Runtime) -> None:
    work = synthesizer(quick(RDSKD, warmup=8, epoch=3), teacher, runtime)
    seen = [references(work) for _ in source_of(work).prepare()]
    assert seen[0] == (0.0, 0.0)
    assert seen[1] == seen[2] == seen[3]
    assert seen[4] == seen[5] == seen[6]
    assert len({seen[0], seen[1], seen[4], seen[7]}) == 4
    assert -math.log(10) <= seen[1][1] < 0 < seen[1][0] <= math.log(10)


def test_rdskds_reference_by_step_is_the_loss_before_and_none_is_the_plain_losses(teacher: Teacher, runtime: Runtime) -> None:
    by_step = synthesizer(quick(RDSKD, penalty="step"), teacher, runtime)
    before = (0.0, 0.0)
    for _ in range(4):
        by_step.round()
        now = references(by_step)
        wanted = [math.exp(value - reference) for value, reference in zip(now, before, strict=True)]
        assert [float(by_step.parts[name]) for name in ("authenticity", "classes")] == pytest.approx(wanted, rel=1e-4)
        before = now
    plain = quick(RDSKD, penalty="none").objective(teacher)
    assert [type(loss) for loss in plain.losses.values()] == [ClassPrior, ClassBalance, InterSample]
    with pytest.raises(InputError, match="expected epoch or step or none, got 'nothing'"):
        quick(RDSKD, penalty="nothing")


def test_rdskds_distances_are_of_images_as_the_teachers_layers_see_them(teacher: Teacher) -> None:
    loss = RDSKD().objective(teacher).losses["samples"]
    assert isinstance(loss, InterSample)
    assert torch.equal(loss.get_buffer("std"), teacher.std)


def test_rdskds_generator_is_frozen_and_in_evaluation_mode_once_it_is_made(teacher: Teacher, runtime: Runtime) -> None:
    work = synthesizer(quick(RDSKD), teacher, runtime)
    source = source_of(work)
    assert len(list(source.prepare())) == 8
    before = copy.deepcopy(work.canvas.state_dict())
    shown = [source.batch(step) for step in range(3)]
    assert work.rounds == 8
    assert all(torch.equal(value, before[key]) for key, value in work.canvas.state_dict().items())
    assert not torch.equal(shown[0].images, shown[1].images)
    latent = work.canvas.latent
    assert latent is not None
    work.canvas.eval()
    with torch.no_grad():
        assert torch.equal(work.canvas.again(), shown[2].images)  # by running statistics, whatever else is in the batch
    work.canvas.train()


def test_a_generator_that_goes_on_shows_fresh_images_by_the_statistics_of_the_batch(teacher: Teacher, runtime: Runtime) -> None:
    work = synthesizer(quick(DFAD, every=2), teacher, runtime)
    source = source_of(work)
    shown = [source.batch(step).images for step in range(3)]
    assert work.rounds == 2
    assert not torch.equal(shown[0], shown[1])
    with torch.no_grad():
        torch.testing.assert_close(work.canvas.again(), shown[2])


def test_adversaries_are_told_apart_by_what_they_minimise(teacher: Teacher) -> None:
    assert isinstance(DFQ().objective(teacher).losses["adv"], Divergence)
    assert isinstance(ZSKT().objective(teacher).losses["adv"], Divergence)
    assert isinstance(MSKD().objective(teacher).losses["seeking"], ModeSeeking)
    assert isinstance(DAFL().objective(teacher).losses["activation"], Activation)


def test_dafl_without_a_classifier_layer_is_refused_unless_its_activation_term_is_off(runtime: Runtime) -> None:
    flat = Teacher(nn.Sequential(nn.Conv2d(1, 3, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()), Spec(shape=(1, 8, 8), classes=3))
    Network(flat.model, flat.spec).check()
    assert quick(DAFL).objective(flat).needs.teacher_taps == ("0:in",)
    headless = Teacher(nn.Flatten(), Spec(shape=(1, 2, 5), classes=10))
    with pytest.raises(InputError, match="has no linear or convolution layer with 10 outputs"):
        quick(DAFL).objective(headless)
    assert quick(DAFL, activation=0.0).objective(headless).needs.teacher_taps == ()
