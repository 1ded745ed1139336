"""AlexNet for 32x32 images against its layer table."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tacit.core.network import count_parameters
from tacit.core.probe import Probe
from tacit.zoo import alexnet, alexnet_half

TABLE = ((48, 5), (128, 5), (192, 3), (192, 3), (128, 3))


@pytest.mark.parametrize("half", [False, True])
def test_the_number_of_parameters_is_that_of_the_table(half: bool) -> None:
    total, inputs = 0, 3
    for width, kernel in TABLE:
        width //= 1 + half
        total, inputs = total + (inputs * kernel**2 + 1) * width + 2 * width, width
    inputs *= 9
    for width in (512, 256):
        width //= 1 + half
        total, inputs = total + (inputs + 1) * width + 2 * width, width
    model = alexnet_half() if half else alexnet()
    assert count_parameters(model) == count_parameters(alexnet(half=half)) == total + (inputs + 1) * 10


def response_norm(x: Tensor) -> Tensor:
    """The local response normalisation that the authors used, channel by channel: radius 2, alpha 1e-4, beta 0.75, bias 1."""
    channels = x.shape[1]
    sums = [x[:, max(c - 2, 0) : min(c + 3, channels)].square().sum(dim=1) for c in range(channels)]
    return x / (1 + 1e-4 * torch.stack(sums, dim=1)) ** 0.75


def test_the_network_is_the_authors_layers_in_their_order() -> None:
    torch.manual_seed(0)
    model, x = alexnet_half().eval(), 30 * torch.randn(3, 3, 32, 32)
    convolutions = [m for m in model.modules() if isinstance(m, nn.Conv2d)]
    linears = [m for m in model.modules() if isinstance(m, nn.Linear)]
    norms = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    for norm in norms:
        nn.init.normal_(norm.weight)  # where it is negative, BN and max pool do not commute
        nn.init.normal_(norm.bias)
    images = x
    for number, (convolution, norm) in enumerate(zip(convolutions, norms[:5], strict=True)):
        x = convolution(x).relu()
        x = response_norm(x) if number < 2 else x
        x = F.max_pool2d(x, 3, 2) if number in (0, 1, 4) else x
        x = norm(x)
    assert x.shape[1:] == (64, 3, 3)
    x = x.flatten(1)
    for linear, norm in zip(linears[:2], norms[5:], strict=True):
        x = norm(linear(x).relu())
    torch.testing.assert_close(model(images), linears[2](x))


def test_units_are_dropped_in_training_alone() -> None:
    model = alexnet()
    assert [m.p for m in model.modules() if isinstance(m, nn.Dropout)] == [0.5, 0.5]
    images = torch.rand(2, 3, 32, 32)
    assert not torch.equal(model.train()(images), model(images))
    assert torch.equal(model.eval()(images), model(images))


def test_features_can_be_tapped_where_the_docstring_says() -> None:
    with Probe(alexnet().eval(), taps=("stages.0", "stages.1", "stages.2", "hidden")) as look:
        features = look(torch.rand(2, 3, 32, 32)).features
    assert [tuple(value.shape[1:]) for value in features.values()] == [(48, 32, 32), (128, 15, 15), (128, 7, 7), (256,)]


def test_the_smallest_images_are_15_by_15() -> None:
    assert alexnet().eval()(torch.rand(1, 3, 15, 15)).shape == (1, 10)
