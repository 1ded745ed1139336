"""Bars beside each other: baselines, engines, and sets of images."""

from __future__ import annotations

from dataclasses import dataclass

from tacit.report import words
from tacit.report.read import Record, mapping, number

__all__ = ["Bar", "baselines", "latencies", "similarities"]

AGREED = "agreement_synthetic"
ENGINES = (("torch", "torch, eager", "teacher"), ("float", "float file", ""), ("int8", "int8 file", "own"))


@dataclass(frozen=True)
class Bar:
    """A bar of a bar chart, `share` of the full width."""

    name: str
    share: float
    text: str
    kind: str = ""


def baselines(record: Record) -> tuple[str, list[Bar]]:
    """Return what is measured, and that of teacher, student and baselines: accuracy or, where it is not known, agreement on fresh samples.

    Nothing where no baseline was measured.
    """
    lead = "Accuracy on the same evaluation images, each at its last step."
    own = [("Teacher", "teacher_accuracy", "teacher"), ("This student", "student_accuracy", "own")]
    bars = _of_baselines(record, "student_accuracy")
    if not bars:
        lead, own = (
            "How often each names the teacher's class on fresh samples; a proxy, not an accuracy.",
            [("This student", AGREED, "own")],
        )
        bars = _of_baselines(record, AGREED)
    if not bars:
        return "", []
    known = [(name, value, kind) for name, key, kind in own if (value := record.metric(key)) is not None]
    return lead, [Bar(name, value, words.percent(value), kind) for name, value, kind in known] + bars


def _of_baselines(record: Record, key: str) -> list[Bar]:
    found = [(one.get("name"), number(one.get(key))) for one in record.listed("baselines") if isinstance(one, dict)]
    return [Bar(str(name), value, words.percent(value)) for name, value in found if value is not None]


def latencies(record: Record) -> list[tuple[str, list[Bar]]]:
    """Return by batch size how long each engine takes, as a share of the slowest."""
    found: list[tuple[str, list[Bar]]] = []
    for size, taken in mapping(record.metrics.get("milliseconds")).items():
        known = [(name, value, kind) for key, name, kind in ENGINES if (value := number(mapping(taken).get(key))) is not None]
        most = max((value for _, value, _ in known), default=0.0) or 1.0
        found.append((size, [Bar(name, value / most, f"{value:.3g} ms", kind) for name, value, kind in known]))
    return found


def similarities(record: Record) -> list[tuple[str, str, str]]:
    """Return sets of images by how near they are to what the network remembers: name, divergence, number of images."""
    sets = [(str(name), mapping(one)) for name, one in mapping(record.metrics.get("similarity")).items()]
    known = [(name, value, one) for name, one in sets if (value := number(one.get("divergence"))) is not None]
    rows = []
    for name, value, one in sorted(known, key=lambda item: item[1]):
        spread = number(one.get("sd"))
        images, samples = number(one.get("images")), number(one.get("samples"))
        rows.append(
            (name, f"{value:.4f}" + (f" ± {spread:.4f}" if spread is not None else ""), f"{words.count(images)} x {words.count(samples)}")
        )
    return rows
