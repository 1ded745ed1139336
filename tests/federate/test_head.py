"""Any classifier in two: the head says what the whole says, and a path round the features is found."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tacit.core.device import Runtime
from tacit.core.errors import InputError
from tacit.core.network import Network
from tacit.core.probe import Probe
from tacit.core.spec import Spec
from tacit.federate import FedGen, Split
from tacit.zoo import fednet, lenet5, resnet
from toy import BNNet, DictNet, GroupNet
from toyfed import server

SPEC = Spec(shape=(1, 8, 8), classes=10, mean=(0.5,), std=(0.3,))
IMAGES = torch.rand(5, 1, 8, 8, generator=torch.Generator().manual_seed(0))


class Tail(nn.Module):
    """A head with batch norm, an activation in place, and dropout, all in a chain."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(108, 6))
        self.head = nn.Sequential(nn.ReLU(inplace=True), nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 10))

    def forward(self, x: Tensor) -> Tensor:
        said: Tensor = self.head(self.body(x))
        return said


class Functional(Tail):
    """A head with a step that is no layer, and a parameter that no layer owns."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(2.0))

    def forward(self, x: Tensor) -> Tensor:
        return self.scale * super().forward(torch.tanh(x)).add(1)


class Round(Tail):
    """A path goes round the features."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + x.mean(dim=(1, 2, 3))[:, None]


class Gated(Tail):
    """A path goes round the features, and is silent as long as its gate is shut."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + self.gate * x.mean(dim=(1, 2, 3))[:, None]


class Dead(Tail):
    """A path goes round the features, through an activation that is shut."""

    def __init__(self) -> None:
        super().__init__()
        self.skip = nn.Conv2d(1, 10, 8)
        assert self.skip.bias is not None
        nn.init.constant_(self.skip.bias, -5)

    def forward(self, x: Tensor) -> Tensor:
        beside: Tensor = self.skip(x).relu().flatten(1)
        return super().forward(x) + beside


class Tokens(nn.Module):
    """Few maps, layer norm, and the first token."""

    def __init__(self, maps: int) -> None:
        super().__init__()
        self.encode, self.norm, self.head = nn.Conv2d(1, maps, 4, 4), nn.LayerNorm(maps), nn.Linear(maps, 10)

    def forward(self, x: Tensor) -> Tensor:
        said: Tensor = self.head(self.norm(self.encode(x).flatten(2).transpose(1, 2))[:, 0])
        return said


class Soft(nn.Module):
    """A head that begins with a softmax."""

    def __init__(self) -> None:
        super().__init__()
        self.encode, self.head = nn.Sequential(nn.Flatten(), nn.Linear(64, 32)), nn.Sequential(nn.Softmax(1), nn.Linear(32, 10))

    def forward(self, x: Tensor) -> Tensor:
        said: Tensor = self.head(self.encode(x))
        return said


class Twice(Tail):
    """The features are made twice."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + super().forward(x.flip(3))


class Deaf(Tail):
    """Calls a layer and does not listen."""

    def __init__(self) -> None:
        super().__init__()
        self.vain = nn.Linear(64, 4)

    def forward(self, x: Tensor) -> Tensor:
        self.vain(x.flatten(1))
        return super().forward(x)


def net(make: Callable[..., nn.Module], spec: Spec = SPEC, **kwargs: Any) -> Network:
    torch.manual_seed(0)
    network = Network(make(**kwargs), spec)
    for module in network.modules():  # statistics that are not 0 and 1
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d) and module.running_mean is not None and module.running_var is not None:
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2.0)
    return network.eval()


CASES: list[tuple[str, Callable[..., nn.Module], dict[str, Any], str | None, bool]] = [
    ("fednet by default", fednet, {"side": 8}, None, True),
    ("fednet after encode", fednet, {"side": 8}, "encode", True),
    ("fednet before encode", fednet, {"side": 8}, "encode:in", True),
    ("fednet's maps", fednet, {"side": 8}, "stages.3", True),
    ("resnet", resnet, {"depth": 8, "channels": 1, "width": 2}, None, True),
    ("lenet", lenet5, {}, "hidden", True),
    ("a tail with everything", Tail, {}, "body", True),
    ("steps between layers", Functional, {}, "body", False),
    ("group norm", GroupNet, {"classes": 10}, "body", False),
    ("a dict of answers", DictNet, {"classes": 10}, "head:in", True),
]


def spec_of(make: Callable[..., nn.Module]) -> Spec:
    return Spec(shape=(1, 8, 8), classes=10, mean=(0.5,), std=(0.3,), output="logits" if make is DictNet else None)


@pytest.mark.parametrize(("make", "kwargs", "at", "chained"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_the_head_says_of_features_what_the_whole_says_of_images(
    make: Callable[..., nn.Module], kwargs: dict[str, Any], at: str | None, chained: bool
) -> None:
    network = net(make, spec_of(make), **kwargs)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    split = Split(network, at)
    assert (split.chain is not None) == chained
    tap = f"{split.at}:copy"  # a head may work in place
    with Probe(network, taps=[tap]) as look:
        said = look(IMAGES)
    features = said.features[tap]
    assert tuple(features.shape[1:]) == split.shape
    kept = features.clone()
    assert torch.allclose(split.logits(features), said.logits, atol=1e-6)
    assert torch.equal(features, kept)  # also where the head's first layer works in place
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in network.modules())
    assert all(parameter.requires_grad for parameter in network.parameters())


@pytest.mark.parametrize(("make", "at", "keys"), [
    (Tail, "body", ("head.1.weight", "head.1.bias", "head.2.weight", "head.2.bias", "head.2.running_mean", "head.2.running_var",
                    "head.2.num_batches_tracked", "head.4.weight", "head.4.bias")),
    (Functional, "head.3", ("scale", "head.4.weight", "head.4.bias")),
    (BNNet, "head:in", ("head.weight", "head.bias")),
])  # fmt: skip
def test_the_heads_own_tensors_are_found(make: Callable[..., nn.Module], at: str, keys: tuple[str, ...]) -> None:
    split = Split(net(make, SPEC, **({"classes": 10} if make is BNNet else {})), at)
    assert split.keys == keys
    state = split.network.model.state_dict()
    assert tuple(split.part(state)) == keys


@pytest.mark.parametrize(("make", "at"), [(Tail, "body"), (Functional, "body")])
def test_features_that_are_not_real_teach_the_head_and_move_no_statistics(make: Callable[..., nn.Module], at: str) -> None:
    network = net(make).train()
    split = Split(network, at)
    before = {key: value.clone() for key, value in network.model.state_dict().items()}
    said = split.logits(torch.randn(16, *split.shape))
    torch.autograd.backward(said.square().sum())
    moved = {key for key, value in network.model.state_dict().items() if not torch.equal(value, before[key])}
    assert not moved, "statistics are of real features alone, of the head's norms too"
    with_gradient = {key for key, parameter in network.model.named_parameters() if parameter.grad is not None}
    assert with_gradient == {key for key in split.keys if key in dict(network.model.named_parameters())}
    assert all(module.training for module in network.modules())


@pytest.mark.parametrize(("make", "at", "together"), [(Tail, "body", True), (Functional, "body", False), (fednet, None, True)])
def test_several_heads_say_what_each_says(make: Callable[..., nn.Module], at: str | None, together: bool) -> None:
    kwargs = {"side": 8} if make is fednet else {}
    networks = []
    for seed in range(3):
        network = net(make, SPEC, **kwargs)
        torch.manual_seed(seed)
        for parameter in network.parameters():
            nn.init.normal_(parameter, std=0.5)
        networks.append(network)
    split = Split(networks[0].train(), at)
    assert split._together == together
    features = torch.randn(7, *split.shape, requires_grad=True)
    said = split.heads([network.model.state_dict() for network in networks])(features)
    own = torch.stack([Split(network, at).logits(features) for network in [network.eval() for network in networks]])
    assert said.shape == (3, 7, 10)
    assert torch.allclose(said, own, rtol=1e-4, atol=1e-5)
    (gradient,) = torch.autograd.grad(said.square().sum(), features)
    (wanted,) = torch.autograd.grad(own.square().sum(), features)
    assert torch.allclose(gradient, wanted, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("make", "at", "message"),
    [
        (Round, "body", "the logits depend on the image even where what 'body' makes is held, since another path goes round it"),
        (Gated, "body", "the logits depend on the image even where what 'body' makes is held"),
        (Dead, "body", "the logits depend on the image even where what 'body' makes is held"),
        (Twice, "body", "'body' is called 2 times in a pass, expected once"),
        (Deaf, "vain", "the logits do not depend on 'vain'"),
        (Tail, "bdy", "no module is called 'bdy'; did you mean 'body'"),
        (Tail, ":in", "no module is called ''"),
    ],
)
def test_what_is_no_split_is_refused(make: Callable[..., nn.Module], at: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Split(net(make), at)


@pytest.mark.parametrize("make", [lambda: Tokens(2), lambda: Tokens(4), lambda: Tokens(8), Soft], ids=["2", "4", "8", "softmax"])
def test_features_that_a_head_normalises_are_listened_to(make: Callable[..., nn.Module]) -> None:
    assert Split(net(make), "encode").shape


def test_heads_of_networks_alike_in_the_end_have_one_layout() -> None:
    small, large = Split(net(fednet, side=8)), Split(net(BNNet, classes=10, width=16))
    assert small.layout == large.layout
    assert small.layout != Split(net(fednet, side=8, width=16)).layout


class Tied(nn.Module):
    """Two layers of one weight, of which the second is in the head."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.last = nn.Linear(64, 64), nn.Linear(64, 64), nn.Linear(64, 10)
        self.second.weight = self.first.weight

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.last(self.second(self.first(x.flatten(1)).relu()).relu())
        return logits


def test_a_head_whose_weights_are_tied_is_refused() -> None:
    for at in ("first", "first:in"):
        with pytest.raises(InputError, match=r"head: '(first|second).weight' is tied to '(first|second).weight', .*split behind these"):
            Split(net(Tied), at)
    assert Split(net(Tied), "second").keys == ("last.weight", "last.bias")


def test_a_server_is_not_asked_to_use_heads_whose_statistics_stay_at_the_clients(runtime: Runtime) -> None:
    with pytest.raises(InputError, match=r"FedGen.bn: local leaves head.2.running_mean to each client, .*leave `bn` out, or split behind"):
        server(FedGen(head="body", bn="local"), runtime, networks=[net(Tail)])
    server(FedGen(head="head.3", bn="local"), runtime, networks=[net(Tail)])
