"""Features before their ReLU, for losses that ask how far a neuron is from being active.

Of a map that a ReLU module makes, it is what goes into that (``layer1.1.relu:in``). A network that normalises first (WRN) gives its maps
to a batch norm: it is what comes out of that, and so it is where the ReLU behind the norm is a function, or a module that is called again.
Where neither is so, as with a ReLU that is a function in a residual block, the map stands as it is: behind a ReLU, negative values are
then zeros. Taps that are named are taken as they are.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from tacit.core.calls import Call, calls_of
from tacit.core.match import Layer, Match, layers
from tacit.core.network import Network
from tacit.core.probe import COPY, INPUT
from tacit.core.taps import ACTIVATIONS
from tacit.losses.pairs import AdaptedTaps, only_maps

__all__ = ["BeforeReLU", "BridgeNorm", "before_relu", "norms_behind"]


def before_relu(network: Network, found: Sequence[Layer]) -> list[Layer]:
    """Return the taps of what the maps `found` are before their ReLU, and the maps themselves where that can't be tapped."""
    calls = calls_of(network)
    norms = [call for call in calls if isinstance(call.module, nn.BatchNorm2d)]
    activations = [call for call in calls if isinstance(call.module, ACTIVATIONS)]

    def before(name: str) -> str:
        plain = name.removesuffix(COPY)
        call = _last(calls, plain.removesuffix(INPUT))
        if call is None:
            return name
        feature = call.given if plain.endswith(INPUT) else call.made
        made = next((each for each in activations if each.made is feature), None)
        if made is not None and not made.again:
            return f"{made.name}{INPUT}"
        if made is not None:
            norm = next((each for each in norms if each.made is made.given), None)
        elif plain.endswith(INPUT):
            norm = next((each for each in reversed(norms) if _is_relu(each, call)), None)
        else:
            norm = next((each for each in norms if each.given is feature), None)
            active = next((each for each in activations if norm is not None and each.given is norm.made and not each.again), None)
            if active is not None:
                return f"{active.name}{INPUT}"
        return name if norm is None or norm.again else norm.name

    return layers(network, [before(layer.name) for layer in found])


def _is_relu(norm: Call, read: Call) -> bool:
    """Whether what a part reads is the ReLU of what a norm made, as by a function, and no sum with something else."""
    if read.given is norm.made:
        return read.came == norm.went + 1 and bool((read.given >= 0).all())
    return torch.equal(norm.made.relu(), read.given)


def _last(calls: Sequence[Call], name: str) -> Call | None:
    return next((call for call in calls if call.name == name and not call.again), None)


def norms_behind(network: Network, taps: Sequence[str]) -> list[nn.BatchNorm2d | None]:
    """Return the batch norm whose output is what is found at each tap, where one is; not where a sum was written over that."""
    calls, norms = calls_of(network), list[nn.BatchNorm2d | None]()
    for tap in taps:
        plain = tap.removesuffix(COPY)
        call = _last(calls, plain.removesuffix(INPUT).removeprefix("model."))
        feature, version = (None, 0) if call is None else (call.given, call.came) if plain.endswith(INPUT) else (call.made, call.went)
        behind = (each.module for each in calls if each.made is feature and each.went == version)
        norms.append(next((module for module in behind if isinstance(module, nn.BatchNorm2d)), None))
    return norms


class BridgeNorm(nn.BatchNorm2d):
    """Batch norm that lets a batch pass as it is where a channel has a single value, which has no statistics."""

    def forward(self, x: Tensor) -> Tensor:
        normed: Tensor = super().forward(x) if x[:, 0].numel() > 1 else x
        return normed


class BeforeReLU(AdaptedTaps):
    """A loss on pairs of maps before their ReLU, with a 1x1 convolution and a batch norm behind the student's.

    Args:
        teacher: Taps of the teacher, maps; not given: the stages, before their ReLU where that can be tapped.
        student: Taps of the student, as many.
    """

    def choose_of(self, teacher: Network, student: Network) -> list[Match]:
        found = super().choose_of(teacher, student)
        theirs = before_relu(teacher, [each.teacher for each in found])
        ours = before_relu(student, [each.student for each in found])
        return [Match(one, two) for one, two in zip(theirs, ours, strict=True)]

    def build(self, matched: Sequence[Match]) -> None:
        only_maps(type(self).__name__, matched)
        super().build(matched)

    def adapter(self, matched: Match) -> nn.Module:
        channels = matched.teacher.channels
        return nn.Sequential(nn.Conv2d(matched.student.channels, channels, 1, bias=False), BridgeNorm(channels))

    def halved(self) -> list[float]:
        """Return the weight of each pair: 1 of a teacher's deepest, and half as much of each one before."""
        return [0.5 ** (len(team) - 1 - place) for team in self.teams for place in range(len(team))]
