"""The tiles of the page: what went in, what came out, and how far the numbers can be trusted."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from tacit.report import words
from tacit.report.read import Record, number

__all__ = ["Tile", "measured", "tiles"]

SELECTED = {
    "ema": "the average of the weights up to the last step",
    "agreement_synthetic": "the weights that agreed best on synthetic images",
}
"""What is in ``model/`` where that is not the last step, by what chose it."""


@dataclass(frozen=True)
class Tile:
    """A number and what it is; a dash where it was not measured."""

    name: str
    value: str
    note: str = ""


def tiles(record: Record) -> list[Tile]:
    """Return the numbers of a finished run; none of an unfinished one."""
    if record.result is None:
        return []
    result: Mapping[str, Any] = record.result
    teacher, student = record.metric("params_teacher"), record.metric("params_student")
    spent = result.get("seconds") or {}
    memory, cuda = number(result.get("peak_memory_mb")), number(result.get("peak_cuda_memory_mb"))
    given = "trained on the data" if record.verb == "demo" else "the model that was given"
    found = []
    what = "accuracy"
    if any(record.metric(f"{role}_miou") is not None for role in ("student", "teacher")):
        found = [_share(record, "student_miou", "Student mIoU", "mean over classes"), _share(record, "teacher_miou", "Teacher mIoU", given)]
        what = "pixel accuracy"
    found += [
        _share(record, "student_accuracy", f"Student {what}", "last step"),
        _share(record, "teacher_accuracy", f"Teacher {what}", given),
        _share(record, "agreement", "Agreement", "both name the same class"),
        _smaller("Parameters", "fewer", teacher, student, words.count),
    ]
    if record.metric("size_teacher_bytes") is not None or record.metric("size_student_bytes") is not None:
        found.append(_smaller("File size", "smaller", record.metric("size_teacher_bytes"), record.metric("size_student_bytes"), words.size))
    if record.metric("student_accuracy_ema") is not None:
        found.append(_share(record, "student_accuracy_ema", "Student accuracy, averaged weights", "last step"))
    if record.metric("agreement_synthetic") is not None:
        found.append(_share(record, "agreement_synthetic", "Agreement on synthetic images", "images held out"))
    chosen = SELECTED.get(str(result.get("selection")))
    if chosen is not None and record.metric("student_accuracy_selected") is not None:
        found.append(_share(record, "student_accuracy_selected", "Student accuracy, selected weights", chosen))
    made = number(result.get("images_synthesized"))
    found.append(Tile("Images synthesized", words.count(made), "none were needed" if made == 0 else "not measured" if made is None else ""))
    found.append(Tile("Time", words.seconds(number(spent.get("total"))), words.spent(record, "synthesis", "training", "evaluation")))
    note = f"of the process; {words.megabytes(cuda)} on the device" if cuda else "of the process"
    found.append(Tile("Peak memory", words.megabytes(memory), "not measured" if memory is None else note))
    return found


def _share(record: Record, key: str, name: str, note: str) -> Tile:
    value = record.metric(key)
    return Tile(name, words.percent(value), "not measured" if value is None else note)


def _smaller(name: str, how: str, large: float | None, small: float | None, form: Callable[[float | None], str]) -> Tile:
    """Return how much smaller the student is; what is known of one alone where the other is not."""
    if large is None or not small:
        known = small if large is None else large
        return Tile(name, form(known), "not measured" if known is None else "of the student" if large is None else "of the teacher")
    return Tile(name, f"{words.ratio(large, small)} {how}", f"{words.whole(form(large))} → {words.whole(form(small))}")


def measured(record: Record) -> str:
    """Return how far the numbers can be trusted."""
    result = record.result
    if not result:
        return ""
    chosen, seed = SELECTED.get(str(result.get("selection"))), result.get("seed")
    parts = [
        "Numbers are those of the last step, never of the best step on the evaluation data.",
        *([f"The model that was stored is {chosen}; no evaluation data chose it."] if chosen is not None else []),
        f"One run{'' if seed is None else f' with seed {seed}'} on {result.get('device')} in {result.get('precision')}.",
    ]
    images, accuracy = sum(map(sum, record.confusion)), record.metric("student_accuracy")
    if record.metric("student_miou") is not None:
        parts.append(f"Evaluated on {words.count(record.metric('evaluation_images'))} images, on all pixels that have a class.")
    elif images and accuracy is not None:
        error = 1.96 * math.sqrt(accuracy * (1 - accuracy) / images)
        parts.append(f"Evaluated on {images:,} images: sampling alone makes the student's accuracy uncertain by ±{100 * error:.1f} points.")
    return " ".join(parts)
