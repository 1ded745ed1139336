"""The table of a comparison: the same cells as Markdown, as aligned text, and for the page."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from tacit.report.rows import Row, Spread
from tacit.report.words import DASH, size

__all__ = ["LEGEND", "WORDS", "cells", "decimals", "folded", "markdown", "share", "text"]

LEGEND = "Accuracy of the last step (of pixels, beside mIoU), mean ± sample standard deviation over seeds; seconds are means."
WORDS = ("run", "seeds", "device", "precision")
"""Columns that are read as words, from the left."""
FEW = 1000
"""Evaluation images below which a second decimal of an accuracy would pretend to know more than there is."""


def decimals(rows: Sequence[Row]) -> int:
    """Return how many decimals of a percentage the evaluation images bear out."""
    return 1 if any(row.evaluation_images is not None and row.evaluation_images < FEW for row in rows) else 2


def share(value: Spread | None, places: int) -> str:
    """Return shares as ``95.31 ± 0.42``, in percent; the deviation is left out where there is one run alone."""
    if value is None:
        return DASH
    mean = f"{100 * value.mean:.{places}f}"
    return mean if value.sd is None else f"{mean} ± {100 * value.sd:.{places}f}"


def cells(rows: Sequence[Row]) -> tuple[list[str], list[list[str]]]:
    """Return the heads of the columns, and the cells row by row; a column that no row has anything for is left out."""
    places = decimals(rows)
    columns: list[tuple[str, Callable[[Row], str]]] = [
        ("run", lambda row: row.name),
        ("mIoU, %", lambda row: share(row.student_miou, places)),
        ("accuracy, %", lambda row: share(row.student_accuracy, places)),
        ("averaged weights, %", lambda row: share(row.student_accuracy_ema, places)),
        ("selected weights, %", lambda row: share(row.student_accuracy_selected, places)),
        ("agreement, %", lambda row: share(row.agreement, places)),
        ("teacher mIoU, %", lambda row: share(row.teacher_miou and Spread.of([row.teacher_miou.mean]), places)),
        ("teacher, %", lambda row: share(row.teacher_accuracy and Spread.of([row.teacher_accuracy.mean]), places)),
        ("clients' own, %", lambda row: share(_told(row, "own"), places)),
        ("rounds", lambda row: _counts(_told(row, "rounds"))),
        *((f"{100 * float(target):g}% in round", partial(_reached, target=target)) for target in _targets(rows)),
        ("down", lambda row: _sent(_told(row, "bytes_down"))),
        ("up", lambda row: _sent(_told(row, "bytes_up"))),
        ("for tests", lambda row: _sent(_told(row, "bytes_tests"))),
        ("s a round", lambda row: _short(_told(row, "round_seconds"))),
        ("dropped", lambda row: _counts(_told(row, "dropped"))),
        ("parameters", _parameters),
        ("seeds", _seeds),
        ("images made", lambda row: _counts(row.images_synthesized)),
        ("steps", lambda row: _counts(row.steps, least=not row.steps_exact)),
        ("synthesis, s", lambda row: _seconds(row.synthesis_seconds)),
        ("training, s", lambda row: _seconds(row.training_seconds)),
        ("device", lambda row: " and ".join(row.devices)),
        ("precision", lambda row: row.precision),
    ]
    made = [(head, [of(row) for row in rows]) for head, of in columns]
    kept = [(head, column) for head, column in made if set(column) - {DASH} or head == "accuracy, %"]
    return [head for head, _ in kept], [list(line) for line in zip(*(column for _, column in kept), strict=True)]


def markdown(rows: Sequence[Row]) -> str:
    """Return the rows as a GitHub table; `LEGEND` says what its figures are."""
    heads, lines = cells(rows)
    marks = ["---" if head in WORDS else "---:" for head in heads]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in (heads, marks, *lines)) + "\n"


def folded(rows: Sequence[Row]) -> tuple[list[str], list[list[str]], str]:
    """Return `cells` without the columns that say the same of all of several rows, and those in one line (empty for none)."""
    heads, lines = cells(rows)
    columns = list(zip(heads, *lines, strict=True))
    alike = [column for column in columns if len(rows) > 1 and len(set(column[1:])) == 1 and column[0] not in ("run", "accuracy, %")]
    kept = [list(line) for line in zip(*(column for column in columns if column not in alike), strict=True)]
    same = [f"{head.removesuffix(', %')} {value}%" if head.endswith(", %") else f"{head} {value}" for head, value, *_ in alike]
    return kept[0], kept[1:], f"all: {'; '.join(same)}" if same else ""


def text(rows: Sequence[Row]) -> str:
    """Return the rows as aligned text; what is the same in all of several rows stands once, under them."""
    heads, lines, same = folded(rows)
    widths = [max(map(len, column)) for column in zip(heads, *lines, strict=True)]
    table = [
        "  ".join([line[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True))]).rstrip()
        for line in (heads, *lines)
    ]
    return "\n".join(filter(None, [*table, same, LEGEND]))


def _targets(rows: Sequence[Row]) -> list[str]:
    """Return the accuracies of which federated runs tell in which round they were first reached, in rising order."""
    return sorted({target for row in rows if row.federation for target, _ in row.federation.reached}, key=float)


def _reached(row: Row, target: str) -> str:
    """Return the round in which `target` was first reached, from the first to the last of the runs, and in how many if not in all."""
    rounds = dict(row.federation.reached).get(target) if row.federation else None
    if rounds is None:
        return DASH
    known = [number for number in rounds if number is not None]
    if not known:
        return "never"
    told = f"{min(known)}" if min(known) == max(known) else f"{min(known)} to {max(known)}"
    return told if len(known) == len(rounds) else f"{told} (in {len(known)} of {len(rounds)} runs)"


def _told(row: Row, name: str) -> Spread | None:
    """Return a measure of a federation; None of other runs."""
    found: Spread | None = getattr(row.federation, name, None)
    return found


def _sent(value: Spread | None) -> str:
    return DASH if value is None else size(value.mean)


def _short(value: Spread | None) -> str:
    return DASH if value is None else f"{value.mean:.2g}"


def _parameters(row: Row) -> str:
    known = [f"{value:,}" for value in (row.params_teacher, row.params_student) if value is not None]
    return " → ".join(known) or DASH


def _seeds(row: Row) -> str:
    return f"{len(row.seeds)} ({', '.join('?' if seed is None else str(seed) for seed in row.seeds)})"


def _counts(value: Spread | None, *, least: bool = False) -> str:
    """Return a count, or from the least to the most where runs differ."""
    if value is None:
        return DASH
    low, high = min(value.values), max(value.values)
    return ("≥ " if least else "") + (f"{low:,.0f}" if low == high else f"{low:,.0f} to {high:,.0f}")


def _seconds(value: Spread | None) -> str:
    return DASH if value is None else f"{value.mean:,.1f}" if value.mean < 100 else f"{value.mean:,.0f}"
