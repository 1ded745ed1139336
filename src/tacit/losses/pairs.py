"""Pairs of features, one of the teacher and one of the student, for losses that compare them in any two networks."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tacit.core.errors import InputError
from tacit.core.features import as_vector
from tacit.core.layout import MAP
from tacit.core.loss import Loss, Needs, View
from tacit.core.match import Match, last, layers, match, pooled
from tacit.core.network import Network, members

__all__ = ["AdaptedTaps", "Level", "PairedTaps", "as_vector", "in_fp32", "only_maps", "same_size"]

Level = Literal["stages", "last", "pooled"]
"""The last map of each resolution, each network's own coarsest, or the vector that the classifier reads."""


def same_size(student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
    """Return two features in fp32, of one size: the larger of two maps is averaged down to the smaller, each side by itself.

    Args:
        student: Of shape (N, C, H, W); what is no map is returned as it is.
        teacher: Of shape (N, C', H', W').
    """
    ours, theirs = student.float(), teacher.float()
    if ours.ndim != 4 or theirs.ndim != 4:
        return ours, theirs
    height, width = (min(sides) for sides in zip(ours.shape[2:], theirs.shape[2:], strict=True))
    one, two = (F.adaptive_avg_pool2d(x, (height, width)) if x.shape[2:] != (height, width) else x for x in (ours, theirs))
    return one, two


def in_fp32(beside: Tensor) -> AbstractContextManager[None]:
    """Return a context on the device of a tensor within which products of matrices are of full precision, whoever is around it."""
    context: AbstractContextManager[None] = torch.autocast(beside.device.type, enabled=False)
    return context


def only_maps(name: str, matched: Sequence[Match]) -> None:
    """Raise `InputError` in the name of a loss where a layer is no map (C, H, W)."""
    for layer in (side for each in matched for side in (each.student, each.teacher)):
        if len(layer.shape) != 3:
            hint = f", or {layer.name}{MAP}" if len(layer.shape) == 2 else ""
            raise InputError(
                f"{name}: expected feature maps (C, H, W), got {layer.name} of shape {layer.shape}: name the tap of a map{hint}"
            )


class PairedTaps(Loss):
    """A loss on pairs of taps. Of a teacher that is an ensemble, each member is compared with the student.

    Args:
        teacher: Taps of the teacher, or one; not given: `fit` finds them.
        student: Taps of the student, as many.
    """

    level: ClassVar[Level] = "stages"
    """Which layers are compared where none are named."""

    def __init__(self, teacher: Sequence[str] | None = None, student: Sequence[str] | None = None) -> None:
        super().__init__()
        teacher, student = ([taps] if isinstance(taps, str) else taps for taps in (teacher, student))
        if (teacher is None) != (student is None) or len(teacher or ()) != len(student or ()):
            raise InputError(
                f"{type(self).__name__}: give taps for both teacher and student, as many for the one as for the other, or for neither"
            )
        self.pair(list(teacher or ()), list(student or ()))

    def pair(self, teacher: list[str], student: list[str]) -> None:
        """Compare these taps, in order."""
        self.pairs = list(zip(teacher, student, strict=True))
        self.needs = Needs(student=True, teacher_taps=tuple(teacher), student_taps=tuple(dict.fromkeys(student)))
        self.teams = [range(len(self.pairs))]  # which pairs, shallow first, belong to the same teacher; several of an ensemble

    def fit(self, teacher: Network | None, student: Network | None) -> None:
        if teacher is None or student is None:
            return
        if self.pairs:
            theirs, ours = (layers(network, [pair[side] for pair in self.pairs]) for side, network in enumerate((teacher, student)))
            matched = [Match(one, two) for one, two in zip(theirs, ours, strict=True)]
        else:
            matched = self.choose(teacher, student)
        self.pair([each.teacher.name for each in matched], [each.student.name for each in matched])
        self.teams = _teams([each.teacher.name for each in matched], list(members(teacher)))
        self.build(matched)

    def choose(self, teacher: Network, student: Network) -> list[Match]:
        """Return which layers are compared, where none are named: of an ensemble those of each member, one after the other."""
        return [
            Match(replace(each.teacher, name=f"{prefix}{each.teacher.name}"), each.student)
            for prefix, member in members(teacher).items()
            for each in self.choose_of(member, student)
        ]

    def choose_of(self, teacher: Network, student: Network) -> list[Match]:
        """Return which layers of one teacher are compared."""
        if self.level == "pooled":
            return [Match(pooled(teacher), pooled(student))]
        return [last(teacher, student)] if self.level == "last" else match(teacher, student)

    def build(self, matched: Sequence[Match]) -> None:
        """Make what lies between the layers, or refuse them; called once, when their shapes are known."""

    def seen(self, view: View) -> list[tuple[Tensor, Tensor]]:
        """Return each pair's features of the student and of the teacher, in fp32; `InputError` where a tap was not reached."""
        taught, answered = view.teacher.features, view.student.features
        for side, (who, found) in enumerate((("teacher", taught), ("student", answered))):
            missing = next((pair[side] for pair in self.pairs if pair[side] not in found), None)
            if missing is not None:
                raise InputError(
                    f"{type(self).__name__}: the {who}'s module at tap {missing!r} was not called in this pass, as one that is left out in "
                    "training: name a tap that always is"
                )
        return [(answered[ours].float(), taught[theirs].float()) for theirs, ours in self.pairs]


class AdaptedTaps(PairedTaps):
    """A loss on pairs of taps with something between them that learns with the student, one module a pair.

    Args:
        teacher: Taps of the teacher; not given: `fit` finds them.
        student: Taps of the student, as many.
    """

    def __init__(self, teacher: Sequence[str] | None = None, student: Sequence[str] | None = None) -> None:
        super().__init__(teacher, student)
        self.adapters = nn.ModuleList()

    def adapter(self, matched: Match) -> nn.Module:
        """Return what lies between two layers of these shapes."""
        raise NotImplementedError

    def build(self, matched: Sequence[Match]) -> None:
        self.adapters = nn.ModuleList(self.adapter(each) for each in matched)

    def adapted(self, view: View) -> list[tuple[nn.Module, Tensor, Tensor]]:
        """Return each pair's module, and its features of the student and of the teacher, in fp32."""
        if not self.adapters:
            raise InputError(f"{type(self).__name__}: call `fit` first: what lies between two layers is made for their shapes")
        return [(between, *pair) for between, pair in zip(self.adapters, self.seen(view), strict=True)]


def _teams(names: Sequence[str], prefixes: Sequence[str]) -> list[range]:
    """Return which of `names`, in order, belong to the same member of an ensemble, whose names begin with one of `prefixes`."""
    owners = [next((prefix for prefix in prefixes if name.removeprefix("model.").startswith(prefix)), "") for name in names]
    starts = [number for number, owner in enumerate(owners) if number == 0 or owner != owners[number - 1]]
    return [range(start, end) for start, end in zip(starts, [*starts[1:], len(names)], strict=True)]
