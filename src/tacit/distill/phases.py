"""Phases: what a student learns by first, and what after. Each has an objective, an optimiser and a schedule of its own.

A loss may say that it begins with an opening (`tacit.core.loss.Opening`). One on modules of its own, as an autoencoder that must be
learned before it is of use, comes before the first phase in which the loss is named, and the student stays as it is. One that is the loss
itself is split off where no phases were written: it teaches alone, and the others go on without it; written phases are taken as written,
and options of such an opening are refused there.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import cast

from tacit.core.errors import InputError
from tacit.core.loss import Loss, Objective, Opening, Weight

__all__ = ["Phase", "Timetable", "all_losses", "opened"]


@dataclass(frozen=True, kw_only=True)
class Phase:
    """A part of the steps, and what is minimised in it.

    Args:
        name: In words, as ``kd+ce``.
        objective: What is minimised. Nothing that only other phases need is computed.
        share: Of all steps, above 0 and at most 1.
        still: Whether the student stays as it is, buffers too; it is not asked then.
        steady: Share of the peak learning rate that holds throughout, behind a warm-up; None: it goes through the whole schedule.
    """

    name: str
    objective: Objective
    share: float = 1.0
    still: bool = False
    steady: float | None = None

    def __post_init__(self) -> None:
        if not 0 < self.share <= 1:
            raise InputError(f"objective: {self.name}: expected a share of the steps above 0 and at most 1, got {self.share}")

    @staticmethod
    def of(objective: Objective, *, share: float = 1.0) -> Phase:
        """Return the phase in which `objective` is minimised, named after its terms."""
        return Phase(name="+".join(_terms(objective)) or "nothing", objective=objective, share=share)


def _terms(objective: Objective) -> dict[str, tuple[Weight, Loss]]:
    """Return the terms that are used, weight and loss by name."""
    weights = objective.weights
    return {name: (weights[name], cast("Loss", loss)) for name, loss in objective.losses.items() if weights[name] != 0.0}


def opened(phases: Sequence[Phase], *, split: bool) -> tuple[Phase, ...]:
    """Return `phases` with the openings of their losses, each before the first phase in which the loss is named, and out of its share.

    Args:
        phases: As they were written.
        split: Whether a loss that is its own opening is split off, unless it is all that there is.

    Raises:
        InputError: The openings leave nothing of the steps, or an option was given of one that plays no part.
    """
    made: list[Phase] = []
    seen: set[int] = set()
    for phase in phases:
        terms, parts = _terms(phase.objective), list[Phase]()
        openings = {name: opening for name, (_, loss) in terms.items() if (opening := loss.opening()) is not None and id(loss) not in seen}
        seen |= {id(loss) for _, loss in terms.values()}
        alone = {name for name, opening in openings.items() if opening.loss is terms[name][1]}
        if not split or alone == set(terms):
            _refuse_asked({name: opening for name, opening in openings.items() if name in alone}, split=split)
            openings = {name: opening for name, opening in openings.items() if name not in alone}
            alone = set()
        for name, opening in openings.items():
            objective = Objective(**{name: (terms[name][0] if name in alone else 1.0, opening.loss)})
            words = name if name in alone else f"{name}: opening"
            share, still = phase.share * opening.share, name not in alone
            parts.append(Phase(name=words, objective=objective, share=share, still=still, steady=opening.steady))
        rest = phase.share - sum(part.share for part in parts)
        if parts and not rest > 0:
            raise InputError(f"objective: the openings of {', '.join(openings)} leave nothing of the steps; give them smaller shares")
        if alone:
            phase = Phase.of(Objective(**{name: term for name, term in terms.items() if name not in alone}), share=rest)
        made += [*parts, replace(phase, share=rest)]
    return tuple(made)


def _refuse_asked(openings: Mapping[str, Opening], *, split: bool) -> None:
    """Raise `InputError` where an option was given of an opening, by the name of its loss, that will not be."""
    where = "nothing is named beside it that could go on without it" if split else "phases are written"
    for name, opening in openings.items():
        if opening.asked:
            raise InputError(f"{name}: {opening.asked[0]}: it plays no part where {where}: leave it out")


def all_losses(phases: Sequence[Phase]) -> Objective:
    """Return an objective of all losses of `phases`, each once, to be fitted, moved and stored as one; its sum means nothing.

    Openings come last, since they are fitted to what others have made.
    """
    if len(phases) == 1:
        return phases[0].objective
    found: dict[str, tuple[Weight, Loss]] = {}
    for phase in sorted(phases, key=lambda phase: phase.still):
        for name, (_, loss) in _terms(phase.objective).items():
            if all(loss is not other for _, other in found.values()):
                key = name if name not in found else f"{name}_{len(found)}"
                found[key] = (1.0, loss)
    return Objective(**found)


class Timetable:
    """Which steps belong to which phase; together they are all of the steps, and each phase has one at least.

    Args:
        phases: In order; their shares sum to 1.
        steps: In all.
    """

    def __init__(self, phases: Sequence[Phase], steps: int) -> None:
        if steps < len(phases):
            names = ", ".join(phase.name for phase in phases)
            raise InputError(f"training.steps: expected at least one for each of {len(phases)} phases ({names}), got {steps}")
        whole, left = sum(phase.share for phase in phases), len(phases)
        self.steps, self.ends = steps, list[int]()
        for done in accumulate(phase.share for phase in phases):
            left -= 1
            first = self.ends[-1] + 1 if self.ends else 1
            self.ends.append(min(max(round(steps * done / whole), first), steps - left))

    def length(self, number: int) -> int:
        """Return how many steps phase `number` has."""
        return self.ends[number] - self._start(number)

    def _start(self, number: int) -> int:
        return self.ends[number - 1] if number else 0

    def number(self, done: int, progress: float | None) -> int:
        """Return which phase the next step belongs to.

        Args:
            done: Steps done.
            progress: Share of the work done, where that is more than the share of steps, as when time runs out.
        """
        reached = done if progress is None else max(done, progress * self.steps + 1e-6)
        return bisect_right(self.ends[:-1], reached)

    def progress(self, number: int, done: int, progress: float | None) -> float:
        """Return the share of phase `number` that is done; arguments as for `number`."""
        start, length = self._start(number), self.length(number)
        if progress is None or progress <= done / self.steps:
            return max(0.0, (done - start) / length)
        return max(0.0, (progress - start / self.steps) / (length / self.steps))
