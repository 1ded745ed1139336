"""VGG-11 against its table."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from tacit.core.network import count_parameters
from tacit.core.probe import Probe
from tacit.zoo import vgg11

WIDTHS = (64, 128, 256, 256, 512, 512, 512, 512)


def test_the_convolutions_are_those_of_column_a() -> None:
    model = vgg11()
    convolutions = [m for m in model.modules() if isinstance(m, nn.Conv2d)]
    assert tuple(m.out_channels for m in convolutions) == WIDTHS
    weights = sum(9 * before * after for before, after in zip((3, *WIDTHS), WIDTHS, strict=False))
    assert count_parameters(model) == weights + 3 * sum(WIDTHS) + 512 * 10 + 10


def test_the_inputs_of_all_batch_norms_have_2752_channels() -> None:
    assert sum(m.num_features for m in vgg11().modules() if isinstance(m, nn.BatchNorm2d)) == 2752


@pytest.mark.parametrize(
    ("height", "width", "sizes"),
    [
        (32, 32, [(32, 32), (16, 16), (8, 8), (4, 4), (4, 4)]),
        (64, 64, [(64, 64), (32, 32), (16, 16), (8, 8), (4, 4)]),
        (48, 40, [(48, 40), (24, 20), (12, 10), (6, 5), (3, 2)]),
        (8, 3, [(8, 3), (4, 1), (4, 1), (4, 1), (4, 1)]),
    ],
)
def test_maps_are_halved_where_they_are_large_enough(height: int, width: int, sizes: list[tuple[int, int]]) -> None:
    with Probe(vgg11().eval(), taps=[f"stages.{number}" for number in range(5)]) as look:
        features = look(torch.rand(1, 3, height, width)).features
    assert [tuple(value.shape[2:]) for value in features.values()] == sizes


def test_the_penultimate_feature_is_the_mean_of_the_last_map() -> None:
    with Probe(vgg11().eval(), taps=("stages.4", "pool")) as look:
        features = look(torch.rand(2, 3, 32, 32)).features
    torch.testing.assert_close(features["pool"], features["stages.4"].mean(dim=(2, 3)))
    assert features["pool"].shape == (2, 512)
