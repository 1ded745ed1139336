"""Traces: every call that reads a value is seen, whatever it returns, and numbers hold for any number of images."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from tacit.core.network import Network
from tacit.core.spec import Spec
from tacit.quantize.trace import OUTSIDE, Trace, is_watched, trace

SPEC = Spec(shape=(1, 6, 6), classes=3, mean=(0.5,), std=(0.5,))


class Made(nn.Module):
    """A convolution, whatever a function makes of its output, and a linear layer behind the mean."""

    def __init__(self, between: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.conv, self.head, self.between = nn.Conv2d(1, 4, 3, padding=1), nn.Linear(4, 3), between

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.between(self.conv(x)).mean((2, 3)))
        return logits


def traced(model: nn.Module) -> Trace:
    return trace(Network(model, SPEC).eval())


def readers_of_conv(between: Callable[[Tensor], Tensor]) -> list[str]:
    found = traced(Made(between))
    conv = next(call for call in found.calls if call.module == "conv")
    return [call.function for call in found.readers(conv.output)]


def halves(x: Tensor) -> Tensor:
    first, second = x.chunk(2, dim=1)
    return torch.cat([second, first], dim=1)


def assigned(x: Tensor) -> Tensor:
    out = torch.zeros_like(x)
    out[:, :2] = x[:, :2]
    out[:, 2:] = 1.0
    return out


@pytest.mark.parametrize(
    ("between", "readers"),
    [
        (halves, ["chunk"]),
        (lambda x: torch.stack(x.unbind(1)[::-1], 1), ["unbind"]),
        (lambda x: torch.cat(x.split(2, 1), 1), ["split"]),
        (lambda x: x.max(dim=1, keepdim=True).values.expand_as(x), ["max", "expand_as"]),
        (lambda x: x * float(x.sum().item() > 0), ["sum", "mul"]),
        (lambda x: (x.tolist(), x)[1], ["tolist", "mean"]),
        (lambda x: x.contiguous().view(x.size(0), x.shape[1], len(x[0, 0]), -1), ["contiguous"]),
    ],
)
def test_what_reads_a_value_is_seen_whatever_it_returns(between: Callable[[Tensor], Tensor], readers: list[str]) -> None:
    assert readers_of_conv(between) == readers


def test_each_tensor_that_a_call_returns_has_a_number() -> None:
    found = traced(Made(halves))
    chunk, cat = (next(call for call in found.calls if call.function == name) for name in ("chunk", "cat"))
    assert len(set(chunk.outputs)) == 2
    assert chunk.output == chunk.outputs[0]
    assert cat.inputs == chunk.outputs[::-1]


def test_what_is_assigned_to_a_part_changes_the_whole() -> None:
    found = traced(Made(assigned))
    zeros, mean = (next(call for call in found.calls if call.function == name) for name in ("zeros_like", "mean"))
    writes = [call for call in found.calls if call.function == "setitem"]
    assert writes[0].inputs[0] == zeros.output
    assert writes[1].inputs == writes[0].outputs
    assert mean.inputs == writes[1].outputs


def test_the_caller_reads_the_logits() -> None:
    found = traced(Made(F.relu))
    head = next(call for call in found.calls if call.module == "head")
    assert [(call.module, call.function) for call in found.readers(head.output)] == [(OUTSIDE, "return")]


class Counter(TorchFunctionMode):
    """Notes which of the watched calls of a pass are additions, as a later pass counts them."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_function__(
        self, func: Callable[..., Any], types: Iterable[type], args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if is_watched(func, args):
            self.found.append(func.__name__.strip("_"))
        return func(*args, **(kwargs or {}))


class Positions(nn.Module):
    """Adds a parameter of shape (1, C, H, W), and a number, before the sum of two branches."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.place, self.head = nn.Parameter(torch.ones(1, 4, 6, 6)), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x) + self.place + 1.0
        logits: Tensor = self.head(F.relu(x + self.second(x)).mean((2, 3)))
        return logits


@pytest.mark.parametrize("count", [1, 2, 64])
def test_a_parameter_is_no_branch_and_calls_are_counted_alike_for_any_number_of_images(count: int) -> None:
    network = Network(Positions(), SPEC).eval()
    watched = [call for call in trace(network).calls if call.watched >= 0]
    assert [call.kind for call in watched] == ["", "", "sum", "activation"]
    assert [call.watched for call in watched] == [0, 1, 2, 3]
    with Counter() as counted:
        network.model(torch.rand(count, 1, 6, 6))
    assert counted.found == [call.function for call in watched]


def test_norms_by_the_batch_can_be_traced() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(36, 4), nn.BatchNorm1d(4, track_running_stats=False), nn.Linear(4, 3))
    assert traced(model).layers(dict(model.named_modules())) == ["1", "3"]


class ByHand(nn.Module):
    """A head whose weights are read by a function, attention whose projections are, and tied layers of which one is never called."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.attention = nn.Linear(6, 8), nn.MultiheadAttention(8, 2, batch_first=True)
        self.spare, self.tied, self.head = nn.Linear(8, 8), nn.Linear(6, 8), nn.Linear(8, 3)
        self.tied.weight = self.embed.weight

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x[:, 0])
        x, _ = self.attention(x, x, x)
        return F.linear(x.mean(1), self.head.weight, self.head.bias)


def test_layers_whose_weights_are_read_by_others_are_named() -> None:
    model = ByHand()
    modules = dict(model.named_modules())
    found = traced(model)
    assert found.layers(modules) == ["embed"]
    assert found.uncalled(modules) == ["attention.in_proj_weight", "attention.out_proj", "head"]
    plain = Positions()
    assert traced(plain).uncalled(dict(plain.named_modules())) == []


class Rescaled(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Conv2d(1, 3, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.net(x * 2 - 1)
        return logits


def test_what_the_module_reads_is_what_comes_out_of_normalisation() -> None:
    found = traced(Rescaled())
    normalised = [call for call in found.calls if call.module == OUTSIDE][-2]
    assert (normalised.function, normalised.output) == ("div", found.image)
    assert [call.function for call in found.readers(found.image)] == ["mul"]


@pytest.mark.parametrize(
    ("activation", "name"),
    [
        (nn.ReLU6(), "relu6"),
        (F.relu6, "relu6"),
        (lambda x: F.hardtanh(x, 0.0, 6.0), "relu6"),
        (nn.Hardtanh(), "hardtanh"),
        (lambda x: F.hardtanh(x, -6, 6), "hardtanh"),
    ],
)
def test_hardtanh_is_relu6_only_between_0_and_6(activation: Callable[[Tensor], Tensor], name: str) -> None:
    assert readers_of_conv(activation) == [name]
