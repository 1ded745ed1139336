"""From runs to rows: those that differ in nothing but the seed become one, under a name that says what sets it apart."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from tacit.core.run import UNTOUCHING
from tacit.report.federation import federation, sent
from tacit.report.names import describe, label, named
from tacit.report.read import Record, number
from tacit.report.rows import Curve, Row, Spread

__all__ = ["comparable", "group"]

FREE = ("seed", "out", "resume", "overwrite", "device", "precision", *UNTOUCHING)
"""Options that make no row of their own. What the device and precision were is in the result; the precision parts rows."""
STUDENTLESS = ("synthesize", "similarity", "compare")
"""Verbs that write a run folder and measure no network in it."""


def comparable(records: Sequence[Record]) -> tuple[list[Record], list[str]]:
    """Return the runs that can stand in a comparison, and in words why the others were left out."""
    kept: dict[str, Record] = {}
    left: list[str] = []
    for one in records:
        if one.verb in STUDENTLESS:
            left.append(f"{one.name} is left out: a run of `tacit {one.verb}` has no student.")
        elif one.result is None:
            left.append(f"{one.name} is left out: it is not finished (there is no result.json).")
        elif (same := kept.setdefault(_identity(one), one)) is not one:
            left.append(f"{one.name} is left out: it repeats {same.name}, with the same seed and options.")
    return list(kept.values()), left


def group(records: Sequence[Record]) -> list[Row]:
    """Return the rows of finished runs, best accuracy (or mean IoU) of the last step first; those without one come last.

    Runs share a row if their options are the same but for the seed (and what touches no weight, as how often was logged), and if their
    results name the same precision, sizes, teacher and number of evaluation images.

    Args:
        records: Finished runs; see `comparable`. Only `name`, `verb`, `config`, `result`, `log` and `provenance` are looked at.
    """
    groups: dict[str, list[Record]] = {}
    for one in records:
        groups.setdefault(json.dumps([one.verb, _options(one), _measured(one)], sort_keys=True, default=str), []).append(one)
    first = [members[0] for members in groups.values()]
    names = named([(label(one.verb, _options(one), one.metrics), _options(one), _measured(one)) for one in first])
    rows = [_row(name, members) for name, members in zip(names, groups.values(), strict=True)]
    return sorted(rows, key=lambda row: (-score.mean if (score := row.student_miou or row.student_accuracy) else 1.0, row.name))


def _options(record: Record) -> dict[str, Any]:
    """Return the options that make a row, flat: ``training.lr``, ``method.steps``."""
    config = {key: value for key, value in record.config.items() if key not in FREE}
    if config.get("method") is not None:
        config.pop("source", None)  # where it names a method, the config has it as `method` too
    if isinstance(config.get("objective"), list):
        config["objective"] = describe(config["objective"])
    flat = dict(_flat(config, ""))
    for role in ("student", "model"):
        if flat.get(f"{role}.path", "") is None:
            flat.pop(f"{role}.sha256", None)  # the first weights of a live network: they follow from its seed
    return flat


def _flat(value: Any, path: str) -> list[tuple[str, Any]]:
    if isinstance(value, Mapping) and "class_path" in value:
        name = str(value["class_path"]).rpartition(".")[2]
        return [(path, name), *_flat(value.get("init_args") or {}, path)]
    if isinstance(value, Mapping):
        return [pair for key, item in value.items() for pair in _flat(item, f"{path}.{key}" if path else str(key))]
    return [(path.removesuffix(".path") if value is not None else path, value)]


def _measured(record: Record) -> dict[str, Any]:
    """Return what the result says of the circumstances, by which runs of the same options are told apart."""
    result, told = record.result or {}, _teacher(record)
    facts = {key: record.metrics.get(key) for key in ("params_teacher", "params_student")}
    facts |= {"precision": result.get("precision"), "evaluation_images": _images(record)}
    return facts | ({"teacher_accuracy": record.metric("teacher_accuracy")} if told is None else {"teacher_sha256": told[:8]})


def _identity(record: Record) -> str:
    """Return what two repeats of one run share."""
    student = record.config.get("student")
    seed = (record.result or {}).get("seed")
    return json.dumps([record.verb, _options(record), _measured(record), student, seed], sort_keys=True, default=str)


def _teacher(record: Record) -> str | None:
    """Return the hash of the teacher's weights, from the result, from the pool, or from a config made in Python."""
    given = record.config.get("teacher")
    found = record.metrics.get("teacher_sha256") or record.provenance.get("teacher_sha256")
    found = found or (given.get("sha256") if isinstance(given, Mapping) else None)
    return found if isinstance(found, str) else None


def _images(record: Record) -> int | None:
    """Return the number of evaluation images."""
    counted = number(record.metrics.get("evaluation_images")) or sum(map(sum, record.confusion))
    return int(counted) if counted else None


def _row(name: str, members: Sequence[Record]) -> Row:
    def spread(key: str) -> Spread | None:
        return Spread.of(one.metric(key) for one in runs)

    def seconds(kind: str) -> Spread | None:
        return Spread.of(number((one.result or {}).get("seconds", {}).get(kind)) for one in runs)

    runs = sorted(members, key=lambda one: (number((one.result or {}).get("seed")) or 0, one.name))
    results = [one.result or {} for one in runs]
    first, steps = runs[0], [_steps(one) for one in runs]
    sees_data = first.verb in ("train", "federate") or first.config.get("source") == "data"
    split = first.config.get("eval_split") if sees_data else first.config.get("split") or "test"
    data = first.config.get("data")
    return Row(
        name=name,
        verb=first.verb,
        runs=tuple(one.name for one in runs),
        options=_options(first),
        seeds=tuple(result.get("seed") for result in results),
        student_accuracy=spread("student_accuracy"),
        student_accuracy_ema=spread("student_accuracy_ema"),
        student_accuracy_selected=spread("student_accuracy_selected"),
        student_miou=spread("student_miou"),
        agreement=spread("agreement"),
        teacher_accuracy=spread("teacher_accuracy"),
        teacher_miou=spread("teacher_miou"),
        teacher=_teacher(first),
        params_teacher=_whole(first.metric("params_teacher")),
        student=_student(_options(first)),
        params_student=_whole(first.metric("params_student")),
        evaluated_on="" if data is None or split is None else f"{data}, {split}",
        evaluation_images=_images(first),
        sees_data=sees_data,
        images_synthesized=Spread.of(number(result.get("images_synthesized")) for result in results),
        steps=Spread.of(steps if first.verb != "federate" else []),
        steps_exact=all(step == _planned(one) for step, one in zip(steps, runs, strict=True)),
        max_seconds=number(first.config.get("max_seconds")),
        synthesis_seconds=seconds("synthesis"),
        training_seconds=seconds("training"),
        devices=tuple(dict.fromkeys(str(result.get("device")) for result in results)),
        precision=str(results[0].get("precision")),
        selection=results[0].get("selection"),
        curve=_curve(runs),
        federation=federation(runs),
    )


def _student(options: Mapping[str, Any]) -> str:
    """Return how the student was made: its import path or class, and its arguments."""
    roles = [role for role in ("student", "model") if any(key.split(".")[0] == role for key in options)][:1]
    given = [options.get(role) or options.get(f"{role}.class") or "" for role in roles]
    arguments = (
        [f"{key.rpartition('.')[2]}={describe(value)}" for key, value in options.items() if key.startswith(f"{roles[0]}.kwargs.")]
        if roles
        else []
    )
    return ", ".join(map(str, [*given, *arguments]))


def _whole(value: float | None) -> int | None:
    return None if value is None else int(value)


def _steps(record: Record) -> float | None:
    """Return the last step that the log tells of."""
    logged = [number(line.get("step")) for line in record.log if line.get("kind") in ("train", "evaluation")]
    return max((step for step in logged if step is not None), default=None)


def _planned(record: Record) -> float | None:
    training = record.config.get("training")
    return number(training.get("steps")) if isinstance(training, Mapping) else None


def _curve(runs: Sequence[Record]) -> Curve | None:
    """Return accuracy on the way; its last point is the result's."""
    tracks: list[dict[float, tuple[float, float]]] = []
    ends: list[tuple[float, float, float]] = []
    for one in runs:
        steps, accuracy = one.points("evaluation", "step", "student_accuracy")
        seconds, timed = one.points("evaluation", "seconds", "student_accuracy")
        tracks.append(dict(zip(steps, zip(seconds, accuracy, strict=True), strict=True)) if accuracy == timed else {})
        spent = (one.result or {}).get("seconds", {})
        took = (number(spent.get("synthesis")) or 0.0) + (number(spent.get("training")) or 0.0)
        final = one.metric("student_accuracy")
        if final is not None:
            ends.append((_steps(one) or max(steps, default=0.0), took, final))
    common = sorted(set.intersection(*map(set, tracks)))
    points = [(step, [track[step][0] for track in tracks], [track[step][1] for track in tracks]) for step in common]
    if len(ends) == len(runs) and any(end > max(track, default=-1.0) for (end, _, _), track in zip(ends, tracks, strict=True)):
        points.append((sum(end for end, _, _ in ends) / len(ends), [took for _, took, _ in ends], [value for _, _, value in ends]))
    if not points:
        return None
    paid = [sent(one) for one in runs]
    paid = paid if all(step in track for track in paid for step, _, _ in points) else []
    return Curve(
        steps=tuple(step for step, _, _ in points),
        seconds=tuple(sum(times) / len(times) for _, times, _ in points),
        mean=tuple(sum(values) / len(values) for _, _, values in points),
        low=tuple(min(values) for _, _, values in points),
        high=tuple(max(values) for _, _, values in points),
        bytes=tuple(sum(track[step] for track in paid) / len(paid) for step, _, _ in points) if paid else (),
    )
