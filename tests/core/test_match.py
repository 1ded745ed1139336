"""Layers of two networks beside each other: by the size of their maps, by depth where sizes say nothing, by name."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
import yaml
from torch import Tensor, nn

from tacit import zoo
from tacit.core.errors import InputError
from tacit.core.match import layers, match, pooled, stages
from tacit.core.network import Network
from tacit.core.spec import Spec
from tacit.distill import build_objective
from tacit.losses import CRD
from tacit.zoo import resnet

SPEC = Spec(shape=(3, 32, 32), classes=10)


class Chain(nn.Module):
    """Convolutions with maps of the given sizes, then a classifier."""

    def __init__(self, *sizes: int, channels: int = 3) -> None:
        super().__init__()
        self.sizes = sizes
        self.body = nn.ModuleList(nn.Conv2d(channels, channels, 1) for _ in sizes)
        self.head = nn.Linear(channels, 10)

    def forward(self, x: Tensor) -> Tensor:
        for size, conv in zip(self.sizes, self.body, strict=True):
            x = conv(nn.functional.adaptive_avg_pool2d(x, size))
        logits: Tensor = self.head(x.mean((2, 3)))
        return logits


def names(teacher: nn.Module, student: nn.Module, student_spec: Spec = SPEC) -> list[tuple[str, str]]:
    found = match(Network(teacher, SPEC), Network(student, student_spec))
    return [(each.teacher.name, each.student.name) for each in found]


def test_stages_of_one_size_stand_beside_each_other() -> None:
    assert names(Chain(32, 16, 8, 4), Chain(16, 4)) == [("body.1", "body.0"), ("body.3", "body.1")]
    assert names(Chain(16, 4), Chain(32, 16, 8, 4)) == [("body.0", "body.1"), ("body.1", "body.3")]


@pytest.mark.parametrize(
    ("theirs", "ours", "wanted"),
    [
        ((32, 16, 8, 4), (16, 8, 4, 2), [(16, 16), (8, 8), (4, 4)]),
        ((16, 8, 4, 2), (32, 16, 8, 4), [(16, 16), (8, 8), (4, 4)]),
        ((32, 16, 4), (16, 8, 4, 2), [(16, 16), (4, 4)]),
        ((16, 8), (8, 4), [(8, 8)]),
        ((32, 16, 8), (16, 4), [(16, 16), (8, 4)]),
        ((32, 8), (16, 8), [(32, 16), (8, 8)]),
        ((32, 15, 7, 3), (32, 16, 8), [(32, 32), (15, 16), (7, 8)]),
        ((30, 14, 6), (28, 12, 5), [(30, 28), (14, 12), (6, 5)]),
        (tuple(range(32, 2, -1)), tuple(range(31, 1, -1)), [(size, size) for size in range(31, 2, -1)]),
    ],
)
def test_layers_are_left_out_of_both_for_pairs_of_one_size_and_for_nothing_else(theirs: Any, ours: Any, wanted: Any) -> None:
    found = match(Network(Chain(*theirs), SPEC), Network(Chain(*ours), SPEC))
    assert [(each.teacher.shape[1], each.student.shape[1]) for each in found] == wanted


def test_stages_of_mobilenet_at_half_width_stand_beside_those_of_vgg_of_their_size() -> None:
    found = match(Network(zoo.vgg13(), SPEC), Network(zoo.mobilenetv2_half(), SPEC))
    assert [(each.teacher.shape[1:], each.student.shape[1:]) for each in found] == [((size, size),) * 2 for size in (16, 8, 4)]


def test_sizes_are_relative_to_the_image() -> None:
    half = Spec(shape=(3, 16, 16), classes=10)
    assert names(Chain(32, 16, 8), Chain(16, 8), half) == [("body.0", "body.0"), ("body.1", "body.1")]


def test_where_no_size_is_the_same_the_nearest_in_order() -> None:
    assert names(Chain(30, 14, 6), Chain(28, 5)) == [("body.0", "body.0"), ("body.2", "body.1")]


def test_resnets_of_any_depth_match_stage_by_stage() -> None:
    found = match(Network(resnet(20, width=8), SPEC), Network(resnet(8, width=4), SPEC))
    assert [(each.teacher.shape, each.student.shape) for each in found] == [
        ((8, 32, 32), (4, 32, 32)),
        ((16, 16, 16), (8, 16, 16)),
        ((32, 8, 8), (16, 8, 8)),
    ]
    assert [each.teacher.scale for each in found] == [0.0, -1.0, -2.0]


def test_pooled_features_are_what_the_classifier_reads() -> None:
    found = pooled(Network(Chain(8, channels=3), SPEC))
    assert (found.name, found.shape, found.channels) == ("head:in", (3,), 3)


class Convolutional(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = nn.Conv2d(3, 7, 3), nn.Conv2d(7, 10, 1)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.body(x)).mean((2, 3))
        return logits


def test_maps_that_a_convolution_classifies_are_pooled() -> None:
    assert pooled(Network(Convolutional(), SPEC)).shape == (7,)


class Tokens(nn.Module):
    """Four tokens of an image, and a classifier of all of them."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens, self.head = nn.Linear(768, 6), nn.Linear(24, 10)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.tokens(x.view(len(x), 4, 768)).flatten(1))
        return logits


def test_what_is_no_map_counts_as_the_vector_that_it_is_flattened_to() -> None:
    (found,) = layers(Network(Tokens(), SPEC), ["tokens"])
    assert (found.shape, found.channels) == ((4, 6), 24) == ((4, 6), pooled(Network(Tokens(), SPEC)).channels)


def test_what_is_not_there_is_said() -> None:
    network = Network(Chain(8), SPEC)
    with pytest.raises(InputError, match=r"no module is called 'boddy.0'.*body.0"):
        layers(network, ["boddy.0"])
    network.model.add_module("spare", nn.Linear(2, 2))
    with pytest.raises(InputError, match="tap 'spare': the module is never called"):
        layers(network, ["spare"])
    flat = Network(nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 10)), SPEC)
    with pytest.raises(InputError, match="has no feature maps"):
        stages(flat)


def test_without_a_classifier_taps_can_be_named_as_the_error_says() -> None:
    model = nn.Sequential(nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 6)), nn.Bilinear(6, 6, 10))
    model.forward = lambda x: model[1](model[0](x), model[0](x))  # type: ignore[method-assign]
    network = Network(model, SPEC)
    with pytest.raises(InputError, match=r"no linear or convolution layer.*or name taps of both networks, as `(.+)`") as caught:
        pooled(network)
    (said,) = re.findall(r"as `({.+})`", str(caught.value))
    loss = build_objective([yaml.safe_load(said.replace("body", "'0'"))]).losses["crd"]
    assert isinstance(loss, CRD)
    loss.fit(network, network)
    assert loss.pairs == [("0", "0")]


def test_networks_are_left_as_they_were() -> None:
    network = Network(resnet(8, width=4), SPEC).train()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    match(network, network)
    assert network.training
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())
