"""Taps found without being named."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from tacit import zoo
from tacit.core.errors import InputError
from tacit.core.match import stages
from tacit.core.network import Ensemble, Network, Teacher
from tacit.core.probe import Probe
from tacit.core.spec import Spec
from tacit.core.taps import classifier_inputs, classifier_name, classifier_rows, penultimate_tap, stage_names
from tacit.losses import SimilarityPreserving
from tacit.losses.before_relu import before_relu
from tacit.zoo import resnet
from toy import BNNet, GroupNet

GREY = Spec(shape=(1, 8, 8), classes=5)


class TwoHeads(nn.Module):
    """A layer with as many outputs as classes is built last, and used first."""

    def __init__(self) -> None:
        super().__init__()
        self.classifier = nn.Linear(5, 5)
        self.hidden = nn.Sequential(nn.Flatten(), nn.Linear(64, 5), nn.ReLU(inplace=True))

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.classifier(self.hidden(x))
        return logits


class Auxiliary(nn.Module):
    """Returns a second opinion, of a layer in the middle, which it asks last."""

    def __init__(self) -> None:
        super().__init__()
        self.front, self.back = nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 6, 3, 2, 1)
        self.relu, self.classifier, self.second = nn.ReLU(inplace=True), nn.Conv2d(6, 5, 1), nn.Conv2d(4, 5, 1)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        middle = self.front(x)
        named = self.relu(self.classifier(self.back(middle)))
        return {"out": nn.functional.interpolate(named, x.shape[2:]), "second": self.second(middle)}


def convolutional() -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, 4, 3, 2, 1), nn.ReLU(), nn.Conv2d(4, 5, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten())


def test_the_classifier_is_the_layer_that_makes_the_logits_by_use_and_not_by_place() -> None:
    assert classifier_name(Network(BNNet(), GREY)) == "head"
    assert classifier_name(Network(TwoHeads(), GREY)) == "classifier"
    assert classifier_name(Network(GroupNet(), Spec(shape=(1, 28, 28), classes=7))) == "head"
    assert classifier_name(Network(resnet(8, channels=1, width=4), Spec(shape=(1, 8, 8), classes=10))) == "classifier"


def test_an_auxiliary_head_is_no_classifier_though_it_is_called_last() -> None:
    torch.manual_seed(0)
    spec = Spec(shape=(1, 8, 8), classes=5, task="segmentation", output="out")
    network = Network(Auxiliary(), spec)
    assert classifier_name(network) == classifier_name(Teacher.of(network)) == "classifier"
    assert classifier_name(Network(Auxiliary(), replace(spec, output="second"))) == "second"
    with torch.no_grad():
        assert classifier_name(Ensemble.of([network, Network(Auxiliary(), spec)])) == "networks.1.model.classifier"
    assert all(parameter.grad is None for parameter in network.parameters())
    assert not any(module._forward_hooks for module in network.modules())


def test_a_convolution_can_be_the_classifier_and_its_kernels_are_its_rows() -> None:
    network = Network(convolutional(), GREY)
    assert classifier_name(network) == "2"
    rows = classifier_rows(network)
    assert rows.shape == (5, 4)
    assert torch.equal(rows, network.model.get_parameter("2.weight").detach().flatten(1))


def test_its_input_times_its_rows_gives_the_logits() -> None:
    network, images = Network(TwoHeads(), GREY), torch.rand(3, 1, 8, 8)
    with Probe(network, taps=(f"{classifier_name(network)}:in",)) as look:
        signals = look(images)
    logits = signals.features["classifier:in"] @ classifier_rows(network).T + network.model.get_parameter("classifier.bias")
    torch.testing.assert_close(logits, signals.logits)
    assert not classifier_rows(network).requires_grad


def test_rows_of_a_layer_whose_weight_is_normalised_are_read() -> None:
    model = TwoHeads()
    nn.utils.parametrizations.weight_norm(model.classifier)
    assert torch.equal(classifier_rows(Network(model, GREY)), model.classifier.weight.detach())


@pytest.mark.parametrize(
    ("head", "wanted"),
    [
        ((nn.Dropout(0.5), nn.Linear(6, 5)), "1.0:in"),
        ((nn.ReLU(inplace=True), nn.Dropout(0.5), nn.Dropout(0.1, inplace=True), nn.Linear(6, 5)), "1.1:in"),
        ((nn.Dropout(0.5), nn.ReLU(), nn.Linear(6, 5)), "1.2:in"),
        ((nn.Linear(6, 5),), "1.0:in"),
    ],
)
def test_features_that_a_dropout_hands_on_are_read_before_it(head: tuple[nn.Module, ...], wanted: str) -> None:
    body = nn.Sequential(nn.Flatten(), nn.Linear(64, 6))
    network, images = Network(nn.Sequential(body, nn.Sequential(*head)), GREY), torch.rand(3, 1, 8, 8)
    tap = penultimate_tap(network)
    assert tap == wanted
    found = []
    for train in (False, True):
        with Probe(network.train(train), taps=[tap]) as look:
            found.append(look(images).features[tap])
    if wanted != "1.2:in":
        assert torch.equal(*found)


@pytest.mark.parametrize("name", ["resnet20", "resnet8", "wrn16_1", "vgg8", "mobilenetv2_half", "shufflenetv2"])
def test_networks_without_dropout_are_read_where_their_classifier_is(name: str) -> None:
    network = Network(getattr(zoo, name)(), Spec(shape=(3, 32, 32), classes=10))
    assert penultimate_tap(network) == f"{classifier_name(network)}:in" == "classifier:in"


def test_an_ensemble_has_the_classifiers_of_all_its_members() -> None:
    both = [Network(BNNet(width=width), GREY) for width in (4, 3)]
    ensemble = Ensemble.of(both)
    assert classifier_inputs(ensemble) == ("networks.0.model.head:in", "networks.1.model.head:in")
    rows = classifier_rows(ensemble)
    assert torch.equal(rows, torch.cat([classifier_rows(member) for member in both], dim=1))
    assert classifier_rows(both[0]).shape == (GREY.classes, 8)


def test_a_network_without_a_layer_of_as_many_outputs_is_refused() -> None:
    with pytest.raises(InputError, match=r"no linear or convolution layer with 3 outputs.*reads the logits alone"):
        classifier_name(Network(BNNet(), Spec(shape=(1, 8, 8), classes=3)))


def test_stages_are_the_last_maps_of_each_resolution_largest_first() -> None:
    network = Network(resnet(14, channels=1, width=4), Spec(shape=(1, 16, 12), classes=10)).eval()
    names = stage_names(network)
    with Probe(network, taps=[*names, "pool:in"]) as look:
        features = look(torch.rand(2, 1, 16, 12)).features
    assert [tuple(features[name].shape[1:]) for name in names] == [(4, 16, 12), (8, 8, 6), (16, 4, 3)]
    assert names[:2] == ["stages.0", "stages.1"]
    assert torch.equal(features[names[2]], features["pool:in"])


def test_maps_of_one_pixel_are_no_stages_and_a_network_of_rows_has_none() -> None:
    assert stage_names(Network(convolutional(), GREY)) == ["1"]
    assert stage_names(Network(TwoHeads(), GREY)) == []


class Hourglass(nn.Module):
    """An encoder, and a decoder that ends with the classifier of each pixel."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU())
        self.deep = nn.Sequential(nn.Conv2d(4, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 8, 1))
        self.up = nn.Sequential(nn.ConvTranspose2d(8, 4, 2, 2), nn.ReLU(), nn.Conv2d(4, 4, 1))
        self.head = nn.Sequential(nn.Conv2d(8, 6, 1), nn.ReLU(), nn.Conv2d(6, 5, 1))

    def forward(self, x: Tensor) -> Tensor:
        wide = self.first(x)
        logits: Tensor = self.head(torch.cat([self.up(self.deep(wide)), wide], dim=1))
        return logits


def test_the_stages_of_an_encoder_and_decoder_end_with_the_coarsest_and_are_no_logits() -> None:
    network = Network(Hourglass(), Spec(shape=(1, 8, 8), classes=5, task="segmentation"))
    assert stage_names(network) == ["up", "deep"]
    loss = SimilarityPreserving()
    loss.fit(network, network)
    assert loss.pairs == [("deep", "deep")]


def test_what_only_rescales_a_map_makes_no_stage() -> None:
    """A pre-activation net begins a stage with the norm and activation of the stage before."""
    model = nn.Sequential(
        nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.Conv2d(2, 2, 1)),
        nn.BatchNorm2d(2),
        nn.ReLU(),
        nn.Conv2d(2, 3, 3, 2, 1),
        nn.MaxPool2d(2),
    )
    assert stage_names(Network(nn.Sequential(*model, nn.Flatten(), nn.Linear(12, 5)), GREY)) == ["0", "3", "4"]


def chain(*, inplace: bool, norm: bool = True) -> nn.Module:
    """Return convolutions, norms, activations and pools in one row, as in the features of torchvision's VGG."""
    made: list[nn.Module] = []
    for inputs, outputs in ((1, 4), (4, 6)):
        made += [nn.Conv2d(inputs, outputs, 3, padding=1), *[nn.BatchNorm2d(outputs)] * norm, nn.ReLU(inplace=inplace)]
        made += [nn.Conv2d(outputs, outputs, 3, padding=1), *[nn.BatchNorm2d(outputs)] * norm, nn.ReLU(inplace=inplace), nn.MaxPool2d(2)]
    return nn.Sequential(nn.Sequential(*made[:-1]), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 5))


@pytest.mark.parametrize("inplace", [False, True])
@pytest.mark.parametrize(("norm", "wanted"), [(True, ["0.5", "0"]), (False, ["0.3", "0"])])
def test_the_stages_of_a_chain_end_behind_its_activations(norm: bool, wanted: list[str], inplace: bool) -> None:
    network = Network(chain(inplace=inplace, norm=norm), GREY).eval()
    found = stage_names(network)
    assert found == wanted
    with Probe(network, taps=found) as look:
        features = look(torch.rand(2, 1, 8, 8)).features
    assert all(bool((features[tap] >= 0).all()) for tap in found)
    assert [tuple(features[tap].shape[1:]) for tap in found] == [(4, 8, 8), (6, 4, 4)]


class PreActivated(nn.Module):
    """Hands on what its convolution made as it is, beside what the norm and the activation make of it."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm, self.relu = nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU()
        self.short, self.long = nn.Conv2d(4, 4, 1, 2), nn.Conv2d(4, 4, 3, 2, 1)
        self.head = nn.Linear(4, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        logits: Tensor = self.head((self.short(x) + self.long(self.relu(self.norm(x)))).mean((2, 3)))
        return logits


def test_a_map_that_is_handed_on_as_it_is_too_is_the_stage() -> None:
    assert stage_names(Network(PreActivated(), GREY)) == ["stem", "long"]


class Bottleneck(nn.Module):
    """Begins with a 1x1 convolution at the size of what it is given, and halves it."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.narrow, self.wide = nn.Conv2d(channels, 2, 1), nn.Conv2d(2, channels, 3, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.wide(self.narrow(x))
        return out


def test_a_convolution_with_which_a_block_begins_that_halves_its_map_ends_no_stage() -> None:
    stem = nn.Sequential(nn.Conv2d(1, 4, 1), nn.ReLU())
    whole = nn.Sequential(nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 1))
    deep = nn.Sequential(stem, whole, nn.Sequential(Bottleneck(4)), nn.Sequential(Bottleneck(4)), nn.Flatten(), nn.Linear(16, 5))
    assert stage_names(Network(deep, GREY)) == ["1", "2", "3"]
    shallow = nn.Sequential(stem, nn.Sequential(Bottleneck(4)), nn.Conv2d(4, 4, 1), nn.Flatten(), nn.Linear(64, 5))
    assert stage_names(Network(shallow, GREY)) == ["0", "1"]


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("resnet50", ["stages.0", "stages.1", "stages.2", "stages"]),
        ("mobilenetv2_half", ["stages.1", "stages.2", "stages.4", "stages"]),
        ("shufflenetv1", ["stem", "stages.0", "stages.1", "stages"]),
        ("shufflenetv2", ["stem", "stages.0", "stages.1", "stages"]),
    ],
)
def test_the_stages_of_networks_of_many_small_convolutions_are_whole(name: str, wanted: list[str]) -> None:
    assert stage_names(Network(getattr(zoo, name)(), Spec(shape=(3, 32, 32), classes=10))) == wanted


def test_looking_leaves_modes_statistics_gradients_and_hooks_as_they_were() -> None:
    network = Network(BNNet(), GREY).train()
    network.model.get_submodule("bn2").eval()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    classifier_name(network)
    stage_names(network)
    assert network.model.get_submodule("bn1").training
    assert not network.model.get_submodule("bn2").training
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in network.modules())
    assert not Teacher(BNNet(), GREY).training


def test_hooks_are_gone_and_modes_back_when_the_model_can_not_take_the_image() -> None:
    network = Network(BNNet(channels=2), GREY).train()
    with pytest.raises(RuntimeError):
        stage_names(network)
    assert network.training
    assert not any(module._forward_hooks for module in network.modules())


class Spelled(nn.Module):
    """Two convolutions, norms, ReLUs and a pool; the ReLUs are modules, one module, a function, or a function that overwrites."""

    def __init__(self, spelling: str) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(1, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4)
        self.conv2, self.bn2 = nn.Conv2d(4, 6, 3, 2, 1, bias=False), nn.BatchNorm2d(6)
        self.pool, self.head = nn.AdaptiveAvgPool2d(1), nn.Linear(6, 5)
        one = nn.ReLU(inplace=spelling == "one, in place")
        functions: dict[str, Callable[[Tensor], Tensor]] = {"function": torch.relu, "function in place": torch.relu_}
        self.relu1 = functions.get(spelling, one)
        self.relu2 = functions.get(spelling, nn.ReLU() if spelling == "modules" else one)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu1(self.bn1(self.conv1(x)))
        x = self.relu2(self.bn2(self.conv2(x)))
        logits: Tensor = self.head(self.pool(x).flatten(1))
        return logits


@pytest.mark.parametrize("spelling", ["one", "one, in place", "function", "function in place"])
def test_a_network_that_spells_its_activations_otherwise_has_the_same_features(spelling: str) -> None:
    torch.manual_seed(0)
    plain, other = Network(Spelled("modules"), GREY).eval(), Network(Spelled(spelling), GREY).eval()
    for norm in (plain.model.get_submodule("bn1"), plain.model.get_submodule("bn2")):
        nn.init.normal_(norm.get_parameter("bias"))
    other.model.load_state_dict(plain.model.state_dict())
    images = torch.rand(4, 1, 8, 8)
    assert torch.equal(plain(images), other(images))
    for found in ([stages(each) for each in (plain, other)], [before_relu(each, stages(each)) for each in (plain, other)]):
        taps = [[layer.name for layer in each] for each in found]
        with Probe(plain, taps=taps[0]) as ask, Probe(other, taps=taps[1]) as look:
            one, two = ask(images).features, look(images).features
        for theirs, ours in zip(*taps, strict=True):
            assert torch.equal(one[theirs], two[ours]), (theirs, ours)


class Sums(nn.Module):
    """A residual sum without a block around it, and a branch beside another of the same shape."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.conv, self.bn = nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.down, self.beside, self.head = nn.Conv2d(4, 4, 3, 2, 1), nn.Conv2d(4, 4, 3, 2, 1), nn.Linear(4, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = torch.relu(x + self.bn(self.conv(x)))
        logits: Tensor = self.head((self.down(x) + self.beside(x)).mean((2, 3)))
        return logits


def test_a_sum_is_no_activation_and_another_branch_does_not_stand_behind_the_first() -> None:
    network = Network(Sums(), GREY).eval()
    assert stage_names(network) == ["down:in", "beside"]
    assert [layer.name for layer in before_relu(network, stages(network))] == ["down:in", "beside"]
