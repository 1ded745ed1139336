"""Losses that judge a generator's whole batch, and views, against slow loops and closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tacit.core.errors import InputError
from tacit.core.loss import Loss, Needs, Objective, View
from tacit.core.network import Network, Teacher
from tacit.core.probe import BNStat, Probe, Signals
from tacit.core.spec import Spec
from tacit.losses import Activation, BNAlignment, ClassBalance, ClassPrior, Divergence, Increment, InterSample, ModeSeeking
from tacit.losses.diversity import inter_sample, mode_seeking
from tacit.losses.logits import kd_divergence
from toy import BNNet

IMAGES = torch.zeros(1, 1, 1, 1)


def draw(*shape: int, seed: int = 0, scale: float = 3.0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) * scale


def softmax(rows: Tensor) -> np.ndarray:
    values = rows.double().numpy()
    powers = np.exp(values - values.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 6), st.integers(2, 7), st.integers(0, 99))
def test_class_balance_is_the_negative_entropy_of_the_mean_answer_in_either_base(n: int, classes: int, seed: int) -> None:
    logits = draw(n, classes, seed=seed)
    share = [sum(row) / n for row in softmax(logits).T.tolist()]
    view = View(IMAGES, teacher=Signals(logits))
    assert float(ClassBalance()(view)) == pytest.approx(sum(p * math.log(p) for p in share), rel=1e-4, abs=1e-6)
    assert float(ClassBalance("log10")(view)) == pytest.approx(sum(p * math.log10(p) for p in share), rel=1e-4, abs=1e-6)


def test_class_balance_goes_from_minus_the_log_of_the_classes_to_zero() -> None:
    sure = 60 * torch.eye(10)
    assert float(ClassBalance()(View(IMAGES, teacher=Signals(sure)))) == pytest.approx(-math.log(10), rel=1e-5)
    assert float(ClassBalance("log10")(View(IMAGES, teacher=Signals(sure)))) == pytest.approx(-1.0, rel=1e-5)
    one = sure[:1].repeat(5, 1).requires_grad_()
    value = ClassBalance()(View(IMAGES, teacher=Signals(one)))
    assert float(value.detach()) == pytest.approx(0.0, abs=1e-6)
    assert bool(torch.isfinite(torch.autograd.grad(value, one)[0]).all())


def test_class_balance_is_of_the_mean_and_not_the_mean_of_entropies() -> None:
    sure = 60 * torch.eye(4)
    each = sum(float(ClassBalance()(View(IMAGES, teacher=Signals(row[None])))) for row in sure) / 4
    assert each == pytest.approx(0.0, abs=1e-6)
    assert float(ClassBalance()(View(IMAGES, teacher=Signals(sure)))) < -1.3


def test_class_balance_knows_two_logarithms() -> None:
    with pytest.raises(InputError, match="expected ln or log10, got 'log2'"):
        ClassBalance("log2")  # type: ignore[arg-type]


def test_activation_is_minus_the_mean_absolute_value_of_the_tapped_features() -> None:
    loss = Activation("head:in")
    assert loss.needs == Needs(teacher_taps=("head:in",))
    feature = torch.tensor([[1.0, -3.0], [0.0, 8.0]])
    assert float(loss(View(IMAGES, teacher=Signals(feature, {"head:in": feature, "head": feature * 9})))) == -3.0
    both = View(IMAGES, teacher=Signals(feature, {"one": feature, "two": torch.full((2, 5), 7.0)}))
    assert float(Activation("one", "two")(both)) == -5.0


@settings(max_examples=15, deadline=None)
@given(st.integers(2, 7), st.integers(1, 3), st.integers(0, 99))
def test_mode_seeking_compares_means_of_halves(n: int, channels: int, seed: int) -> None:
    images, latents = draw(n, channels, 2, 3, seed=seed), draw(n, 4, seed=seed + 1)
    x, z, half = images.double().numpy(), latents.double().numpy(), n // 2
    apart = [abs(a - b) for i in range(half) for a, b in zip(x[i].ravel(), x[half + i].ravel(), strict=True)]
    noise = [abs(a - b) for i in range(half) for a, b in zip(z[i], z[half + i], strict=True)]
    slow = 1 / ((sum(apart) / len(apart)) / (sum(noise) / len(noise)) + 1e-5)
    assert float(mode_seeking(images, latents)) == pytest.approx(slow, rel=1e-4)
    std = torch.full((channels, 1, 1), 0.25)  # what a canvas paints is divided by it
    view = View(images * 7, canvas=images * 0.25, latent=latents, teacher=Signals(latents))
    assert float(ModeSeeking(std)(view)) == pytest.approx(slow, rel=1e-4)


def test_mode_seeking_is_finite_where_all_images_are_alike_and_wants_latents() -> None:
    images = torch.full((4, 1, 2, 2), 0.5, requires_grad=True)
    value = mode_seeking(images, draw(4, 3))
    assert float(value.detach()) == pytest.approx(1e5)
    assert bool(torch.isfinite(torch.autograd.grad(value, images)[0]).all())
    with pytest.raises(ValueError, match="this canvas has none"):
        ModeSeeking(torch.ones(1, 1, 1))(View(images))


def test_mode_seeking_asks_no_teacher() -> None:
    assert ModeSeeking(torch.ones(1, 1, 1)).needs == Needs(teacher=False)


@settings(max_examples=15, deadline=None)
@given(st.integers(2, 7), st.integers(2, 5), st.integers(0, 99))
def test_inter_sample_compares_norms_over_whole_halves(n: int, classes: int, seed: int) -> None:
    images, logits = torch.rand(n, 2, 2, 3, generator=torch.Generator().manual_seed(seed)), draw(n, classes, seed=seed)
    std, half = torch.tensor([0.2, 0.5]).view(-1, 1, 1), n // 2
    x, p = (images.double() / std.double()).numpy(), softmax(logits)
    top = math.sqrt(sum((x[half + i] - x[i]).ravel() @ (x[half + i] - x[i]).ravel() for i in range(half)))
    below = math.sqrt(sum((p[half + i] - p[i]) @ (p[half + i] - p[i]) for i in range(half)))
    slow = 1 / (top / (below + 1e-20) + 1e-20)
    view = View(images * 0, canvas=images, teacher=Signals(logits))
    assert float(InterSample(std)(view)) == pytest.approx(slow, rel=1e-4)


def test_inter_sample_has_the_size_that_its_formula_promises_for_wholly_different_answers() -> None:
    images, answers = torch.randn(512, 1, 32, 32, generator=torch.Generator().manual_seed(0)), torch.eye(2).repeat_interleave(256, dim=0)
    assert float(inter_sample(images, answers)) == pytest.approx(1 / math.sqrt(1024), rel=0.01)  # sqrt(2) above and below


def test_the_gradient_of_inter_sample_is_finite_where_all_answers_are_the_same() -> None:
    images, logits = torch.rand(4, 1, 2, 2, requires_grad=True), torch.zeros(4, 3, requires_grad=True)
    gradients = torch.autograd.grad(inter_sample(images, logits.softmax(1)), [images, logits])
    assert all(bool(torch.isfinite(gradient).all()) for gradient in gradients)


class Given(Loss):
    """The mean of the images."""

    needs = Needs(teacher=False)

    def __init__(self) -> None:
        super().__init__()
        self.told: list[str] = []

    def forward(self, view: View) -> Tensor:
        return view.images.mean()

    def fit(self, teacher: Network | None, student: Network | None) -> None:
        self.told.append("fit")
        self.needs = Needs(bn=True)

    def attach(self, population: int | None, looks: float | None = None) -> None:
        self.told.append(f"attach {population}")

    def remember(self, view: View) -> None:
        self.told.append("remember")


def increments(period: int, values: list[float]) -> list[float]:
    loss = Increment(Given(), period)
    return [float(loss(View(torch.full((1, 1, 1, 1), value), round=round))) for round, value in enumerate(values)]


def test_increment_of_a_step_is_measured_from_the_step_before_and_first_from_zero() -> None:
    values = [0.5, 0.75, 0.25, 0.25]
    expected = [math.exp(now - before) for before, now in zip([0.0, *values], values, strict=False)]
    assert increments(1, values) == pytest.approx(expected, rel=1e-5)


def test_increment_of_an_epoch_is_measured_from_its_second_step_which_itself_is_measured_from_the_epoch_before() -> None:
    values = [0.5, 0.75, 0.25, 1.0, 2.0, 1.5, 1.25, 0.0, 0.5]
    references = [0.0, 0.0, 0.75, 0.75, 0.75, 2.0, 2.0, 2.0, 0.0]
    assert increments(3, values) == pytest.approx([math.exp(v - r) for v, r in zip(values, references, strict=True)], rel=1e-5)


def test_the_gradient_of_an_increment_is_that_of_the_loss_weighed_by_its_rise_and_the_reference_has_none() -> None:
    loss = Increment(Given())
    loss(View(torch.full((1, 1, 1, 2), 0.25, requires_grad=True)))
    images = torch.full((1, 1, 1, 2), 1.0, requires_grad=True)
    (gradient,) = torch.autograd.grad(loss(View(images, round=1)), images)
    torch.testing.assert_close(gradient, torch.full_like(images, math.exp(0.75) / 2).detach())
    assert not loss.get_buffer("reference").requires_grad
    assert list(loss.state_dict()) == ["reference"]


def test_an_increment_stays_finite_and_passes_on_what_it_is_told() -> None:
    inner = Given()
    objective = Objective(a=(1.0, Increment(inner)))
    assert math.isfinite(float(objective(View(torch.full((1, 1, 1, 1), 1e4)))))
    objective.fit(None, None)
    assert objective.needs.bn
    objective.attach(7)
    objective.remember(View(IMAGES))
    assert inner.told == ["fit", "attach 7", "remember"]
    with pytest.raises(InputError, match="expected at least 1 round, got 0"):
        Increment(Given(), 0)


def test_divergence_is_minus_the_kl_at_temperature_one() -> None:
    student, teacher = draw(5, 4), draw(5, 4, seed=1)
    p, q = softmax(teacher), softmax(student)
    slow = sum(float(a * (math.log(a) - math.log(b))) for r, s in zip(p, q, strict=True) for a, b in zip(r, s, strict=True)) / 5
    view = View(IMAGES, teacher=Signals(teacher), student=Signals(student))
    assert float(Divergence()(view)) == pytest.approx(-slow, rel=1e-5)
    torch.testing.assert_close(Divergence()(view), -kd_divergence(student, teacher, 1.0))
    assert Divergence().needs.student


def test_the_gradient_of_divergence_flows_through_the_teacher_as_well() -> None:
    student, teacher = draw(5, 4).requires_grad_(), draw(5, 4, seed=1).requires_grad_()
    value = Divergence()(View(IMAGES, teacher=Signals(teacher), student=Signals(student)))
    assert all(float(gradient.abs().sum()) > 0 for gradient in torch.autograd.grad(value, [student, teacher]))


def stat(seed: int) -> BNStat:
    mean, var, running_mean, running_var = draw(4, 3, seed=seed).abs()
    return BNStat("a", mean, var, running_mean * 0 + 1.0, running_var * 0 + 2.0)


def test_bn_alignment_with_momentum_compares_a_running_average_of_the_kept_batches() -> None:
    loss, m = BNAlignment(0.9), 0.9
    batches = [stat(seed) for seed in range(4)]
    average: tuple[np.ndarray, np.ndarray] | None = None
    for batch in batches:
        mean, var = batch.mean.double().numpy(), batch.var.double().numpy()
        if average is None:
            off = np.linalg.norm(mean - 1.0) + np.linalg.norm(var - 2.0)
        else:
            off = np.linalg.norm((1 - m) * mean + m * average[0] - 1.0) + np.linalg.norm((1 - m) * var + m * average[1] - 2.0)
        view = View(IMAGES, teacher=Signals(IMAGES, bn=(batch,)))
        assert float(loss(view)) == float(loss(view)) == pytest.approx(off, rel=1e-5)
        loss.remember(view)
        average = (mean, var) if average is None else (m * average[0] + (1 - m) * mean, m * average[1] + (1 - m) * var)


def test_the_gradient_of_bn_alignment_with_momentum_is_one_minus_the_momentum_of_the_plain_one_in_length() -> None:
    loss, mean = BNAlignment(0.75), torch.tensor([3.0, 4.0], requires_grad=True)
    flat = torch.ones(2)
    view = View(IMAGES, teacher=Signals(IMAGES, bn=(BNStat("a", mean, flat, flat * 0, flat),)))
    (plain,) = torch.autograd.grad(loss(view), mean)
    loss.remember(view)
    (mixed,) = torch.autograd.grad(loss(view), mean)
    assert [float(plain.norm()), float(mixed.norm())] == pytest.approx([1.0, 0.25])
    assert not loss.get_buffer("average").requires_grad


def test_bn_alignment_without_momentum_remembers_nothing_and_an_unused_one_is_not_asked() -> None:
    view = View(IMAGES, teacher=Signals(IMAGES, bn=(stat(0),)))
    loss = BNAlignment()
    loss.remember(view)
    assert loss.get_buffer("average").numel() == 0
    Objective(bn=(0.0, BNAlignment(0.9))).remember(View(IMAGES, teacher=Signals(IMAGES)))
    for momentum in (1.0, -0.1):
        with pytest.raises(InputError, match="expected a number in"):
            BNAlignment(momentum)


def test_new_losses_have_finite_gradients_on_a_network() -> None:
    images, latents = torch.rand(6, 1, 6, 6, requires_grad=True), draw(6, 4)
    torch.manual_seed(0)
    teacher = Teacher(BNNet(), Spec(shape=(1, 6, 6), classes=5))
    losses: list[Loss] = [
        ClassBalance(),
        Activation("head:in"),
        ModeSeeking(teacher.std),
        InterSample(teacher.std),
        Increment(ClassPrior()),
    ]
    for loss in losses:
        with Probe(teacher, taps=loss.needs.teacher_taps) as look:
            value = loss(View(images, teacher=look(images), latent=latents))
        assert value.shape == ()
        assert value.dtype == torch.float32
        (gradient,) = torch.autograd.grad(value, images)
        assert bool(torch.isfinite(gradient).all())
        assert float(gradient.abs().sum()) > 0
