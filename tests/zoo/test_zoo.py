"""What holds for every network of the zoo."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from tacit import zoo
from tacit.core.models import load, save
from tacit.core.network import Network, Origin, count_parameters
from tacit.core.probe import Probe
from tacit.core.spec import Spec

FIXED = {"fednet", "fednet_celeba"}
"""Made for images of one size, which is told when they are made; see test_fednet.py."""
DENSE = {"deeplab", "lite_segmenter"}
"""Name a class for every pixel; see test_deeplab.py."""
FACTORIES: dict[str, Callable[..., nn.Module]] = {
    name: getattr(zoo, name) for name in zoo.__all__ if inspect.isfunction(getattr(zoo, name)) and name not in FIXED | DENSE
}
GREY = {"fednet", "lenet5", "lenet5_half"}
LARGE = {
    "mobilenetv2",
    "mobilenetv2_half",
    "resnet110",
    "resnet18",
    "resnet32x4",
    "resnet34",
    "resnet50",
    "resnet56",
    "resnet8x4",
    "shufflenetv1",
    "shufflenetv2",
    "vgg11",
    "vgg13",
    "vgg8",
    "wrn40_2",
}
MOBILE = {"mobilenetv2", "mobilenetv2_half"}
"""Trained on smaller batches and images below, for the time it takes."""
ANY_SIZE = sorted(FACTORIES.keys() - GREY)
PUBLISHED = {
    "resnet18": 11_173_962,
    "resnet34": 21_282_122,
    "wrn16_1": 0.17e6,
    "wrn16_2": 0.69e6,
    "wrn40_1": 0.56e6,
    "wrn40_2": 2.24e6,
}


def channels_of(name: str) -> int:
    return 1 if name in GREY else 3


def test_the_names_that_recipes_use_are_there() -> None:
    asked = "lenet5 lenet5_half alexnet alexnet_half vgg11 wrn wrn16_1 wrn16_2 wrn40_1 wrn40_2"
    asked += " mobilenetv2 resnet resnet8 resnet20 resnet56 resnet18 resnet34"
    asked += " resnet14 resnet32 resnet110 resnet8x4 resnet32x4 resnet50 vgg8 vgg13 mobilenetv2_half shufflenetv1 shufflenetv2"
    assert set(asked.split()) == FACTORIES.keys()


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_number_of_parameters_is_the_published_one(name: str) -> None:
    with torch.device("meta"):
        count = count_parameters(FACTORIES[name]())
    assert 0 <= count - PUBLISHED[name] < (10_000 if name.startswith("wrn") else 1)


def test_the_table_of_the_guide_has_every_network_and_its_parameters() -> None:
    text = (Path(__file__).parents[2] / "docs" / "own-model.md").read_text(encoding="utf-8")
    rows = {name: int(count.replace(",", "")) for name, count in re.findall(r"^\| `(\w+)` \| ([\d,]+) \|", text, re.MULTILINE)}
    assert rows.keys() == FACTORIES.keys() - {"resnet", "wrn"} | FIXED
    for name, count in rows.items():
        with torch.device("meta"):
            assert count_parameters(getattr(zoo, name)(classes=10, channels=channels_of(name))) == count, name


@pytest.mark.parametrize("name", FACTORIES)
def test_any_number_of_classes_and_channels_is_taken(name: str) -> None:
    for channels, classes, side in ((1, 7, 28), (4, 3, 32)):
        spec = Spec(shape=(channels, side, side), classes=classes)
        Network(FACTORIES[name](classes=classes, channels=channels), spec).check()


@pytest.mark.parametrize("name", ANY_SIZE)
@pytest.mark.parametrize("shape", [(3, 64, 64), (3, 40, 28)])
def test_larger_images_and_those_that_are_not_square_are_taken(name: str, shape: tuple[int, int, int]) -> None:
    model = FACTORIES[name](classes=200)
    assert Network(model, Spec(shape=shape, classes=200)).check().model is model


@pytest.mark.parametrize("name", FACTORIES)
def test_the_classifier_is_linear_and_its_input_the_penultimate_feature(name: str) -> None:
    model = FACTORIES[name](classes=6).eval()
    seen: list[torch.Tensor] = []
    classifier = model.get_submodule("classifier")
    assert isinstance(classifier, nn.Linear)
    classifier.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    logits = model(torch.rand(2, channels_of(name), 32, 32))
    assert seen[0].shape == (2, classifier.in_features)
    torch.testing.assert_close(logits, seen[0] @ classifier.weight.T + classifier.bias)
    assert list(model.named_modules())[-1][0] == "classifier"


@pytest.mark.parametrize("name", FACTORIES)
def test_a_stage_has_one_feature_map_and_stages_get_smaller(name: str) -> None:
    model = FACTORIES[name]().eval()
    taps = [f"stages.{number}" for number in range(len(list(model.get_submodule("stages").children())))]
    side = 64 if name.startswith("vgg") else 32
    with Probe(model, taps=taps) as look:
        maps = look(torch.rand(1, channels_of(name), side, side)).features
    sides = [maps[tap].shape[-1] for tap in taps]
    assert len(taps) >= 3
    assert sides == sorted(sides if name in MOBILE else set(sides), reverse=True)  # whose stages differ in more than size


@pytest.mark.parametrize("name", FACTORIES)
def test_two_steps_of_training_lower_the_loss(name: str) -> None:
    torch.manual_seed(0)
    number, side = (8, 16) if name in LARGE else (16, 32)
    model, images = FACTORIES[name](), torch.randn(number, channels_of(name), side, side)
    labels = torch.arange(number) % 10
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    losses = []
    for _ in range(3):
        torch.manual_seed(1)  # the same units are dropped each time
        loss = F.cross_entropy(model.train()(images), labels)
        losses.append(float(loss.detach()))
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        assert all(p.grad is not None and bool(p.grad.abs().sum() > 0) for key, p in model.named_parameters() if key.endswith("weight"))
        optimizer.step()
    assert losses[0] > losses[1] > losses[2]


@pytest.mark.parametrize("name", FACTORIES)
def test_a_saved_folder_builds_the_same_network(name: str, tmp_path: Path) -> None:
    kwargs = {"classes": 4, "channels": 2}
    spec = Spec(shape=(2, 32, 32), classes=4)
    network = Network(FACTORIES[name](**kwargs).eval(), spec, origin=Origin(factory=f"tacit.zoo:{name}", kwargs=kwargs))
    save(network, tmp_path)
    again, images = load(tmp_path).eval(), torch.rand(2, *spec.shape)
    assert torch.equal(again(images), network(images))
