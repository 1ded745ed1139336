"""Batch norm told what quantization changed: nothing where nothing changed, and what the images have of their own cancels."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tacit.core.device import Runtime
from tacit.core.network import Network, Teacher
from tacit.core.norms import norm_layers
from tacit.core.spec import Spec
from tacit.data import digits
from tacit.evaluate import accept
from tacit.quantize import Scheme, calibrate, simulate
from tacit.quantize.adjust import adjust_norms


def test_nothing_moves_where_nothing_was_quantized(teacher: Teacher, runtime: Runtime) -> None:
    same = simulate(teacher, Scheme(weights=8, activations=32))
    for name, module in same.model.named_modules():
        if name.endswith("parametrizations.weight.0"):
            module.enabled = False
    noise = torch.rand(64, *teacher.spec.shape, generator=torch.Generator().manual_seed(0))
    assert adjust_norms(same, teacher, noise, runtime) == len(norm_layers(teacher))
    for ours, theirs in zip(norm_layers(same).values(), norm_layers(teacher).values(), strict=True):
        for key in ("running_mean", "running_var"):
            torch.testing.assert_close(ours.get_buffer(key), theirs.get_buffer(key), rtol=1e-4, atol=1e-5)


def test_means_move_by_the_difference_and_variances_by_the_ratio(runtime: Runtime) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))
    norm = model[1]
    assert isinstance(norm, nn.BatchNorm2d)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    norm.running_mean.uniform_(-1, 1)
    norm.running_var.uniform_(0.5, 2)
    network = Network(model, Spec(shape=(1, 8, 8), classes=3)).eval()
    images = torch.rand(32, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    quantized = simulate(network, Scheme(weights=2, activations=32))
    adjust_norms(quantized, network, images, runtime)
    conv = model[0]
    layer = quantized.model.get_submodule("net.0")
    before, after = (one(images).detach().transpose(0, 1).flatten(1) for one in (conv, layer))
    moved = quantized.model.get_submodule("net.1")
    torch.testing.assert_close(moved.get_buffer("running_mean"), norm.running_mean + after.mean(1) - before.mean(1), rtol=1e-4, atol=1e-5)
    ratio = after.var(1, correction=0) / before.var(1, correction=0)
    torch.testing.assert_close(moved.get_buffer("running_var"), norm.running_var * ratio, rtol=1e-4, atol=1e-5)


def test_a_coarse_network_is_better_for_it(teacher: Teacher, runtime: Runtime) -> None:
    scheme, train, held = Scheme(weights=2, activations=4), digits("train").images[:256], digits("test").images[:300]
    quantized = simulate(teacher, scheme)
    calibrate(quantized, train, scheme, runtime)
    before = accept(teacher, quantized, held, runtime).agreement
    adjust_norms(quantized, teacher, train, runtime)
    assert accept(teacher, quantized, held, runtime).agreement > before + 0.05


class Named(nn.Module):
    """Calls its batch norm by the name of the argument."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.head = nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.norm(input=self.conv(x)).mean((2, 3)))
        return logits


def test_a_norm_that_is_called_by_the_name_of_its_argument_moves_too(runtime: Runtime) -> None:
    torch.manual_seed(0)
    original = Teacher(Named(), Spec(shape=(1, 8, 8), classes=3))
    quantized = simulate(original, Scheme(weights=2, activations=32))
    norm = quantized.model.get_submodule("net.norm")
    before = norm.get_buffer("running_mean").clone()
    assert adjust_norms(quantized, original, torch.rand(16, 1, 8, 8), runtime) == 1
    assert not torch.equal(norm.get_buffer("running_mean"), before)


def test_networks_without_batch_norm_are_left_alone(runtime: Runtime) -> None:
    network = Network(nn.Sequential(nn.Flatten(), nn.Linear(64, 3)), Spec(shape=(1, 8, 8), classes=3)).eval()
    assert adjust_norms(simulate(network, Scheme()), network, torch.rand(8, 1, 8, 8), runtime) == 0


class Again(nn.Module):
    """Calls a convolution and its batch norm twice."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.first, self.conv, self.norm = nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4)
        self.head = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(self.stem(x))
        for _ in range(2):
            x = self.norm(self.conv(x)).relu()
        logits: Tensor = self.head(x.mean((2, 3)))
        return logits


def test_norms_that_are_called_twice_stay_as_they_are(runtime: Runtime) -> None:
    torch.manual_seed(0)
    network = Network(Again(), Spec(shape=(1, 8, 8), classes=3)).eval()
    same = simulate(network, Scheme(weights=8, activations=32))
    assert adjust_norms(same, network, torch.rand(32, 1, 8, 8), runtime) == 1
    assert torch.equal(same.model.get_buffer("net.norm.running_mean"), torch.zeros(4))


def test_norms_that_are_never_called_stay_as_they_are(runtime: Runtime) -> None:
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))
    model[2].add_module("auxiliary", nn.BatchNorm2d(4))
    network = Network(model, Spec(shape=(1, 8, 8), classes=3)).eval()
    assert adjust_norms(simulate(network, Scheme(weights=4)), network, torch.rand(8, 1, 8, 8), runtime) == 1
