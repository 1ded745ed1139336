"""The linear probe: what can be read from a layer, and what can't; the network stays as it is."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from tacit.core.device import Runtime
from tacit.core.errors import InputError
from tacit.core.network import Network
from tacit.core.spec import Spec
from tacit.data import ImageSet, digits
from tacit.evaluate.probe import few, linear_probe

SPEC = Spec(shape=(1, 4, 4), classes=3)


class Half(nn.Module):
    """Its first layer hands the left half of the image on, and nothing of the right one."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.norm, self.head = nn.Flatten(), nn.BatchNorm1d(8), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.norm(self.left(x[..., :2])))
        return logits


def striped(count: int, side: int, seed: int) -> ImageSet:
    """Return noise with a bright pixel in one of two places of the left (0) or the right half (2)."""
    draw = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 60, (count, 1, 4, 4), generator=draw, dtype=torch.uint8)
    labels = torch.randint(2, (count,), generator=draw)
    images[torch.arange(count), 0, labels, side] = 255
    return ImageSet(images, labels)


def test_what_a_layer_hands_on_can_be_read_and_what_it_drops_cannot(runtime: Runtime) -> None:
    network = Network(Half(), SPEC)
    seen, lost = (
        linear_probe(network, striped(200, side, 0).batches(64), striped(100, side, 1).batches(64), runtime, tap="left") for side in (0, 2)
    )
    assert seen.accuracy == 1.0
    assert lost.accuracy < 0.7
    assert (seen.images, seen.held) == (200, 100)


def test_the_network_and_its_batch_norm_stay_as_they_are(runtime: Runtime) -> None:
    network = Network(Half(), SPEC).train()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    linear_probe(network, striped(60, 0, 0).batches(64), striped(20, 0, 1).batches(64), runtime)
    assert network.training
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())


def test_few_labels_are_as_many_of_each_class_and_the_same_for_a_seed() -> None:
    labels = torch.tensor([0] * 30 + [1] * 5 + [4] * 2)
    rows = few(labels, 3, seed=0)
    assert labels[rows].tolist() == [0, 0, 0, 1, 1, 1, 4, 4]
    assert torch.equal(rows, few(labels, 3, seed=0))
    assert not torch.equal(rows, few(labels, 3, seed=1))


def test_more_labels_teach_more(teacher_network: Network, runtime: Runtime) -> None:
    train, held = digits("train"), digits("test")
    found = [
        linear_probe(teacher_network, train.batches(256), held.batches(256), runtime, tap="stages.0", each=each).accuracy
        for each in (2, 50)
    ]
    assert found[0] + 0.05 < found[1] <= 1


def test_a_probe_says_whether_it_was_found(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    def probed() -> bool:
        return linear_probe(Network(Half(), SPEC), striped(60, 0, 0).batches(64), striped(20, 0, 1).batches(64), runtime).converged

    assert probed()
    monkeypatch.setattr("tacit.evaluate.probe.STEPS", 1)
    assert not probed()


def test_a_stronger_penalty_reads_less(teacher_network: Network, runtime: Runtime) -> None:
    train, held = digits("train"), digits("test")
    found = [linear_probe(teacher_network, train.batches(256), held.batches(256), runtime, strength=strength) for strength in (1e-7, 1.0)]
    assert found[0].accuracy < found[1].accuracy


def test_one_class_teaches_nothing(runtime: Runtime) -> None:
    one = ImageSet(torch.zeros(4, 1, 4, 4, dtype=torch.uint8), torch.zeros(4, dtype=torch.long))
    with pytest.raises(InputError, match="at least 2 classes"):
        linear_probe(Network(Half(), SPEC), one.batches(4), one.batches(4), runtime)
    with pytest.raises(InputError, match="no module is called 'lefft'"):
        linear_probe(Network(Half(), SPEC), striped(9, 0, 0).batches(64), striped(9, 0, 1).batches(64), runtime, tap="lefft")
