"""The page: what a run folder says, laid out for a person."""

from __future__ import annotations

import math
from itertools import count as counter
from pathlib import Path

from tacit.core.files import write_file
from tacit.report import charts, comparison, federated, maps, words
from tacit.report.bars import Bar, baselines, latencies, similarities
from tacit.report.read import Record, Sample, read
from tacit.report.templates import filled
from tacit.report.tiles import measured, tiles

__all__ = ["render", "write_report"]

MAX_SAMPLES = 240
MAX_SAMPLE_BYTES = 900_000  # of all pictures on the page, before base64


def write_report(folder: Path) -> Path:
    """Write ``report.html`` into a run folder and return its path.

    Args:
        folder: A run folder; only its files are read, never a model.
    """
    path = folder / "report.html"
    write_file(path, render(folder))
    return path


def render(folder: Path) -> str:
    """Return the report of a run folder as one HTML page that needs nothing else."""
    record = read(folder)
    if comparison.is_comparison(record):
        return comparison.page(record)
    if federated.is_federated(record):
        return federated.page(record)
    records, result = [record, *record.parts], record.result or {}
    keys = (f"c{index}" for index in counter())
    mapped = [one for one in records if any(sample.maps for sample in one.samples)]
    shown = [one for one in records if one.samples and one not in mapped]
    losses = [charts.losses(one, kind, next(keys), one is not record) for one in records for kind in ("synthesis", "train")]
    return filled(
        "run.html",
        record=record,
        seed=result.get("seed"),
        device=result.get("device"),
        versions=result.get("versions") or {},
        headline=words.headline(record),
        summary=words.summary(record),
        tiles=tiles(record),
        measured=measured(record),
        warnings=_warnings(record),
        baselines=baselines(record),
        latencies=latencies(record),
        similarities=similarities(record),
        samples=[(one, *_samples(one, record, MAX_SAMPLE_BYTES // len(shown), MAX_SAMPLES // len(shown))) for one in shown],
        mapped=[(one, maps.beside(one.samples, MAX_SAMPLE_BYTES // len(mapped)), maps.legend(one, record)) for one in mapped],
        accuracy=[chart for x in ("step", "seconds") if (chart := charts.accuracy(records, x, next(keys)))],
        losses=[chart for chart in losses if chart],
        health=[chart for one in records for chart in charts.health(one, keys, one is not record)],
        measure=charts.measure(records),
        iou=maps.by_class(record),
        classes=[] if maps.is_dense(record) else _classes(record),
        judged=_judged(record),
        coverage=_coverage(record),
        crowded=charts.crowded(record),
        confusion=charts.confusion(record, next(keys)),
    )


def _warnings(record: Record) -> list[str]:
    """Return the run's own warnings, and those of its parts that it does not repeat, each under its name."""
    own = [str(text) for text in record.listed("warnings")]
    parts = [(one.name, str(text)) for one in record.parts for text in one.listed("warnings")]
    return own + [f"{name}: {text}" for name, text in parts if text not in own]


def _samples(one: Record, parent: Record, most_bytes: int, most: int) -> tuple[list[tuple[str, list[tuple[str, str]]]], int]:
    """Return pictures by class as (name, [(data, confidence)]), taken from all classes in turn up to a size, and how many they are."""
    names = one.listed("class_names") or parent.listed("class_names")
    by_class: dict[int | None, list[Sample]] = {}
    for sample in one.samples:
        by_class.setdefault(sample.label, []).append(sample)
    longest = max(map(len, by_class.values()))
    chosen: dict[int | None, list[Sample]] = {}
    for sample in (group[turn] for turn in range(longest) for group in by_class.values() if turn < len(group)):
        most, most_bytes = most - 1, most_bytes - len(sample.png)
        if min(most, most_bytes) < 0:
            break
        chosen.setdefault(sample.label, []).append(sample)
    order = sorted(chosen, key=lambda label: math.inf if label is None else label)
    groups = [(words.class_name(names, label), [(maps.data(sample.png), _sure(sample)) for sample in chosen[label]]) for label in order]
    return groups, sum(map(len, chosen.values()))


def _sure(sample: Sample) -> str:
    return words.DASH if sample.confidence is None else f"{100 * sample.confidence:.0f}%"


def _judged(record: Record) -> str:
    """Return whose accuracy the table by class shows: the teacher's where nobody else was measured."""
    return "teacher" if record.by_class("teacher_class_accuracy") and not record.by_class("student_class_accuracy") else "student"


def _classes(record: Record) -> list[tuple[str, Bar | None, str, Bar | None]]:
    """Return by class: its name, images in the pool, the teacher's mean confidence, the accuracy of who is judged."""
    keys = ("class_counts", "class_confidence", f"{_judged(record)}_class_accuracy")
    counts, sure, right = (record.by_class(key) for key in keys)
    most = max((value for value in counts if value is not None), default=0) or 1
    rows = []
    for label in range(max(map(len, (counts, sure, right)))):
        made, confidence, accuracy = (values[label] if label < len(values) else None for values in (counts, sure, right))
        first = None if made is None else Bar("", made / most, words.count(made), "none" if not made else "")
        last = None if accuracy is None else Bar("", accuracy, words.percent(accuracy), "own")
        rows.append((words.class_name(record.listed("class_names"), label), first, words.percent(confidence), last))
    return rows


def _coverage(record: Record) -> str:
    """Return in words how evenly the classes were made."""
    counts = [value for value in record.by_class("class_counts") if value is not None]
    if not counts:
        return ""
    made = sum(1 for value in counts if value)
    return f"{made:,} of {len(counts):,} classes were made; from {words.count(min(counts))} to {words.count(max(counts))} images a class."
