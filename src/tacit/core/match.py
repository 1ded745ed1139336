"""Match: which layer of a student stands beside which of its teacher, in any two networks, by a dry run of both."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import torch

from tacit.core.errors import InputError
from tacit.core.layout import MAP
from tacit.core.network import Network
from tacit.core.probe import COPY, Probe
from tacit.core.state import evaluation_mode
from tacit.core.taps import layouts_of, penultimate_tap, stage_names

__all__ = ["Layer", "Match", "last", "layers", "match", "pooled", "stages"]


@dataclass(frozen=True)
class Layer:
    """A tap, and what is found there.

    Args:
        name: The tap, as `Probe` takes it.
        shape: Of one image's feature: (C, H, W) for a map, (D,) for a vector.
        scale: Width of the map by that of the image, as a power of two: -2 is a quarter; of a vector, minus infinity.
    """

    name: str
    shape: tuple[int, ...]
    scale: float

    @property
    def channels(self) -> int:
        """Channels of a map; of anything else, as the tokens of a transformer, the length of the vector that it is flattened to."""
        return self.shape[0] if len(self.shape) == 3 else math.prod(self.shape)


@dataclass(frozen=True)
class Match:
    """A layer of the teacher, and the one of the student that is to learn from it."""

    teacher: Layer
    student: Layer


@torch.no_grad()
def layers(network: Network, taps: Sequence[str]) -> list[Layer]:
    """Return what is found at each tap, by showing `network` one grey image; what is overwritten later is copied (``bn:copy``).

    Raises:
        InputError: No module has that name (the nearest is offered), it is not called, gives no tensor, or a map with its channels last.
    """
    copied = {tap: f"{tap.removesuffix(COPY)}{COPY}" for tap in taps}
    with evaluation_mode(network), Probe(network, taps=copied.values()) as ask:
        found = ask(torch.full((1, *network.spec.shape), 0.5, device=network.mean.device)).features
    made, layouts = [], layouts_of(network)
    for tap in taps:
        if copied[tap] not in found:
            raise InputError(f"tap {tap!r}: the module is never called in a forward pass; tap one that is")
        shape = tuple(found[copied[tap]].shape[1:])
        if layouts.channels_last((1, *shape)) and MAP not in tap:
            raise InputError(f"tap {tap!r}: expected a map (C, H, W), got {list(shape)}, with its channels last: write `{tap}{MAP}`")
        size, whole = shape[1:], network.spec.shape[1:]
        scale = math.log2(math.prod(size) / math.prod(whole)) / len(whole) if size else -math.inf
        made.append(Layer(copied[tap] if copied[tap] in ask.overwritten else tap, shape, scale))
    return made


def stages(network: Network) -> list[Layer]:
    """Return the last feature map of each resolution, largest first; for a ResNet these are its stages.

    Raises:
        InputError: There is no feature map larger than a pixel.
    """
    names = stage_names(network)
    if not names:
        raise InputError(
            f"{type(network.model).__name__} has no feature maps of shape (N, C, H, W) larger than a pixel, but for the patches of a "
            "transformer: name taps, as `blocks.3:map` for tokens, or use a loss on logits or vectors, as kd, crd, rkd"
        )
    return layers(network, names)


def pooled(network: Network) -> Layer:
    """Return the penultimate features, which the classifier reads; their shape is that of the pooled vector, (D,).

    Raises:
        InputError: There is no layer with as many outputs as classes.
    """
    try:
        tap = penultimate_tap(network)
    except InputError as error:
        raise InputError(f"{error}, or name taps of both networks, as `{{loss: crd, teacher: [body], student: [body]}}`") from error
    (found,) = layers(network, [tap])
    return Layer(found.name, (found.channels,), -math.inf)


def last(teacher: Network, student: Network) -> Match:
    """Return the coarsest stage of each of two networks, which need not be of one size.

    Raises:
        InputError: One of them has no feature maps.
    """
    return Match(stages(teacher)[-1], stages(student)[-1])


def match(teacher: Network, student: Network) -> list[Match]:
    """Return the stages of two networks beside each other, largest first: mostly as many as the one with fewer has.

    As many as can be stand beside those of the same size relative to the image, in order, though others of both networks be left out for
    it. Of the rest as many as have room stand beside those of the most similar size; where sizes say nothing, beside those as deep.

    Raises:
        InputError: One of them has no feature maps.
    """
    theirs, ours = stages(teacher), stages(student)
    return [Match(theirs[one], ours[other]) for one, other in _align(theirs, ours)]


@dataclass(frozen=True)
class _Alignment:
    """Which layers stand beside each other, by their numbers, and how well."""

    pairs: tuple[tuple[int, int], ...] = ()
    equal: int = 0
    """Pairs of the same size."""
    sizes: float = 0.0
    """Summed differences, in powers of two."""
    depths: Fraction = Fraction(0)

    def cost(self) -> tuple[int, int, float, Fraction, list[int]]:
        """Return what the best has the least of; of equals the deepest is the best."""
        return -self.equal, -len(self.pairs), round(self.sizes, 6), self.depths, [-one - other for one, other in self.pairs]


def _align(theirs: Sequence[Layer], ours: Sequence[Layer]) -> tuple[tuple[int, int], ...]:
    """Return which of `theirs` stand beside which of `ours`, in order, by the best alignments of what is left of both."""
    first, second = len(theirs), len(ours)
    best = {(one, other): _Alignment() for one in range(first + 1) for other in range(second + 1)}
    for one in reversed(range(first)):
        for other in reversed(range(second)):
            rest, apart = best[one + 1, other + 1], abs(theirs[one].scale - ours[other].scale)
            paired = _Alignment(
                ((one, other), *rest.pairs),
                rest.equal + (apart < 1e-6),
                rest.sizes + apart,
                rest.depths + abs(Fraction(one + 1, first) - Fraction(other + 1, second)),
            )
            best[one, other] = min(paired, best[one + 1, other], best[one, other + 1], key=_Alignment.cost)
    return best[0, 0].pairs
