"""Label maps on the page: pictures beside each other, what the colours mean, and how well each class is found."""

from __future__ import annotations

import base64
from collections.abc import Sequence

from tacit.core.palette import palette
from tacit.report import words
from tacit.report.bars import Bar
from tacit.report.read import Record, Sample

__all__ = ["beside", "by_class", "data", "is_dense", "legend"]

SAID = {"truth": "truth", "teacher": "teacher", "student": "student"}
"""What a map is called on the page, in the order in which they stand."""


def data(png: bytes) -> str:
    """Return a picture as it stands in a page."""
    return "data:image/png;base64," + base64.b64encode(png).decode()


def is_dense(record: Record) -> bool:
    """Whether the run is about a class a pixel."""
    return any(record.listed(f"{role}_class_iou") for role in ("teacher", "student"))


def beside(samples: Sequence[Sample], most_bytes: int) -> list[list[tuple[str, str]]]:
    """Return for each image (what it is, picture), the maps behind it, as many as `most_bytes` of pictures allow."""
    rows = []
    for sample in samples:
        most_bytes -= len(sample.png) + sum(len(png) for png in sample.maps.values())
        if most_bytes < 0:
            break
        maps = [(name, data(sample.maps[who])) for who, name in SAID.items() if who in sample.maps]
        rows.append([("image", data(sample.png)), *maps])
    return rows


def _names(record: Record, parent: Record) -> list[str]:
    return [str(name) for name in record.listed("class_names") or parent.listed("class_names")]


def legend(record: Record, parent: Record) -> list[tuple[str, str]]:
    """Return the classes' names with their colours, as a style sheet has them."""
    names = _names(record, parent)
    return [(name, "rgb({}, {}, {})".format(*colour)) for name, colour in zip(names, palette(names), strict=True)]


def by_class(record: Record) -> list[tuple[str, str, Bar | None, Bar | None]]:
    """Return by class: name, colour, and the intersection over union of teacher and student; nothing where it was not measured."""
    if not is_dense(record):
        return []
    theirs, ours = (record.by_class(f"{role}_class_iou") for role in ("teacher", "student"))
    rows = []
    for number, (name, colour) in enumerate(legend(record, record)):
        pair = [values[number] if number < len(values) else None for values in (theirs, ours)]
        bars = [None if v is None else Bar("", v, words.percent(v), kind) for v, kind in zip(pair, ("teacher", "own"), strict=True)]
        rows.append((name, colour, bars[0], bars[1]))
    return rows
