"""Wide residual networks against the tables of their paper."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from tacit.core.errors import InputError
from tacit.core.network import count_parameters
from tacit.core.probe import Probe
from tacit.zoo import WideResNet, wrn, wrn16_1, wrn16_2, wrn40_1, wrn40_2


@pytest.mark.parametrize(
    ("depth", "widen", "millions"), [(40, 1, 0.6), (40, 2, 2.2), (40, 4, 8.9), (40, 8, 35.7), (28, 10, 36.5), (22, 8, 17.2), (16, 8, 11.0)]
)
def test_the_number_of_parameters_is_that_of_the_paper(depth: int, widen: int, millions: float) -> None:
    with torch.device("meta"):
        assert count_parameters(wrn(depth, widen)) / 1e6 == pytest.approx(millions, abs=0.051)


@pytest.mark.parametrize(("model", "channels"), [(wrn40_2(), 2704), (wrn16_2(), 912), (wrn40_1(), 1360), (wrn16_1(), 464)])
def test_the_inputs_of_all_batch_norms_have_as_many_channels(model: WideResNet, channels: int) -> None:
    assert sum(m.num_features for m in model.modules() if isinstance(m, nn.BatchNorm2d)) == channels


@pytest.mark.parametrize("depth", [10, 16, 40])
def test_the_depth_counts_convolutions_with_the_three_shortcuts(depth: int) -> None:
    convolutions = [name for name, m in wrn(depth, 2).named_modules() if isinstance(m, nn.Conv2d)]
    assert len(convolutions) == depth
    assert sum("shortcut" in name for name in convolutions) == 3


@pytest.mark.parametrize("depth", [4, 9, 20, -2])
def test_another_depth_is_refused(depth: int) -> None:
    with pytest.raises(InputError, match=rf"depth: expected 6n \+ 4 .*got {depth}"):
        wrn(depth)


def test_a_network_without_width_is_refused() -> None:
    with pytest.raises(InputError, match="widen: expected 1 or more, got 0"):
        wrn(16, 0)


def test_a_block_adds_to_an_untouched_input_where_the_shape_stays() -> None:
    model, x = wrn16_2().eval(), torch.randn(2, 64, 8, 8)
    nn.init.zeros_(model.get_parameter("stages.1.1.conv2.weight"))
    assert torch.equal(model.get_submodule("stages.1.1")(x), x)


def test_a_block_projects_the_activated_input_where_the_shape_changes() -> None:
    model, x = wrn16_2().eval(), torch.randn(2, 32, 8, 8)
    nn.init.zeros_(model.get_parameter("stages.1.0.conv2.weight"))
    norm, shortcut = model.get_submodule("stages.1.0.bn1"), model.get_submodule("stages.1.0.shortcut")
    made = model.get_submodule("stages.1.0")(x)
    torch.testing.assert_close(made, shortcut(norm(x).relu()))
    assert made.shape == (2, 64, 4, 4)


def test_features_can_be_tapped_where_the_docstring_says() -> None:
    with Probe(wrn16_2().eval(), taps=("stages.0", "stages.1", "stages.2", "pool")) as look:
        features = look(torch.rand(2, 3, 32, 32)).features
    assert [tuple(value.shape[1:]) for value in features.values()] == [(32, 32, 32), (64, 16, 16), (128, 8, 8), (128,)]
    assert bool((features["stages.2"] < 0).any())
    assert bool((features["pool"] >= 0).all())
