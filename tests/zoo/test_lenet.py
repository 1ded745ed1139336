"""LeNet-5 against the counts that its layers give, and the size it takes."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from tacit.core.errors import InputError
from tacit.core.network import Network, count_parameters
from tacit.core.probe import Probe
from tacit.core.spec import Spec
from tacit.zoo import lenet5, lenet5_half


@pytest.mark.parametrize(("half", "widths"), [(False, (6, 16, 120, 84)), (True, (3, 8, 60, 42))])
def test_the_widths_are_those_of_the_papers(half: bool, widths: tuple[int, ...]) -> None:
    layers = [m for m in lenet5(half=half).modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    assert tuple(layer.weight.shape[0] for layer in layers) == (*widths, 10)


def test_the_number_of_parameters_is_that_of_full_connections() -> None:
    full = (25 + 1) * 6 + (25 * 6 + 1) * 16 + (25 * 16 + 1) * 120 + (120 + 1) * 84 + (84 + 1) * 10
    assert count_parameters(lenet5()) == full == 61_706
    assert count_parameters(lenet5_half()) == count_parameters(lenet5(half=True)) == 15_738


def test_there_is_no_batch_norm() -> None:
    assert not any(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in lenet5().modules())


def test_the_network_is_its_layers_one_by_one() -> None:
    torch.manual_seed(0)
    model, images = lenet5().eval(), torch.randn(3, 1, 32, 32)
    weights = list(model.parameters())
    x = F.max_pool2d(F.conv2d(images, weights[0], weights[1]).relu(), 2)
    x = F.max_pool2d(F.conv2d(x, weights[2], weights[3]).relu(), 2)
    x = F.conv2d(x, weights[4], weights[5]).relu().flatten(1)
    x = F.linear(F.linear(x, weights[6], weights[7]).relu(), weights[8], weights[9])
    torch.testing.assert_close(model(images), x)


@pytest.mark.parametrize(("height", "width"), [(28, 28), (32, 27), (8, 8)])
def test_smaller_images_are_stretched(height: int, width: int) -> None:
    model = lenet5()
    flat = torch.tensor([-0.4, 2.8]).view(2, 1, 1, 1)
    torch.testing.assert_close(model(flat.expand(2, 1, height, width)), model(flat.expand(2, 1, 32, 32)))
    stripes = torch.arange(8.0).repeat_interleave(4).expand(1, 1, 32, 32)
    narrow = torch.arange(8.0).expand(1, 1, 8, 8)
    wide = F.interpolate(narrow, (32, 32), mode="bilinear", align_corners=False)
    assert float((wide - stripes).abs().max()) < 0.5
    torch.testing.assert_close(model(narrow), model(wide))


def test_larger_images_are_refused_before_any_work() -> None:
    with pytest.raises(InputError, match="up to 32x32, got 33x20"):
        Network(lenet5(), Spec(shape=(1, 33, 20), classes=10)).check()


def test_features_can_be_tapped_where_the_docstring_says() -> None:
    with Probe(lenet5_half().eval(), taps=("stages.0", "stages.1", "stages.2", "hidden")) as look:
        features = look(torch.rand(2, 1, 28, 28)).features
    assert [tuple(value.shape[1:]) for value in features.values()] == [(3, 28, 28), (8, 10, 10), (60, 1, 1), (42,)]
