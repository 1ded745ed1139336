"""Channels taken out of networks of many kinds, and their folders read where there is no Torch-Pruning."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn

from tacit.core.errors import InputError, MissingExtraError
from tacit.core.models import import_object, load, save
from tacit.core.network import Ensemble, Network, Origin, Teacher, count_parameters
from tacit.core.spec import Spec
from tacit.prune import Steady, prune
from tacit.prune.graph import _least, last_layers
from tacit.prune.structured import build
from tacit.quantize import Scheme, simulate
from toy import BNNet, DictNet, GroupNet

CASES: dict[str, tuple[str, dict[str, Any], tuple[int, int, int]]] = {
    "resnet": ("tacit.zoo:resnet", {"depth": 8, "channels": 1, "width": 8}, (1, 8, 8)),
    "depthwise": ("tacit.zoo:mobilenetv2", {"width": 0.25, "last": 64}, (3, 16, 16)),
    "no norm, flattened": ("tacit.zoo:lenet5", {}, (1, 28, 28)),
}


def made(case: str) -> Network:
    factory, kwargs, shape = CASES[case]
    torch.manual_seed(0)
    return Network(import_object(factory)(**kwargs), Spec(shape=shape, classes=10), origin=Origin(factory=factory, kwargs=kwargs)).eval()


def channels(network: Network) -> list[int]:
    return [len(m.weight) for m in network.modules() if isinstance(m, nn.Conv2d | nn.Linear)]


class Grouped(nn.Module):
    """A grouped convolution between two plain ones, and group norm."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2, self.conv3 = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 12, 3, groups=4), nn.Conv2d(12, 16, 3)
        self.norm = nn.GroupNorm(4, 16)
        self.head = nn.Linear(16, 6)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(self.norm(self.conv3(self.conv2(self.conv1(x)).relu())).mean(dim=(2, 3)))
        return out


class Branching(nn.Module):
    """Two branches side by side, joined by their channels, and two heads whose answers are added."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right, self.joined = nn.Conv2d(3, 8, 3), nn.Conv2d(3, 4, 3), nn.Conv2d(12, 10, 1)
        self.one, self.two = nn.Linear(10, 6), nn.Linear(10, 6, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        pooled = self.joined(torch.cat([self.left(x), self.right(x)], dim=1).relu()).mean(dim=(2, 3))
        out: Tensor = self.one(pooled) + self.two(pooled)
        return out


class Stubborn(nn.Module):
    """Remembers how many channels it had."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = nn.Conv2d(3, 8, 3), nn.Linear(8, 6)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(self.body(x).view(len(x), 8, -1).mean(dim=2))
        return out


class Aided(nn.Module):
    """Answers with an auxiliary head, and with features that the logits are made of, as networks for segmentation do."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.body = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 12, 3, padding=1)
        self.classifier = nn.Conv2d(12, 4, 1)
        self.aux = nn.Sequential(nn.Conv2d(8, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 4, 1))

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        early = self.stem(x).relu()
        late = self.body(early).relu()
        return {"features": late, "out": self.classifier(late), "aux": self.aux(early)}


class Supervised(nn.Module):
    """Has a second head in training, and answers with both then, as torchvision's GoogLeNet; a part that skips layers by chance."""

    def __init__(self, *, named: bool) -> None:
        super().__init__()
        self.named = named
        self.stem, self.body = nn.Conv2d(3, 8, 3, padding=1), nn.Sequential(nn.Conv2d(8, 12, 3, padding=1), nn.BatchNorm2d(12))
        self.drop, self.head = nn.Dropout(0.9), nn.Linear(12, 6)
        self.aux = nn.Sequential(nn.Conv2d(8, 4, 1), nn.BatchNorm2d(4), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 6))

    def forward(self, x: Tensor) -> Any:
        early = self.stem(x).relu()
        logits = self.head(self.drop(self.body(early).relu().mean(dim=(2, 3))))
        if not self.training:
            return logits
        return Answers(self.aux(early), logits) if self.named else (logits, self.aux(early))


class Answers(NamedTuple):
    aux_logits: Tensor
    logits: Tensor


class Again(nn.Module):
    """Two layers with one weight: each adds to what it is given, or both stand in a row."""

    def __init__(self, *, added: bool = True) -> None:
        super().__init__()
        self.added = added
        self.stem, self.head = nn.Conv2d(3, 8, 3), nn.Linear(8, 6)
        self.one, self.two = nn.Conv2d(8, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)
        self.two.weight = self.one.weight

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for layer in (self.one, self.two):
            x = x + layer(x).relu() if self.added else layer(x.relu())
        out: Tensor = self.head(x.mean(dim=(2, 3)))
        return out


class Coarse(nn.Sequential):
    """Names a class for every two by two pixels."""

    def __init__(self) -> None:
        super().__init__(nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 4, 1))


@pytest.mark.parametrize("case", CASES)
def test_each_layer_loses_its_share_and_the_last_keeps_all(case: str) -> None:
    network = made(case)
    images, before = torch.rand(4, *network.spec.shape), {key: value.clone() for key, value in network.state_dict().items()}
    answer = network(images)
    pruned = prune(network, 0.5)
    assert channels(pruned) == [*(round(0.5 * count) for count in channels(network)[:-1]), 10]
    assert count_parameters(pruned) < 0.4 * count_parameters(network)
    logits = pruned(images)
    assert logits.shape == (4, 10)
    assert bool(torch.isfinite(logits).all())
    assert not torch.equal(logits, answer)
    assert torch.equal(network(images), answer)
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())


@pytest.mark.parametrize("kind", [Grouped, Branching, BNNet, DictNet, GroupNet])
def test_groups_branches_and_answers_of_many_kinds(kind: type[nn.Module]) -> None:
    torch.manual_seed(0)
    shape, classes = {Grouped: ((3, 12, 12), 6), Branching: ((3, 12, 12), 6), GroupNet: ((1, 8, 8), 7)}.get(kind, ((1, 8, 8), 5))
    network = Network(kind(), Spec(shape=shape, classes=classes, output="logits" if kind is DictNet else None))
    pruned = prune(network, 0.5)
    assert pruned.check()(torch.rand(3, *shape)).shape == (3, classes)
    assert sum(channels(pruned)) < sum(channels(network))


def test_the_last_layers_are_found_where_there_are_several() -> None:
    torch.manual_seed(0)
    branching = Network(Branching(), Spec(shape=(3, 12, 12), classes=6))
    model = branching.model
    assert set(last_layers(branching, torch.rand(2, 3, 12, 12))) == {model.one, model.two}
    both = Ensemble.of([branching, Network(Grouped(), Spec(shape=(3, 12, 12), classes=6, mean=(0.4,) * 3, std=(0.2,) * 3))])
    images = torch.rand(2, 3, 12, 12)
    assert len(last_layers(both, images)) == 3
    pruned = prune(both, 0.5).check()
    assert torch.equal(pruned(images), pruned.model(images))  # each member normalises, and nobody else


def test_a_layer_of_several_parts_loses_the_same_channels_of_each() -> None:
    assert _least(torch.tensor([9.0, 9, 9, 1, 9, 9, 9, 1]), 0.25, 2) == [3, 7]
    assert _least(torch.tensor([0.0, 5, 3, 1]), 0.5, 2) == [0, 2]


def test_an_auxiliary_head_is_pruned_with_the_layers_that_it_reads_and_keeps_its_answers() -> None:
    torch.manual_seed(0)
    network = Network(Aided(), Spec(shape=(3, 12, 12), classes=4, task="segmentation", output="out")).eval()
    pruned = prune(network, 0.5)
    assert channels(pruned) == [4, 6, 4, 3, 4]
    model, images = pruned.model, torch.rand(2, 3, 12, 12)
    assert {key: value.shape[1] for key, value in model(images).items()} == {"features": 6, "out": 4, "aux": 4}
    assert last_layers(network, images) == [network.model.get_submodule("classifier"), network.model.get_submodule("aux.3")]
    torch.autograd.backward(model.train()(images)["aux"].sum())


@pytest.mark.parametrize("named", [False, True])
@pytest.mark.parametrize("training", [False, True])
def test_a_head_that_only_training_has_is_pruned_too_and_the_network_still_learns(named: bool, training: bool) -> None:
    torch.manual_seed(0)
    network = Network(Supervised(named=named), Spec(shape=(3, 12, 12), classes=6)).train(training)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    pruned = prune(network, 0.5)
    assert channels(pruned) == [4, 6, 6, 2, 6]
    assert all(module.training == training for module in (*pruned.modules(), *network.modules()))
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())
    torch.testing.assert_close(pruned.model.get_submodule("aux.1").get_buffer("num_batches_tracked"), torch.tensor(0))
    images = torch.rand(4, 3, 12, 12)
    answer = pruned.train()(images)
    assert answer.shape == (4, 6)
    answer.sum().backward()
    assert pruned.model.get_submodule("head").weight.grad is not None
    assert pruned.check()(images).shape == (4, 6)


def test_layers_that_share_a_weight_share_it_in_the_copy(tmp_path: Path) -> None:
    torch.manual_seed(0)
    spec = Spec(shape=(3, 12, 12), classes=6)
    pruned = prune(Network(Again(), spec, origin=Origin(factory=f"{__name__}:Again", kwargs={})), 0.5)
    save(pruned, tmp_path / "model")
    again, images = load(tmp_path / "model").eval(), torch.rand(2, 3, 12, 12)
    assert torch.equal(again(images), pruned.eval()(images))
    for model in (pruned.model, again.model):
        assert model.get_parameter("one.weight") is model.get_parameter("two.weight")
        assert model.get_parameter("one.weight").shape == (4, 4, 3, 3)
        assert model.get_parameter("one.bias") is not model.get_parameter("two.bias")
    with pytest.raises(InputError, match=r"one parameter as 'one\.weight' and 'two\.weight', which would lose different channels"):
        prune(Network(Again(added=False), spec), 0.5)


def test_what_ranks_lowest_goes_first() -> None:
    torch.manual_seed(0)
    module = BNNet(width=8)
    network = Network(module, Spec(shape=(1, 8, 8), classes=5))
    with torch.no_grad():
        module.conv1.weight.copy_(torch.arange(1, 9.0).view(-1, 1, 1, 1))  # channel i makes i + 1
        module.conv2.weight.fill_(1.0)
        module.bn1.weight.copy_(torch.tensor([1.0, 1.0, 0.1, 1.0, 1.0, 1.0, 0.1, 1.0]))

    def left(importance: Any) -> list[float]:
        found: list[float] = prune(network, 0.25, importance=importance).model.get_parameter("conv1.weight")[:, 0, 0, 0].tolist()
        return found

    assert left("magnitude") == [3, 4, 5, 6, 7, 8]
    assert left("bn-scale") == [1, 2, 4, 5, 6, 8]


def test_chance_is_repeated_by_its_seed() -> None:
    network = made("resnet")
    images = torch.rand(4, 1, 8, 8)
    one, same, other = (prune(network, 0.5, importance="random", seed=seed)(images) for seed in (1, 1, 2))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


def test_no_layer_loses_all_of_its_channels() -> None:
    pruned = prune(made("resnet"), 0.99)
    assert min(channels(pruned)) == 1
    assert pruned.check()


@pytest.mark.parametrize("case", CASES)
def test_a_folder_is_read_again_and_pruned_again(case: str, tmp_path: Path) -> None:
    network = made(case)
    images = torch.rand(4, *network.spec.shape)
    once = prune(network, 0.3)
    save(once, tmp_path / "once")
    again = load(tmp_path / "once").eval()
    assert torch.equal(again(images), once(images))
    twice = prune(again, 0.3)
    assert sum(channels(twice)) < sum(channels(once)) < sum(channels(network))
    save(twice, tmp_path / "twice")
    assert torch.equal(load(tmp_path / "twice").eval()(images), twice(images))
    of_a_frozen_one = prune(Teacher.of(network), 0.3)
    assert all(parameter.requires_grad for parameter in of_a_frozen_one.parameters())


def test_a_dense_network_is_built_again_with_all_that_it_was_told(tmp_path: Path) -> None:
    spec = Spec(shape=(3, 16, 16), classes=4, task="segmentation", upsample="bilinear", ignore=7)
    save(prune(Network(Coarse(), spec, origin=Origin(factory=f"{__name__}:Coarse", kwargs={})), 0.5), tmp_path / "model")
    assert load(tmp_path / "model").spec == spec


def test_a_folder_is_read_without_the_package_that_pruned(tmp_path: Path) -> None:
    network = prune(made("depthwise"), 0.5)
    save(network, tmp_path / "model")
    images = torch.rand(2, 3, 16, 16)
    torch.save({"images": images, "logits": network(images).detach()}, tmp_path / "answers.pt")
    code = (
        "import sys; sys.modules['torch_pruning'] = None\n"
        "import torch, tacit\n"
        f"torch.set_num_threads(1); kept = torch.load({str(tmp_path / 'answers.pt')!r})\n"
        f"print(torch.equal(tacit.load({str(tmp_path / 'model')!r}).eval()(kept['images']), kept['logits']))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert done.stdout.strip() == "True", done.stderr


def test_a_live_network_is_pruned_but_not_built_again() -> None:
    torch.manual_seed(0)
    assert prune(Network(BNNet(), Spec(shape=(1, 8, 8), classes=5)), 0.5).origin is None


def test_shapes_of_another_network_are_refused() -> None:
    network = made("resnet")
    origin = prune(network, 0.5).origin
    assert origin is not None
    kwargs = dict(origin.kwargs)
    with pytest.raises(InputError, match=r"makes another network than the one that was pruned: stem\.0\.weight should hold \[4, 1, 3, 3\]"):
        build(**{**kwargs, "kwargs": {"depth": 8, "channels": 1, "width": 2}})
    with pytest.raises(InputError, match=r"nowhere\.weight should hold \[2\], got nothing"):
        build(**{**kwargs, "shapes": {"nowhere.weight": [2]}})


@pytest.mark.parametrize("share", [0.0, 1.0, -0.1, float("nan")])
def test_a_share_out_of_range_is_refused(share: float) -> None:
    with pytest.raises(InputError, match="share: expected more than 0 and less than 1"):
        prune(made("resnet"), share)


def test_what_cant_be_pruned_is_said_in_one_line() -> None:
    torch.manual_seed(0)
    spec = Spec(shape=(3, 12, 12), classes=6)
    cases: list[tuple[Network, float, dict[str, Any], str]] = [
        (made("resnet"), 0.01, {}, "share: 0.01 takes no whole channel from any layer of ResNet"),
        (made("resnet"), 0.5, {"importance": "size"}, "importance: expected one of magnitude, bn-scale, random, got 'size'"),
        (Network(Grouped(), spec), 0.5, {"importance": "bn-scale"}, "importance: Grouped has no batch norm"),
        (Network(Stubborn(), spec), 0.5, {}, "Stubborn does not compute with fewer channels"),
        (simulate(made("resnet"), Scheme()), 0.5, {}, "Simulated computes the weights of 'net.stem.0' from others"),
        (
            Network(nn.Sequential(nn.AvgPool2d(12), nn.Flatten(), nn.LogSoftmax(1)), Spec(shape=(6, 12, 12), classes=6)),
            0.5,
            {},
            "no convol",
        ),
    ]
    for network, share, options, said in cases:
        with pytest.raises(InputError, match=said) as caught:
            prune(network, share, **options)
        assert "\n" not in str(caught.value)


def test_a_missing_package_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch_pruning", None)
    with pytest.raises(MissingExtraError, match=r"^pruning needs the package 'torch_pruning': install it with `pip .*tacit\[prune\]'.*$"):
        prune(made("resnet"), 0.5)


def test_a_steady_network_keeps_its_statistics_and_learns() -> None:
    torch.manual_seed(0)
    for kind, moved in ((Network, True), (Steady, False)):
        module = BNNet()
        network = kind(module, Spec(shape=(1, 8, 8), classes=5)).train()
        before = module.bn1.get_buffer("running_mean").clone()
        torch.autograd.backward(network(torch.rand(4, 1, 8, 8)).sum())
        assert torch.equal(module.bn1.get_buffer("running_mean"), before) is not moved
        assert module.bn1.weight.grad is not None
        assert module.training
