"""Ranges and networks made without any image, against samples and against the network as it was."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from tacit.core.device import Runtime
from tacit.core.errors import InputError
from tacit.core.network import Network, Spec, Teacher
from tacit.data import digits
from tacit.quantize import Scheme, accept, make_baselines, simulate
from tacit.quantize.fold import fold_and_remember
from tacit.quantize.remembered import _Value, quantize_from_norms, set_remembered_ranges
from tacit.zoo import mobilenetv2, resnet


@pytest.mark.parametrize(("mean", "std"), [(0.0, 1.0), (1.5, 0.5), (-2.0, 1.0)])
def test_moments_behind_a_relu_are_those_of_samples(mean: float, std: float) -> None:
    draw = torch.randn(400_000, generator=torch.Generator().manual_seed(0), dtype=torch.double) * std + mean
    one = torch.ones(1, dtype=torch.double)
    found = _Value.normal(mean * one, std * one).clipped(math.inf)
    assert float(found.mean) == pytest.approx(float(draw.clamp_min(0).mean()), abs=3e-3)
    assert float(found.std) == pytest.approx(float(draw.clamp_min(0).std()), rel=0.02)
    assert (float(found.least), float(found.most)) == pytest.approx((max(0.0, mean - 6 * std), max(0.0, mean + 6 * std)))


def test_ranges_of_a_residual_network_hold_what_its_activations_reach(teacher: Teacher) -> None:
    """On the images that the norms saw, hardly a value lies outside, and no range is many times too wide."""
    folded = fold_and_remember(teacher)
    quantized = simulate(folded.network, Scheme(weights=8, activations=8))
    assert set_remembered_ranges(quantized, folded) == 0
    shown = digits("train").images[:200].float().div(255)
    model = quantized.model
    for name, quantizer in model.activations.items():  # type: ignore[operator,union-attr]
        reached: list[torch.Tensor] = []
        handle = quantizer.register_forward_pre_hook(lambda _, args, reached=reached: reached.append(args[0].detach()))
        quantized.eval()(shown)
        handle.remove()
        least, most = ((level - quantizer.zero) * quantizer.scale for level in (quantizer.low, quantizer.high))
        outside = ((reached[0] < least - quantizer.scale) | (reached[0] > most + quantizer.scale)).double().mean()
        assert float(outside) < 0.01, name
        assert float(most - least) < 8 * float(reached[0].max() - reached[0].min()), name


def test_a_network_quantized_from_its_norms_agrees_with_what_it_was(teacher_network: Network) -> None:
    held, runtime = digits("test").images[:300], Runtime("cpu", "32-true")
    made, unknown = quantize_from_norms(teacher_network, Scheme())
    assert unknown == 0
    assert accept(teacher_network, made, held, runtime).agreement > 0.98


def test_depthwise_layers_and_relu6_are_known() -> None:
    network = Network(mobilenetv2(10, width=0.25, last=16), Spec(shape=(3, 32, 32), classes=10)).eval()
    made, unknown = quantize_from_norms(network, Scheme())
    assert unknown == 0
    assert torch.isfinite(made(torch.rand(2, 3, 32, 32))).all()


def test_activations_of_which_nothing_is_known_are_counted_and_stay_as_they_are() -> None:
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Sigmoid(), nn.Conv2d(4, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)
    )
    made, unknown = quantize_from_norms(Network(model, Spec(shape=(1, 8, 8), classes=3)).eval(), Scheme())
    assert unknown == 2
    assert torch.isfinite(made(torch.rand(2, 1, 8, 8))).all()


def test_without_batch_norm_nothing_is_remembered() -> None:
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 3))
    network = Network(model, Spec(shape=(1, 8, 8), classes=3)).eval()
    with pytest.raises(InputError, match="nothing is remembered"):
        quantize_from_norms(network, Scheme())
    assert list(make_baselines(network, Scheme())) == ["bf16", "weights only"]


def test_baselines_are_smaller_and_compute_nearly_the_same() -> None:
    torch.manual_seed(0)
    network = Network(resnet(8, channels=1, width=8), Spec(shape=(1, 16, 16), classes=10)).eval()
    before = network(IMAGES).detach()
    found = make_baselines(network, Scheme(weights=4, activations=8))
    full = 4 * sum(parameter.numel() for parameter in network.parameters())
    assert found["bf16"].bytes == full // 2
    assert found["weights only"].bytes < 0.3 * full
    for name, limit in (("bf16", 0.02), ("weights only", 0.5)):
        error = float((found[name].network.eval()(IMAGES) - before).norm() / before.norm())
        assert 0 < error < limit, name
    torch.testing.assert_close(network(IMAGES), before)


IMAGES = torch.rand(8, 1, 16, 16, generator=torch.Generator().manual_seed(0))
