"""Distillers that read logits, against slow loops in doubles and against what they must be equal to."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from tacit.core.errors import InputError
from tacit.core.loss import Loss, View, risen
from tacit.core.network import Ensemble, Network, Teacher
from tacit.core.probe import Probe, Signals
from tacit.core.spec import Spec
from tacit.losses import KD, DecoupledKD, Dist
from tacit.losses.decoupled import decoupled_parts
from tacit.losses.dist import dist_parts, uncorrelated
from tacit.losses.logits import kd_divergence, mean_answer, standardised
from tacit.zoo import resnet, wrn
from toy import BNNet

IMAGES = torch.zeros(1, 1, 1, 1)
GREY = Spec(shape=(1, 8, 8), classes=5)
Rows = list[list[float]]


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) * 2


def view(student: Tensor, teacher: Tensor, targets: Tensor | None = None, step: int = 0) -> View:
    return View(IMAGES, targets, teacher=Signals(teacher), student=Signals(student), step=step)


def softened(logits: Tensor, temperature: float) -> Rows:
    rows = []
    for row in logits.detach().double().tolist():
        powers = [math.exp(value / temperature) for value in row]
        rows.append([power / sum(powers) for power in powers])
    return rows


def divergence(theirs: list[float], ours: list[float]) -> float:
    return sum(p * math.log(p / q) for p, q in zip(theirs, ours, strict=True))


# ---------------------------------------------------------------- DKD


def slow_parts(student: Tensor, teacher: Tensor, targets: Tensor, temperature: float) -> tuple[float, float]:
    target, rest = 0.0, 0.0
    for ours, theirs, right in zip(softened(student, temperature), softened(teacher, temperature), targets.tolist(), strict=True):
        p, q = theirs[right], ours[right]
        target += divergence([p, 1 - p], [q, 1 - q])
        others = [number for number in range(len(ours)) if number != right]
        rest += divergence([theirs[n] / (1 - p) for n in others], [ours[n] / (1 - q) for n in others])
    return target / len(targets), rest / len(targets)


def test_the_parts_of_dkd_are_the_divergences_of_the_paper() -> None:
    student, teacher, targets = draw(4, 6), draw(4, 6, seed=1), torch.tensor([0, 3, 5, 2])
    target, rest = decoupled_parts(student, teacher, targets, 3.0)
    slow = slow_parts(student, teacher, targets, 3.0)
    assert (float(target), float(rest)) == pytest.approx(slow, rel=1e-5)
    assert float(DecoupledKD(0.5, 2.0, 3.0)(view(student, teacher, targets))) == pytest.approx(9 * (0.5 * slow[0] + 2 * slow[1]), rel=1e-5)


def test_kd_is_one_part_and_the_other_by_what_the_teacher_leaves_to_the_other_classes() -> None:
    """KD = TCKD + (1 - p) NCKD, image by image; values and gradients."""
    teacher, targets = draw(5, 4, seed=1), torch.tensor([3, 0, 1, 2, 2])
    student = draw(5, 4).requires_grad_()
    whole = torch.zeros(())
    for n in range(5):
        target, rest = decoupled_parts(student[n : n + 1], teacher[n : n + 1], targets[n : n + 1], 4.0)
        whole = whole + 16 * (target + (1 - (teacher[n] / 4).softmax(dim=0)[targets[n]]) * rest) / 5
    kd = kd_divergence(student, teacher, 4.0)
    torch.testing.assert_close(whole, kd)
    torch.testing.assert_close(*(torch.autograd.grad(value, student)[0] for value in (whole, kd)), rtol=1e-4, atol=1e-6)


def test_of_two_classes_dkd_is_kd_and_finite() -> None:
    """A known failure elsewhere: the distribution over no other class gives infinities."""
    student, teacher, targets = draw(6, 2).requires_grad_(), draw(6, 2, seed=1), torch.tensor([0, 1, 1, 0, 1, 0])
    target, rest = decoupled_parts(student, teacher, targets, 4.0)
    assert float(rest.detach()) == 0.0
    found, kd = DecoupledKD(beta=8.0)(view(student, teacher, targets)), KD(4.0)(view(student, teacher))
    torch.testing.assert_close(found, kd)
    torch.testing.assert_close(*(torch.autograd.grad(value, student)[0] for value in (found, kd)), rtol=1e-4, atol=1e-6)
    assert float(target.detach()) > 0


def test_dkd_is_finite_for_answers_that_leave_no_doubt() -> None:
    student = torch.tensor([[2000.0, 0.0, -2000.0]]).requires_grad_()
    for right in range(3):
        value = DecoupledKD()(view(student, torch.tensor([[-2000.0, 2000.0, 0.0]]), torch.tensor([right])))
        (gradient,) = torch.autograd.grad(value, student)
        assert bool(torch.isfinite(value))
        assert bool(torch.isfinite(gradient).all())


def test_dkd_of_maps_is_that_of_their_pixels() -> None:
    student, teacher = draw(2, 4, 3, 3), draw(2, 4, 3, 3, seed=1)
    targets = torch.randint(4, (2, 3, 3), generator=torch.Generator().manual_seed(0))
    ours, theirs = (each.permute(0, 2, 3, 1).reshape(-1, 4) for each in (student, teacher))
    torch.testing.assert_close(DecoupledKD()(view(student, teacher, targets)), DecoupledKD()(view(ours, theirs, targets.flatten())))


def test_dkd_needs_class_numbers() -> None:
    student, teacher = draw(2, 3), draw(2, 3, seed=1)
    for targets, got in ((None, "none"), (torch.ones(2, 3) / 3, r"torch.float32 of shape \[2, 3\]"), (torch.ones(2, 3).long(), "int64")):
        with pytest.raises(InputError, match=f"dkd: expected labels that are class numbers, one an answer, got .*{got}.*use `kd`"):
            DecoupledKD()(view(student, teacher, targets))
    with pytest.raises(InputError, match="dkd: expected alpha, beta and warmup of 0 or more"):
        DecoupledKD(beta=-1.0)


def test_a_warm_up_rises_to_the_full_weight() -> None:
    student, teacher, targets = draw(2, 3), draw(2, 3, seed=1), torch.tensor([0, 2])
    whole = float(DecoupledKD()(view(student, teacher, targets)))
    shares = [float(DecoupledKD(warmup=4)(view(student, teacher, targets, step))) / whole for step in (0, 1, 3, 50)]
    assert shares == pytest.approx([0.25, 0.5, 1.0, 1.0])
    assert risen(view(student, teacher, step=9), 0) == 1.0


# ---------------------------------------------------------------- logit standardisation


def slow_standardised(logits: Tensor) -> Tensor:
    rows = logits.double().numpy()
    return torch.tensor((rows - rows.mean(axis=1, keepdims=True)) / rows.std(axis=1, keepdims=True))


def test_standardised_logits_have_mean_0_and_deviation_1() -> None:
    logits = draw(4, 6) + 3
    torch.testing.assert_close(standardised(logits).double(), slow_standardised(logits), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(standardised(5 * logits - 2), standardised(logits), rtol=1e-4, atol=1e-5)
    maps = draw(2, 4, 3, 3)
    torch.testing.assert_close(standardised(maps).permute(0, 2, 3, 1).reshape(-1, 4), standardised(maps.permute(0, 2, 3, 1).reshape(-1, 4)))


def test_standardised_kd_is_kd_of_z_scores_whatever_the_range() -> None:
    student, teacher = draw(4, 6), draw(4, 6, seed=1)
    wanted = 4 * np.mean(
        [
            divergence(theirs, ours)
            for ours, theirs in zip(softened(slow_standardised(student), 2), softened(slow_standardised(teacher), 2), strict=True)
        ]
    )
    loss = KD(2.0, standardise=True)
    assert float(loss(view(student, teacher))) == pytest.approx(wanted, rel=1e-4)
    assert float(loss(view(7 * student + 1, 0.2 * teacher))) == pytest.approx(wanted, rel=1e-4)
    assert float(loss(view(3 * teacher - 4, teacher))) == pytest.approx(0.0, abs=1e-6)
    targets = torch.tensor([1, 2, 0, 5])
    wanted_dkd = DecoupledKD(temperature=2.0)(view(standardised(student), standardised(teacher), targets))
    torch.testing.assert_close(DecoupledKD(temperature=2.0, standardise=True)(view(student, teacher, targets)), wanted_dkd)


def test_logits_that_are_all_the_same_do_no_harm() -> None:
    student = torch.zeros(3, 4).requires_grad_()
    value = KD(2.0, standardise=True)(view(student, torch.ones(3, 4)))
    (gradient,) = torch.autograd.grad(value, student)
    assert float(value.detach()) == 0.0
    assert bool(torch.isfinite(gradient).all())


# ---------------------------------------------------------------- ensembles


def test_the_mean_answer_has_the_mean_probabilities() -> None:
    answers = [draw(3, 4, seed=seed) for seed in range(3)]
    wanted = np.mean([softened(answer, 5.0) for answer in answers], axis=0)
    np.testing.assert_allclose((mean_answer(answers, 5.0) / 5.0).softmax(dim=1).numpy(), wanted, rtol=1e-5)


@pytest.mark.parametrize("standardise", [False, True])
def test_kd_of_an_ensemble_averages_logits_or_probabilities(standardise: bool) -> None:
    torch.manual_seed(0)
    networks = [Network(BNNet(width=width), GREY).eval() for width in (3, 4)]
    inner = Ensemble.of([Network(BNNet(), GREY).eval(), Network(BNNet(), GREY).eval()])
    teacher, student = Teacher.of(Ensemble.of([*networks, inner])), Network(BNNet(width=2), GREY).eval()
    for network in teacher.modules():  # answers that are far apart, so that it matters what is averaged
        if isinstance(network, torch.nn.Linear):
            network.weight.mul_(20)
    loss, images = KD(3.0, standardise=standardise, average="probabilities"), torch.rand(4, 1, 8, 8)
    loss.fit(teacher, student)
    assert loss.needs.teacher_taps == ("networks.0", "networks.1", "networks.2.model.networks.0", "networks.2.model.networks.1")
    with Probe(teacher, taps=loss.needs.teacher_taps) as ask:
        taught, answered = ask(images), student(images)
    found = loss(View(images, teacher=taught, student=Signals(answered)))
    assert isinstance(teacher.model, Ensemble)
    last = teacher.model.networks[2].get_submodule("model.networks")
    answers = [network(images) for network in (*teacher.model.networks[:2], *last.children())]
    shaped = [slow_standardised(answer) if standardise else answer for answer in (*answers, answered.detach())]
    mean = np.mean([softened(answer, 3.0) for answer in shaped[:-1]], axis=0)
    wanted = 9 * np.mean([divergence(list(theirs), ours) for theirs, ours in zip(mean, softened(shaped[-1], 3.0), strict=True)])
    assert float(found.detach()) == pytest.approx(wanted, rel=1e-3)
    logits = KD(3.0, standardise=standardise)
    logits.fit(teacher, student)
    assert logits.needs.teacher_taps == ()
    assert float(logits(View(images, teacher=taught, student=Signals(answered))).detach()) != pytest.approx(wanted, rel=0.05)


def test_mean_probabilities_are_for_ensembles() -> None:
    with pytest.raises(InputError, match="kd: average: expected one of logits, probabilities, got 'votes'"):
        KD(average="votes")  # type: ignore[arg-type]
    loss = KD(average="probabilities")
    with pytest.raises(InputError, match="kd: call `fit` first"):
        loss(view(draw(2, 3), draw(2, 3)))
    with pytest.raises(InputError, match="is for an ensemble of teachers, and this is one network: use `average: logits`"):
        loss.fit(Network(BNNet(), GREY), Network(BNNet(), GREY))


# ---------------------------------------------------------------- DIST


def slow_uncorrelated(student: Rows, teacher: Rows) -> float:
    return float(np.mean([1 - np.corrcoef(ours, theirs)[0, 1] for ours, theirs in zip(student, teacher, strict=True)]))


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_dist_is_one_minus_pearsons_correlation_by_rows_and_by_columns(temperature: float) -> None:
    student, teacher = draw(5, 4), draw(5, 4, seed=1)
    ours, theirs = softened(student, temperature), softened(teacher, temperature)
    columns = [[list(column) for column in zip(*rows, strict=True)] for rows in (ours, theirs)]
    wanted = slow_uncorrelated(ours, theirs), slow_uncorrelated(columns[0], columns[1])
    assert tuple(map(float, dist_parts(student, teacher, temperature))) == pytest.approx(wanted, rel=1e-4)
    found = Dist(0.5, 3.0, temperature)(view(student, teacher))
    assert float(found) == pytest.approx(temperature**2 * (0.5 * wanted[0] + 3 * wanted[1]), rel=1e-4)


def test_correlation_does_not_care_for_scale_and_runs_from_0_to_2() -> None:
    rows = draw(4, 6)
    assert float(uncorrelated(3 * rows + 5, rows)) == pytest.approx(0.0, abs=1e-6)
    assert float(uncorrelated(-rows, rows)) == pytest.approx(2.0, abs=1e-6)
    assert float(uncorrelated(torch.ones(4, 6), rows)) == 1.0


def test_dist_of_the_teacher_itself_is_0_and_of_no_answer_finite() -> None:
    teacher = draw(6, 4)
    assert float(Dist()(view(teacher, teacher))) == pytest.approx(0.0, abs=1e-5)
    for student in (torch.zeros(6, 4), teacher * 1000):
        wanted = student.clone().requires_grad_()
        value = Dist()(view(wanted, teacher))
        (gradient,) = torch.autograd.grad(value, wanted)
        assert bool(torch.isfinite(value))
        assert bool(torch.isfinite(gradient).all())
    with pytest.raises(InputError, match="dist: expected beta and gamma of 0 or more"):
        Dist(gamma=-1.0)


def test_dist_of_maps_is_that_of_their_pixels() -> None:
    student, teacher = draw(2, 4, 3, 3), draw(2, 4, 3, 3, seed=1)
    ours, theirs = (each.permute(0, 2, 3, 1).reshape(-1, 4) for each in (student, teacher))
    torch.testing.assert_close(Dist()(view(student, teacher)), Dist()(view(ours, theirs)))


@pytest.mark.parametrize("loss", [KD(2.0, standardise=True), DecoupledKD(), DecoupledKD(standardise=True), Dist()])
def test_each_is_0_where_the_student_is_the_teacher_and_teaches_another(loss: Loss) -> None:
    torch.manual_seed(0)
    teacher, student = Teacher(resnet(8, 5, 1, 4), GREY), Network(wrn(10, 1, 5, 1), GREY)
    images, targets = torch.rand(6, 1, 8, 8), torch.arange(6) % 5
    same = view(teacher(images), teacher(images), targets)
    assert float(loss(same)) == pytest.approx(0.0, abs=1e-5)
    optimizer, values = torch.optim.SGD(student.parameters(), lr=0.02), []
    for _ in range(6):
        value = loss(view(student(images), teacher(images), targets))
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        values.append(float(value.detach()))
    assert values[-1] < values[0]
