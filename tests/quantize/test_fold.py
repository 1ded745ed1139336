"""Folding keeps the function of networks that hold, call and read their modules in unusual ways."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tacit.core.network import Network
from tacit.core.spec import Spec
from tacit.quantize.equalise import equalise
from tacit.quantize.fold import Folded, fold_and_remember, links

IMAGES = torch.rand(5, 1, 8, 8, generator=torch.Generator().manual_seed(1))


class Block(nn.Module):
    """conv-norm-relu, more by the subclasses, and a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.bn = nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.second, self.bn2 = nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.head = nn.Linear(4, 3)

    def features(self, x: Tensor) -> Tensor:
        out: Tensor = self.bn(self.conv(x)).relu()
        return out

    def forward(self, x: Tensor) -> Any:
        logits: Tensor = self.head(torch.relu(self.bn2(self.second(self.features(x)))).mean((2, 3)))
        return logits


class TwoNames(Block):
    """The norm is there as `bn` and inside `body`, which calls it."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(self.conv, self.bn, nn.ReLU())

    def features(self, x: Tensor) -> Tensor:
        out: Tensor = self.body(x)
        return out


class Twice(Block):
    """The norm is called behind the convolution, and behind a sum."""

    def features(self, x: Tensor) -> Tensor:
        out: Tensor = self.bn(self.conv(x)).relu()
        return torch.relu(self.bn(out + 0.5 * out.square()))


class Hidden(Block):
    """The norm is called by way of a list, in which no other module can be put."""

    def __init__(self) -> None:
        super().__init__()
        self.steps = [self.conv, self.bn, nn.ReLU()]

    def features(self, x: Tensor) -> Tensor:
        for step in self.steps:
            x = step(x)
        return x


class ReadsMore(Block):
    """An attribute of the norm is read besides its output."""

    def features(self, x: Tensor) -> Tensor:
        return super().features(x) * self.bn.eps * 1e5


class Tied(Block):
    """Two convolutions have one weight, and each a norm of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.third, self.bn3 = nn.Conv2d(4, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.third.weight = self.conv.weight

    def features(self, x: Tensor) -> Tensor:
        out: Tensor = self.bn(self.conv(x.expand(-1, 4, -1, -1))).relu()
        return torch.relu(self.bn3(self.third(out)))


class Penalised(Block):
    """A weight is read besides the convolution."""

    def features(self, x: Tensor) -> Tensor:
        return super().features(x) + self.conv.weight.mean()


class WeightNorm(Block):
    """A weight is computed from others."""

    def __init__(self) -> None:
        super().__init__()
        nn.utils.parametrizations.weight_norm(self.conv)


class Halves(Block):
    """What the first convolution makes is read by the second and by `chunk`."""

    def forward(self, x: Tensor) -> Any:
        out = self.features(x)
        means = [part.mean((2, 3)) for part in out.chunk(2, dim=1)]
        return self.head(torch.relu(self.bn2(self.second(out))).mean((2, 3)) + torch.cat(means, 1))


class ByTheBatch(Block):
    """The first norm keeps no statistics, so that it stays, between two convolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.bn = nn.BatchNorm2d(4, track_running_stats=False)


class Auxiliary(Block):
    """The logits are read by another layer, whose output is not asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.other = nn.Linear(3, 2)

    def forward(self, x: Tensor) -> Any:
        logits = super().forward(x)
        return {"logits": logits, "other": self.other(logits)}


def made(kind: type[Block]) -> Network:
    """Return a network whose norms remember something, and whose channels differ."""
    model, draw = kind(), torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        parameter.data.copy_(torch.randn(parameter.shape, generator=draw) / 2)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.weight.data.copy_(0.1 + 3 * torch.rand(4, generator=draw))
            if module.running_mean is not None and module.running_var is not None:
                module.running_mean.copy_(torch.randn(4, generator=draw))
                module.running_var.copy_(0.1 + torch.rand(4, generator=draw))
    output = "logits" if kind is Auxiliary else None
    return Network(model, Spec(shape=(1, 8, 8), classes=3, output=output)).eval()


KINDS = (TwoNames, Twice, Hidden, ReadsMore, Tied, Penalised, WeightNorm, Halves, ByTheBatch, Auxiliary)


@pytest.mark.parametrize("kind", KINDS)
def test_networks_of_any_kind_compute_the_same_folded_and_equalised(kind: type[Block]) -> None:
    network = made(kind)
    folded = fold_and_remember(network)
    wanted = network(IMAGES).detach()
    torch.testing.assert_close(folded.network(IMAGES), wanted, rtol=1e-3, atol=1e-4)
    equalise(folded)
    torch.testing.assert_close(folded.network(IMAGES), wanted, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("kind", "norms"),
    [(Block, 0), (TwoNames, 0), (Twice, 1), (Hidden, 1), (ReadsMore, 1), (Tied, 2), (ByTheBatch, 1), (Auxiliary, 0), (Halves, 0)],
)
def test_only_those_norms_stay_that_must(kind: type[Block], norms: int) -> None:
    network = made(kind)
    folded = fold_and_remember(network)
    assert sum(isinstance(module, nn.BatchNorm2d) for module in folded.network.modules()) == norms
    assert "second" in folded.outputs
    assert ("conv" in folded.outputs) == (norms == 0)


def test_no_pair_is_equalised_across_a_norm_that_stays() -> None:
    network = made(ByTheBatch)
    assert (links(network)[0].norm, links(network)[0].second) == ("bn", "second")
    folded = fold_and_remember(network)
    before = folded.network.model.get_submodule("conv").get_parameter("weight").clone()
    equalise(folded)
    assert torch.equal(folded.network.model.get_submodule("conv").get_parameter("weight"), before)


def test_a_network_that_never_answers_alike_is_not_folded() -> None:
    class Noisy(Block):
        def features(self, x: Tensor) -> Tensor:
            return super().features(x) * (1 + torch.rand(1))

    folded: Folded = fold_and_remember(made(Noisy))
    assert folded.outputs == {}
    assert sum(isinstance(module, nn.BatchNorm2d) for module in folded.network.modules()) == 2
