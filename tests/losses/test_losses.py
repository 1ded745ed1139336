"""Losses against closed forms, slow loops written from the formula, and `torch.distributions`."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.distributions import Categorical, kl_divergence

from tacit.core.loss import View
from tacit.core.network import Network, Teacher
from tacit.core.probe import BNStat, Probe, Signals
from tacit.core.spec import Spec
from tacit.losses import (
    KD,
    L1,
    BNAlignment,
    ClassPrior,
    CrossEntropy,
    DecisionAdversarial,
    Disagreement,
    PixelNorm,
    TotalVariation,
)
from tacit.losses.bn_alignment import bn_distance
from tacit.losses.disagreement import competition, decision_adversarial
from tacit.losses.logits import kd_divergence
from tacit.losses.pixels import total_variation
from toy import BNNet

IMAGES = torch.zeros(1, 1, 1, 1)


def draw(*shape: int, seed: int = 0, scale: float = 3.0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) * scale


def seen(student: Tensor | None, teacher: Tensor | None, targets: Tensor | None = None) -> View:
    return View(
        IMAGES,
        targets,
        teacher=None if teacher is None else Signals(teacher),
        student=None if student is None else Signals(student),
    )


def slow_softmax(row: list[float]) -> list[float]:
    top = max(row)
    powers = [math.exp(value - top) for value in row]
    return [power / sum(powers) for power in powers]


def slow_kl(p: list[float], q: list[float]) -> float:
    return sum(a * (math.log(a) - math.log(b)) for a, b in zip(p, q, strict=True))


def slow_kd(student: Tensor, teacher: Tensor, temperature: float) -> float:
    rows = [(s / temperature, t / temperature) for s, t in zip(student.double(), teacher.double(), strict=True)]
    each = [slow_kl(slow_softmax(t.tolist()), slow_softmax(s.tolist())) for s, t in rows]
    return temperature**2 * sum(each) / len(each)


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 5), st.integers(2, 7), st.floats(0.5, 20.0), st.integers(0, 1000))
def test_kd_is_the_kl_of_softened_answers_times_the_squared_temperature(n: int, classes: int, temperature: float, seed: int) -> None:
    student, teacher = draw(n, classes, seed=seed), draw(n, classes, seed=seed + 1)
    got, slow = float(kd_divergence(student, teacher, temperature)), slow_kd(student, teacher, temperature)
    assert got == pytest.approx(slow, rel=1e-5, abs=1e-6 * temperature**2)


def test_kd_agrees_with_torch_distributions() -> None:
    student, teacher = draw(6, 4), draw(6, 4, seed=1)
    expected = kl_divergence(Categorical(logits=teacher / 3), Categorical(logits=student / 3)).mean() * 9
    torch.testing.assert_close(KD(3.0)(seen(student, teacher)), expected)


def test_kd_of_dense_logits_is_the_mean_over_images_and_pixels() -> None:
    student, teacher = draw(2, 3, 2, 5), draw(2, 3, 2, 5, seed=1)
    pixels = [(n, y, x) for n in range(2) for y in range(2) for x in range(5)]
    slow = [slow_kd(student[n, :, y, x][None], teacher[n, :, y, x][None], 2.0) for n, y, x in pixels]
    assert float(kd_divergence(student, teacher, 2.0)) == pytest.approx(sum(slow) / len(slow), rel=1e-4)


def test_kd_is_zero_for_equal_answers_whatever_constant_is_added() -> None:
    logits = draw(4, 5)
    assert float(kd_divergence(logits, logits + 7.0)) == pytest.approx(0.0, abs=1e-5)


def test_kd_temperature_of_its_own_is_used() -> None:
    student, teacher = draw(4, 5), draw(4, 5, seed=1)
    assert float(KD(1.0)(seen(student, teacher))) == pytest.approx(slow_kd(student, teacher, 1.0), rel=1e-4)
    assert float(KD()(seen(student, teacher))) == pytest.approx(slow_kd(student, teacher, 4.0), rel=1e-4)


def test_a_step_down_the_kd_gradient_brings_the_student_nearer() -> None:
    student, teacher = draw(8, 5).requires_grad_(), draw(8, 5, seed=1)
    before = kd_divergence(student, teacher)
    (gradient,) = torch.autograd.grad(before, student)
    assert float(kd_divergence(student.detach() - 0.5 * gradient, teacher)) < float(before.detach())


def test_kd_gradient_is_temperature_times_difference_of_softened_answers() -> None:
    student, teacher = draw(4, 5).requires_grad_(), draw(4, 5, seed=1)
    (gradient,) = torch.autograd.grad(kd_divergence(student, teacher, 3.0), student)
    expected = 3.0 * ((student / 3).softmax(1) - (teacher / 3).softmax(1)) / 4
    torch.testing.assert_close(gradient, expected.detach())


def test_l1_is_the_mean_absolute_difference_of_all_logits() -> None:
    student, teacher = torch.tensor([[1.0, -2.0], [0.0, 4.0]]), torch.tensor([[0.0, 2.0], [3.0, 4.0]])
    assert float(L1()(seen(student, teacher))) == 2.0


def test_disagreement_is_minus_l1() -> None:
    student, teacher = draw(3, 4), draw(3, 4, seed=1)
    assert float(Disagreement()(seen(student, teacher))) == -float(L1()(seen(student, teacher))) < 0


def test_cross_entropy_looks_at_the_student_alone() -> None:
    student = draw(3, 4)
    slow = [-math.log(slow_softmax(student[n].double().tolist())[label]) for n, label in enumerate((2, 0, 3))]
    assert float(CrossEntropy()(seen(student, None, torch.tensor([2, 0, 3])))) == pytest.approx(sum(slow) / 3, rel=1e-5)


def test_cross_entropy_without_labels_says_what_to_use() -> None:
    with pytest.raises(ValueError, match="use `kd` or `l1`"):
        CrossEntropy()(seen(draw(3, 4), None))


def test_class_prior_without_targets_is_the_nll_of_the_likeliest_class() -> None:
    logits = draw(5, 4)
    slow = [-math.log(max(slow_softmax(row))) for row in logits.double().tolist()]
    assert float(ClassPrior()(seen(None, logits))) == pytest.approx(sum(slow) / 5, rel=1e-5)


def test_class_prior_takes_class_numbers_and_divides_by_the_temperature() -> None:
    logits, targets = draw(5, 4), torch.tensor([0, 1, 2, 3, 0])
    slow = [-math.log(slow_softmax(row)[label]) for row, label in zip((logits.double() / 20).tolist(), targets.tolist(), strict=True)]
    assert float(ClassPrior(20.0)(seen(None, logits, targets))) == pytest.approx(sum(slow) / 5, rel=1e-5)


def test_class_prior_takes_soft_targets() -> None:
    logits, soft = draw(3, 4), draw(3, 4, seed=1).softmax(1)
    slow = 0.0
    for row, wanted in zip(logits.double().tolist(), soft.double().tolist(), strict=True):
        slow -= sum(w * math.log(p) for w, p in zip(wanted, slow_softmax(row), strict=True)) / 3
    assert float(ClassPrior()(seen(None, logits, soft))) == pytest.approx(slow, rel=1e-5)


def test_class_prior_takes_dense_targets() -> None:
    logits, labels = draw(2, 3, 2, 2), torch.tensor([[[0, 1], [2, 0]], [[1, 1], [0, 2]]])
    slow = [
        -math.log(slow_softmax(logits[n, :, y, x].double().tolist())[int(labels[n, y, x])])
        for n in range(2) for y in range(2) for x in range(2)
    ]  # fmt: skip
    assert float(ClassPrior()(seen(None, logits, labels))) == pytest.approx(sum(slow) / 8, rel=1e-5)


def test_bn_distance_sums_norms_and_not_squares() -> None:
    zero = torch.zeros(2)
    stats = [
        BNStat("a", torch.tensor([3.0, 4.0]), torch.tensor([0.0, 12.0]), zero, zero),
        BNStat("b", torch.tensor([1.0, 1.0]), torch.tensor([2.0, 2.0]), torch.tensor([1.0, 2.0]), torch.tensor([2.0, 0.0])),
    ]
    assert float(bn_distance(stats)) == pytest.approx(5 + 12 + 1 + 2)


def test_bn_alignment_measures_the_input_of_every_layer_with_the_biased_variance() -> None:
    torch.manual_seed(0)
    model = BNNet(channels=2, width=3).eval()
    for norm in (model.bn1, model.bn2):
        for name, buffer in norm.named_buffers():
            if name.startswith("running"):
                buffer.copy_(torch.rand(buffer.shape) + 0.5)
    images = torch.rand(4, 2, 5, 6)
    first = model.conv1((images - 0.4) / 0.2)
    second = model.conv2(torch.relu(model.bn1(first)))
    slow = 0.0
    for norm, inputs in ((model.bn1, first), (model.bn2, second)):
        values = inputs.detach().double().numpy()
        assert norm.running_mean is not None
        assert norm.running_var is not None
        off_mean, off_var = [], []
        for channel in range(values.shape[1]):
            flat = [values[n, channel, y, x] for n in range(4) for y in range(5) for x in range(6)]
            mean = sum(flat) / len(flat)
            off_mean.append(mean - float(norm.running_mean[channel]))
            off_var.append(sum((value - mean) ** 2 for value in flat) / len(flat) - float(norm.running_var[channel]))
        slow += math.sqrt(sum(d * d for d in off_mean)) + math.sqrt(sum(d * d for d in off_var))
    teacher = Teacher(model, Spec(shape=(2, 5, 6), classes=5, mean=(0.4, 0.4), std=(0.2, 0.2)))
    with Probe(teacher, bn=True) as look:
        signals = look(images)
    assert [stat.name for stat in signals.bn] == ["model.bn1", "model.bn2"]
    assert float(BNAlignment()(View(images, teacher=signals))) == pytest.approx(slow, rel=1e-4)


def test_bn_alignment_is_nearly_zero_on_the_images_that_set_the_statistics() -> None:
    torch.manual_seed(0)
    model, images = BNNet(), torch.rand(32, 1, 6, 6)
    model.bn1.momentum = model.bn2.momentum = 1.0
    network = Network(model, Spec(shape=(1, 6, 6), classes=5)).train()
    with torch.no_grad():
        network(images)
    with Probe(network.eval(), bn=True) as look, torch.no_grad():
        near, far = (float(bn_distance(look(batch).bn)) for batch in (images, 1 - images**2))
    assert near < 0.01 < 0.1 < far


def slow_total_variation(images: np.ndarray) -> float:
    n, channels, height, width = images.shape
    total = 0.0
    for down, across in ((0, 1), (1, 0), (1, 1), (1, -1)):
        square = 0.0
        for i in range(n):
            for c in range(channels):
                for y in range(height):
                    for x in range(width):
                        if y + down < height and 0 <= x + across < width:
                            square += (images[i, c, y + down, x + across] - images[i, c, y, x]) ** 2
        total += math.sqrt(square)
    return total


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 3), st.integers(1, 3), st.integers(1, 5), st.integers(1, 5))
def test_total_variation_is_the_norm_of_differences_in_four_directions(n: int, channels: int, height: int, width: int) -> None:
    images = torch.rand(n, channels, height, width, generator=torch.Generator().manual_seed(n + 10 * height))
    assert float(total_variation(images)) == pytest.approx(slow_total_variation(images.double().numpy()), rel=1e-4, abs=1e-6)


def test_total_variation_does_not_change_when_images_are_mirrored_turned_or_brightened() -> None:
    images = torch.rand(2, 3, 5, 5)
    for changed in (images.flip(-1), images.flip(-2), images.rot90(1, (-2, -1)), images + 0.3):
        torch.testing.assert_close(total_variation(changed), total_variation(images))


def test_priors_on_pixels_look_at_the_canvas_and_not_at_the_augmented_images() -> None:
    canvas = torch.tensor([[[[0.0, 1.0]]]])
    view = View(torch.full((1, 1, 1, 2), 0.5), canvas=canvas)
    assert float(TotalVariation()(view)) == 1.0
    assert float(PixelNorm(torch.zeros(1, 1, 1), torch.ones(1, 1, 1))(view)) == 1.0


def test_pixel_norm_is_the_root_of_the_sum_of_squares_over_the_whole_batch() -> None:
    grey = View(torch.full((2, 2, 2, 2), 0.5))
    assert float(PixelNorm(torch.zeros(2, 1, 1), torch.ones(2, 1, 1))(grey)) == pytest.approx(2.0)
    mean, std = torch.tensor([0.5, 0.25]).view(2, 1, 1), torch.tensor([0.1, 0.5]).view(2, 1, 1)
    assert float(PixelNorm(mean, std)(grey)) == pytest.approx((8 * 0.5**2) ** 0.5)


def test_decision_adversarial_counts_only_images_on_which_both_name_the_same_class() -> None:
    teacher = torch.tensor([[3.0, 0.0, 0.0], [0.0, 2.0, 0.0], [0.0, 0.0, 1.0]])
    student = torch.tensor([[1.0, 0.0, 0.0], [2.0, 0.0, 0.0], [0.0, 0.0, 4.0]])
    slow = [slow_kl(slow_softmax(t), slow_softmax(s)) for s, t in zip(student.tolist(), teacher.tolist(), strict=True)]
    assert float(decision_adversarial(student, teacher)) == pytest.approx(-(slow[0] + slow[2]) / 3, rel=1e-5)
    assert float(decision_adversarial(student[1:2], teacher[1:2])) == 0.0
    assert float(DecisionAdversarial()(seen(student, teacher))) == float(decision_adversarial(student, teacher))


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 5), st.integers(2, 5), st.sampled_from([1.0, 3.0]), st.floats(0.1, 30.0), st.integers(0, 99))
def test_competition_is_one_minus_the_clamped_divergence_from_the_mixture(n: int, classes: int, t: float, scale: float, seed: int) -> None:
    student, teacher = draw(n, classes, seed=seed, scale=scale), draw(n, classes, seed=seed + 100, scale=scale)
    total = 0.0
    for ours, theirs in zip((student.double() / t).tolist(), (teacher.double() / t).tolist(), strict=True):
        for a, b in zip(slow_softmax(ours), slow_softmax(theirs), strict=True):
            p, q, mixed = (min(max(value, 0.01), 0.99) for value in (a, b, (a + b) / 2))
            total += 0.5 * mixed * math.log(mixed / p) + 0.5 * mixed * math.log(mixed / q)
    assert float(competition(student, teacher, t)) == pytest.approx(1 - min(max(total / n, 0.0), 1.0), abs=1e-4)
    assert float(competition(student, student, t)) == pytest.approx(1.0, abs=1e-6)
