"""Fake quantization against torch's own, against eq. 3 of LSQ, and against finite differences."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from tacit.quantize.fake import PACE, Quantizer, fake_quantize


def values(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0)) * 3


@pytest.mark.parametrize(("low", "high", "zero"), [(-128, 127, 0), (0, 255, 100), (0, 15, 7), (-8, 7, 0), (-2, 1, 0)])
def test_values_are_those_of_torchs_fake_quantization(low: int, high: int, zero: int) -> None:
    x, scale = values(1000), torch.tensor(0.0371)
    found = fake_quantize(x, scale, torch.tensor(float(zero)), low, high)
    wanted = torch.fake_quantize_per_tensor_affine(x, 0.0371, zero, low, high)
    apart = (found - wanted).abs()
    assert float(apart.max()) <= 0.0371 + 1e-6
    assert int((apart > 1e-6).sum()) <= 1  # a value that lies between two levels may fall either way


def test_one_scale_a_channel_is_as_many_quantizers() -> None:
    x, scale = values(3, 5, 2, 2), torch.tensor([0.1, 0.2, 0.4])
    together = fake_quantize(x, scale.view(3, 1, 1, 1), torch.zeros(3, 1, 1, 1), -8, 7)
    for number in range(3):
        assert torch.equal(together[number], fake_quantize(x[number], scale[number], torch.zeros(()), -8, 7))


def test_the_gradients_are_those_of_lsq() -> None:
    x, scale = values(400).requires_grad_(), torch.tensor(0.7, requires_grad=True)
    weights = torch.linspace(-1, 1, 400)
    torch.autograd.backward((fake_quantize(x, scale, torch.tensor(0.0), -4, 3, factor=0.25) * weights).sum())
    v = (x / scale).detach().double()
    inside = (v > -4) & (v < 3)
    assert int(((v > 3) & (v < 3.5)).sum()) > 0  # beyond the end though they round to it
    step = torch.where(inside, v.round() - v, torch.where(v > 0, 3.0, -4.0))  # eq. 3: -Qn, round(v/s) - v/s, Qp
    assert x.grad is not None
    assert scale.grad is not None
    torch.testing.assert_close(x.grad, weights * inside)
    torch.testing.assert_close(float(scale.grad), float((weights.double() * step).sum()) * 0.25, rtol=1e-5, atol=1e-6)


def test_on_clipped_values_the_scales_gradient_is_the_finite_difference() -> None:
    x, scale = torch.tensor([9.0, -9.0, 12.0]), torch.tensor(0.5, requires_grad=True)
    weights = torch.tensor([1.0, -2.0, 0.5])

    def loss(at: Tensor) -> Tensor:
        return (fake_quantize(x, at, torch.tensor(0.0), -4, 3) * weights).sum()

    torch.autograd.backward(loss(scale))
    difference = (loss(torch.tensor(0.501)) - loss(torch.tensor(0.499))) / 0.002
    assert scale.grad is not None
    torch.testing.assert_close(float(scale.grad), float(difference), rtol=1e-3, atol=1e-3)


def test_a_zero_point_shifts_the_levels_and_not_the_gradient() -> None:
    x = torch.tensor([-3.0, 0.2, 1.9, 40.0], requires_grad=True)
    scale = torch.tensor(0.5, requires_grad=True)
    found = fake_quantize(x, scale, torch.tensor(4.0), 0, 15)
    assert found.tolist() == [-2.0, 0.0, 2.0, 5.5]
    torch.autograd.backward(found.sum())
    assert x.grad is not None
    assert scale.grad is not None
    assert x.grad.tolist() == [0, 1, 1, 0]
    torch.testing.assert_close(float(scale.grad), -4.0 - 0.4 + (4 - 3.8) + 11.0)


def test_a_quantizer_passes_all_through_until_its_range_is_set() -> None:
    quantizer, x = Quantizer(4, weights=False), values(50)
    assert torch.equal(quantizer(x), x)
    quantizer.set_range(torch.tensor(-1.0), torch.tensor(2.0))
    once = quantizer(x).detach()
    assert len(once.unique()) <= 16
    assert float(once.abs().min()) == 0.0  # zero is a level
    torch.testing.assert_close(quantizer(once), once)
    quantizer.enabled = False
    assert torch.equal(quantizer(x), x)


def test_a_range_is_widened_to_hold_zero_and_never_of_no_width() -> None:
    quantizer = Quantizer(8, weights=False)
    quantizer.set_range(torch.tensor(1.0), torch.tensor(3.0))
    assert float(quantizer.zero) == 0.0
    assert float(quantizer.scale.detach()) == pytest.approx(3 / 255)
    quantizer.set_range(torch.tensor(0.0), torch.tensor(0.0))
    assert bool(torch.isfinite(quantizer(values(10))).all())


def test_the_gradient_of_a_scale_is_scaled_as_in_lsq() -> None:
    weights, activations = Quantizer(4, weights=True, shape=(3, 1)), Quantizer(4, weights=False)
    weights.set_range(torch.full((3,), -1.0), torch.full((3,), 1.0))
    activations.set_range(torch.tensor(0.0), torch.tensor(1.0))
    for quantizer, x, elements in ((weights, values(3, 20), 20), (activations, values(5, 2, 6), 12)):
        torch.autograd.backward(quantizer(x).sum())
        found = quantizer.growth.grad
        assert found is not None
        scale = quantizer.scale.detach().clone().requires_grad_()
        torch.autograd.backward(fake_quantize(x, scale, quantizer.zero, quantizer.low, quantizer.high).sum())
        assert scale.grad is not None
        torch.testing.assert_close(found, PACE * scale.detach() * scale.grad / math.sqrt(elements * quantizer.high))


@pytest.mark.parametrize("weights", [False, True])
def test_a_small_scale_does_not_fall_through_zero_whatever_the_optimiser_makes_of_its_gradient(weights: bool) -> None:
    quantizer = Quantizer(8, weights=weights)
    quantizer.set_range(torch.tensor(-0.1), torch.tensor(0.1))
    before, x = quantizer.scale.detach().clone(), 0.1 * values(50)
    optimizer = torch.optim.Adam(quantizer.parameters(), lr=1e-3)
    for _ in range(30):
        optimizer.zero_grad()
        torch.autograd.backward(quantizer(x).square().sum())  # all is better for a smaller scale
        optimizer.step()
    assert before / 2 < quantizer.scale < before
    assert float(quantizer(x).abs().max().detach()) > 0.03
    quantizer.set_range(torch.tensor(-0.1), torch.tensor(0.1))
    assert torch.equal(quantizer.scale, before), "a new range is where it starts from"


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
def test_a_channel_of_weights_has_its_spare_level_where_it_is_larger_if_bits_are_few(bits: int) -> None:
    quantizer, most = Quantizer(bits, weights=True, shape=(2, 1)), 2.0 ** (bits - 1)
    reach = torch.tensor([[1 - most, most], [-most, most - 1]])
    quantizer.set_range(reach[:, 0], reach[:, 1])
    lost = (quantizer(reach) - reach).abs().detach()
    assert float(lost[1].max()) == 0.0
    assert bool((lost[0] == 0).all()) == (bits < 4)
    assert quantizer.zero.flatten().tolist() == ([-1.0, 0.0] if bits < 4 else [0.0, 0.0])
    assert bool((quantizer(torch.zeros(2, 1)) == 0).all())


def test_bf16_stays_bf16_and_gradients_stay_finite() -> None:
    quantizer, x = Quantizer(4, weights=False), values(64).bfloat16().requires_grad_()
    quantizer.set_range(torch.tensor(-2.0), torch.tensor(2.0))
    found = quantizer(x)
    assert found.dtype == torch.bfloat16
    torch.autograd.backward(found.float().sum())
    assert x.grad is not None
    assert x.grad.dtype == torch.bfloat16
    assert bool(torch.isfinite(x.grad.float()).all())
