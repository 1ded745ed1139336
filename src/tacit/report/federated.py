"""The page of a federation: all algorithms of the run side by side, over rounds and bytes, and client by client."""

from __future__ import annotations

from collections.abc import Sequence

from tacit.report import charts, comparison, holdings, table, words
from tacit.report.bars import Bar
from tacit.report.clients import deals
from tacit.report.federation import dropped, federations
from tacit.report.groups import group
from tacit.report.read import Record, number
from tacit.report.rows import Row
from tacit.report.templates import filled
from tacit.report.tiles import Tile

__all__ = ["is_federated", "page"]


BESIDE = {
    "ensemble": "ensemble of the clients' models",
    "plain ensemble": "ensemble, all believed alike",
    "mean": "mean of the clients' weights",
}
"""What stands beside a global model, by the name that its algorithm gives it."""


def is_federated(record: Record) -> bool:
    """Whether the run is a federation, of one algorithm or of several."""
    return record.verb == "federate"


def page(record: Record) -> str:
    """Return the page of a run of `federate`."""
    runs, result = federations(record), record.result or {}
    rows = group(runs)
    finished = [row for row in rows if row.federation is not None and (row.student_accuracy or row.federation.rounds)]
    heads, cells, same = table.folded(finished) if len(finished) > 1 else ([], [], "")
    dealt = deals(rows)
    known = next((one.listed("class_names") for one in runs if one.listed("class_names")), [])
    names = [words.class_name(known, label) for label in range(max((len(counts) for deal in dealt for counts in deal.counts), default=0))]
    many = len(runs) > 1
    losses = [charts.losses(one, "train", f"l{place}", many) for place, one in enumerate(runs)]
    lost = [(one.name, _lost(one)) for one in runs]
    return filled(
        "federated.html",
        record=record,
        seed=result.get("seed"),
        device=result.get("device"),
        versions=result.get("versions") or {},
        headline=words.headline(record),
        summary=_summary(record, finished),
        tiles=_tiles(record, finished, runs),
        measured=_measured(finished),
        heads=heads,
        cells=cells,
        same=same,
        words=table.WORDS,
        charts=[chart for chart in comparison.curves(rows) if _moves(chart)],
        beside=[(row.name, bars) for row in finished if (bars := _beside(row))],
        deals=dealt,
        pictures=[holdings.drawn(deal.counts, names, deal.clients, key=f"h{place}") for place, deal in enumerate(dealt) if deal.counts],
        held=number(record.config.get("held")) or 0,
        lost=[(name, lines) for name, lines in lost if lines],
        answered=all(row.federation is not None and row.federation.dropped is not None for row in finished) and bool(finished),
        many=many,
        losses=[chart for chart in losses if chart and _moves(chart)],
    )


def _moves(chart: charts.Chart) -> bool:
    """Whether there is a line to be seen: one-shot algorithms leave a single point."""
    return any(len(line.x) > 1 for line in chart.lines)


def _summary(record: Record, rows: Sequence[Row]) -> str:
    if not rows:
        return words.summary(record)
    clients = max((len(row.federation.clients) for row in rows if row.federation), default=0)
    who = f"{clients} clients" if clients else "Clients"
    reached = [f"{row.name} reaches {words.percent(row.student_accuracy.mean)} accuracy" for row in rows if row.student_accuracy]
    told = f"{', '.join(reached[:-1])} and {reached[-1]}" if len(reached) > 1 else "".join(reached) or "accuracy was not measured"
    return f"{who} learned together, and their images stayed where they were; {told}."


def _tiles(record: Record, rows: Sequence[Row], runs: Sequence[Record]) -> list[Tile]:
    """Return the numbers of finished runs: each algorithm's accuracy, and of one alone, what its rounds cost."""
    if not rows or record.result is None:
        return []
    many, first, spent = len(rows) > 1, rows[0], record.result.get("seconds") or {}
    clients = len(first.federation.clients) if first.federation else 0
    answers = max((count for one in runs for count in one.points("round", "step", "replies")[1]), default=None)
    return [
        *(_accuracy(row, row.name if many else "Accuracy") for row in rows),
        *([] if many else _of_one(first)),
        Tile("Clients", words.count(clients or None), "" if answers is None else f"{words.count(answers)} learn in a round"),
        Tile("Parameters", words.count(first.params_student), "of the network"),
        Tile("Time", words.seconds(number(spent.get("total"))), words.spent(record, "training", "synthesis", "evaluation")),
        Tile("Peak memory", words.megabytes(number(record.result.get("peak_memory_mb"))), "of the process"),
    ]


def _accuracy(row: Row, name: str) -> Tile:
    if row.student_accuracy is None:
        return Tile(name, words.DASH, "not measured")
    return Tile(name, words.percent(row.student_accuracy.mean), "last round, on the test images")


def _of_one(row: Row) -> list[Tile]:
    """Return what the rounds of one run brought and cost."""
    found = row.federation
    assert found is not None
    tiles = [Tile("On clients' own images", words.percent(found.own.mean), "mean of the clients")] if found.own else []
    if found.rounds:
        took = f"{words.seconds(found.round_seconds.mean)} each" if found.round_seconds else ""
        tiles.append(Tile("Rounds", words.count(found.rounds.mean), took))
    for target, rounds in found.reached:
        share = f"{100 * float(target):g}%"
        tiles.append(Tile(f"{share} reached", "never" if rounds[0] is None else f"round {rounds[0]}", "first time, on the test images"))
    if found.bytes_down and found.bytes_up:
        total = words.size(found.bytes_down.mean + found.bytes_up.mean)
        tiles.append(Tile("Sent", total, f"{words.size(found.bytes_down.mean)} down, {words.size(found.bytes_up.mean)} up"))
    if found.bytes_tests:
        tiles.append(Tile("Sent for tests", words.size(found.bytes_tests.mean), "both ways, beside that"))
    if found.dropped:
        tiles.append(
            Tile("Answers dropped", words.count(found.dropped.mean), "for the reasons below" if found.dropped.mean else "all were sound")
        )
    return tiles


def _measured(rows: Sequence[Row]) -> str:
    """Return how far the numbers can be trusted."""
    if not rows:
        return ""
    parts = ["Numbers are those of the last round, never of the best round on the test images."]
    if images := rows[0].evaluation_images:
        parts.append(f"Tested on {images:,} images that no client holds: one image is {100 / images:.2g} points.")
    parts.append("One seed is no spread: tacit compare sets several side by side.")
    return " ".join(parts)


def _beside(row: Row) -> list[Bar]:
    """Return bars of the accuracy of a row and of what stands beside it."""
    if row.federation is None or not row.federation.beside or row.student_accuracy is None:
        return []
    others = [Bar(BESIDE.get(name, name), value.mean, words.percent(value.mean)) for name, value in row.federation.beside]
    return [Bar(row.name, row.student_accuracy.mean, words.percent(row.student_accuracy.mean), "own"), *others]


def _lost(one: Record) -> list[tuple[str, str, str]]:
    """Return the answers that were not used: client, why, and in which rounds."""
    return [(client, why, _spans(rounds)) for client, why, rounds in dropped(one)]


def _spans(rounds: Sequence[int]) -> str:
    """Return rising numbers as ``3, 7 to 9``."""
    spans: list[list[int]] = []
    for one in rounds:
        if spans and one == spans[-1][-1] + 1:
            spans[-1].append(one)
        else:
            spans.append([one])
    return ", ".join(f"{span[0]}" if len(span) == 1 else f"{span[0]} to {span[-1]}" for span in spans)
