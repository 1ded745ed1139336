"""Ranges and networks made without any image, against samples and against the network as it was."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tacit.core.device import Runtime
from tacit.core.errors import InputError
from tacit.core.network import Network, Teacher, stored_bytes
from tacit.core.spec import Spec
from tacit.data import digits
from tacit.evaluate import accept, predict
from tacit.quantize import Scheme, make_baselines, simulate
from tacit.quantize.fake import Quantizer
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
    assert sum(isinstance(module, nn.ReLU6) for module in network.modules()) == 35


def test_mobilenets_layers_are_equalised_all_the_way_through_a_block() -> None:
    """Though there is a ReLU6 between them: from expansion to depthwise, and from there to projection."""
    torch.manual_seed(0)
    network = Network(mobilenetv2(10, width=0.25, last=16), Spec(shape=(3, 32, 32), classes=10)).eval()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.weight.data.uniform_(0.05, 5.0)
    state = quantize_from_norms(network, Scheme())[0].model.state_dict()
    weights = {key[4:-33]: value for key, value in state.items() if key.endswith(".parametrizations.weight.original")}
    blocks = [name.removesuffix(".6") for name in weights if name.endswith("layers.6")]
    assert len(blocks) == 16
    for block in blocks:
        expand, deep, project = (weights[f"{block}.{number}"] for number in (0, 3, 6))
        torch.testing.assert_close(expand.flatten(1).abs().amax(1), deep.flatten(1).abs().amax(1), rtol=1e-2, atol=1e-4)
        torch.testing.assert_close(deep.flatten(1).abs().amax(1), project.abs().amax((0, 2, 3)), rtol=1e-2, atol=1e-4)


def test_where_activations_rarely_exceed_6_a_relu_does_as_well(runtime: Runtime) -> None:
    torch.manual_seed(0)
    sizes = [(nn.Conv2d(1, 16, 3, padding=1), 16), (nn.Conv2d(16, 16, 3, 2, padding=1, groups=16), 16), (nn.Conv2d(16, 32, 1), 32)]
    blocks = [nn.Sequential(conv, nn.BatchNorm2d(width), nn.ReLU6(inplace=True)) for conv, width in sizes]
    model = nn.Sequential(*blocks, nn.Conv2d(32, 32, 3), nn.BatchNorm2d(32), nn.ReLU6(), nn.Flatten(), nn.Linear(128, 10))
    network, data, held = Network(model, Spec(shape=(1, 8, 8), classes=10)), digits("train"), digits("test")
    optimizer, draw = torch.optim.Adam(network.parameters(), lr=1e-2), torch.Generator().manual_seed(0)
    for _ in range(120):
        batch = data.batch(torch.randint(len(data), (64,), generator=draw))
        assert batch.targets is not None
        loss = F.cross_entropy(network(batch.images.float()), batch.targets)
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
    before, shares = predict(network.eval(), held.batches(540), runtime).accuracy, list[float]()
    for module in model.modules():
        if isinstance(module, nn.ReLU6):
            module.register_forward_hook(lambda _, __, output: shares.append(float((output >= 6).double().mean())))
    network(held.images.float().div(255))
    assert len(shares) == 4
    assert max(shares) < 0.01
    made, unknown = quantize_from_norms(network, Scheme())
    assert unknown == 0
    assert before > 0.95
    assert predict(made, held.batches(540), runtime).accuracy > before - 0.02


def test_activations_of_which_nothing_is_known_are_counted_and_stay_as_they_are() -> None:
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Sigmoid(), nn.Conv2d(4, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)
    )
    made, unknown = quantize_from_norms(Network(model, Spec(shape=(1, 8, 8), classes=3)).eval(), Scheme())
    assert unknown == 2
    assert torch.isfinite(made(torch.rand(2, 1, 8, 8))).all()


def chain(*first: nn.Module, activation: nn.Module) -> Network:
    layers = (nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), activation, nn.Conv2d(4, 3, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return Network(nn.Sequential(*first, *layers), Spec(shape=(1, 8, 8), classes=3, mean=(0.5,), std=(0.25,))).eval()


class Stretch(nn.Module):
    """Takes [0, 1] to [-1, 1]."""

    def forward(self, x: Tensor) -> Tensor:
        return x * 2 - 1


@pytest.mark.parametrize(
    ("network", "unknown"),
    [
        (chain(activation=nn.ReLU()), []),
        (chain(activation=nn.ReLU6()), []),
        (chain(Stretch(), activation=nn.ReLU()), ["net.1.input_quantizer"]),
        (chain(activation=nn.Hardtanh()), ["net.3.input_quantizer"]),
    ],
)
def test_only_ranges_that_are_sure_are_known(network: Network, unknown: list[str]) -> None:
    """Neither what a network makes of its images itself, nor a hardtanh that ends at -1 and 1, is what it looks like."""
    made, count = quantize_from_norms(network, Scheme())
    quantizers = made.model.activations
    assert isinstance(quantizers, dict)
    assert count == len(unknown)
    assert [name for name, quantizer in quantizers.items() if not bool(quantizer.ready)] == unknown
    if not unknown:
        first = quantizers["net.0.input_quantizer"]
        least, most = ((level - first.zero) * first.scale for level in (first.low, first.high))
        assert (float(least), float(most)) == pytest.approx((-2.0, 2.0), abs=0.02)


def test_images_that_nobody_normalises_reach_from_0_to_1() -> None:
    normalised = chain(activation=nn.ReLU())
    made, unknown = quantize_from_norms(Network(normalised.model, normalised.spec, normalise=False).eval(), Scheme())
    first = made.model.get_submodule("net.0.input_quantizer")
    assert isinstance(first, Quantizer)
    assert float(first.scale.detach()) == pytest.approx(1 / 255)
    assert (int(first.zero), unknown) == (0, 0)


def test_a_layer_that_is_called_twice_has_the_range_of_both_inputs() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.norm, self.shared = nn.Conv2d(1, 1, 1), nn.BatchNorm2d(1), nn.Conv2d(1, 3, 3)

        def forward(self, x: Tensor) -> Tensor:
            logits: Tensor = self.shared(x).mean((2, 3)) + self.shared(torch.relu(self.norm(self.first(x)))).mean((2, 3))
            return logits

    network = Network(Twice(), Spec(shape=(1, 8, 8), classes=3, mean=(0.5,), std=(0.05,))).eval()
    made, _ = quantize_from_norms(network, Scheme())
    shared = made.model.get_submodule("net.shared.input_quantizer")
    assert float((shared.low - shared.zero) * shared.scale) == pytest.approx(-10, abs=0.1)  # type: ignore[operator]


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
    full = stored_bytes(network.model)
    counters = 8 * sum(isinstance(module, nn.BatchNorm2d) for module in network.modules())  # of steps, in 64 bits all the same
    assert found["bf16"].bytes == (full - counters) // 2 + counters
    assert found["weights only"].bytes < 0.3 * full
    for name, limit in (("bf16", 0.02), ("weights only", 0.5)):
        error = float((found[name].network.eval()(IMAGES) - before).norm() / before.norm())
        assert 0 < error < limit, name
    torch.testing.assert_close(network(IMAGES), before)


class Answers(nn.Module):
    """A network whose logits are a part of what it returns."""

    def __init__(self, kind: type) -> None:
        super().__init__()
        self.net, self.kind = resnet(8, channels=1, width=4), kind

    def forward(self, x: Tensor) -> Any:
        logits = self.net(x)
        return self.kind(logits=logits, width=4) if self.kind in (dict, SimpleNamespace) else self.kind((logits, [logits.exp()]))


@pytest.mark.parametrize(("kind", "output"), [(dict, "logits"), (SimpleNamespace, "logits"), (tuple, "0"), (list, "0")])
def test_baselines_take_whatever_a_network_returns(kind: type, output: str) -> None:
    network = Network(Answers(kind), Spec(shape=(1, 16, 16), classes=10, output=output)).eval()
    found = make_baselines(network, Scheme())
    assert list(found) == ["bf16", "weights only", "DFQ (Nagel)"]
    for made in found.values():
        assert made.network.eval()(IMAGES).dtype == torch.float32
    error = (found["bf16"].network.eval()(IMAGES) - network(IMAGES)).detach()
    assert 0 < float(error.norm()) < 0.05 * float(network(IMAGES).detach().norm())


def test_a_baseline_that_a_network_does_not_allow_is_left_out_and_said_why() -> None:
    class Constant(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net, self.last = resnet(8, channels=1, width=4), nn.Linear(10, 10)

        def forward(self, x: Tensor) -> Tensor:
            logits: Tensor = self.last(self.net(x) * torch.ones(10))
            return logits

    said: list[str] = []
    network = Network(Constant(), Spec(shape=(1, 16, 16), classes=10)).eval()
    assert list(make_baselines(network, Scheme(), report=said.append)) == ["weights only", "DFQ (Nagel)"]
    assert len(said) == 1
    assert said[0].startswith("baseline bf16: left out, since _BFloat16 can't take images of shape [1, 16, 16]: ")
    assert "dtype" in said[0]


IMAGES = torch.rand(8, 1, 16, 16, generator=torch.Generator().manual_seed(0))
