"""FedGen's networks have the published sizes; the generator's draws and weights follow from its own source."""

from __future__ import annotations

import pytest
import torch

from tacit.core.network import count_parameters
from tacit.federate.generator import LatentGenerator
from tacit.zoo import FedNet, fednet, fednet_celeba


@pytest.mark.parametrize(
    ("network", "shape", "parameters", "head"),
    [
        (fednet(), (1, 28, 28), 26_434, 330),
        (fednet(classes=26), (1, 28, 28), 26_962, 858),
        (fednet_celeba(), (3, 84, 84), 25_954, 66),
        (fednet(side=8), (1, 8, 8), 3_394, 330),
    ],
)
def test_the_classifier_has_the_published_parameters(network: FedNet, shape: tuple[int, int, int], parameters: int, head: int) -> None:
    assert count_parameters(network) == parameters
    assert count_parameters(network.classifier) == head
    assert network.encode.out_features == 32
    assert network(torch.rand(2, *shape)).shape == (2, network.classifier.out_features)


@pytest.mark.parametrize(("classes", "hidden", "parameters"), [(10, 256, 19_744), (26, 256, 23_840), (2, 128, 8_864)])
def test_the_generator_has_the_published_parameters(classes: int, hidden: int, parameters: int) -> None:
    assert count_parameters(LatentGenerator(classes, (32,), noise=32, hidden=hidden)) == parameters


def test_an_embedding_takes_the_place_of_the_one_hot_class() -> None:
    generator = LatentGenerator(10, (32,), embedding=True)
    assert count_parameters(generator) == 10 * 32 + (64 * 256 + 256) + 512 + (256 * 32 + 32)


@pytest.mark.parametrize("embedding", [False, True])
def test_features_depend_on_noise_and_class(embedding: bool) -> None:
    generator = LatentGenerator(3, (4, 2, 2), noise=5, hidden=7, embedding=embedding)
    generator.initialise(torch.Generator().manual_seed(0))
    generator.eval()
    noise = generator.draw(6, torch.Generator().manual_seed(1))
    one, other = (generator(noise, torch.full((6,), label)) for label in (0, 2))
    assert one.shape == (6, 4, 2, 2)
    assert not torch.allclose(one, other)
    assert not torch.allclose(one[0], one[1])


def test_weights_and_draws_follow_from_the_source() -> None:
    made: list[torch.Tensor] = []
    for seed in (0, 0, 1):
        torch.manual_seed(len(made))  # which must not matter
        generator = LatentGenerator(3, (4,), noise=5, hidden=7, embedding=True)
        generator.initialise(torch.Generator().manual_seed(seed))
        made.append(torch.cat([parameter.detach().flatten() for parameter in generator.parameters()]))
    assert torch.equal(made[0], made[1])
    assert not torch.equal(made[0], made[2])
    uniform, normal = (
        LatentGenerator(3, (4,), noise=200, prior=prior).draw(200, torch.Generator().manual_seed(0)) for prior in ("uniform", "normal")
    )
    assert float(uniform.min()) >= 0
    assert float(uniform.max()) < 1
    assert float(normal.min()) < -3
    assert abs(float(normal.std()) - 1) < 0.02
