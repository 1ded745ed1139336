"""FedNet: made for images of one size, of which it says in one line what it can't take."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tacit.core.errors import InputError
from tacit.core.models import load, save
from tacit.core.network import Network, Origin
from tacit.core.spec import Spec
from tacit.zoo import fednet, fednet_celeba


@pytest.mark.parametrize("side", [8, 9, 15, 28, 32])
def test_any_side_can_be_told(side: int) -> None:
    spec = Spec(shape=(2, side, side), classes=5)
    assert Network(fednet(classes=5, channels=2, side=side), spec).check()


@pytest.mark.parametrize("side", [64, 84, 96])
def test_faces_of_several_sizes(side: int) -> None:
    assert Network(fednet_celeba(side=side), Spec(shape=(3, side, side), classes=2)).check()


def test_images_of_another_size_are_refused_before_any_work() -> None:
    with pytest.raises(InputError, match=r"FedNet can't take images of shape \[1, 32, 32\]"):
        Network(fednet(), Spec(shape=(1, 32, 32), classes=10)).check()


def test_nothing_stands_between_the_two_linear_layers() -> None:
    network = fednet(side=8).eval()
    images = torch.rand(3, 1, 8, 8)
    assert torch.equal(network(images), network.classifier(network.encode(network.stages(images))))
    assert bool((network.encode(network.stages(images)) < 0).any())


def test_a_saved_folder_builds_the_same_network(tmp_path: Path) -> None:
    kwargs = {"classes": 4, "channels": 2, "side": 12}
    network = Network(fednet(**kwargs).eval(), Spec(shape=(2, 12, 12), classes=4), origin=Origin(factory="tacit.zoo:fednet", kwargs=kwargs))
    save(network, tmp_path)
    images = torch.rand(2, 2, 12, 12)
    assert torch.equal(load(tmp_path).eval()(images), network(images))
