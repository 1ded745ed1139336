"""What makes a comparison unfair, in words."""

from __future__ import annotations

from collections.abc import Sequence

from tacit.report.names import describe, differing
from tacit.report.rows import Row
from tacit.report.table import decimals, share

__all__ = ["notes"]

NAMED = 4
TOLD = ("method", "algorithm", "source", "teacher", "student", "model", "data", "split", "eval_split", "max_seconds", "training.steps")
"""Options that are a row's own, or are told of in other words."""


def notes(rows: Sequence[Row]) -> list[str]:
    """Return what a reader of the table must know: where rows are not like with like, and how far the figures can be trusted."""
    places = decimals(rows)
    taught = [row for row in rows if row.params_teacher is not None or row.teacher_accuracy is not None]
    hashed, measured = all(row.teacher is not None for row in taught), all(row.teacher_accuracy is not None for row in taught)

    def teacher(row: Row) -> str | None:
        if row not in taught:
            return None
        size = "unknown size" if row.params_teacher is None else f"{row.params_teacher:,} parameters"
        accuracy = f"{100 * row.teacher_accuracy.mean:.{places}f}%, " if row.teacher_accuracy is not None and measured else ""
        return f"sha256 {str(row.teacher)[:8]}, {size}" if hashed else f"{accuracy}{size}"

    said = [
        _differ("teacher", rows, [teacher(row) for row in rows]),
        _differ("student", rows, [f"{row.student}, {row.params_student:,} parameters" if row.params_student else None for row in rows]),
        _differ("evaluation images", rows, [row.evaluated_on or None for row in rows]),
        _differ("number of evaluation images", rows, [f"{row.evaluation_images:,}" if row.evaluation_images else None for row in rows]),
        _differ("student's steps", rows, [f"{row.steps.mean:,.0f}" if row.steps else None for row in rows]),
        _differ("budget", rows, ["none" if row.max_seconds is None else f"{row.max_seconds:g} s" for row in rows]),
        _differ("precision", rows, [row.precision for row in rows]),
        _differ("device", rows, [" and ".join(sorted(row.devices)) for row in rows], "seconds can't be compared"),
        _differ("source", rows, ["real data" if row.sees_data else "without the training data" for row in rows]),
        _differ("seeds", rows, [", ".join(map(str, row.seeds)) for row in rows]),
    ]
    options = [{key: value for key, value in row.options.items() if not key.startswith(TOLD)} for row in rows]
    said += [
        _differ(f"The option {key}", rows, [describe(own[key]) if key in own else None for own in options]) for key in differing(options)
    ]
    alone = [row.name for row in rows if len(row.seeds) == 1]
    if len(alone) == len(rows) > 1:
        said.append("One run is no spread: every row has one seed, and the order may be chance.")
    elif alone:
        said.append(f"One run is no spread: {_names(alone)} {'has' if len(alone) == 1 else 'have'} one seed, and may be lucky.")
    for row in rows:
        known = len(row.student_accuracy.values) if row.student_accuracy else 0
        if 0 < known < len(row.runs):
            said.append(f"{row.name}: only {known} of {len(row.runs)} runs measured the accuracy ({share(row.student_accuracy, places)}).")
        if len(row.devices) > 1:
            said.append(f"{row.name}: its runs had several devices ({', '.join(row.devices)}): its seconds are a mean of unlike things.")
        if row.selection not in ("last", None):
            said.append(f"{row.name}: the stored weights were chosen by {row.selection}; the column accuracy is that of the last step.")
    counted = {row.evaluation_images for row in rows if row.evaluation_images is not None}
    if counted and min(counted) < 10_000:
        said.append(f"Accuracy was measured on {min(counted):,} images: one image is {100 / min(counted):.2g} points.")
    return [text for text in said if text]


def _differ(what: str, rows: Sequence[Row], values: Sequence[str | None], so: str = "") -> str | None:
    """Return that rows differ in something, and which has what; None where they do not."""
    found: dict[str, list[str]] = {}
    for row, value in zip(rows, values, strict=True):
        if value is not None:
            found.setdefault(value, []).append(row.name)
    if len(found) < 2:
        return None
    told = "; ".join(f"{value} for {_names(names)}" for value, names in found.items())
    lead = what if what[0].isupper() else f"Not like with like: the {what}"
    return f"{lead} {'differ' if what.endswith('s') else 'differs'}{f', and {so}' if so else ''}: {told}."


def _names(names: Sequence[str]) -> str:
    quoted = [f'"{name}"' if "," in name else name for name in names]
    most = quoted if len(names) <= NAMED else [*quoted[: NAMED - 1], f"{len(names) - NAMED + 1} more"]
    return most[0] if len(most) == 1 else f"{', '.join(most[:-1])} and {most[-1]}"
