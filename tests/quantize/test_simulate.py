"""Simulated networks: what is quantized, in any network, and that nothing else is."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tacit.core.device import Runtime
from tacit.core.errors import InputError
from tacit.core.models import load, save
from tacit.core.network import Network, Teacher
from tacit.core.spec import Spec
from tacit.data import digits
from tacit.evaluate import predict
from tacit.quantize import Scheme, Simulated, calibrate, plain, simulate, stored_bits
from tacit.quantize.fake import Quantizer
from tacit.quantize.ranges import RangeOf
from tacit.quantize.scheme import Ranges
from tacit.quantize.simulate import left_alone
from tacit.quantize.trace import trace
from tacit.zoo import resnet, wrn16_1


def model_of(network: Network) -> Simulated:
    assert isinstance(network.model, Simulated)
    return network.model


def images(n: int = 64) -> Tensor:
    return digits("train").images[:n]


class Odd(nn.Module):
    """Sums by a function, in place and by an operator; a depthwise layer; a layer that is used twice; weights read by name."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 6, 3, padding=1)
        self.deep = nn.Conv2d(6, 6, 3, padding=1, groups=6)
        self.norm = nn.BatchNorm2d(6)
        self.twice = nn.Conv2d(6, 6, 1)
        self.act = nn.ReLU(inplace=True)
        self.head = nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(self.first(x))
        y = self.norm(self.deep(x))
        y += x
        y = torch.add(self.twice(self.act(y)), x)
        z = self.twice(y) + y
        return F.linear(F.relu6(z).mean((2, 3)), self.head.weight, self.head.bias) + 1.0


def test_a_trace_finds_sums_however_they_are_written() -> None:
    network = Network(Odd(), Spec(shape=(1, 8, 8), classes=4))
    found = trace(network)
    sums = [call for call in found.calls if call.kind == "sum"]
    assert len(sums) == 3
    readers = [[reader.kind for reader in found.readers(call.output)] for call in sums]
    assert readers == [["activation"], ["", "sum"], ["activation"]]
    assert found.layers(dict(network.model.named_modules())) == ["first", "deep", "twice"]
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in network.modules())


def test_weights_that_are_read_without_the_layer_are_named() -> None:
    assert left_alone(Network(Odd(), Spec(shape=(1, 8, 8), classes=4))) == ["head"]


class OwnWeights(nn.Module):
    """Convolves with a parameter of its own, and adds and scales by others."""

    def __init__(self) -> None:
        super().__init__()
        self.kernel, self.place = nn.Parameter(torch.randn(4, 1, 3, 3)), nn.Parameter(torch.randn(1, 4, 6, 6))
        self.scale, self.head = nn.Parameter(torch.ones(4, 1, 1)), nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head((F.conv2d(x, self.kernel) * self.scale + self.place).relu().mean((2, 3)))  # type: ignore[no-any-return]


def test_weights_that_belong_to_no_layer_are_named() -> None:
    assert left_alone(Network(OwnWeights(), Spec(shape=(1, 8, 8), classes=4))) == ["kernel"]


class Shifted(nn.Module):
    """Adds what depends on the place, then two branches; one layer reads a sum and something else."""

    def __init__(self) -> None:
        super().__init__()
        self.place = nn.Parameter(torch.rand(1, 3, 8, 8))
        self.first, self.second = nn.Conv2d(1, 3, 3, padding=1), nn.Conv2d(3, 3, 3, padding=1)
        self.head = nn.Linear(3, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x) + self.place
        y = F.relu(self.second(x) + x)
        logits: Tensor = self.head(self.second(y).mean((2, 3)))
        return logits


@pytest.mark.parametrize("batch", [1, 2, 7])
def test_quantizers_sit_where_they_should_whatever_the_batch(batch: int, runtime: Runtime) -> None:
    torch.manual_seed(0)
    network = Network(Shifted(), Spec(shape=(1, 8, 8), classes=4)).eval()
    simulated, scheme = simulate(network, Scheme(weights=8, activations=4)), Scheme(weights=8, activations=4)
    calibrate(simulated, torch.rand(9, 1, 8, 8, generator=torch.Generator().manual_seed(0)), scheme, runtime, size=batch)
    model = simulated.model
    assert isinstance(model, Simulated)
    assert all(bool(quantizer.ready) for quantizer in model.activations.values())
    seen: dict[str, int] = {}
    for name, quantizer in model.activations.items():
        quantizer.register_forward_hook(lambda _, __, out, name=name: seen.update({name: len(out.unique())}))
    with torch.no_grad():
        simulated.eval()(torch.rand(batch, 1, 8, 8))
    assert "net.second.input_quantizer" in seen  # it reads a map that is no sum, and later one that is
    assert all(count <= 16 for name, count in seen.items() if name != "net.first.input_quantizer")


@pytest.mark.parametrize("how", ["average", "percentile", "mse"])
def test_images_keep_all_of_their_range_whatever_is_cut_off_activations(how: Ranges, runtime: Runtime) -> None:
    torch.manual_seed(0)
    network = Network(Shifted(), Spec(shape=(1, 8, 8), classes=4)).eval()
    scheme = Scheme(weights=4, activations=4, activation_ranges=how)
    simulated, shown = simulate(network, scheme), torch.rand(9, 1, 8, 8, generator=torch.Generator().manual_seed(0)) / 2
    shown[0, 0, 0, 0], shown[1, 0, 0, 0] = 1.0, 0.0
    calibrate(simulated, shown, scheme, runtime)
    first = model_of(simulated).activations["net.first.input_quantizer"]
    assert float(first.scale.detach()) == pytest.approx(1 / 255)
    assert float(first.zero) == 0


def test_activations_get_their_ranges_as_the_scheme_says(runtime: Runtime) -> None:
    torch.manual_seed(0)
    network, found = Network(Shifted(), Spec(shape=(1, 8, 8), classes=4)).eval(), set[float]()
    shown = torch.rand(48, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    for how in get_args(Ranges):
        scheme, read = Scheme(weights=4, activations=2, activation_ranges=how), list[Tensor]()
        simulated = simulate(network, scheme)
        second = model_of(simulated).activations["net.second.input_quantizer"]
        second.register_forward_pre_hook(lambda _, args, read=read: read.append(args[0].detach()))
        calibrate(simulated, shown, scheme, runtime, size=24)
        wanted, seen = Quantizer(2, weights=False), RangeOf(how, 2, torch.Generator())
        for some in read:
            seen.see(some)
        wanted.set_range(*seen.range)
        assert (float(second.scale.detach()), float(second.zero)) == (float(wanted.scale.detach()), float(wanted.zero)), how
        found.add(float(second.scale.detach()))
    assert len(found) == len(get_args(Ranges))


class Branched(nn.Module):
    """Two layers read the image; an auxiliary head with activations of its own is called in training alone, and refined at the end."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(1, 4, 5, padding=2)
        self.deep, self.drop, self.head = nn.Conv2d(4, 4, 3, padding=1), nn.Dropout(0.5), nn.Linear(4, 4)
        self.side = nn.Sequential(nn.Flatten(), nn.ReLU(), nn.Linear(256, 4), nn.ReLU())

    def forward(self, x: Tensor) -> Any:
        x = F.relu(self.one(x) + self.two(x))
        side = self.side(x) if self.training else None
        x = (x + self.deep(x)).clamp(min=0)
        logits = self.head(self.drop(x.mean((2, 3))))
        return (logits, side) if side is not None else logits


def test_in_training_the_same_calls_are_quantized_as_in_evaluation(runtime: Runtime) -> None:
    torch.manual_seed(0)
    network, scheme = Network(Branched(), Spec(shape=(1, 8, 8), classes=4)).eval(), Scheme(weights=4, activations=2)
    images = torch.rand(16, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    simulated = simulate(network, scheme)
    calibrate(simulated, images, scheme, runtime)
    measured = simulated.eval()(images)
    simulated.train()
    model = model_of(simulated)
    assert model.net.get_submodule("drop").training
    model.net.get_submodule("drop").eval()  # dropout is the one difference that training is meant to make
    torch.testing.assert_close(simulated(images), measured)


def test_every_layer_that_reads_the_image_keeps_its_8_bits(runtime: Runtime) -> None:
    model = model_of(simulate(Network(Branched(), Spec(shape=(1, 8, 8), classes=4)).eval(), Scheme(weights=4, activations=4)))
    bits = {name.removesuffix(".input_quantizer"): one.bits for name, one in model.activations.items()}
    assert (bits["net.one"], bits["net.two"], bits["net.head"]) == (8, 8, 4)


def test_layers_that_compute_their_weights_are_refused() -> None:
    model = nn.Sequential(torch.nn.utils.parametrizations.weight_norm(nn.Conv2d(1, 3, 3)), nn.Flatten(), nn.Linear(108, 4))
    with pytest.raises(InputError, match=r"computes the weights of '0' from others.*remove_parametrizations"):
        simulate(Network(model, Spec(shape=(1, 8, 8), classes=4)), Scheme())


def test_a_trace_counts_the_same_with_quantizers_and_without(teacher: Teacher, runtime: Runtime) -> None:
    scheme = Scheme(weights=4, activations=4)
    network = simulate(teacher, scheme)
    calibrate(network, images(), scheme, runtime)
    before, after = ([call.kind for call in trace(one).calls if call.watched >= 0] for one in (teacher, network))
    assert before == after


def test_every_layers_weights_and_every_sum_take_few_values(teacher: Teacher, runtime: Runtime) -> None:
    scheme = Scheme(weights=3, activations=4)
    network = simulate(teacher, scheme)
    calibrate(network, images(), scheme, runtime)
    net, read = model_of(network).net, dict[str, Tensor]()

    def note(name: str) -> Any:
        return lambda _, args: read.__setitem__(name, args[0])

    layers = {name: module for name, module in net.named_modules() if isinstance(module, nn.Conv2d | nn.Linear)}
    handles = [layer.register_forward_pre_hook(note(name)) for name, layer in layers.items()]
    with torch.no_grad():
        network(images().float().div(255))
    for handle in handles:
        handle.remove()
    assert len(layers) == sum(isinstance(layer, nn.Conv2d | nn.Linear) for layer in teacher.model.modules())
    for name, layer in layers.items():
        weight = layer.weight.detach().flatten(1)
        assert all(len(set(row.tolist())) <= 8 for row in weight), name
        assert len(set(read[name].flatten().tolist())) <= (256 if name == next(iter(layers)) else 16), name


def test_what_a_branch_hands_on_is_quantized_where_branches_meet(runtime: Runtime) -> None:
    """A pre-activation network adds sums to sums: nothing but the quantizers of sums would touch these."""
    network = Network(wrn16_1(channels=1), Spec(shape=(1, 16, 16), classes=10))
    scheme = Scheme(weights=8, activations=3)
    made = {with_sums: simulate(network, Scheme(weights=8, activations=3, sums=with_sums)) for with_sums in (True, False)}
    assert len(model_of(made[True]).sums) == sum(call.kind == "sum" for call in trace(network).calls)
    assert len(model_of(made[False]).sums) == 0
    shown = torch.rand(16, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    answers = []
    for one in made.values():
        calibrate(one, shown, scheme, runtime)
        answers.append(one(shown))
    assert not torch.equal(*answers)


def test_the_network_itself_is_left_as_it_was(runtime: Runtime) -> None:
    network = Network(Odd(), Spec(shape=(1, 8, 8), classes=4))
    before = {key: value.clone() for key, value in network.state_dict().items()}
    copied = simulate(network, Scheme(weights=2, activations=2))
    calibrate(copied, images(), Scheme(weights=2, activations=2), runtime)
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())
    assert type(network.model.first) is nn.Conv2d
    assert network.training


def test_without_a_bit_less_nothing_changes_much(teacher: Teacher, runtime: Runtime) -> None:
    accuracy = {}
    for weights, activations in ((8, 8), (4, 4), (2, 2)):
        scheme = Scheme(weights=weights, activations=activations)
        network = simulate(teacher, scheme)
        calibrate(network, images(256), scheme, runtime)
        accuracy[weights] = predict(network, digits("test").batches(540), runtime).accuracy
    whole = predict(teacher, digits("test").batches(540), runtime).accuracy
    assert accuracy[8] >= whole - 0.01
    assert accuracy[8] > accuracy[2] + 0.1
    assert accuracy[4] > accuracy[2]


def test_ends_have_bits_of_their_own(teacher: Teacher) -> None:
    model = model_of(simulate(teacher, Scheme(weights=3, activations=4, ends=8)))
    bits = [quantizer.bits for quantizer in model.weights.values()]
    assert bits[0] == bits[-1] == 8
    assert set(bits[1:-1]) == {3}
    inputs = [quantizer.bits for name, quantizer in model.activations.items() if "input_quantizer" in name]
    assert (inputs[0], inputs[-1]) == (8, 8)
    assert {quantizer.bits for quantizer in model_of(simulate(teacher, Scheme(weights=3, activations=4))).weights.values()} == {3}


def test_batch_norm_stays_as_it_is_in_training_if_frozen(teacher: Teacher) -> None:
    shown = images().float().div(255)
    for freeze in (True, False):
        network = simulate(teacher, Scheme(weights=4, activations=32), freeze=freeze).train()
        norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
        before = norms[0].get_buffer("running_mean").clone()
        network(shown)
        assert torch.equal(norms[0].get_buffer("running_mean"), before) == freeze
        assert norms[0].training != freeze


def test_a_simulated_network_is_saved_and_built_again(teacher_network: Network, runtime: Runtime, tmp_path: Path) -> None:
    scheme = Scheme(weights=4, activations=4, ends=8)
    network = simulate(teacher_network, scheme)
    calibrate(network, images(), scheme, runtime)
    save(network, tmp_path / "model")
    again, shown = load(tmp_path / "model"), images().float().div(255)
    assert torch.equal(again.eval()(shown), network.eval()(shown))
    assert again.spec == teacher_network.spec


def test_the_weights_come_out_again_in_floating_point(teacher_network: Network) -> None:
    network = simulate(teacher_network, Scheme(weights=2, activations=32))
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(1.5)
    found = plain(network, teacher_network)
    for (name, value), before in zip(found.model.named_parameters(), teacher_network.model.parameters(), strict=True):
        torch.testing.assert_close(value, before * 1.5, msg=name)
    assert not any("parametrizations" in key for key in found.state_dict())


def test_stored_bits_are_those_of_the_weights_and_what_stays_float(teacher_network: Network) -> None:
    bits = {width: stored_bits(simulate(teacher_network, Scheme(weights=width, activations=32))) for width in (2, 4)}
    weights = sum(m.weight.numel() for m in teacher_network.modules() if isinstance(m, nn.Conv2d | nn.Linear))
    assert bits[4] - bits[2] == 2 * weights


def test_a_network_without_layers_is_refused() -> None:
    with pytest.raises(InputError, match="Flatten calls no convolution or linear layer"):
        simulate(Network(nn.Flatten(), Spec(shape=(1, 2, 2), classes=4)), Scheme())


@pytest.mark.parametrize(
    "given",
    [
        {"weights": 1},
        {"weights": 9},
        {"activations": 16},
        {"ends": 0},
        {"weights": 32},
        {"weight_ranges": "max"},
        {"activation_ranges": "kl"},
    ],
)
def test_a_scheme_that_is_none_is_refused(given: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=f"scheme.{next(iter(given))}: expected"):
        Scheme(**given)


def test_training_needs_no_change_for_a_simulated_network(teacher_network: Network, runtime: Runtime) -> None:
    scheme = Scheme(weights=2, activations=4)
    network = simulate(teacher_network, scheme, freeze=False)
    calibrate(network, images(256), scheme, runtime)
    held = digits("test")
    before = predict(network, held.batches(540), runtime).accuracy
    optimizer = torch.optim.Adam(network.parameters(), lr=2e-3)
    data, draw = digits("train"), torch.Generator().manual_seed(0)
    teacher = Teacher.of(teacher_network)
    network.train()
    for _ in range(40):
        shown = data.batch(torch.randint(len(data), (64,), generator=draw)).images
        loss = F.kl_div(network(shown).log_softmax(1), teacher(shown).softmax(1), reduction="batchmean")
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
    after = predict(network, held.batches(540), runtime).accuracy
    assert after > max(before + 0.2, 0.85)


def test_resnets_of_any_depth_have_a_quantizer_for_each_sum() -> None:
    network = Network(resnet(20, channels=1, width=2), Spec(shape=(1, 8, 8), classes=10))
    model = model_of(simulate(network, Scheme(weights=4, activations=4)))
    assert len(model.sums) == 9
    assert len(model.weights) == 22
