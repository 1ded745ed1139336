"""Scores in a verb's table: how right a network is, by the measures that its task has."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["other_rows", "score_rows"]

OTHERS = (("  of averaged weights", "ema"), ("  of selected weights", "selected"))
"""Rows below the scores of the last step: name, and what stands behind a metric's name."""


def _measures(metrics: Mapping[str, Any], role: str) -> dict[str, str]:
    """Return the names of what was measured, by metric, the one that counts first."""
    known = {key: name for key, name in ((f"{role}_miou", "mIoU"), (f"{role}_accuracy", "accuracy")) if metrics.get(key) is not None}
    return {key: f"pixel {name}" if len(known) > 1 and name == "accuracy" else name for key, name in known.items()}


def score_rows(
    metrics: Mapping[str, Any], role: str, *, title: str | None = None, note: str = "", missing: str = ""
) -> list[tuple[str, str]]:
    """Return a row for each measure: ``student accuracy  95.31%``.

    Args:
        metrics: As in result.json.
        role: ``teacher`` or ``student``.
        title: Before the measure's name; not given: the role.
        note: Behind the first figure.
        missing: What stands there where nothing was measured; not given: no row.
    """
    said = f"{role} " if title is None else title
    rows = [(f"{said}{name}".strip(), f"{metrics[key]:.2%}") for key, name in _measures(metrics, role).items()]
    if not rows:
        return [(f"{said}accuracy".strip(), missing)] if missing else []
    return [(rows[0][0], rows[0][1] + note), *rows[1:]]


def other_rows(metrics: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return rows on averaged and selected weights of a student, where they were measured, by the measure that counts."""
    first = next(iter(_measures(metrics, "student")), "student_accuracy")
    return [(name, f"{metrics[f'{first}_{end}']:.2%}") for name, end in OTHERS if metrics.get(f"{first}_{end}") is not None]
