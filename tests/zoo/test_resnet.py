"""The reference network against the table of its paper."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from tacit.core.errors import InputError
from tacit.core.network import Network, count_parameters, work_per_image
from tacit.core.probe import Probe
from tacit.core.spec import Spec
from tacit.zoo import ResNet, resnet, resnet8, resnet18, resnet20, resnet34, resnet56


@pytest.mark.parametrize(("depth", "millions"), [(20, 0.27), (32, 0.46), (44, 0.66), (56, 0.85)])
def test_the_number_of_parameters_is_that_of_table_6(depth: int, millions: float) -> None:
    model = resnet(depth)
    shortcuts = sum(p.numel() for name, p in model.named_parameters() if "shortcut" in name)
    assert (count_parameters(model) - shortcuts) / 1e6 == pytest.approx(millions, abs=0.0051)


@pytest.mark.parametrize("depth", [8, 20, 56])
def test_the_depth_counts_convolutions_and_the_classifier(depth: int) -> None:
    layers = [m for name, m in resnet(depth).named_modules() if isinstance(m, nn.Conv2d | nn.Linear) and "shortcut" not in name]
    assert len(layers) == depth


def test_the_work_of_a_resnet_20_is_41_million_multiply_adds() -> None:
    work = work_per_image(Network(resnet(20), Spec(shape=(3, 32, 32), classes=10)))
    shortcuts = 32 * 16 * 16 * 16 + 64 * 32 * 8 * 8
    assert work - shortcuts == 40_551_040


@pytest.mark.parametrize("depth", [7, 9, 2, -4, 0])
def test_another_depth_is_refused(depth: int) -> None:
    with pytest.raises(InputError, match=rf"depth: expected 6n \+ 2 .*got {depth}"):
        resnet(depth)


def test_stages_that_contradict_each_other_are_refused() -> None:
    with pytest.raises(InputError, match=r"blocks, widths: expected one number a stage in both, got \[2, 2\] and \[8\]"):
        ResNet(blocks=(2, 2), widths=(8,))
    with pytest.raises(InputError, match="stages: expected 1 or more, got 0"):
        ResNet(stages=0)


def test_stages_can_be_given_one_by_one() -> None:
    given, doubled = ResNet(classes=5, blocks=(2, 2), widths=(8, 16)), resnet(14, 5, width=8, stages=2)
    assert given.load_state_dict(doubled.state_dict())
    images = torch.rand(2, 3, 12, 10)
    assert torch.equal(given.eval()(images), doubled.eval()(images))


@pytest.mark.parametrize(("model", "depth"), [(resnet8(), 8), (resnet20(), 20), (resnet56(), 56)])
def test_the_short_names_are_the_depths(model: ResNet, depth: int) -> None:
    assert {k: v.shape for k, v in model.state_dict().items()} == {k: v.shape for k, v in resnet(depth).state_dict().items()}


@pytest.mark.parametrize(("model", "blocks", "work"), [(resnet18(), [2, 2, 2, 2], 555_422_720), (resnet34(), [3, 4, 6, 3], 1_159_402_496)])
def test_the_wide_ones_have_the_blocks_of_table_1_at_the_resolutions_of_small_images(model: ResNet, blocks: list[int], work: int) -> None:
    assert [len(list(stage.children())) for stage in model.stages.children()] == blocks
    assert work_per_image(Network(model, Spec(shape=(3, 32, 32), classes=10))) == work


def test_the_keys_of_weights_are_those_that_saved_teachers_have() -> None:
    keys = set(resnet(8).state_dict())
    assert {"stem.0.weight", "stem.1.running_mean", "stages.0.0.conv1.weight", "stages.1.0.shortcut.1.bias", "classifier.bias"} <= keys
    assert len(keys) == 56


@pytest.mark.parametrize(("shape", "stages"), [((1, 28, 28), 3), ((3, 48, 40), 4), ((2, 7, 9), 1), ((1, 1, 1), 3)])
def test_images_of_any_size_are_taken(shape: tuple[int, int, int], stages: int) -> None:
    model = ResNet(8, 5, shape[0], 4, stages)
    assert Network(model, Spec(shape=shape, classes=5)).check().model is model
    assert model.classifier.in_features == 4 * 2 ** (stages - 1)


def test_features_can_be_tapped_where_the_docstring_says() -> None:
    with Probe(Network(resnet(8, width=4).eval(), Spec(shape=(3, 16, 12), classes=10)), taps=("stem", "stages.1", "pool")) as look:
        features = look(torch.rand(2, 3, 16, 12)).features
    assert {name: tuple(value.shape[1:]) for name, value in features.items()} == {"stem": (4, 16, 12), "stages.1": (8, 8, 6), "pool": (16,)}
