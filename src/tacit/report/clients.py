"""Clients of a federation beside each other: what each holds, and how well it does with each algorithm on its own images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tacit.report import words
from tacit.report.bars import Bar
from tacit.report.federation import Holder
from tacit.report.rows import Row

__all__ = ["Deal", "deals"]

MAX_CLIENTS = 60
"""Clients that are shown."""


@dataclass(frozen=True)
class Deal:
    """One way in which images were dealt, and the rows of a comparison whose first run has it.

    Args:
        names: Of those rows.
        counts: Images by client and class; empty where nobody here knows.
        clients: Their names; empty where they have none.
        lines: By client: its number and name, its images as a bar, how many classes it holds, and a bar of accuracy for each of `names`.
        hidden: Clients beyond those that are shown.
        seeds: How many seeds the rows have at most: the first alone is shown.
    """

    names: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]
    clients: tuple[str, ...]
    lines: tuple[tuple[str, Bar | None, str, tuple[Bar | None, ...]], ...]
    hidden: int
    seeds: int

    @property
    def measured(self) -> bool:
        """Whether any client tested itself."""
        return any(bar is not None for *_, bars in self.lines for bar in bars)


def deals(rows: Sequence[Row]) -> list[Deal]:
    """Return each deal of images among clients, with the rows that had it; nothing where no row knows its clients."""
    groups: dict[tuple[tuple[int, ...], ...], list[Row]] = {}
    for row in rows:
        if row.federation is not None and row.federation.clients:
            groups.setdefault(tuple(one.counts for one in row.federation.clients), []).append(row)
    return [_deal(counts, those) for counts, those in groups.items()]


def _deal(counts: tuple[tuple[int, ...], ...], rows: Sequence[Row]) -> Deal:
    most = max(map(sum, counts)) or 1
    classes = max(map(len, counts))
    names = tuple(one.name for one in rows[0].federation.clients) if rows[0].federation is not None else ()
    lines = []
    for place, held in enumerate(counts[:MAX_CLIENTS]):
        those = [row.federation.clients[place] for row in rows if row.federation is not None]
        images = Bar("", sum(held) / most, words.count(sum(held))) if held else None
        kinds = f"{sum(1 for count in held if count)} of {classes}" if held else words.DASH
        lines.append((f"{those[0].number} {those[0].name}".strip(), images, kinds, tuple(map(_own, those))))
    return Deal(
        names=tuple(row.name for row in rows),
        counts=counts if all(counts) else (),
        clients=names if all(names) else (),
        lines=tuple(lines),
        hidden=max(0, len(counts) - MAX_CLIENTS),
        seeds=max(len(row.seeds) for row in rows),
    )


def _own(one: Holder) -> Bar | None:
    return None if one.accuracy is None else Bar("", one.accuracy, words.percent(one.accuracy), "own")
