"""MobileNetV2 against its table."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from tacit.core.errors import InputError
from tacit.core.network import count_parameters
from tacit.core.probe import Probe
from tacit.zoo import mobilenetv2


def test_the_parameters_are_those_of_table_2() -> None:
    """3.4 million with 1,000 classes (table 4), of which torchvision counts 3,504,872; strides change none of them."""
    with torch.device("meta"):
        assert count_parameters(mobilenetv2(classes=1000)) == 3_504_872
        assert count_parameters(mobilenetv2(classes=1000, strides=(1,) * 7)) == 3_504_872


def test_a_narrower_one_has_channels_in_multiples_of_eight() -> None:
    with torch.device("meta"):
        model = mobilenetv2(width=0.35)
    stages = [stage[-1].layers[-1].num_features for stage in model.stages]  # type: ignore[index]
    assert stages == [8, 8, 16, 24, 32, 56, 112]
    assert model.classifier.in_features == 1280, "the last convolution is not narrowed"


def test_blocks_of_one_shape_add_what_they_are_given() -> None:
    model = mobilenetv2(width=0.35).eval()
    taps = ("stages.1.0", "stages.1.1", "stages.1.1.layers")
    with Probe(model, taps=taps) as look, torch.no_grad():
        found = look(torch.rand(2, 3, 32, 32)).features
    assert torch.equal(found["stages.1.1"], found["stages.1.0"] + found["stages.1.1.layers"])


@pytest.mark.parametrize(
    ("strides", "sizes"), [((1, 1, 2, 2, 1, 2, 1), [32, 32, 16, 8, 8, 4, 4]), ((1, 2, 2, 2, 1, 1, 1), [32, 16, 8, 4, 4, 4, 4])]
)
def test_maps_shrink_by_the_strides(strides: tuple[int, ...], sizes: list[int]) -> None:
    with Probe(mobilenetv2(width=0.35, strides=strides).eval(), taps=[f"stages.{number}" for number in range(7)]) as look:
        assert [value.shape[-1] for value in look(torch.rand(1, 3, 32, 32)).features.values()] == sizes


def test_depthwise_convolutions_are_followed_by_relu6_and_the_last_of_a_block_is_linear() -> None:
    block = mobilenetv2(width=0.35).stages[2][0]  # type: ignore[index]
    kinds = [type(layer) for layer in block.layers]
    assert kinds == [nn.Conv2d, nn.BatchNorm2d, nn.ReLU6] * 2 + [nn.Conv2d, nn.BatchNorm2d]
    assert block.layers[3].groups == block.layers[3].in_channels


def test_strides_must_be_seven() -> None:
    with pytest.raises(InputError, match="strides: expected 7, one a stage"):
        mobilenetv2(strides=(1, 2))
