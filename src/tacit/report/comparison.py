"""The page and the picture of a comparison, from its rows and notes: nothing of the compared runs is read again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from tacit.report import figures, table
from tacit.report.charts import Chart
from tacit.report.clients import deals
from tacit.report.figures import Series
from tacit.report.read import Record
from tacit.report.rows import Curve, Row
from tacit.report.templates import filled
from tacit.report.words import percent

__all__ = ["curves", "is_comparison", "page", "picture"]

MAX_LINES = 10
"""Rows that are drawn: more can't be told apart."""


def is_comparison(record: Record) -> bool:
    """Whether the run holds rows to be shown."""
    return record.verb == "compare" and bool(record.listed("rows"))


def page(record: Record) -> str:
    """Return the page of a run of `compare`."""
    rows = [Row.load(plain) for plain in record.listed("rows")]
    heads, cells, same = table.folded(rows)
    return filled(
        "comparison.html",
        record=record,
        headline="Comparison",
        summary=_summary(rows),
        heads=heads,
        cells=cells,
        same=same,
        words=table.WORDS,
        legend=table.LEGEND,
        notes=record.listed("notes"),
        charts=curves(rows),
        hidden=max(0, len(_drawn(rows)) - MAX_LINES),
        rows=rows,
        deals=deals(rows),
        versions=(record.result or {}).get("versions") or {},
    )


def picture(rows: Sequence[Row]) -> bytes | None:
    """Return accuracy over seconds of synthesis and training as PNG; None where no run was evaluated."""
    series = _series(rows, "seconds")
    if not series:
        return None
    return figures.picture(
        series, title="Accuracy: mean, least and most over seeds", x="seconds of synthesis and training", reference=_teacher(rows)
    )


def _summary(rows: Sequence[Row]) -> str:
    runs, places = sum(len(row.runs) for row in rows), table.decimals(rows)
    what = f"{runs} run{'s' if runs > 1 else ''} in {len(rows)} row{'s' if len(rows) > 1 else ''}."
    best = rows[0]
    if best.student_accuracy is None:
        return f"{what} No accuracy was measured."
    over = f"over {len(best.seeds)} seeds" if len(best.seeds) > 1 else "with one seed"
    beside = "" if best.teacher_accuracy is None else f"; its teacher reaches {100 * best.teacher_accuracy.mean:.{places}f}%"
    ahead = "reaches" if len(rows) == 1 else "comes first:"
    return f"{what} “{best.name}” {ahead} {table.share(best.student_accuracy, places)}% accuracy {over}{beside}."


def curves(rows: Sequence[Row]) -> list[Chart]:
    """Return accuracy over seconds, steps or rounds and, of federated runs, bytes sent; one line a row, of the first ten."""
    federated = any(row.federation is not None for row in rows)
    order = ("steps", "bytes", "seconds") if federated else ("seconds", "steps")
    return [chart for x in order if (chart := _chart(rows, x, federated))]


def _drawn(rows: Sequence[Row]) -> list[tuple[Row, Curve]]:
    return [(row, row.curve) for row in rows if row.curve is not None]


def _series(rows: Sequence[Row], x: str) -> list[Series]:
    drawn = _drawn(rows)[:MAX_LINES]
    found = [(index, row.name, curve, getattr(curve, x)) for index, (row, curve) in enumerate(drawn)]
    return [Series(name, at, curve.mean, index, curve.low, curve.high) for index, name, curve, at in found if at]


def _teacher(rows: Sequence[Row]) -> float | None:
    """Return the accuracy of the teacher, where all rows that have one have the same."""
    known = {row.teacher_accuracy.mean for row in rows if row.teacher_accuracy is not None}
    return known.pop() if len(known) == 1 else None


def _chart(rows: Sequence[Row], x: str, federated: bool) -> Chart | None:
    series = _series(rows, x)
    if not series:
        return None
    title, under = {
        "seconds": ("By time", "seconds of training, tests left out" if federated else "seconds of synthesis and training"),
        "steps": ("By round", "rounds") if federated else ("By step", "student steps"),
        "bytes": ("By what was sent", "MB sent, to clients and back"),
    }[x]
    if x == "bytes":
        series = [replace(one, x=[value / 1e6 for value in one.x]) for one in series]
    teacher = _teacher(rows)
    label = f"Line chart of accuracy by {under}: " + ", ".join(f"{one.name} ends at {percent(one.last)}" for one in series) + "."
    drawn = figures.lines(series, key=f"c-{x}", label=label, x=under, percent=True, reference=teacher, whole=x == "steps")
    caption = "" if teacher is None else f"Dotted across: the teacher's {percent(teacher)}."
    return Chart(title, drawn, series, percent=True, caption=caption)
