"""Numbers and sentences for people."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tacit.report.read import Record, mapping, number

__all__ = [
    "DASH",
    "class_name",
    "count",
    "headline",
    "megabytes",
    "percent",
    "ratio",
    "seconds",
    "short",
    "size",
    "spent",
    "summary",
    "whole",
]

DASH = "\u2014"
MEASURES = {"accuracy": "accuracy", "miou": "mean IoU"}
HEADLINES = {
    "demo": "A network distilled without its data",
    "synthesize": "Images made from a network",
    "distill": "Distillation",
    "train": "Training",
    "quantize": "Quantization",
    "prune": "Pruning",
    "federate": "Federated training",
    "evaluate": "Evaluation",
    "similarity": "Sets of images by similarity",
    "compare": "Comparison",
}


def percent(value: float | None) -> str:
    """Return 0.9631 as 96.3%."""
    return DASH if value is None else f"{100 * value:.1f}%"


def count(value: float | None) -> str:
    """Return 18442 as 18,442."""
    return DASH if value is None else f"{value:,.0f}"


def ratio(large: float | None, small: float | None) -> str:
    """Return how many times smaller the second is, as 12.5x."""
    if large is None or not small:
        return DASH
    times = large / small
    return f"{times:.0f}x" if times >= 100 else f"{times:.1f}x" if times >= 1 else f"{times:.2f}x"


def size(value: float | None) -> str:
    """Return 78123 bytes as 78.1 kB."""
    if value is None:
        return DASH
    for unit in ("bytes", "kB", "MB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "bytes" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} GB"


def megabytes(value: float | None) -> str:
    """Return 412.3 as 412 MB."""
    return DASH if value is None else f"{value:,.0f} MB"


def seconds(value: float | None) -> str:
    """Return 725.3 as 12 min 5 s."""
    if value is None:
        return DASH
    if value < 100:
        return f"{value:.1f} s"
    minutes = round(value) // 60
    return f"{minutes} min {round(value) % 60} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def spent(record: Record, *kinds: str) -> str:
    """Return what the seconds of a result went into, as ``training 2.9 s, evaluation 0.2 s``, without what was not done."""
    seconds_of = mapping((record.result or {}).get("seconds"))
    taken = [(kind, number(seconds_of.get(kind))) for kind in kinds]
    return ", ".join(whole(f"{kind} {seconds(took)}") for kind, took in taken if took)


def whole(text: str) -> str:
    """Return `text` so that no line breaks inside it."""
    return text.replace(" ", "\u00a0")


def short(value: float) -> str:
    """Return a number of any size in at most four digits."""
    return f"{value:.3g}" if value == 0 or 1e-3 <= abs(value) < 1e4 else f"{value:.1e}"


def class_name(names: Sequence[Any], label: int | None) -> str:
    """Return the name of a class: its number where it has none."""
    if label is None:
        return "no class"
    return str(names[label]) if 0 <= label < len(names) else str(label)


def headline(record: Record) -> str:
    """Return the title of the page."""
    return HEADLINES.get(record.verb, record.verb.capitalize())


def summary(record: Record) -> str:
    """Return in one sentence what happened."""
    if record.result is None:
        return "There is no result yet: the run is still going, or was stopped before its end."
    say = {
        **dict.fromkeys(("demo", "distill"), _distilled),
        "train": _trained,
        "synthesize": _synthesized,
        "quantize": _quantized,
        "prune": _pruned,
    }
    return say.get(record.verb, _other)(record)


def _method(record: Record) -> str:
    """Return the name of the method, from the metrics or, failing that, the config."""
    found = record.metrics.get("method") or record.config.get("method")
    if isinstance(found, dict):
        found = found.get("class_path")
    return found.rpartition(".")[2] if isinstance(found, str) else ""


def _time(record: Record) -> float | None:
    found = (record.result or {}).get("seconds")
    return number(found.get("total")) if isinstance(found, dict) else None


def _measure(record: Record) -> str:
    """Return the measure that counts: mean IoU where there is one."""
    return "miou" if _either(record, "student_miou", "teacher_miou") is not None else "accuracy"


def _either(record: Record, first: str, second: str) -> float | None:
    found = record.metric(first)
    return record.metric(second) if found is None else found


def _made(record: Record) -> str:
    made = number((record.result or {}).get("images_synthesized"))
    by = f" by {_method(record)}" if _method(record) else ""
    return f"{count(made)} images made from the teacher alone{by}" if made else ""


def _distilled(record: Record) -> str:
    teacher, student = record.metric("params_teacher"), record.metric("params_student")
    smaller = (teacher or 0) > (student or 0) > 0
    who = f"A student with {ratio(teacher, student)} fewer parameters than its teacher" if smaller else "A student"
    if _made(record):
        how = f"learned from {_made(record)}, without the training data,"
    else:
        how = "learned from real data" if record.config.get("source") == "data" else "learned from its teacher"
    what = _measure(record)
    mine, theirs = (record.metric(f"{role}_{what}") for role in ("student", "teacher"))
    if mine is None:
        return f"{who} {how.rstrip(',')}; its accuracy was not measured."
    beside = "." if theirs is None else f"; the teacher reaches {percent(theirs)}."
    return f"{who} {how} and reaches {percent(mine)} {MEASURES[what]}{beside}"


def _trained(record: Record) -> str:
    what = _measure(record)
    params, accuracy = _either(record, "params_student", "params_teacher"), _either(record, f"student_{what}", f"teacher_{what}")
    who = "A network" if params is None else f"A network of {count(params)} parameters"
    return f"{who} was trained on real data" + (f" and reaches {percent(accuracy)} {MEASURES[what]}." if accuracy is not None else ".")


def _synthesized(record: Record) -> str:
    return f"{_made(record) or 'No images were made'} in {seconds(_time(record))}."


def _quantized(record: Record) -> str:
    large, small = record.metric("size_teacher_bytes"), record.metric("size_student_bytes")
    what = f"A network was quantized from {size(large)} to {size(small)}" if large and small else "A network was quantized"
    measure = _measure(record)
    mine, theirs = record.metric(f"student_{measure}"), record.metric(f"teacher_{measure}")
    if mine is None:
        return f"{what}; its accuracy was not measured."
    return f"{what} and reaches {percent(mine)} {MEASURES[measure]}" + (f", {percent(theirs)} before." if theirs is not None else ".")


def _pruned(record: Record) -> str:
    large, small = record.metric("params_teacher"), record.metric("params_student")
    what = f"A network was pruned from {count(large)} to {count(small)} parameters" if large and small else "A network was pruned"
    measure = _measure(record)
    pruned, mine = record.metric(f"{measure}_pruned"), record.metric(f"student_{measure}")
    if mine is None:
        return f"{what}; its accuracy was not measured."
    fallen = f", {percent(pruned)} before it recovered" if pruned is not None else ""
    return f"{what} and reaches {percent(mine)} {MEASURES[measure]}{fallen}."


def _other(record: Record) -> str:
    result = record.result or {}
    text = f"tacit {record.verb} took {seconds(_time(record))} on {result.get('device', 'an unknown device')}"
    what = _measure(record)
    accuracy = _either(record, f"student_{what}", f"teacher_{what}")
    return text + (f" and measured {percent(accuracy)} {MEASURES[what]}." if accuracy is not None else ".")
