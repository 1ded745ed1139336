"""Federation: what federated runs cost and brought beside the accuracy, and who took part. Plain values, kept as JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from tacit.report.read import Record, mapping, number
from tacit.report.spread import Spread

__all__ = ["Federation", "Holder", "dropped", "federation", "federations", "sent"]


@dataclass(frozen=True, kw_only=True)
class Holder:
    """One client of a federation.

    Args:
        number: Its number, from 0.
        name: By the column of the data that tells clients apart; empty where none does.
        counts: Images that it holds, by class, those set aside included; empty where nobody here knows.
        accuracy: On the images that it set aside; None where it was not measured.
    """

    number: int
    name: str = ""
    counts: tuple[int, ...]
    accuracy: float | None


@dataclass(frozen=True, kw_only=True)
class Federation:
    """What federated runs that differ in nothing but the seed cost and brought; what was not measured is None."""

    rounds: Spread | None
    reached: tuple[tuple[str, tuple[int | None, ...]], ...]
    """Accuracies, as ``0.9``, and for each the round in which each run first reached it; None: it did not."""
    own: Spread | None
    """Mean of the clients' accuracies on their own images."""
    bytes_down: Spread | None
    bytes_up: Spread | None
    bytes_tests: Spread | None = None
    """Sent both ways to have clients test models; not among the others."""
    round_seconds: Spread | None
    """Seconds that a round took, on both sides; tests are left out."""
    dropped: Spread | None
    """Answers that were not used."""
    beside: tuple[tuple[str, Spread], ...]
    """Accuracy of networks that stand beside the one that is judged, by name."""
    clients: tuple[Holder, ...]
    """Of the first run alone: another seed deals otherwise."""

    @classmethod
    def load(cls, plain: Mapping[str, Any]) -> Federation:
        """Return what ``dataclasses.asdict`` and JSON made plain."""
        given = dict(plain)
        reached, beside, clients = (given.pop(name) for name in ("reached", "beside", "clients"))
        return cls(
            reached=tuple((target, tuple(rounds)) for target, rounds in reached),
            beside=tuple((name, _spread(value)) for name, value in beside),
            clients=tuple(Holder(**{**one, "counts": tuple(one["counts"])}) for one in clients),
            **{name: value and _spread(value) for name, value in given.items()},
        )


def _spread(plain: Mapping[str, Any]) -> Spread:
    return Spread(mean=plain["mean"], sd=plain["sd"], values=tuple(plain["values"]))


def federations(record: Record) -> list[Record]:
    """Return the federated runs that a run is made of: those inside it or, where there are none, itself; none of another verb."""
    return [one for one in record.parts if one.verb == "federate"] or [record] if record.verb == "federate" else []


def federation(runs: Sequence[Record]) -> Federation | None:
    """Return what `runs` have in common beside the accuracy, in their order; None where they are not federated."""
    if any(one.verb != "federate" for one in runs):
        return None

    def spread(key: str) -> Spread | None:
        return Spread.of(one.metric(key) for one in runs)

    targets = sorted({str(target) for one in runs for target in mapping(one.metrics.get("rounds_to"))}, key=float)
    names = dict.fromkeys(name for one in runs for name in mapping(one.metrics.get("beside")))
    beside = [(name, Spread.of(number(mapping(one.metrics.get("beside")).get(name)) for one in runs)) for name in names]
    return Federation(
        rounds=spread("rounds"),
        reached=tuple((target, tuple(_round(one, target) for one in runs)) for target in targets),
        own=spread("client_accuracy_mean"),
        bytes_down=spread("bytes_down"),
        bytes_up=spread("bytes_up"),
        bytes_tests=spread("bytes_tests"),
        round_seconds=Spread.of(_round_seconds(one) for one in runs),
        dropped=spread("dropped"),
        beside=tuple((name, value) for name, value in beside if value is not None),
        clients=_clients(runs[0]),
    )


def sent(record: Record) -> dict[float, float]:
    """Return the bytes sent up to each round, down and up together, by round."""
    total, found = 0.0, {}
    for line in record.log:
        values = [number(line.get(key)) for key in ("step", "bytes_down", "bytes_up")] if line.get("kind") == "round" else [None]
        if all(value is not None for value in values):
            step, down, up = (float(value or 0) for value in values)
            total += down + up
            found[step] = total
    return found


def dropped(record: Record) -> list[tuple[str, str, list[int]]]:
    """Return the answers that were not used: client, reason, and rounds; those of a client for one reason stand together.

    Nodes that were not asked, since they could not be used, come last.
    """
    found: dict[tuple[float, str, str], list[int]] = {}
    for line in record.log:
        client, node, step = number(line.get("client")), line.get("node"), number(line.get("step"))
        if line.get("kind") == "dropped" and client is not None and step is not None:
            found.setdefault((client, f"{client:.0f}", str(line.get("why"))), []).append(int(step))
        elif line.get("kind") == "refused" and node is not None and step is not None:
            found.setdefault((math.inf, f"node {node}", str(line.get("why"))), []).append(int(step))
    return [(who, why, rounds) for (_, who, why), rounds in sorted(found.items())]


def _round(record: Record, target: str) -> int | None:
    found = number(mapping(record.metrics.get("rounds_to")).get(target))
    return None if found is None else int(found)


def _round_seconds(record: Record) -> float | None:
    _, took = record.points("round", "step", "took")
    return fmean(took) if took else None


def _clients(record: Record) -> tuple[Holder, ...]:
    counts = [tuple(int(number(count) or 0) for count in one) for one in record.listed("client_counts") if isinstance(one, list)]
    own = {str(client): number(value) for client, value in mapping(record.metrics.get("client_accuracy")).items()}
    names = dict(enumerate(map(str, record.listed("client_names"))))
    known = sorted({*range(len(counts)), *(int(client) for client in own if client.isdigit())})
    return tuple(
        Holder(
            number=client,
            name=names.get(client, ""),
            counts=counts[client] if client < len(counts) else (),
            accuracy=own.get(str(client)),
        )
        for client in known
    )
