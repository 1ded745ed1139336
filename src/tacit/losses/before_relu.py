"""Features before their ReLU, for losses that ask how far a neuron is from being active.

Of a map that a ReLU module makes, it is what goes into that (``layer1.1.relu:in``). A network that normalises first (WRN) or that is a
plain chain (VGG) gives its maps to a batch norm: it is what comes out of that. Where neither is so, as with a ReLU that is a function in a
residual block, the map stands as it is: behind a ReLU, negative values are then zeros. Taps that are named are taken as they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from tacit.core.match import Layer, Match, layers
from tacit.core.network import Network, dry_run
from tacit.core.probe import COPY, INPUT
from tacit.core.taps import ACTIVATIONS
from tacit.losses.pairs import AdaptedTaps, only_maps

__all__ = ["BeforeReLU", "BridgeNorm", "before_relu", "norms_behind"]


@dataclass(frozen=True)
class _Call:
    """One call of a module: what went in, and what came out; the same tensor, where it works in place."""

    name: str
    module: nn.Module
    given: Tensor
    made: Tensor
    version: int
    """How often what came out had been overwritten by then."""


def _calls(network: Network) -> dict[str, _Call]:
    """Return the last call of each module in a dry run, by name, in order."""
    calls: dict[str, _Call] = {}

    def note(name: str, module: nn.Module, given: Tensor | None, made: Tensor | None) -> None:
        if name and made is not None and given is not None:
            calls.pop(name, None)
            calls[name] = _Call(name, module, given, made, made._version)

    dry_run(network, note)
    return calls


def before_relu(network: Network, found: Sequence[Layer]) -> list[Layer]:
    """Return the taps of what the maps `found` are before their ReLU, and the maps themselves where that can't be tapped."""
    calls = _calls(network)
    norms = [call for call in calls.values() if isinstance(call.module, nn.BatchNorm2d)]
    activations = [call for call in calls.values() if isinstance(call.module, ACTIVATIONS)]

    def before(name: str) -> str:
        call = calls.get(name.removesuffix(COPY))
        if call is None:
            return name
        feature = call.made
        made = next((call.name for call in activations if call.made is feature), None)
        if made is not None:
            return f"{made}{INPUT}"
        norm = next((call for call in norms if call.given is feature), None)
        if norm is None:
            return name
        return next((f"{each.name}{INPUT}" for each in activations if each.given is norm.made), norm.name)

    return layers(network, [before(layer.name) for layer in found])


def norms_behind(network: Network, taps: Sequence[str]) -> list[nn.BatchNorm2d | None]:
    """Return the batch norm whose output is what is found at each tap, where one is."""
    calls, norms = _calls(network), list[nn.BatchNorm2d | None]()
    for tap in taps:
        plain = tap.removesuffix(COPY)
        call, given = calls.get(plain.removesuffix(INPUT).removeprefix("model.")), plain.endswith(INPUT)
        feature = None if call is None else call.given if given else call.made
        same = [each for each in calls.values() if each.made is feature and feature is not None]
        behind = (each.module for each in same if call is None or given or each.version == call.version)
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
