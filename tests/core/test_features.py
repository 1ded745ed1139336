"""What the classifier of a network reads."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from tacit.core.device import Runtime
from tacit.core.errors import InputError
from tacit.core.features import images_by_class, penultimate, watch
from tacit.core.network import Ensemble, Network
from tacit.core.spec import VOID, Spec
from toy import BNNet, DictNet

SPEC = Spec(shape=(1, 6, 6), classes=5, mean=(0.3,), std=(0.5,))


class Convolutional(nn.Module):
    """Class maps by a 1x1 convolution, then their mean."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = nn.Conv2d(1, 7, 3), nn.Conv2d(7, 5, 1)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(torch.relu(self.body(x))).mean(dim=(2, 3))
        return logits


def images(count: int = 10) -> Tensor:
    return torch.randint(0, 256, (count, 1, 6, 6), generator=torch.Generator().manual_seed(0)).to(torch.uint8)


@pytest.mark.parametrize("size", [3, 256])
def test_features_are_the_input_of_the_classifier_in_evaluation_mode(runtime: Runtime, size: int) -> None:
    torch.manual_seed(0)
    model = BNNet().train()
    seen = watch(Network(model, SPEC), images(), runtime, size=size)
    assert model.training
    assert int(model.bn1.num_batches_tracked or 0) == 0
    with torch.no_grad():
        wanted = model.eval().features((images().float() / 255 - 0.3) / 0.5)
    assert torch.allclose(seen.features, wanted, atol=1e-6)
    assert torch.allclose(seen.logits, model.head(wanted), atol=1e-5)
    assert torch.equal(seen.labels, seen.logits.argmax(dim=1))
    assert not seen.features.requires_grad


def test_floats_are_taken_as_they_are(runtime: Runtime) -> None:
    network = Network(BNNet(), SPEC)
    assert torch.equal(penultimate(network, images(), runtime), penultimate(network, images().float().div(255), runtime))


def test_of_class_maps_the_mean_over_positions_is_taken(runtime: Runtime) -> None:
    model = Convolutional()
    seen = watch(Network(model, SPEC), images(), runtime)
    assert seen.features.shape == (10, 7)
    with torch.no_grad():
        assert torch.allclose(model.head(seen.features[:, :, None, None]).flatten(1), seen.logits, atol=1e-5)


def test_the_features_of_an_ensemble_are_those_of_all_members_side_by_side(runtime: Runtime) -> None:
    parts = [Network(BNNet(), SPEC), Network(Convolutional(), SPEC)]
    wanted = torch.cat([penultimate(part, images(), runtime) for part in parts], dim=1)
    assert wanted.shape[1] > 7
    torch.testing.assert_close(penultimate(Ensemble.of(parts), images(), runtime), wanted)
    alone = watch(Ensemble.of(parts), images(), runtime, tap="networks.1.model.head:in").features
    torch.testing.assert_close(alone, wanted[:, -7:])


def test_a_model_that_returns_a_dict_is_watched_too(runtime: Runtime) -> None:
    spec = Spec(shape=(1, 6, 6), classes=5, output="logits")
    assert penultimate(Network(DictNet(), spec), images(), runtime).shape == (10, 8)


def test_a_network_without_such_a_layer_and_no_images_are_refused(runtime: Runtime) -> None:
    with pytest.raises(InputError, match="no linear or convolution layer with 5 outputs"):
        penultimate(Network(nn.Sequential(nn.Flatten(), nn.Linear(36, 10), nn.MaxPool1d(2)), SPEC), images(), runtime)
    with pytest.raises(InputError, match="at least one image"):
        penultimate(Network(BNNet(), SPEC), images(0), runtime)


def test_images_by_class_are_those_in_which_it_is_named_somewhere() -> None:
    draw = torch.Generator().manual_seed(0)
    labels = torch.randint(5, (40,), generator=draw)
    assert images_by_class(labels, 5) == torch.bincount(labels, minlength=5).tolist()
    maps = torch.randint(5, (40, 2, 2), generator=draw).to(torch.uint8)
    maps[0], maps[1, 0] = VOID, VOID
    assert images_by_class(maps, 6) == [sum(label in image.flatten().tolist() for image in maps) for label in range(6)]
