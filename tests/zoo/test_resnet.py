"""The reference network against the table of its paper."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from tacit.core.errors import InputError
from tacit.core.network import Network, Spec, count_parameters, work_per_image
from tacit.core.probe import Probe
from tacit.zoo import ResNet, resnet


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


@pytest.mark.parametrize(("shape", "stages"), [((1, 28, 28), 3), ((3, 48, 40), 4), ((2, 7, 9), 1), ((1, 1, 1), 3)])
def test_images_of_any_size_are_taken(shape: tuple[int, int, int], stages: int) -> None:
    model = ResNet(8, 5, shape[0], 4, stages)
    assert Network(model, Spec(shape=shape, classes=5)).check().model is model
    assert model.classifier.in_features == 4 * 2 ** (stages - 1)


def test_features_can_be_tapped_where_the_docstring_says() -> None:
    with Probe(Network(resnet(8, width=4).eval(), Spec(shape=(3, 16, 12), classes=10)), taps=("stem", "stages.1", "pool")) as look:
        features = look(torch.rand(2, 3, 16, 12)).features
    assert {name: tuple(value.shape[1:]) for name, value in features.items()} == {"stem": (4, 16, 12), "stages.1": (8, 8, 6), "pool": (16,)}
