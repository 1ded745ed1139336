"""BN divergence, in every direction, against `torch.distributions`, closed forms and a slow loop over layers."""

from __future__ import annotations

import math
from typing import get_args

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.distributions import Normal, kl_divergence

from tacit.core.errors import InputError
from tacit.core.loss import View
from tacit.core.network import Teacher
from tacit.core.probe import BNStat, Probe, Signals
from tacit.core.spec import Spec
from tacit.losses import BNDivergence
from tacit.losses.bn_divergence import LEAST, Direction, normal_divergence
from toy import BNNet

DIRECTIONS: tuple[Direction, ...] = get_args(Direction)


def moments(seed: int, channels: int = 6) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return mean, variance, kept mean and kept variance of some channels, in double precision."""
    draw = torch.Generator().manual_seed(seed)
    means, variances = (torch.rand(2, channels, generator=draw, dtype=torch.float64) for _ in range(2))
    return 4 * means[0] - 2, 5 * variances[0] + 0.05, 4 * means[1] - 2, 5 * variances[1] + 0.05


def oracle(direction: Direction, mean: Tensor, var: Tensor, kept_mean: Tensor, kept_var: Tensor) -> Tensor:
    batch, kept = Normal(mean, var.sqrt()), Normal(kept_mean, kept_var.sqrt())
    if direction == "code":
        return kl_divergence(batch, kept)
    if direction == "paper":
        return kl_divergence(kept, batch)
    if direction == "symmetric":
        return (kl_divergence(batch, kept) + kl_divergence(kept, batch)) / 2
    return (batch.mean - kept.mean) ** 2 + (batch.stddev - kept.stddev) ** 2


@settings(max_examples=25, deadline=None)
@given(st.sampled_from(DIRECTIONS), st.integers(1, 6), st.integers(0, 999))
def test_each_direction_is_the_kl_of_torch_distributions_and_so_is_its_gradient(direction: Direction, channels: int, seed: int) -> None:
    mean, var, kept_mean, kept_var = moments(seed, channels)
    mean.requires_grad_()
    var.requires_grad_()
    ours, theirs = normal_divergence(mean, var, kept_mean, kept_var, direction), oracle(direction, mean, var, kept_mean, kept_var)
    assert ours.shape == (channels,)
    torch.testing.assert_close(ours, theirs)
    for one, other in zip(*(torch.autograd.grad(value.sum(), [mean, var]) for value in (ours, theirs)), strict=True):
        torch.testing.assert_close(one, other)


def test_code_goes_from_the_batch_to_what_is_kept_and_paper_the_other_way() -> None:
    one, four = torch.tensor([1.0]), torch.tensor([4.0])
    found = {direction: float(normal_divergence(one, four, one * 0, one, direction)) for direction in DIRECTIONS}
    wanted = {"code": 2 - math.log(2), "paper": math.log(2) - 0.25, "symmetric": 0.875, "mse": 2.0}
    assert found == pytest.approx(wanted, rel=1e-5)
    assert float(normal_divergence(one, four, one * 0, one)) == found["code"]
    back = {direction: float(normal_divergence(one * 0, one, one, four, direction)) for direction in DIRECTIONS}
    assert back == pytest.approx({**wanted, "code": wanted["paper"], "paper": wanted["code"]}, rel=1e-5)


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_a_divergence_is_zero_for_equal_statistics_and_positive_for_all_others(direction: Direction) -> None:
    mean, var, kept_mean, kept_var = moments(3)
    torch.testing.assert_close(normal_divergence(mean, var, mean, var, direction), torch.zeros_like(mean))
    for other in ((mean, var, kept_mean, var), (mean, var, mean, kept_var)):
        assert float(normal_divergence(*other, direction).min()) > 0


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_a_divergence_in_nats_has_no_unit_and_mse_has_the_square_of_the_inputs(direction: Direction) -> None:
    mean, var, kept_mean, kept_var = moments(4)
    plain = normal_divergence(mean, var, kept_mean, kept_var, direction)
    scaled = normal_divergence(3 * mean + 7, 9 * var, 3 * kept_mean + 7, 9 * kept_var, direction)
    torch.testing.assert_close(scaled, 9 * plain if direction == "mse" else plain)


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_dead_channels_are_held_at_the_least_variance_and_get_no_gradient_below_it(direction: Direction) -> None:
    mean, var = torch.tensor([0.0, 0.0, 0.5]), torch.tensor([0.0, LEAST / 2, 0.5])
    kept_mean, kept_var = torch.tensor([0.0, 1e-3, 0.0]), torch.tensor([0.0, 1.0, LEAST / 10])
    mean.requires_grad_()
    var.requires_grad_()
    value = normal_divergence(mean, var, kept_mean, kept_var, direction)
    held = [x.detach().double().clamp_min(LEAST) for x in (var, kept_var)]
    wanted = oracle(direction, mean.detach().double(), held[0], kept_mean.double(), held[1])
    torch.testing.assert_close(value.detach().double(), wanted, rtol=1e-4, atol=1e-6)
    gradients = torch.autograd.grad(value.sum(), [mean, var])
    assert all(bool(torch.isfinite(gradient).all()) for gradient in gradients)
    assert gradients[1][:2].tolist() == [0.0, 0.0]
    assert float(gradients[1][2]) != 0


def told(*layers: tuple[Tensor, Tensor, Tensor, Tensor]) -> View:
    stats = tuple(BNStat(str(place), *layer) for place, layer in enumerate(layers))
    return View(torch.zeros(2, 1, 2, 2), teacher=Signals(torch.zeros(2, 5), bn=stats))


def test_layers_weigh_the_same_whatever_their_channels() -> None:
    wide, narrow, unit = moments(0, channels=9), moments(1, channels=2), torch.ones(1, 1, 1)
    loss = BNDivergence(0 * unit, unit, inputs=False)
    each = [float(oracle("code", *layer).mean()) for layer in (wide, narrow)]
    assert each[0] != pytest.approx(each[1], rel=0.05)
    assert float(loss(told(wide, narrow))) == pytest.approx(sum(each) / 2, rel=1e-5)


def slow(values: Tensor, kept_mean: Tensor, kept_var: Tensor, direction: Direction) -> float:
    """Return the mean over channels, for the inputs of a layer, of shape (N, C, H, W)."""
    found = []
    for channel, (wanted, spread) in enumerate(zip(kept_mean.tolist(), kept_var.tolist(), strict=True)):
        flat = values[:, channel].double().flatten().tolist()
        mean = sum(flat) / len(flat)
        var = sum((value - mean) ** 2 for value in flat) / len(flat)
        found.append(float(oracle(direction, *(torch.tensor(value) for value in (mean, var, wanted, spread)))))
    return sum(found) / len(found)


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("inputs", [False, True])
def test_the_loss_is_a_mean_over_layers_of_what_the_teacher_is_shown_and_the_input_is_one_more(direction: Direction, inputs: bool) -> None:
    torch.manual_seed(0)
    model = BNNet(channels=2, width=3).eval()
    kept = []
    for norm in (model.bn1, model.bn2):
        for name, buffer in norm.named_buffers():
            if name.startswith("running"):
                buffer.copy_(torch.rand(buffer.shape) + 0.5)
        kept.append((norm.get_buffer("running_mean"), norm.get_buffer("running_var")))
    teacher = Teacher(model, Spec(shape=(2, 5, 6), classes=5, mean=(0.4, 0.3), std=(0.2, 0.7)))
    images = torch.rand(4, 2, 5, 6)
    shown = (images - torch.tensor([0.4, 0.3]).view(-1, 1, 1)) / torch.tensor([0.2, 0.7]).view(-1, 1, 1)
    with torch.no_grad():
        first = model.conv1(shown)
        second = model.conv2(torch.relu(model.bn1(first)))
    layers = [slow(x, *stats, direction) for x, stats in zip((first, second), kept, strict=True)]
    if inputs:
        layers.append(slow(shown, torch.zeros(2), torch.ones(2), direction))
    with Probe(teacher, bn=True) as look:
        view = View(images, teacher=look(images), canvas=images * 0)
    loss = BNDivergence(teacher.mean, teacher.std, direction=direction, inputs=inputs)
    assert float(loss(view)) == pytest.approx(sum(layers) / len(layers), rel=1e-4)


def test_the_input_counts_where_its_constants_tell_what_it_was() -> None:
    unit = torch.ones(1, 1, 1)
    equal = torch.ones(3)
    view = told((equal, equal, equal, equal))
    assert float(BNDivergence(0.3 * unit, 0.2 * unit, inputs=False)(view)) == 0.0
    for mean, std in ((0.0, 1.0), (0.0, 2.0), (0.3, 1 / 255), (120 / 255, 1 / 255)):  # a scale, and not a deviation
        assert float(BNDivergence(mean * unit, std * unit)(view)) == 0.0
    dead = float(oracle("code", *(torch.tensor(value) for value in (-1.5, LEAST, 0.0, 1.0))))
    assert float(BNDivergence(0.3 * unit, 0.2 * unit)(view)) == pytest.approx(dead / 2, rel=1e-4)


def test_an_unknown_direction_is_refused() -> None:
    with pytest.raises(InputError, match="expected one of code, paper, symmetric, mse, got 'reverse'"):
        BNDivergence(torch.zeros(1), torch.ones(1), direction="reverse")  # type: ignore[arg-type]
