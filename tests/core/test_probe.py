"""Probe: what it reads, and that it leaves nothing behind."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import Tensor, nn

from tacit.core.errors import InputError
from tacit.core.match import stages
from tacit.core.network import Ensemble, Network
from tacit.core.probe import Probe
from tacit.core.spec import Spec
from tacit.losses import AttentionTransfer
from tacit.losses.before_relu import before_relu, norms_behind
from toy import BNNet

GREY = Spec(shape=(1, 6, 6), classes=5)


def hooks(model: nn.Module) -> int:
    return sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.modules())


def test_features_are_the_outputs_of_the_tapped_modules() -> None:
    model, images = BNNet().eval(), torch.rand(2, 1, 6, 6)
    with Probe(Network(model, GREY), taps=("conv1", "model.bn1")) as look:
        signals = look(images)
    torch.testing.assert_close(signals.features["conv1"], model.conv1(images))
    torch.testing.assert_close(signals.features["model.bn1"], model.bn1(model.conv1(images)))
    torch.testing.assert_close(signals.logits, model(images))
    assert signals.bn == ()


class Shared(nn.Module):
    """One layer by two names."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(36, 5)
        self.second = self.first

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.second(x.flatten(1))
        return logits


def test_a_shared_module_is_tapped_by_either_name() -> None:
    with Probe(Network(Shared(), GREY), taps=("first", "second")) as look:
        signals = look(torch.rand(2, 1, 6, 6))
    assert torch.equal(signals.features["first"], signals.logits)
    assert torch.equal(signals.features["second"], signals.logits)


class InPlace(nn.Module):
    """Activations that overwrite what norms and convolutions said: one a module, one a function."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.relu, self.conv2 = nn.Conv2d(1, 3, 3), nn.ReLU(inplace=True), nn.Conv2d(3, 4, 3)
        self.bn, self.head = nn.BatchNorm2d(4), nn.Linear(4, 5)

    def forward(self, x: Tensor) -> Tensor:
        out = nn.functional.relu(self.bn(self.conv2(self.relu(self.conv(x)))), inplace=True)
        logits: Tensor = self.head(out.mean((2, 3)))
        return logits


def test_what_is_overwritten_in_place_is_read_as_it_was_said_or_refused() -> None:
    torch.manual_seed(0)
    model, images = InPlace().eval(), torch.rand(2, 1, 6, 6)
    first = model.conv(images)
    second = model.bn(model.conv2(first.relu()))
    with Probe(Network(model, GREY), taps=("conv:copy", "bn:copy", "relu:in", "relu")) as look:
        features = look(images).features
    assert look.overwritten == {"conv:copy", "bn:copy"}
    for tap, wanted in (("conv:copy", first), ("relu:in", first), ("relu", first.relu()), ("bn:copy", second)):
        torch.testing.assert_close(features[tap], wanted)
    assert bool((second < 0).any())
    for tap in ("conv", "bn"):
        with Probe(Network(model, GREY), taps=[tap]) as look, pytest.raises(InputError, match=f"write `{tap}:copy`"):
            look(images)


def test_layers_that_are_overwritten_are_copied_by_losses() -> None:
    network = Network(InPlace().eval(), GREY)
    named = AttentionTransfer(["conv"], ["bn"])
    named.fit(network, network)
    assert named.pairs == [("conv:copy", "bn:copy")]
    assert [each.name for each in stages(network)] == ["relu", "bn:copy"]
    assert [each.name for each in before_relu(network, stages(network))] == ["relu:in", "bn:copy"]
    assert norms_behind(network, ["bn:copy", "conv2"]) == [network.model.bn, None]


class Block(nn.Module):
    """Its output is the norm's, overwritten."""

    def __init__(self) -> None:
        super().__init__()
        self.bn = nn.BatchNorm2d(1)

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.relu(self.bn(x), inplace=True)


def test_a_norm_whose_output_was_overwritten_is_not_behind_what_came_of_it() -> None:
    model = nn.Sequential(Block(), nn.Flatten(), nn.Linear(36, 5)).eval()
    assert norms_behind(Network(model, GREY), ["0", "0.bn:copy"]) == [None, model[0].bn]


def test_a_gradient_goes_through_features_and_statistics_to_the_images() -> None:
    images = torch.rand(2, 1, 6, 6, requires_grad=True)
    with Probe(Network(BNNet().eval(), GREY), taps=("conv2",), bn=True) as look:
        signals = look(images)
    for value in (signals.features["conv2"].sum(), signals.bn[1].var.sum()):
        (gradient,) = torch.autograd.grad(value, images, retain_graph=True)
        assert float(gradient.abs().sum()) > 0


def test_signals_are_frozen_and_new_in_each_pass() -> None:
    first, second = torch.rand(2, 1, 6, 6), torch.rand(3, 1, 6, 6)
    with Probe(Network(BNNet().eval(), GREY), taps=("conv1",), bn=True) as look:
        before = look(first)
        kept, mean = before.features["conv1"].clone(), before.bn[0].mean.clone()
        after = look(second)
    assert after is not before
    assert torch.equal(before.features["conv1"], kept)
    assert torch.equal(before.bn[0].mean, mean)
    assert (len(before.bn), len(after.bn), len(after.features["conv1"])) == (2, 2, 3)
    with pytest.raises(dataclasses.FrozenInstanceError):
        before.logits = first  # type: ignore[misc]


def test_a_call_of_the_model_past_the_probe_does_not_change_what_was_read() -> None:
    network, images = Network(BNNet().eval(), GREY), torch.rand(2, 1, 6, 6)
    with Probe(network, taps=("conv1",), bn=True) as look:
        signals = look(images)
        network(torch.rand(5, 1, 6, 6))
    assert len(signals.features["conv1"]) == 2
    assert len(signals.bn) == 2


def test_hooks_are_gone_afterwards_and_other_hooks_stay() -> None:
    network = Network(BNNet(), GREY)
    network.model.register_forward_hook(lambda *_: None)
    with Probe(network, taps=("conv1",), bn=True):
        assert hooks(network) == 4
    assert hooks(network) == 1


def test_hooks_are_gone_after_an_exception_of_the_caller_and_of_the_model() -> None:
    network = Network(BNNet(), GREY)
    with pytest.raises(KeyError), Probe(network, taps=("conv1",), bn=True):
        raise KeyError
    assert hooks(network) == 0
    with pytest.raises(RuntimeError), Probe(network, taps=("conv1",), bn=True) as look:
        look(torch.rand(2, 3, 6, 6))
    assert hooks(network) == 0


@pytest.mark.parametrize(("tap", "offered"), [("conv3", "conv"), ("haed", "head"), ("BN1", "bn1")])
def test_an_unknown_tap_offers_the_nearest_name(tap: str, offered: str) -> None:
    with pytest.raises(InputError, match=f"no module is called '{tap}'; did you mean '{offered}"):
        Probe(Network(BNNet(), GREY), taps=(tap,))


def test_a_tap_that_is_like_none_lists_some() -> None:
    with pytest.raises(InputError, match=r"no module is called 'zzzzzzzz'; known: .*conv1"):
        Probe(Network(BNNet(), GREY), taps=("zzzzzzzz",))


def test_the_empty_name_is_no_tap() -> None:
    with pytest.raises(InputError, match="no module is called ''"):
        Probe(Network(BNNet(), GREY), taps=("",))


def test_statistics_of_flat_features_are_taken_over_the_batch() -> None:
    model, rows = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(4)).eval(), torch.rand(6, 1, 2, 2)
    with Probe(model, bn=True) as look:
        (stat,) = look(rows).bn
    torch.testing.assert_close(stat.mean, rows.flatten(1).mean(dim=0))
    torch.testing.assert_close(stat.var, rows.flatten(1).var(dim=0, correction=0))


class Recurrent(nn.Module):
    """Its inner module returns a tuple."""

    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.LSTM(6, 5, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        said: Tensor = self.cell(x[:, 0])[0][:, -1]
        return said


def test_a_tap_of_a_module_that_returns_a_tuple_is_refused_and_leaves_no_hook() -> None:
    network = Network(Recurrent(), GREY)
    with (
        pytest.raises(InputError, match="tap 'cell': this module returns a tuple of 2: say which part, as cell:0 or cell:1"),
        Probe(network, taps=("cell",)) as look,
    ):
        look(torch.rand(2, 1, 6, 6))
    assert hooks(network) == 0


def test_members_of_an_ensemble_can_be_tapped_and_give_all_their_statistics() -> None:
    together = Ensemble.of([Network(BNNet().eval(), GREY) for _ in range(2)])
    with Probe(together, taps=("networks.1.model.conv1",), bn=True) as look:
        signals = look(torch.rand(2, 1, 6, 6))
    assert signals.features["networks.1.model.conv1"].shape == (2, 4, 6, 6)
    assert len(signals.bn) == 4


def test_a_tap_of_an_input_gives_what_goes_into_the_module_and_can_stand_beside_its_output() -> None:
    model, images = BNNet().eval(), torch.rand(2, 1, 6, 6, requires_grad=True)
    with Probe(Network(model, GREY), taps=("head:in", "head", "model.bn1:in")) as look:
        features = look(images).features
    torch.testing.assert_close(features["head:in"], model.features(images))
    torch.testing.assert_close(features["head"], model(images))
    torch.testing.assert_close(features["model.bn1:in"], model.conv1(images))
    (gradient,) = torch.autograd.grad(features["head:in"].sum(), images)
    assert float(gradient.abs().sum()) > 0
    assert hooks(look.model) == 0


def test_inputs_of_members_of_an_ensemble_can_be_tapped() -> None:
    together = Ensemble.of([Network(BNNet().eval(), GREY) for _ in range(2)])
    with Probe(together, taps=("networks.0.model.head:in",)) as look:
        assert look(torch.rand(2, 1, 6, 6)).features["networks.0.model.head:in"].shape == (2, 8)


@pytest.mark.parametrize(
    ("tap", "words"), [("haed:in", "no module is called 'haed'; did you mean 'head'"), (":in", "no module is called ''")]
)
def test_an_unknown_tap_of_an_input_offers_the_name_without_its_ending(tap: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        Probe(Network(BNNet(), GREY), taps=(tap,))


class Pieces(nn.Module):
    """Is given a list."""

    def forward(self, parts: list[Tensor]) -> Tensor:
        return torch.cat(parts)


class ByName(nn.Module):
    """Calls its norm by keyword, and another layer with a list."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.layer = nn.BatchNorm2d(1), Pieces()

    def forward(self, x: Tensor) -> Tensor:
        flat: Tensor = self.layer([self.norm(input=x)])
        return flat.flatten(1)


def test_parts_of_a_tuple_can_be_tapped_and_what_is_given_by_keyword_is_read() -> None:
    network, images = Network(Recurrent(), GREY), torch.rand(2, 1, 6, 6)
    with Probe(network, taps=("cell:0", "cell:1.0")) as look:
        features = look(images).features
    assert (features["cell:0"].shape, features["cell:1.0"].shape) == ((2, 6, 5), (1, 2, 5))
    with (
        pytest.raises(InputError, match="tap 'cell:2': this module returns a tuple of 2: say which"),
        Probe(network, taps=("cell:2",)) as look,
    ):
        look(images)
    named = Network(ByName().eval(), Spec(shape=(1, 6, 6), classes=36))
    with Probe(named, taps=("norm:in",), bn=True) as look:
        said = look(images)
    assert torch.equal(said.features["norm:in"], images)
    torch.testing.assert_close(said.bn[0].mean, images.mean()[None])
    assert not hooks(network)
    assert not hooks(named)


def test_a_tap_of_an_input_that_is_no_tensor_is_refused_and_leaves_no_hook() -> None:
    network = Network(ByName(), Spec(shape=(1, 6, 6), classes=36))
    with (
        pytest.raises(InputError, match="tap 'layer:in': this module's first argument is no tensor"),
        Probe(network, taps=("layer:in",)) as look,
    ):
        look(torch.rand(2, 1, 6, 6))
    assert hooks(network) == 0


@pytest.mark.parametrize("size", [2, 3, 7])
def test_a_pass_in_parts_says_what_one_pass_over_all_would_and_so_do_its_gradients(size: int) -> None:
    torch.manual_seed(0)
    network, images = Network(BNNet().eval(), GREY), torch.rand(7, 1, 6, 6)
    weights = torch.randn(5)
    found = []
    for parts in (False, True):
        shown = images.clone().requires_grad_()
        with Probe(network, taps=("conv2", "bn1:in"), bn=True) as look:
            signals = look.in_parts(shown, size) if parts else look(shown)
            values = [
                signals.logits,
                *(signals.features[tap] for tap in ("conv2", "bn1:in")),
                *(value for s in signals.bn for value in (s.mean, s.var)),
            ]
            loss = (signals.logits @ weights).sum() + sum((s.var - s.running_var).norm() + s.mean.sum() for s in signals.bn)
            loss = loss + signals.features["conv2"].square().sum()
            found.append([*values, *torch.autograd.grad(loss, shown)])
        assert [s.name for s in signals.bn] == ["model.bn1", "model.bn2"]
    for whole, part in zip(*found, strict=True):
        torch.testing.assert_close(part, whole, rtol=1e-4, atol=1e-5)
    assert not hooks(network)
