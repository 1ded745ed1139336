"""Simulated networks of odd kinds: what is shared, what is given by name, transposed layers, ensembles, a class for every pixel."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from tacit.core.device import Runtime
from tacit.core.models import load, save
from tacit.core.network import Ensemble, Network, Origin
from tacit.core.spec import Spec
from tacit.data import digits
from tacit.quantize import Scheme, Simulated, calibrate, plain, simulate, stored_bits
from tacit.quantize.fake import Quantizer
from tacit.quantize.fold import fold
from toy import BNNet, QuarterNet


class Shared(nn.Module):
    """A convolution and its batch norm by two names, and called twice; layers that are given their input by its name."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.conv, self.norm = nn.Conv2d(1, 6, 3), nn.Conv2d(6, 6, 3, padding=1, bias=False), nn.BatchNorm2d(6)
        self.again, self.head = nn.Sequential(self.conv, self.norm), nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.conv(input=self.stem(input=x))).relu()
        logits: Tensor = self.head(input=self.again(x).relu().mean((2, 3)))
        return logits


def test_what_is_shared_is_stored_once() -> None:
    network = Network(Shared(), Spec(shape=(1, 8, 8), classes=4))
    bits = {width: stored_bits(simulate(network, Scheme(weights=width, activations=32))) for width in (2, 4)}
    weights = sum(m.weight.numel() for m in network.modules() if isinstance(m, nn.Conv2d | nn.Linear))
    assert bits[4] - bits[2] == 2 * weights
    assert bits[4] < 4 * weights + 32 * 100


def test_inputs_are_quantized_that_are_given_by_name(runtime: Runtime) -> None:
    network, scheme = Network(Shared(), Spec(shape=(1, 8, 8), classes=4)).eval(), Scheme(weights=8, activations=2)
    simulated, images = simulate(network, scheme), digits("train").images[:64]
    calibrate(simulated, images, scheme, runtime)
    read: list[Tensor] = []
    head = simulated.model.get_submodule("net.head")
    head.register_forward_pre_hook(lambda _, args, kwargs: read.append(kwargs["input"]), with_kwargs=True)
    simulated.eval()(images[:32].float().div(255))
    assert len(set(read[0].flatten().tolist())) <= 4


@pytest.mark.parametrize(("groups", "axis"), [(1, 1), (2, 0)])
def test_a_transposed_convolution_has_a_scale_for_each_channel_that_it_makes_or_with_groups_reads(groups: int, axis: int) -> None:
    torch.manual_seed(0)
    layer = nn.ConvTranspose2d(4, 10, 3, groups=groups)
    network = Network(nn.Sequential(layer, nn.AdaptiveAvgPool2d(1), nn.Flatten()), Spec(shape=(4, 8, 8), classes=10))
    simulated = simulate(network, Scheme(weights=3, activations=32)).model
    assert isinstance(simulated, Simulated)
    (quantizer,) = simulated.weights.values()
    assert quantizer.base.shape == tuple(size if number == axis else 1 for number, size in enumerate(layer.weight.shape))
    weight = simulated.net.get_submodule("0").weight
    assert isinstance(weight, Tensor)
    assert all(len(row.unique()) <= 8 for row in weight.detach().transpose(0, axis))


def without_quantization(network: Network) -> Network:
    simulated = simulate(network, Scheme(weights=8, activations=32)).eval()
    for module in simulated.modules():
        if isinstance(module, Quantizer):
            module.enabled = False
    return simulated


COPIES: dict[str, Callable[[Network], Network]] = {
    "simulated": without_quantization,
    "plain": lambda network: plain(simulate(network, Scheme()), network).eval(),
    "folded": fold,
}


@pytest.mark.parametrize("how", COPIES)
def test_copies_of_an_ensemble_leave_it_to_its_members_to_normalise(how: str) -> None:
    torch.manual_seed(0)
    spec, images = Spec(shape=(1, 8, 8), classes=5, mean=(0.4,), std=(0.2,)), torch.rand(4, 1, 8, 8)
    both = Ensemble.of([Network(BNNet(), spec) for _ in range(2)]).eval()
    made = COPIES[how](both)
    assert made.model is not both.model
    torch.testing.assert_close(made(images), both(images))


def test_a_dense_network_is_built_again_with_all_that_it_was_told(tmp_path: Path) -> None:
    spec = Spec(shape=(3, 16, 16), classes=4, task="segmentation", output="out", upsample="bilinear", ignore=7)
    network = Network(QuarterNet(), spec, origin=Origin(factory="toy:QuarterNet", kwargs={}))
    save(simulate(network, Scheme(weights=4, activations=32)), tmp_path / "model")
    assert load(tmp_path / "model").spec == spec
